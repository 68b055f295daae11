"""A gRPC client that knows nothing before it asks: message classes come from the server's reflection, not from generated code.

    server = Server("127.0.0.1:50051")
    member = server.call("loyalty.v1.MemberService", "GetMember", program_id="shop", member={"member_id": "..."})
"""

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Server:
    def __init__(self, address, credentials=None, metadata=None):
        """`credentials` are those of grpc for TLS; `metadata` goes with each call."""
        options = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
        self.channel = grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
        self.metadata = metadata
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.methods = {}

    def services(self):
        return sorted(self.database.get_services())

    def method(self, service, name):
        if (service, name) not in self.methods:
            method = self.pool.FindServiceByName(service).FindMethodByName(name)
            request = message_factory.GetMessageClass(method.input_type)
            answer = message_factory.GetMessageClass(method.output_type)
            call = self.channel.unary_unary(
                f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
            )
            self.methods[service, name] = (request, call)
        return self.methods[service, name]

    def call(self, service, name, timeout=30, **fields):
        """Fields as in the proto3 JSON form, with the names of the proto."""
        request, call = self.method(service, name)
        return call(json_format.ParseDict(fields, request()), timeout=timeout, metadata=self.metadata)

    def pages(self, service, name, items, **fields):
        """All items of a list, page by page."""
        token = ""
        while True:
            answer = self.call(service, name, page_token=token, **fields)
            yield from getattr(answer, items)
            token = answer.next_page_token
            if not token:
                return
