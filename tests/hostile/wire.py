"""HTTP/2, gRPC and protobuf by hand, for callers that send what no library sends. Bytes go out as they are given; what comes back is
reduced to one line, the outcome: a gRPC code with the reason, an HTTP status, a reset, a GOAWAY, or the end of the connection."""

import base64
import collections
import os
import re
import select
import socket
import ssl
import struct
import time

# A connection of Google's library that nobody calls on answers the server's PINGs only so often.
os.environ["GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS"] = "300"

import grpc
import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR REFUSED_STREAM CANCEL "
    "COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()
CLOSED = "closed"


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """A frame, with another length than its payload's if one is given."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values):
    numbers = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "list": 6}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def hpack_int(value, prefix, first=0):
    """An integer as RFC 7541 section 5.1 writes it."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out) + bytes([value])


def text(value):
    return value if isinstance(value, bytes) else value.encode()


def block(headers, first=0x00):
    """Headers as they are: no Huffman code, no table. With `first` 0x40 each is put into the receiver's table."""
    out = bytearray()
    for name, value in headers:
        out.append(first)
        for part in (text(name), text(value)):
            out += hpack_int(len(part), 7) + part
    return bytes(out)


def head(path, metadata=(), verb="POST", scheme="http", content_type="application/grpc", te="trailers", without=()):
    """What a gRPC call begins with."""
    usual = [(":method", verb), (":scheme", scheme), (":path", path), (":authority", "localhost")]
    usual += [("content-type", content_type), ("te", te)]
    return [pair for pair in usual if pair[0] not in without and pair[1] is not None] + list(metadata)


def message(content=b"", flag=0, length=None):
    """A gRPC message with its prefix, which may lie."""
    return struct.pack(">BI", flag, len(content) if length is None else length) + content


def varint(value):
    out, value = bytearray(), value % (1 << 64)
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out) + bytes([value])


