"""What the table is run against: three servers of the binary, one as it is deployed (TLS, client certificates, keys, tokens), one in the
clear with short limits, and one that browsers may call and metrics are read from, each with two programmes and two members; the usual calls
between the rows; what may not grow, leak or change."""

import collections
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import grpc
import wire
from credentials import DAY, NOW, Access, Authority, ExtendedKeyUsageOID, Signer
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BOOKS = [ROOT / "examples" / "programs" / f"{name}.yaml" for name in ("vietnam", "corner-shop")]
VIETNAM, CORNER_SHOP = "vietnam", "corner-shop"

# Planted, to be looked for in the logs.
ANNA = {"KIND_CARD": "PLANTED-CARD-1", "KIND_PHONE": "+84905550147", "KIND_EMAIL": "planted.anna@example.com"}
BEN = {"KIND_CARD": "PLANTED-CARD-2", "KIND_PHONE": "+13125550148"}

# Of the servers in the clear: what they wait for, so that a run does not take long, and how many they take, so that a test can be one more.
SHORT = {"--handshake-seconds": 1, "--stall-seconds": 1, "--keepalive-seconds": 3, "--max-call-seconds": 2, "--max-connections": 60}
# For everybody's usual call, whatever goes on. A machine that builds something else at the same time is slow.
BOUND = 3.0
# What may be in use at the end beyond what was at the beginning, and at any time in all: a request of 4 MiB can take a hundred for a moment,
# while it is decoded.
MEMORY, PEAK = 96 << 20, 512 << 20
LOG = 512 << 10


class Server:
    def __init__(self, binary, folder, name, flags, context):
        self.binary, self.folder, self.name, self.flags, self.context = binary, folder / name, name, flags, context
        self.folder.mkdir()
        self.log = self.folder / "server.log"
        self.log.touch()
        # The most bytes that were resident, until that was last forgotten.
        self.process, self.highest = None, 0

    def start(self):
        command = [self.binary, "serve", "--listen", "127.0.0.1:0", "--data", self.folder / "data"]
        for book in BOOKS:
            command += ["--program", book]
        begun = self.log.stat().st_size
        with open(self.log, "ab") as log:
            # What is freed goes back to the system at once, so that what is left at the end is in use.
            environment = os.environ | {"MIMALLOC_PURGE_DELAY": "0"}
            command = [*command, *map(str, self.flags)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 60
        while True:
            said = self.log.read_bytes()[begun:].decode()
            address = re.search(r"listening on 127\.0\.0\.1:(\d+)", said)
            if address and re.search(r": serving\b|INFO .*\bserving$", said, re.MULTILINE):
                self.address = ("127.0.0.1", int(address[1]))
                metrics = re.search(r"metrics are at http://127\.0\.0\.1:(\d+)/", said)
                self.metrics = ("127.0.0.1", int(metrics[1])) if metrics else None
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server {self.name} did not start:\n{said[-3000:]}")
            time.sleep(0.01)

    def stop(self):
        """How it ended: in order is 0."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def check(self):
        """What `loyaltyd check` finds in its folder."""
        command = [self.binary, "check", "--data", self.folder / "data"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return f"exit {done.returncode}\n{done.stdout}"

    def channel(self, ca):
        """A connection of its own, by Google's library."""
        target, options = "%s:%d" % self.address, [("grpc.use_local_subchannel_pool", 1)]
        if not self.context:
            return grpc.insecure_channel(target, options=options)
        options.append(("grpc.ssl_target_name_override", "localhost"))
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(ca.pem), options=options)

    def measure(self):
        """Open files, threads, resident bytes now and at most."""
        process = pathlib.Path("/proc") / str(self.process.pid)
        status = (process / "status").read_text()
        resident, peak = (int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) << 10 for name in ("VmRSS", "VmHWM"))
        return Measure(len(os.listdir(process / "fd")), len(os.listdir(process / "task")), resident, max(peak, self.highest))

    def taken(self, do):
        """What comes of it, and how many bytes more than before were resident meanwhile."""
        before = self.measure()
        self.highest = before.peak
        process = pathlib.Path("/proc") / str(self.process.pid)
        # The system forgets what was the most until now.
        (process / "clear_refs").write_text("5")
        found = do()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())[1]) << 10
        return found, peak - before.resident


