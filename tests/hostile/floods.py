"""What connections do in the rows of the table: TLS, HTTP/2, HTTP/1.1 and gRPC as no library speaks them, and too much of each. Floods have
some 10,000 frames, or what a second takes: enough for a server that keeps no bound to show it, and no load for one that does."""

import collections
import gzip
import re
import socket
import ssl
import struct
import time

import wire
from moves import GET, STREAM, path, within
from wire import (
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, WINDOW_UPDATE,
    block, field, frame, head, message, settings,
)

FLOOD = 10_000
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SHOP = "https://shop.test"


# Connections


def bytes_first(w, content, tls=False, seconds=3, end="closed"):
    """Bytes in place of what the server waits for; how the connection ends, and whether in time."""
    begun = time.monotonic()
    with wire.Line((w.tls if tls else w.plain).address, begin=False) as line:
        line.send(content)
        ended = line.end(seconds + 2)
    return within(seconds, ended, begun)


def client_hello(w):
    """What a client of TLS says first."""
    out = ssl.MemoryBIO()
    try:
        w.ca.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def preface_slowly(w):
    begun = time.monotonic()
    with wire.Line(w.plain.address, begin=False) as line:
        for byte in PREFACE + settings(streams=1):
            line.send(bytes([byte]))
            time.sleep(0.08)
            if line.is_closed:
                break
        ended = line.end(3)
    return within(3, ended, begun)


def handshake(w, certificate):
    """Nothing is sent behind the handshake: what came after it, unread, would have the alert lost with the connection."""
    with w.line(certificate=certificate, begin=False) as line:
        return line.end(4)


def alpn(w, *protocols):
    with wire.Line(w.tls.address, w.ca.context(alpn=protocols), begin=False) as line:
        return line.end(4)


def old_tls(w):
    """A library that is let speak TLS 1.0 and 1.1 and nothing newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    # Deprecated, which is what is asked for.
    context.options &= ~(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with wire.Line(w.tls.address, context, begin=False) as line:
        return line.end(4)


def sockets(w, count):
    made = []
    for _ in range(count):
        try:
            made.append(wire.Line(w.plain.address))
        except OSError:
            break
    return made


def one_connection_too_many(w):
    """Connections up to the bound; the usual one that is kept open counts, and the one above is closed at once."""
    lines = sockets(w, 59)
    try:
        served = 0
        for line in lines:
            line.request(path(GET), message(w.encode(GET, w.member())), metadata=w.headers())
            served += line.answer()[0] == "OK"
        with wire.Line(w.plain.address) as above:
            ended = above.end(3)
        return f"{served} served, one more: {ended}"
    finally:
        for line in lines:
            line.socket.close()


def hellos_and_gone(w):
    hello = client_hello(w)
    for _ in range(300):
        with socket.create_connection(w.tls.address, 5) as gone:
            gone.sendall(hello)
    return "done"


def connect_and_close(w, count=3_000):
    for _ in range(count):
        with socket.create_connection(w.plain.address, 5):
            pass
    return "done"


def silent_while_others_open(w):
    """As many connections as may open at a time say nothing; they make place in time."""
    lines = [wire.Line(w.plain.address, begin=False) for _ in range(55)]
    begun = time.monotonic()
    try:
        for line in lines:
            if (ended := line.end(4)) != "closed":
                return ended
    finally:
        for line in lines:
            line.socket.close()
    return within(3, "closed", begun)


# HTTP/2


def frames(w, *content, seconds=4.0, stream=None):
    """Frames behind the preface: the answer of a stream, or how the connection ends."""
    with w.line(w.plain) as line:
        line.send(b"".join(content))
        return line.answer(stream, seconds)[0] if stream else line.end(seconds)


def call_head(w, **how):
    how.setdefault("metadata", w.headers())
    return block(head(path(GET), **how))


def member_message(w):
    return message(w.encode(GET, w.member()))


def whole_call(w, stream, **how):
    return frame(HEADERS, END_HEADERS, stream, call_head(w, **how)) + frame(DATA, END_STREAM, stream, member_message(w))


def flood(w, one, seconds=6.0, count=FLOOD):
    """Frames without end. A connection that is still good after them answers a PING, and then a call."""
    with w.line(w.plain) as line:
        line.send(one * count if isinstance(one, bytes) else b"".join(one(n) for n in range(count)))
        if line.is_closed:
            return line.end(1)
        stream = (1 << 31) - 1
        line.send(frame(HEADERS, END_HEADERS, stream, call_head(w)) + frame(DATA, END_STREAM, stream, member_message(w)))
        outcome, _ = line.answer(stream, seconds)
        return f"served on: {outcome}" if outcome == "OK" else outcome


def rapid_reset(w):
    head_block = call_head(w)
    return flood(w, lambda n: frame(HEADERS, END_HEADERS, 2 * n + 1, head_block) + frame(RST_STREAM, 0, 2 * n + 1, struct.pack(">I", 8)))


def made_you_reset(w):
    """The other way round: calls that the server itself has to reset, for their windows overflow."""
    head_block, most = call_head(w), struct.pack(">I", (1 << 31) - 1)
    return flood(w, lambda n: frame(HEADERS, END_HEADERS, 2 * n + 1, head_block) + frame(WINDOW_UPDATE, 0, 2 * n + 1, most))


def streams_above_the_bound(w):
    """1,000 calls are opened and none is finished."""
    head_block = call_head(w)
    with w.line(w.plain) as line:
        line.send(b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, head_block) for n in range(1_000)))
        return line.answer(2 * 999 + 1)[0]


def header_flood(w, count, size):
    metadata = w.headers() + [(f"x-{n}", "y" * size) for n in range(count)]
    with w.line(w.plain) as line:
        line.request(path(GET), member_message(w), metadata=metadata)
        return line.answer()[0]


def continuation_flood(w, filler, count=FLOOD):
    with w.line(w.plain) as line:
        line.send(frame(HEADERS, 0, 1, call_head(w)) + frame(CONTINUATION, 0, 1, filler) * count)
        return line.end(4)


def hpack_bomb(w):
    """A value of 4,000 bytes is put into the server's table once; then single bytes stand for it, 16,000 in one frame: 64 MB unpacked."""
    entry = block([("x-bomb", "z" * 3_900)], first=0x40)
    with w.line(w.plain) as line:
        line.request(path(GET), member_message(w), metadata=w.headers())
        line.answer()
        # The newest entry of the dynamic table has the number 62.
        line.send(frame(HEADERS, 0, 3, call_head(w) + entry) + frame(CONTINUATION, END_HEADERS, 3, b"\xbe" * 12_000))
        return line.answer(3)[0]


