"use strict";
const { cpuMicroseconds, delta } = require("../job.js");
const { grpc, Provider } = require("./service.js");

let started;

// gRPC interleaves its calls: each writes until it has to wait for a drain.
function stream(call) {
  started ??= cpuMicroseconds();
  const { stream_id: id, count } = call.request;
  let sequence = 0;

  function pump() {
    while (sequence < count) {
      sequence++;
      if (!call.write(delta(id, sequence))) {
        call.once("drain", pump);
        return;
      }
    }
    call.end();
  }

  pump();
}

function usage(_, reply) {
  reply(null, { cpu_us: cpuMicroseconds() - started });
  server.tryShutdown(() => process.exit());
}

const server = new grpc.Server();
server.addService(Provider.service, { Stream: stream, Usage: usage });
const credentials = grpc.ServerCredentials.createInsecure();
server.bindAsync("127.0.0.1:0", credentials, (error, port) => {
  if (error) {
    throw error;
  }
  console.log(`127.0.0.1:${port}`);
});