Measure = collections.namedtuple("Measure", "files threads resident peak")


class World:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary.resolve(), folder
        # Some rows open a thousand connections.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8_192), most))
        self.ca, self.foreign_ca = Authority(folder, "ca"), Authority(folder, "foreign-ca")
        self.access = Access(self.binary, folder)
        self.keys, self.stranger = self.access.keys, Signer("stranger-1", "RS256")
        certificate, key = self.ca.issue("server", dns=["localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH)
        tls = ["--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", self.ca.file]
        access = ["--access", self.access.file]
        self.tls = Server(self.binary, folder, "tls", [*access, *tls, "--handshake-seconds", 2], self.ca.context())
        short = [part for pair in SHORT.items() for part in pair]
        web = [*access, *short, "--grpc-web", "--cors-origin", "https://shop.test", "--metrics-listen", "127.0.0.1:0"]
        self.plain = Server(self.binary, folder, "plain", [*access, *short], None)
        self.web = Server(self.binary, folder, "web", web, None)
        self.servers = [self.tls, self.plain, self.web]
        self.certificates = {
            "till": self.ca.issue("till", dns=["till-1.test"]),
            "foreign": self.foreign_ca.issue("foreign", dns=["till-1.test"]),
            "expired": self.ca.issue("expired", dns=["till-1.test"], start=NOW - 2 * DAY, end=NOW - DAY),
            "of itself": self.ca.issue("itself", dns=["till-1.test"], itself=True),
            "unknown": self.ca.issue("unknown", dns=["till-7.test"]),
            "common name": self.ca.issue("common", common_name="till-1.test"),
            "wildcard": self.ca.issue("wildcard", dns=["*.test"]),
            "of two": self.ca.issue("two", dns=["till-1.test", "till-9.test"]),
            "of a server": self.ca.issue("serving", dns=["till-1.test", "localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH),
        }
        self.slowest, self.pool, self.classes = 0.0, None, {}

    def start(self):
        for server in self.servers:
            server.start()
        self.channels = [server.channel(self.ca) for server in self.servers]
        if self.pool is None:
            self.pool = self.contract(self.channels[1])
        self.await_issuer()

    def await_issuer(self):
        """A good token and a good certificate are let in: what is refused later is not refused for want of them."""
        deadline = time.monotonic() + 10
        ask = ("ProgramService/GetProgram", {"program_id": VIETNAM})
        while (outcome := self.call(*ask, token=self.access.rsa.token())) != "OK" and time.monotonic() < deadline:
            time.sleep(0.1)
        self.demand("a good token", outcome, "OK")
        self.demand("a good token of ES256", self.call(*ask, token=self.access.ec.token()), "OK")
        self.demand("a good certificate", self.call(*ask, key=None, certificate="till"), "OK")
        self.demand("a good key", self.call(*ask), "OK")

    @staticmethod
    def contract(channel):
        """All files of the contract, by reflection."""
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        for service in database.get_services():
            pool.FindServiceByName(service)
        return pool

    @staticmethod
    def demand(what, found, expected):
        if found != expected:
            raise SystemExit(f"{what}: expected {expected}, found {found}: nothing that follows would say anything")

    def encode(self, method, fields):
        """The request of a method, with fields as in the proto3 JSON form."""
        return json_format.ParseDict(fields, self.kind(method, "input_type")()).SerializeToString()

    def decode(self, method, content):
        """The messages of an answer."""
        answers, kind = [], self.kind(method, "output_type")
        while content:
            size = int.from_bytes(content[1:5], "big")
            answers.append(kind.FromString(content[5 : 5 + size]))
            content = content[5 + size :]
        return answers

    def kind(self, method, which):
        if (method, which) not in self.classes:
            service, name = method.split("/")
            found = self.pool.FindServiceByName(f"loyalty.v1.{service}").FindMethodByName(name)
            self.classes[method, which] = message_factory.GetMessageClass(getattr(found, which))
        return self.classes[method, which]

    def member(self, who=ANNA, program=VIETNAM):
        return {"program_id": program, "member": {"identifier": {"kind": "KIND_CARD", "value": who["KIND_CARD"]}}}

    def sale(self, **changes):
        """The sale that was recorded before the rows; recorded again it changes nothing."""
        dong = {"currency_code": "VND", "amount": "5250000"}
        purchase = {"store_id": "s-1", "order_id": "o-1", "lines": [{"sku": "cooker", "amount": dong}], "total": dong}
        return {"request_id": "sale-1", **self.member(), "purchase": purchase | changes}

    def line(self, server=None, certificate=None, **how):
        """A connection to a server, the one with TLS if none is named."""
        server = server or self.tls
        context = server.context and (self.ca.context(self.certificates[certificate]) if certificate else server.context)
        return wire.Line(server.address, context, **how)

    def headers(self, key="till", token=None, authorization=None, metadata=()):
        bearer = token or (self.keys[key] if key else None)
        value = authorization if authorization is not None else f"Bearer {bearer}" if bearer else None
        return ([("authorization", value)] if value is not None else []) + list(metadata)

    def answer(self, method, fields=None, server=None, body=None, certificate=None, seconds=5.0, path=None, **how):
        """The outcome of a call on a connection of its own, and its messages. Without fields it asks for what concerns Anna."""
        credential = {name: how.pop(name) for name in ("key", "token", "authorization", "metadata") if name in how}
        if body is None:
            body = wire.message(self.encode(method, self.member() if fields is None else fields))
        with self.line(server, certificate) as line:
            line.request(path or f"/loyalty.v1.{method}", body, metadata=self.headers(**credential), **how)
            outcome, content = line.answer(seconds=seconds)
        return outcome, self.decode(method, content) if outcome == "OK" and "/" in method else content

    def call(self, method, fields=None, **how):
        return self.answer(method, fields, **how)[0]

    def usual(self, server, channel, what):
        """A till quotes and looks a member up, within the bound; what is found is what was there at the beginning."""
        begun = time.monotonic()
        try:
            quote = {**self.sale(order_id="o-2")}
            del quote["request_id"]
            for method, fields in (("PurchaseService/QuotePurchase", quote), ("MemberService/GetMember", self.member())):
                send = channel.unary_unary(f"/loyalty.v1.{method}")
                metadata = [("authorization", f"Bearer {self.keys['till']}")]
                found = send(self.encode(method, fields), timeout=BOUND, metadata=metadata, wait_for_ready=False)
            balance = self.kind("MemberService/GetMember", "output_type").FromString(found).member.balance.available
        except grpc.RpcError as error:
            return f"{what} {server.name}: {error.code().name} {error.details()} after {time.monotonic() - begun:.1f} s"
        self.slowest = max(self.slowest, time.monotonic() - begun)
        return None if balance == 525 else f"{what} {server.name}: the member has {balance} points"

    def serves_on(self):
        """Every fault of the usual calls: over the connections that are open since the start, and over new ones."""
        faults = []
        for server, kept in zip(self.servers, self.channels):
            if server.process.poll() is not None:
                raise SystemExit(f"the server {server.name} has ended with {server.process.returncode}")
            with server.channel(self.ca) as fresh:
                faults += [self.usual(server, kept, "kept connection to"), self.usual(server, fresh, "new connection to")]
        return [fault for fault in faults if fault]

    def enroll(self):
        """The members, and a sale of Anna's: 525 points."""
        for server in self.servers:
            for program, who, key in ((VIETNAM, ANNA, "storefront"), (CORNER_SHOP, BEN, "other-till")):
                identifiers = [{"kind": kind, "value": value} for kind, value in who.items()]
                fields = {"request_id": "enrol-1", "program_id": program, "identifiers": identifiers}
                outcome, answers = self.answer("MemberService/EnrollMember", fields, key=key, server=server)
                self.demand("a member enrols", outcome, "OK")
                server.__dict__[program] = answers[0].member.member_id
            self.demand("a sale", self.call("PurchaseService/RecordPurchase", self.sale(), server=server), "OK")

    def close(self):
        for channel in getattr(self, "channels", []):
            channel.close()

    def end(self):
        self.close()
        for server in self.servers:
            server.kill()
        self.access.close()