def takes_nothing(w):
    """Asks for 20,000 answers, lets all of them come by its windows, and reads none."""
    begun = time.monotonic()
    with wire.Line(w.plain.address, receive_buffer=4_096, begin=False) as line:
        raw = line.socket
        raw.settimeout(0.5)
        most = (1 << 31) - 1
        head_block = block(head("/grpc.health.v1.Health/Check", metadata=[("x-echo", "y")]))
        try:
            raw.sendall(PREFACE + settings(window=most) + frame(WINDOW_UPDATE, payload=struct.pack(">I", most - 65_535)))
            for n in range(20_000):
                raw.sendall(frame(HEADERS, END_HEADERS, 2 * n + 1, head_block) + frame(DATA, END_STREAM, 2 * n + 1, message()))
        except TimeoutError:
            pass
        except OSError:
            return within(8, "closed", begun)
        # Only now is looked whether it ends, without a byte being read before.
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            if raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x01":
                return within(8, "closed", begun)
            time.sleep(0.05)
        return "open after 8 s"


def window_of_zero(w, alive=False):
    """Answers are asked for that no window lets come; the server asks whether anybody is there, and nobody answers unless told so."""
    begun = time.monotonic()
    with wire.Line(w.plain.address, begin=False) as line:
        line.send(PREFACE + settings(window=0) + b"".join(whole_call(w, 2 * n + 1) for n in range(100)))
        while alive and time.monotonic() < begun + 4:
            try:
                if (got := line.next(0.2)) is None:
                    return "closed"
                if got[0] == PING and not got[1] & ACK:
                    line.send(frame(PING, ACK, 0, got[3]))
            except TimeoutError:
                pass
        return "open after 4 s" if alive else within(8, line.end(8), begun)


