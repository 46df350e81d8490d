"use strict";
// What the JavaScript peers share: the deltas, their order, and its check.
const { randomUUID } = require("node:crypto");

const DELTA = "fifteen letters";

function envelope(type, streamId, sequence, payload) {
  return {
    type,
    stream_id: streamId,
    message_id: randomUUID(),
    sequence,
    timestamp: Date.now(),
    version: 1,
    payload,
  };
}

function delta(streamId, sequence) {
  return envelope("text_delta", streamId, sequence, {
    content_index: 0,
    delta: DELTA,
  });
}

// Takes one envelope from each stream in turn.
class Outgoing {
  #streams = [];
  #turn = 0;

  add(id, count) {
    this.#streams.push({ id, count, sequence: 0 });
  }

  get empty() {
    return this.#streams.length === 0;
  }

  next() {
    if (this.#turn >= this.#streams.length) {
      this.#turn = 0;
    }
    const stream = this.#streams[this.#turn];
    stream.sequence++;
    if (stream.sequence <= stream.count) {
      this.#turn++;
      return delta(stream.id, stream.sequence);
    }
    this.#streams.splice(this.#turn, 1);
    return envelope("result", stream.id, stream.sequence, { type: "result" });
  }
}

function check(condition, message) {
  if (!condition) {
    throw new Error(message);
  }
}

// One stream as the client sees it.
class Incoming {
  #expected = 1;
  #pieces = [];

  accept(event) {
    check(event.sequence === this.#expected, "out of order");
    this.#expected++;
    if (event.type === "text_delta") {
      this.#pieces.push(event.payload.delta);
    }
  }

  end(count) {
    check(this.#pieces.length === count, "lost events");
    check(this.#pieces.join("") === DELTA.repeat(count), "wrong text");
  }
}

function cpuMicroseconds() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

class Stopwatch {
  #cpu = cpuMicroseconds();
  #started = process.hrtime.bigint();

  stop() {
    this.seconds = Number(process.hrtime.bigint() - this.#started) / 1e9;
    this.cpu = cpuMicroseconds() - this.#cpu;
  }
}

function report(total, watch, serverCpu) {
  console.log(
    JSON.stringify({
      envelopes: total,
      envelopes_per_s: Math.floor(total / watch.seconds),
      client_cpu_us_per_envelope: watch.cpu / total,
      server_cpu_us_per_envelope: serverCpu / total,
    }),
  );
}

// The client's part over any WebSocket: `send` takes text, the function that
// comes back takes each text received and says when all is done.
function webSocketClient(streams, count, send) {
  const reading = new Map();
  const watch = new Stopwatch();
  for (let index = 1; index <= streams; index++) {
    const id = randomUUID();
    reading.set(id, new Incoming());
    const payload = { index, count };
    send(JSON.stringify(envelope("stream_request", id, 1, payload)));
  }
  return (text) => {
    const event = JSON.parse(text);
    if (event.type === "usage") {
      report(streams * count, watch, event.cpu_us);
      return true;
    }
    const stream = reading.get(event.stream_id);
    stream.accept(event);
    if (event.type === "result") {
      stream.end(count);
      reading.delete(event.stream_id);
      if (reading.size === 0) {
        watch.stop();
        send('{"type":"usage"}');
      }
    }
    return false;
  };
}

// The server's part over any WebSocket: `pump` is called when there is
// something to send again.
function webSocketServer(send, pump) {
  const outgoing = new Outgoing();
  let started;
  return {
    outgoing,
    receive(text) {
      started ??= cpuMicroseconds();
      const request = JSON.parse(text);
      if (request.type === "usage") {
        const cpu_us = cpuMicroseconds() - started;
        send(JSON.stringify({ type: "usage", cpu_us }));
        return;
      }
      const idle = outgoing.empty;
      outgoing.add(request.stream_id, request.payload.count);
      if (idle) {
        setImmediate(pump); // requests that came together start together
      }
    },
  };
}

module.exports = {
  cpuMicroseconds,
  delta,
  Incoming,
  report,
  Stopwatch,
  webSocketClient,
  webSocketServer,
};
