// Calls the gateway from a page of another origin, and tells the page's server how it went.
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { callFromBrowser } from "./calls.mjs";

const baseUrl = new URLSearchParams(location.search).get("gateway");
const transports = {
  "gRPC-Web": createGrpcWebTransport({ baseUrl }),
  "Connect": createConnectTransport({ baseUrl, useBinaryFormat: true }),
  "Connect, JSON": createConnectTransport({ baseUrl }),
  "Connect, GET": createConnectTransport({ baseUrl, useHttpGet: true }),
};
const lines = [];
for (const [name, transport] of Object.entries(transports)) {
  try {
    await callFromBrowser(transport);
    lines.push(`ok: ${name}`);
  } catch (reason) {
    lines.push(`FAILED: ${name}: ${reason}`);
  }
}
await fetch("/result", { method: "POST", body: lines.join("\n") });