def trailers(w, headers, key="till"):
    """A call with headers behind its message."""
    with w.line(w.plain) as line:
        line.request(path(GET), member_message(w), end=False, metadata=w.headers(key))
        line.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(headers)))
        return line.answer()[0]


def calls_of_a_stranger(w):
    """50 on each of 40 connections: a connection on which nothing else comes may be ended."""
    outcomes, head_block, content = collections.Counter(), call_head(w, metadata=w.headers("stranger")), member_message(w)
    for _ in range(40):
        with w.line(w.plain) as line:
            line.send(b"".join(frame(HEADERS, END_HEADERS, n, head_block) + frame(DATA, END_STREAM, n, content) for n in range(1, 100, 2)))
            ended = 0
            while ended < 50:
                if (got := line.next()) is None:
                    return "closed"
                headers = dict(line.decoder.decode(got[3])) if got[0] == HEADERS else {}
                if "grpc-status" in headers:
                    outcomes[line.outcome(headers)] += 1
                    ended += 1
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())


def body_that_never_ends(w):
    with w.line(w.plain) as line:
        line.request(path(GET), message(b"", length=100)[:5] + b"\n", end=False, metadata=w.headers())
        return line.answer()[0]


# HTTP/1.1


def http_1(address, content, seconds=4.0):
    """Bytes to a server of HTTP/1.1: how many answers, the first one's status, that of gRPC-Web in it, and whether a page may read it."""
    begun = time.monotonic()
    with wire.Line(address, begin=False) as line:
        for part in content if isinstance(content, list) else [content]:
            line.send(part)
        while not line.is_closed and (left := seconds - (time.monotonic() - begun)) > 0:
            line.socket.settimeout(left)
            line.receive()
        said = bytes(line.received)
    if not said:
        return "closed" if line.is_closed else f"nothing within {seconds:g} s"
    answers = re.findall(rb"HTTP/1\.[01] (\d{3})", said)
    status = re.search(rb"grpc-status: ?(\d+)", said)
    outcome = f"HTTP {answers[0].decode()}" if answers else f"{said[:20]}"
    if status:
        outcome += f" {wire.CODES[int(status[1])]}"
    if b"access-control-allow-origin" in said.lower():
        outcome += ", a page may read it"
    return outcome + (f", {len(answers)} answers" if len(answers) > 1 else "")


def web(w, *lines, method=GET, content_type="application/grpc-web+proto", body=None, key="till", origin=SHOP, connection="close", seconds=4.0):
    """A call by gRPC-Web over HTTP/1.1, with more lines in its head."""
    body = member_message(w) if body is None else body
    usual = [f"POST {path(method)} HTTP/1.1", "host: localhost", f"connection: {connection}"]
    usual += [f"content-type: {content_type}", f"origin: {origin}"]
    usual += [f"authorization: Bearer {w.keys[key]}"] if key else []
    if not any("length" in line or "encoding: c" in line for line in lines):
        usual.append(f"content-length: {len(body)}")
    return http_1(w.web.address, ("\r\n".join([*usual, *lines]) + "\r\n\r\n").encode() + body, seconds)


def preflight(w, origin):
    head_of = f"OPTIONS {path(GET)} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: {origin}\r\n"
    return http_1(w.web.address, (head_of + "access-control-request-method: POST\r\n\r\n").encode())


def smuggled(w):
    """The length says that a second request is the body of the first; the chunks say that it is a request of its own."""
    second = f"POST {path('AdminService/StreamBackup')} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".encode()
    body = b"0\r\n\r\n" + second
    return web(w, f"content-length: {len(body)}", "transfer-encoding: chunked", body=body, connection="keep-alive", seconds=2)


def head_slowly(w):
    begun = time.monotonic()
    with wire.Line(w.web.address, begin=False) as line:
        for byte in f"POST {path(GET)} HTTP/1.1\r\nhost: localhost\r\n".encode():
            line.send(bytes([byte]))
            time.sleep(0.08)
            if line.is_closed:
                break
        ended = line.end(3)
    return within(3, ended, begun)


def metrics(w, content):
    return http_1(w.web.metrics, content)


