// Calls the gateway at the URL that is its argument by every transport of connect-node.
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { callAll } from "./calls.mjs";

const baseUrl = process.argv[2];
const sessionManager = new Http2SessionManager(baseUrl);
const transports = {
  "gRPC": [createGrpcTransport, { sessionManager }],
  "gRPC, JSON": [createGrpcTransport, { sessionManager, useBinaryFormat: false }],
  "gRPC-Web": [createGrpcWebTransport, { httpVersion: "2", sessionManager }],
  "gRPC-Web by HTTP/1.1": [createGrpcWebTransport, { httpVersion: "1.1" }],
  "Connect": [createConnectTransport, { httpVersion: "2", sessionManager, useBinaryFormat: true }],
  "Connect, JSON": [createConnectTransport, { httpVersion: "2", sessionManager }],
  "Connect, GET": [createConnectTransport, { httpVersion: "2", sessionManager, useHttpGet: true }],
  "Connect by HTTP/1.1": [createConnectTransport, { httpVersion: "1.1" }],
};
for (const [name, [create, options]] of Object.entries(transports)) {
  try {
    // An URL is a header, of which Node.js sends less.
    const times = options.useHttpGet ? 300 : undefined;
    await callAll(create({ baseUrl, ...options }), { http2: options.httpVersion !== "1.1", times });
    console.log("ok:", name);
  } catch (reason) {
    console.log("FAILED:", name, reason);
    process.exitCode = 1;
  }
}
sessionManager.abort();