def field(number, value):
    """A field of protobuf: integers as varints, bytes and texts with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(text(value))) + text(value)


def fields(content):
    """The other way round: number and value of each field, for the few messages that errors are made of."""
    at, found = 0, []

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(content):
        key = number()
        if key & 7 == 0:
            found.append((key >> 3, number()))
            continue
        assert key & 7 == 2, f"wire type {key & 7} in an error"
        size = number()
        found.append((key >> 3, content[at : at + size]))
        at += size
    return found


def reason(details):
    """Of a google.rpc.Status: the reason in its ErrorInfo, and the first field in its BadRequest."""
    named = blamed = ""
    for number, value in fields(details):
        if number != 3:
            continue
        kind, content = dict(fields(value)).get(1, b""), dict(fields(value)).get(2, b"")
        if kind.endswith(b"google.rpc.ErrorInfo"):
            named = " " + dict(fields(content))[1].decode()
        if kind.endswith(b"google.rpc.BadRequest"):
            first = next(inner for outer, inner in fields(content) if outer == 1)
            blamed = " at " + dict(fields(first)).get(1, b"").decode()
    return named + blamed


class Line:
    """A connection. A context makes it TLS; `begin` sends HTTP/2's preface, and heeds the server's settings. Without it nothing is sent but
    what is told."""

    def __init__(self, address, context=None, begin=True, receive_buffer=None, scheme=None):
        self.is_polite = begin
        self.scheme = scheme or ("https" if context else "http")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.received, self.is_closed, self.alert = bytearray(), False, None
        # What may be sent of bodies: by stream, in all under 0; and frames that came while more of one was waited for.
        self.window, self.early = 65_535, collections.deque()
        self.windows = collections.defaultdict(lambda: self.window, {0: 65_535})
        try:
            self.socket.connect(address)
            if context:
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        except (ssl.SSLError, OSError) as error:
            self.broken(error)
        if begin:
            # Windows that no answer here fills.
            self.send(PREFACE + settings(window=1 << 24) + frame(WINDOW_UPDATE, payload=struct.pack(">I", 1 << 24)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def broken(self, error):
        self.is_closed = True
        said = re.search(r"\] (.*alert.*) \(", str(error)) if isinstance(error, ssl.SSLError) else None
        if said:
            self.alert = said[1].upper().replace(" ", "_")

    def send(self, content):
        """Sends for as long as the server takes it, and takes what it sends meanwhile, so that nobody waits for the other."""
        if isinstance(self.socket, ssl.SSLSocket):
            try:
                self.socket.settimeout(10)
                self.socket.sendall(content)
            except OSError as error:
                self.broken(error)
            return
        rest = memoryview(content)
        self.socket.setblocking(False)
        deadline = time.monotonic() + 10
        while rest and not self.is_closed and time.monotonic() < deadline:
            readable, writable, _ = select.select([self.socket], [self.socket], [], 1)
            if readable:
                self.receive()
            if writable and not self.is_closed:
                try:
                    rest = rest[self.socket.send(rest[:65_536]) :]
                except BlockingIOError:
                    pass
                except OSError as error:
                    # What it said before it closed is still read.
                    self.receive_rest()
                    self.broken(error)

    def receive(self):
        try:
            content = self.socket.recv(65_536)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return
        except OSError as error:
            return self.broken(error)
        self.received += content
        self.is_closed = not content

    def receive_rest(self):
        try:
            while content := self.socket.recv(65_536):
                self.received += content
        except OSError:
            pass

    def next(self, seconds=5.0):
        return self.early.popleft() if self.early else self.take(seconds)

    def take(self, seconds):
        """Kind, flags, stream and payload of the next frame; None when the connection is closed; TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            if len(self.received) >= 9:
                size = int.from_bytes(self.received[:3], "big")
                if len(self.received) >= 9 + size:
                    kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
                    payload = bytes(self.received[9 : 9 + size])
                    del self.received[: 9 + size]
                    if kind == WINDOW_UPDATE:
                        self.windows[stream] += int.from_bytes(payload, "big")
                    if kind == SETTINGS and not flags & ACK and self.is_polite:
                        self.settle(payload)
                    return kind, flags, stream, payload
            if self.is_closed:
                return None
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            self.receive()

    def settle(self, payload):
        """The server's settings: of them only the window of each call is heeded here."""
        for number, value in struct.iter_unpack(">HI", payload):
            if number == 4:
                change, self.window = value - self.window, value
                for stream in self.windows:
                    self.windows[stream] += change if stream else 0
        self.send(frame(SETTINGS, ACK))

    def request(self, path, body=b"", stream=1, end=True, **head_of):
        head_of.setdefault("scheme", self.scheme)
        headers = block(head(path, **head_of))
        flags = END_HEADERS | (END_STREAM if end and not body else 0)
        out = bytearray()
        pieces = [headers[at : at + 16_384] for at in range(0, len(headers), 16_384)]
        for n, piece in enumerate(pieces):
            last = n == len(pieces) - 1
            kind = HEADERS if n == 0 else CONTINUATION
            out += frame(kind, (flags & END_STREAM if n == 0 else 0) | (END_HEADERS if last else 0), stream, piece)
        self.send(bytes(out))
        self.send_body(body, stream, end)

    def send_body(self, body, stream, end):
        """As fast as the server's windows let it come; no more of it once the server has answered."""
        for at in range(0, len(body), 16_384):
            part = body[at : at + 16_384]
            try:
                while min(self.windows[0], self.windows[stream]) < len(part):
                    got = self.take(5)
                    if got is None:
                        return
                    self.early.append(got)
                    # Of a stream the answer begins while it is sent.
                    if got[0] in (RST_STREAM, GOAWAY) or (got[0] == HEADERS and got[1] & END_STREAM):
                        return
            except TimeoutError:
                return
            self.windows[0] -= len(part)
            self.windows[stream] -= len(part)
            self.send(frame(DATA, END_STREAM if end and at + len(part) == len(body) else 0, stream, part))

    def answer(self, stream=1, seconds=5.0):
        """The outcome of one call, and the messages that came before it."""
        status, content, deadline = None, bytearray(), time.monotonic() + seconds
        while True:
            try:
                got = self.next(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                return f"nothing within {seconds:g} s", bytes(content)
            if got is None:
                return f"TLS {self.alert}" if self.alert else CLOSED, bytes(content)
            kind, flags, of, payload = got
            if kind == GOAWAY:
                code = int.from_bytes(payload[4:8], "big")
                if code:
                    return f"GOAWAY {ERRORS[code]}", bytes(content)
            if kind == HEADERS:
                # All are decoded, for the table is of the connection.
                headers = dict(self.decoder.decode(payload[5:] if flags & 32 else payload))
                if of == stream:
                    status = headers.get(":status", status)
                    if "grpc-status" in headers:
                        return self.outcome(headers), bytes(content)
                    if flags & END_STREAM:
                        return f"HTTP {status}", bytes(content)
            if of == stream and kind == RST_STREAM:
                return f"RST_STREAM {ERRORS[int.from_bytes(payload, 'big')]}", bytes(content)
            if of == stream and kind == DATA:
                content += payload
                if flags & END_STREAM:
                    return f"HTTP {status}", bytes(content)

    @staticmethod
    def outcome(headers):
        code = CODES.get(int(headers["grpc-status"]), headers["grpc-status"])
        details = headers.get("grpc-status-details-bin")
        return code + (reason(base64.b64decode(details + "=" * (-len(details) % 4))) if details else "")

    def end(self, seconds=5.0):
        """How the connection ends: by what GOAWAY, or without a word."""
        said, deadline = None, time.monotonic() + seconds
        while True:
            try:
                got = self.next(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                return f"open after {seconds:g} s" if said is None else said
            if got is None:
                if self.alert:
                    return f"TLS {self.alert}"
                return said or CLOSED
            if got[0] == GOAWAY and (code := int.from_bytes(got[3][4:8], "big")):
                said = f"GOAWAY {ERRORS[code]}"
