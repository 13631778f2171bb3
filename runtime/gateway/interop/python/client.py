"""Calls the gateway at the address that is its argument with grpcio."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gen"))

import grpc  # noqa: E402
from interop.v1 import echo_pb2, echo_pb2_grpc  # noqa: E402


def fails(call, code):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError("it did not fail")


def check_failure(call):
    error = fails(call, grpc.StatusCode.FAILED_PRECONDITION)
    assert error.details() == "as you wish: ✓", error
    status = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert b"interop.v1.FailDetail" in status and b"wished" in status, status


def call_all(channel, **options):
    client = echo_pb2_grpc.EchoServiceStub(channel)
    text = "a large text " * 30_000
    response, call = client.Echo.with_call(
        echo_pb2.EchoRequest(text=text, data=b"\0\1\xff", number=2**60),
        metadata=[("interop-mark", "python")],
        **options,
    )
    assert (response.text, response.data, response.number) == (text, b"\0\1\xff", 2**60), response
    assert dict(call.initial_metadata())["interop-mark"] == "python", call.initial_metadata()
    assert dict(call.trailing_metadata())["interop-mark-trailer"] == "python", call.trailing_metadata()
    check_failure(lambda: client.Echo(echo_pb2.EchoRequest(text="fail"), **options))
    fails(lambda: client.Echo(echo_pb2.EchoRequest(text="wait"), timeout=0.1), grpc.StatusCode.DEADLINE_EXCEEDED)
    times = []

    def repeat():
        for repeated in client.Repeat(echo_pb2.RepeatRequest(text="fail", times=3), **options):
            times.append(repeated.time)

    check_failure(repeat)
    assert times == [1, 2, 3], times
    joined = client.Join((echo_pb2.JoinRequest(text=t) for t in ("one", "two", "three")), **options)
    assert joined.text == "one two three", joined
    chat = [r.text for r in client.Chat((echo_pb2.ChatRequest(text=t) for t in ("ping", "pong")), **options)]
    assert chat == ["ping", "pong"], chat


with grpc.insecure_channel(sys.argv[1]) as insecure:
    call_all(insecure)
    print("ok: identity")
    call_all(insecure, compression=grpc.Compression.Gzip)
    print("ok: gzip")
