"use strict";
const { webSocketClient } = require("../job.js");

const [url, streams, count] = process.argv.slice(2);
const ws = new WebSocket(url);
ws.onopen = () => {
  const receive = webSocketClient(+streams, +count, (text) => ws.send(text));
  ws.onmessage = (event) => {
    if (receive(event.data)) {
      ws.close();
    }
  };
};
