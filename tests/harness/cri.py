"""A CRI v1 client made from proto/runtime/v1/api.proto at run time: `Client(socket).RunPodSandbox(...)`."""
import importlib
import os
import subprocess
import sys

import grpc

from harness import places

# gRPC looks after a connection that nobody waits on this often, and so connects again this late; its default is 5 s.
os.environ.setdefault("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "50")
PROTO = os.path.join(places.TREE, "proto", "runtime", "v1", "api.proto")
MAX_MESSAGE = 80 << 20


def _module():
    out = os.path.join(places.CACHE, "cri")
    made = os.path.join(out, "api_pb2.py")
    if not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(PROTO):
        os.makedirs(out, exist_ok=True)
        subprocess.run(["protoc", f"--python_out={out}", f"-I{os.path.dirname(PROTO)}",
                        os.path.basename(PROTO)], check=True, stderr=subprocess.DEVNULL)
    sys.path.insert(0, out)
    try:
        return importlib.import_module("api_pb2")
    finally:
        sys.path.remove(out)


pb = _module()


class Client:
    """All RPCs of both services as methods.

    Each takes the fields of its request as keywords (or one request message), and `timeout` in seconds.
    A failed call raises grpc.RpcError; `code()` says why.
    """

    def __init__(self, socket):
        self.socket = socket
        self.channel = grpc.insecure_channel(f"unix://{socket}", options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200)])
        for service in pb.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                setattr(self, method.name, self._method(service, method))

    def _method(self, service, method):
        request_class = getattr(pb, method.input_type.name)
        kind = self.channel.unary_stream if method.containing_service and _streams(method) else \
            self.channel.unary_unary
        call = kind(f"/{service.full_name}/{method.name}",
                    request_serializer=request_class.SerializeToString,
                    response_deserializer=getattr(pb, method.output_type.name).FromString)

        def invoke(request=None, timeout=120, **fields):
            if request is None:
                request = request_class(**fields)
            return call(request, timeout=timeout)
        invoke.future = lambda request=None, timeout=120, **fields: call.future(
            request if request is not None else request_class(**fields), timeout=timeout)
        return invoke

    def close(self):
        self.channel.close()


def _streams(method):
    """Whether a method answers with a stream; the Python descriptor of this protobuf does not say."""
    from google.protobuf import descriptor_pb2
    proto = descriptor_pb2.MethodDescriptorProto()
    method.CopyToProto(proto)
    return proto.server_streaming
