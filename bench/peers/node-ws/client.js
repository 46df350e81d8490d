"use strict";
const WebSocket = require("ws");
const { webSocketClient } = require("../job.js");

const [url, streams, count] = process.argv.slice(2);
const ws = new WebSocket(url, { perMessageDeflate: false });
ws.on("open", () => {
  const receive = webSocketClient(+streams, +count, (text) => ws.send(text));
  ws.on("message", (text) => {
    if (receive(text)) {
      ws.close();
    }
  });
});
