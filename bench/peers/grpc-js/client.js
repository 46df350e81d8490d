"use strict";
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const { Incoming, report, Stopwatch } = require("../job.js");
const { grpc, Provider } = require("./service.js");

// The default, 64 KiB for all calls together, stalls the connection.
const OPTIONS = { "grpc-node.flow_control_window": 1 << 20 };

const [address, streams, count] = process.argv.slice(2);

async function readStream(client, index) {
  const stream = new Incoming();
  const request = { stream_id: randomUUID(), index, count: +count };
  const call = client.stream(request);
  call.on("data", (event) => stream.accept(event));
  await once(call, "end");
  stream.end(+count);
}

async function main() {
  const credentials = grpc.credentials.createInsecure();
  const client = new Provider(address, credentials, OPTIONS);
  await new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + 5000, (e) => (e ? reject(e) : resolve()));
  });
  const watch = new Stopwatch();
  const reading = Array.from({ length: +streams }, (_, i) =>
    readStream(client, i + 1),
  );
  await Promise.all(reading);
  watch.stop();
  client.usage({}, (error, reply) => {
    if (error) {
      throw error;
    }
    report(+streams * +count, watch, reply.cpu_us);
    client.close();
  });
}

main();
