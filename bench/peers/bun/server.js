"use strict";
const { webSocketServer } = require("../job.js");

// Envelopes in one turn, so that reading gets its turn as well.
const TURN = 512;

function connect(ws) {
  const part = webSocketServer((text) => ws.sendText(text), pump);
  const { outgoing } = part;

  function turn() {
    for (let i = 0; i < TURN && !outgoing.empty; i++) {
      if (ws.sendText(JSON.stringify(outgoing.next())) < 0) {
        return; // it is queued, and `drain` follows
      }
    }
    if (!outgoing.empty) {
      setImmediate(pump);
    }
  }

  function pump() {
    ws.cork(turn);
  }

  ws.data = { receive: part.receive, pump, outgoing };
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, self) {
    if (!self.upgrade(request)) {
      return new Response("a WebSocket is expected", { status: 400 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    open: connect,
    message: (ws, text) => ws.data.receive(text),
    drain: (ws) => ws.data.pump(),
    close: () => process.exit(),
  },
});
console.log(`ws://127.0.0.1:${server.port}`);
