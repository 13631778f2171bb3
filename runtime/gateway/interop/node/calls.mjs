// The calls that clients of connect-es make, from Node.js and from a browser. They throw where an answer
// is not what it should be.
import { Code, ConnectError, createClient } from "@connectrpc/connect";

import { EchoService, FailDetailSchema } from "./gen/interop/v1/echo_pb.js";

function check(what, got, want) {
  if (got !== want) {
    throw new Error(`${what}: got ${got}, want ${want}`);
  }
}

async function fails(what, call, code) {
  try {
    await call;
  } catch (reason) {
    const error = ConnectError.from(reason);
    check(`${what}: code`, Code[error.code], Code[code]);
    return error;
  }
  throw new Error(`${what}: did not fail`);
}

function checkFailure(what, error) {
  check(`${what}: message`, error.rawMessage, "as you wish: ✓");
  check(`${what}: detail`, error.findDetails(FailDetailSchema)[0]?.reason, "wished");
}

// A browser has these alone: it does not stream requests.
export async function callFromBrowser(transport, { times = 30_000 } = {}) {
  const client = createClient(EchoService, transport);
  let header, trailer;
  const text = "a large text ".repeat(times);
  const echoed = await client.echo(
    { text, data: new Uint8Array([0, 1, 255]), number: 2n ** 60n },
    { headers: { "interop-mark": "es" }, onHeader: (h) => (header = h), onTrailer: (t) => (trailer = t) },
  );
  check("unary: text", echoed.text, text);
  check("unary: data", echoed.data.join(), "0,1,255");
  check("unary: number", echoed.number, 2n ** 60n);
  check("unary: header", header.get("interop-mark"), "es");
  check("unary: trailer", trailer.get("interop-mark-trailer"), "es");
  checkFailure("unary", await fails("unary", client.echo({ text: "fail" }), Code.FailedPrecondition));
  await fails("deadline", client.echo({ text: "wait" }, { timeoutMs: 100 }), Code.DeadlineExceeded);
  let time = 0;
  const repeat = async () => {
    for await (const repeated of client.repeat({ text: "fail", times: 3 })) {
      check("server stream", repeated.time, ++time);
    }
  };
  checkFailure("server stream", await fails("server stream", repeat(), Code.FailedPrecondition));
  check("server stream: messages", time, 3);
}

async function* texts(...all) {
  for (const text of all) {
    yield { text };
  }
}

export async function callAll(transport, { http2, times }) {
  await callFromBrowser(transport, { times });
  const client = createClient(EchoService, transport);
  check("client stream", (await client.join(texts("one", "two", "three"))).text, "one two three");
  if (!http2) {
    return;
  }
  let answered;
  async function* pingPong() {
    yield { text: "ping" };
    await new Promise((resolve) => (answered = resolve));
    yield { text: "pong" };
  }
  const got = [];
  for await (const chat of client.chat(pingPong())) {
    got.push(chat.text);
    answered();
  }
  check("bidirectional stream", got.join(), "ping,pong");
}
