"use strict";
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const definition = protoLoader.loadSync(path.join(__dirname, "job.proto"), {
  keepCase: true,
  longs: Number,
});

module.exports = {
  grpc,
  Provider: grpc.loadPackageDefinition(definition).peers.Provider,
};
