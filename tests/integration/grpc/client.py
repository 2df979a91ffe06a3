# A gRPC client for the tests: client.py ADDRESS STORY [ROOTS]. Prints "ok" when the story went as it should.
import sys
import threading
import time
from concurrent import futures

import grpc

address, story = sys.argv[1:3]
options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
if story == "pings":
    options += [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_timeout_ms", 2000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
if len(sys.argv) > 3:
    options.append(("grpc.ssl_target_name_override", "shop.example"))
    credentials = grpc.ssl_channel_credentials(open(sys.argv[3], "rb").read())
    channel = grpc.secure_channel(address, credentials, options)
else:
    channel = grpc.insecure_channel(address, options)
unary = channel.unary_unary("/test.Calls/Unary")
server_stream = channel.unary_stream("/test.Calls/ServerStream")
client_stream = channel.stream_unary("/test.Calls/ClientStream")
both_streams = channel.stream_stream("/test.Calls/BothStreams")
watch = channel.unary_stream("/test.Calls/Watch")
remaining = channel.unary_unary("/test.Calls/Remaining")


def failure_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def shapes():
    assert unary(b"hello") == b"hello"
    assert unary(b"") == b""
    assert list(server_stream(b"100")) == [b"part %d" % number for number in range(100)]
    assert list(server_stream(b"0")) == []
    sent = [b"x" * number for number in range(100)]
    assert client_stream(iter(sent)) == b"100 messages of 4950 bytes"
    assert client_stream(iter([])) == b"0 messages of 0 bytes"
    assert list(both_streams(iter([b"a", b"b", b"c"]))) == [b"A", b"B", b"C"]


def turns():
    # Each message is sent only when the answer to the one before is there.
    turn = threading.Semaphore(0)

    def requests():
        for number in range(200):
            yield b"word %d" % number
            assert turn.acquire(timeout=10)

    for number, answer in enumerate(both_streams(requests())):
        assert answer == b"WORD %d" % number
        turn.release()
    assert number == 199


def many():
    def calls(thread):
        for number in range(625):
            request = b"%d of %d" % (number, thread)
            assert unary(request) == request

    with futures.ThreadPoolExecutor(16) as executor:
        for done in [executor.submit(calls, thread) for thread in range(16)]:
            done.result()


def metadata():
    answer, call = unary.with_call(b"hello", metadata=(("x-ask", "asked"), ("x-ask-bin", b"\x00\x01")))
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-initial"] == "asked"
    assert dict(call.trailing_metadata())["x-trailing-bin"] == b"\x00\xff"
    error = failure_of(lambda: unary(b"fail"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "no: 100% änderbar", error
    unknown = channel.unary_unary("/test.Calls/Unknown")
    assert failure_of(lambda: unknown(b"")).code() == grpc.StatusCode.UNIMPLEMENTED


def large():
    message = bytes(range(256)) * (16 << 12)
    assert unary(message) == message
    assert list(both_streams(iter([message] * 3))) == [message.upper()] * 3


def cancels():
    call = watch(b"")
    assert next(call) == b"begun"
    call.cancel()
    assert unary(b"hello") == b"hello"


def deadlines():
    left = float(remaining(b"", timeout=5))
    assert 0 < left <= 5, left
    begin = time.monotonic()
    error = failure_of(lambda: list(watch(b"", timeout=0.3)))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - begin < 3


def down():
    error = failure_of(lambda: unary(b"hello"))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert "refuse" in error.details(), error
    error = failure_of(lambda: list(server_stream(b"1")))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error


def unrouted():
    error = failure_of(lambda: unary(b"hello"))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    assert "no route" in error.details(), error


def pings():
    call = watch(b"")
    assert next(call) == b"begun"
    time.sleep(3)
    assert call.is_active()
    call.cancel()
    assert unary(b"hello") == b"hello"


def ages():
    # The server ends its connections all the time; no call is lost.
    until = time.monotonic() + 6

    def calls():
        count = 0
        while time.monotonic() < until:
            assert unary(b"hello") == b"hello"
            assert len(list(server_stream(b"10"))) == 10
            count += 2
        return count

    with futures.ThreadPoolExecutor(8) as executor:
        counts = [executor.submit(calls) for _ in range(8)]
        print("calls", sum(count.result() for count in counts))


def breaks():
    call = watch(b"")
    assert next(call) == b"begun"
    print("begun", flush=True)
    error = failure_of(lambda: list(call))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error


def drains():
    # Goes on for a second behind its beginning, whatever happens to the proxy meanwhile.
    def requests():
        for number in range(23):
            yield b"word %d" % number
            time.sleep(0.05)
            if number == 3:
                print("begun", flush=True)

    assert list(both_streams(requests())) == [b"WORD %d" % number for number in range(23)]


globals()[story]()
print("ok", flush=True)
