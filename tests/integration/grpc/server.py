# A gRPC server for the tests: every shape of call, with bytes as messages. Prints the port that it listens on.
import sys
import threading
from concurrent import futures

import grpc


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", metadata.get("x-ask", "none")),))
    context.set_trailing_metadata((("x-trailing-bin", b"\x00\xff"),))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: 100% änderbar")
    return request


def server_stream(request, context):
    for number in range(int(request)):
        yield b"part %d" % number


def client_stream(requests, context):
    count = size = 0
    for request in requests:
        count += 1
        size += len(request)
    return b"%d messages of %d bytes" % (count, size)


def both_streams(requests, context):
    for request in requests:
        yield request.upper()


def watch(request, context):
    # Not behind the yield, where a call that has ended already does not come.
    over = threading.Event()

    def ended():
        over.set()
        print("ended", flush=True)

    context.add_callback(ended)
    yield b"begun"
    over.wait()


def remaining(request, context):
    return b"%f" % context.time_remaining()


class Handler(grpc.GenericRpcHandler):
    methods = {
        "/test.Calls/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/test.Calls/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "/test.Calls/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "/test.Calls/BothStreams": grpc.stream_stream_rpc_method_handler(both_streams),
        "/test.Calls/Watch": grpc.unary_stream_rpc_method_handler(watch),
        "/test.Calls/Remaining": grpc.unary_unary_rpc_method_handler(remaining),
        # HealthCheckResponse{status: SERVING}
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01"),
    }

    def service(self, details):
        return self.methods.get(details.method)


options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
files = []
for option in sys.argv[1:]:
    if "=" in option:
        name, value = option.split("=")
        options.append((name, int(value)))
    else:
        # The key and then the chain.
        files.append(open(option, "rb").read())
server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), handlers=(Handler(),), options=options)
if files:
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tuple(files)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("port %d" % port, flush=True)
server.wait_for_termination()
