"use strict";
const { WebSocketServer } = require("ws");
const { webSocketServer } = require("../job.js");

// What one turn puts into one write: more than the socket takes at once.
const TURN_BYTES = 64 * 1024;

function serve(ws, request) {
  const { socket } = request;
  const { outgoing, receive } = webSocketServer((text) => ws.send(text), pump);

  function pump() {
    socket.cork();
    while (!outgoing.empty && ws.bufferedAmount < TURN_BYTES) {
      ws.send(JSON.stringify(outgoing.next()));
    }
    socket.uncork();
    if (socket.writableNeedDrain) {
      socket.once("drain", pump);
    } else if (!outgoing.empty) {
      setImmediate(pump);
    }
  }

  ws.on("message", receive);
  ws.on("close", () => process.exit());
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
server.on("connection", serve);
server.on("listening", () => {
  console.log(`ws://127.0.0.1:${server.address().port}`);
});
