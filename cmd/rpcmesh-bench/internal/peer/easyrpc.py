"""One role of a benchmark's cluster for EasyRpc: it speaks the protocol of internal/cluster on its standard
input and output, a line of JSON a message, until its input ends."""

import array
import asyncio
import json
import resource
import socket
import sys
import time

from easyrpc.proxy import EasyRpcProxy
from easyrpc.server import EasyRpcServer
from fastapi import FastAPI
import uvicorn

PATH, NAMESPACE, SECRET = "/bench", "bench", "every process of a benchmark knows it"
READY = 10.0  # seconds until the first answer


async def serve(name, upstream):
    """Starts a server, linked to the one at upstream if there is one; returns its address and what runs it."""
    app = FastAPI()
    server = await EasyRpcServer.create(app, PATH, server_secret=SECRET)
    if upstream:

        async def here():
            pass

        here.__name__ = name
        server.origin(here, namespace=NAMESPACE)  # without a function of its own, a server passes no call on
        host, port = upstream.split(":")
        await server.create_server_proxy(host, int(port), PATH, server_secret=SECRET, namespace=NAMESPACE)
    else:

        @server.origin(namespace=NAMESPACE)
        async def echo(payload):
            return payload

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listening = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    task = asyncio.create_task(listening.serve(sockets=[listener]))
    while not listening.started:  # a client that is refused waits for ever
        await asyncio.sleep(0.01)
    return "127.0.0.1:%d" % listener.getsockname()[1], task


async def dial(upstream):
    """Returns the echo function of the server at upstream, once it has answered."""
    host, port = upstream.split(":")
    deadline = time.monotonic() + READY
    while True:
        try:
            proxy = await EasyRpcProxy.create(host, int(port), PATH, server_secret=SECRET, namespace=NAMESPACE)
            echo = proxy["echo"]
            if await asyncio.wait_for(echo("x"), 1) == "x":
                return echo
        except Exception:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


async def run(echo, load, seconds):
    """A closed loop: each caller calls again once it has its answer."""
    payload, times = "x" * load["payload"], array.array("d")
    start = time.monotonic()

    async def caller():
        last = time.monotonic()
        while last - start < seconds:
            if len(await echo(payload)) != len(payload):
                raise RuntimeError("another answer than what was sent")
            now = time.monotonic()
            times.append(now - last)
            last = now

    await asyncio.gather(*(caller() for _ in range(load["callers"])))
    elapsed = time.monotonic() - start
    ordered = sorted(times)
    at = lambda q: int(ordered[int(q * (len(ordered) - 1))] * 1e9)
    return {"elapsed": int(elapsed * 1e9), "calls": len(ordered), "p50": at(0.5), "p99": at(0.99)}


def usage():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": int((r.ru_utime + r.ru_stime) * 1e9), "voluntary": r.ru_nvcsw, "involuntary": r.ru_nivcsw}


async def main():
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    def answer(**reply):
        print(json.dumps(reply), flush=True)

    start, echo, serving, began = json.loads(await lines.readline()), None, None, {}
    try:
        if start["role"] == "load":
            echo, addr = await dial(start["upstream"]), ""
        else:
            addr, serving = await serve(start["name"], start.get("upstream"))
        answer(addr=addr)
    except Exception as e:
        answer(error=repr(e))
    while line := await lines.readline():
        request = json.loads(line)
        try:
            if request["do"] == "run":
                answer(result=await run(echo, start["load"], request["for"] / 1e9))
            elif request["do"] == "begin":
                began = usage()
                answer()
            else:
                answer(usage={k: v - began[k] for k, v in usage().items()})
        except Exception as e:
            answer(error=repr(e))
    if serving:
        serving.cancel()


asyncio.run(main())