def methods_that_there_are_not(w):
    """Each name could be a line of its own among the metrics, which nobody could store."""
    with w.line(w.web) as line:
        for n in range(1_000):
            line.request(f"/loyalty.v1.MemberService/NoSuch{n}", message(), stream=2 * n + 1, metadata=w.headers())
            line.answer(2 * n + 1)
    with wire.Line(w.web.metrics, begin=False) as line:
        line.send(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        while not line.is_closed:
            line.receive()
        lines = bytes(line.received).count(b"NoSuch")
    return f"{lines} lines of them" if lines else "no line of them"


def metrics_beside_silent_ones(w):
    """As many connections as the port of metrics takes say nothing to it; Prometheus waits for them to be ended, and is answered."""
    lines, begun = [wire.Line(w.web.metrics, begin=False) for _ in range(8)], time.monotonic()
    try:
        found = http_1(w.web.metrics, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 12)
        return within(10, found, begun)
    finally:
        for line in lines:
            line.socket.close()


# gRPC


def bomb(size=64 << 20):
    return gzip.compress(bytes(size))


def groups(depth):
    """Groups, which protobuf has given up, nest with one byte each."""
    return b"\x0b" * depth + b"\x0c" * depth


def reflection(w, requests, server=None):
    body = b"".join(message(request) for request in requests)
    with w.line(server or w.plain) as line:
        line.request(REFLECTION, body)
        outcome, content = line.answer()
    count = 0
    while content:
        count, content = count + 1, content[5 + int.from_bytes(content[1:5], "big") :]
    return f"{outcome}, {count} answers"


def reflection_without_end(w):
    """Asks for the largest file again and again for a second, reads little, and goes away."""
    with w.line(w.plain) as line:
        question = message(field(4, "loyalty.v1.PurchaseService"))
        line.request(REFLECTION, question, end=False)
        ask, deadline, sent = frame(DATA, 0, 1, question), time.monotonic() + 1, 0
        while time.monotonic() < deadline and not line.is_closed and sent < FLOOD:
            line.send(ask * 100)
            sent += 100
    return "gone"


def idle_streams(w):
    """128 on each of 20 connections, as many as may be open; none says anything."""
    head_block, lines = block(head(path(STREAM), metadata=w.headers())), sockets(w, 20)
    try:
        for line in lines:
            line.send(b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, head_block) for n in range(128)))
        for line in lines:
            if (ended := line.end(0.05)) != "open after 0.05 s":
                return ended
        return "open"
    finally:
        for line in lines:
            line.socket.close()


def many_watches(w):
    """128 of health on each of 3 connections: as many as one address may have are open, and the others are refused."""
    watch = block(head("/grpc.health.v1.Health/Watch"))
    calls = b"".join(frame(HEADERS, END_HEADERS, n, watch) + frame(DATA, END_STREAM, n, message()) for n in range(1, 256, 2))
    lines, outcomes, is_open = sockets(w, 3), collections.Counter(), 0
    try:
        for line in lines:
            line.send(calls)
        for line in lines:
            known = 0
            while known < 128 and (got := line.next(5)) is not None:
                headers = dict(line.decoder.decode(got[3])) if got[0] == HEADERS else {}
                if "grpc-status" in headers:
                    outcomes[line.outcome(headers)] += 1
                # The first answer of a watch that is open.
                is_open += got[0] == DATA
                known += got[0] == DATA or "grpc-status" in headers
    except TimeoutError:
        pass
    finally:
        for line in lines:
            line.socket.close()
    return ", ".join([f"{is_open} open", *(f"{count} {outcome}" for outcome, count in outcomes.items())])


def unfinished(w, method):
    """The beginning of a message of 4 MiB on each of 100 calls: as many are waited for as half of the memory that there is for requests has
    room for, but for an eighth, and no longer than a call may take."""
    head_block, begin = block(head(path(method), metadata=w.headers())), message(bytes(100), length=4 << 20)
    outcomes = collections.Counter()
    with wire.Line(w.plain.address) as line:
        line.send(b"".join(frame(HEADERS, END_HEADERS, n, head_block) + frame(DATA, 0, n, begin) for n in range(1, 200, 2)))
        while outcomes.total() < 100 and (got := line.next(5)) is not None:
            headers = dict(line.decoder.decode(got[3])) if got[0] == HEADERS else {}
            if "grpc-status" in headers:
                outcomes[line.outcome(headers)] += 1
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
