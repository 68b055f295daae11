"""The channel, the credentials, and calls with deadlines and retries."""

import os
import pathlib
import random
import time

import grpc
from loyalty.v1 import (
    member_service_pb2_grpc,
    offer_service_pb2_grpc,
    points_service_pb2_grpc,
    purchase_service_pb2_grpc,
    reward_service_pb2_grpc,
)

from loyalty_client import errors

OPTIONS = [
    # Retries are made here, with the same request_id; the library's own would come on top of them.
    ("grpc.enable_retries", 0),
    # A connection that is dead without a word, as behind a router that was switched off, is noticed while a call waits.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # After a restart of the service the next attempt connects, and does not wait for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # What the service may answer about one purchase; the default of 4 MiB is less.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
]
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0


def add_flags(parser):
    def flag(name, **more):
        variable = "LOYALTYD_" + name[2:].replace("-", "_").upper()
        parser.add_argument(name, default=os.environ.get(variable, more.pop("default", None)), **more)

    flag("--server", default="127.0.0.1:50051", help="host:port, or https://host:port for TLS (LOYALTYD_SERVER)")
    flag("--ca", help="PEM file of the CA that signed the server's certificate; without: those of the system (LOYALTYD_CA)")
    flag("--client-cert", help="PEM file, for mTLS (LOYALTYD_CLIENT_CERT)")
    flag("--client-key", help="PEM file, for mTLS (LOYALTYD_CLIENT_KEY)")
    flag("--api-key-file", help="file with the API key; it is read for each call, so a new key needs no restart (LOYALTYD_API_KEY_FILE, or LOYALTYD_API_KEY)")


def read(flag, path):
    """What is in the file that a flag names, if it names one."""
    try:
        return pathlib.Path(path).read_bytes() if path else None
    except OSError as error:
        raise SystemExit(f"{flag} {path}: cannot be read: {error.strerror}") from None


class Connection:
    """One channel for the whole program: it reconnects by itself. A context manager."""

    def __init__(self, server, ca=None, client_cert=None, client_key=None, api_key_file=None, deadline=3.0, patience=10.0):
        """`deadline` is for one attempt, `patience` for all of them together, in seconds."""
        self.api_key_file, self.deadline, self.patience = api_key_file, deadline, patience
        target = server.split("://")[-1].rstrip("/")
        if server.startswith("https://"):
            files = [read(flag, path) for flag, path in (("--ca", ca), ("--client-key", client_key), ("--client-cert", client_cert))]
            credentials = grpc.ssl_channel_credentials(*files)
            self.channel = grpc.secure_channel(target, credentials, OPTIONS)
        else:
            if ca or client_cert or client_key:
                raise SystemExit(f"certificates are for TLS: write --server https://{target}")
            if self.api_key() and target.rsplit(":", 1)[0] not in ("127.0.0.1", "localhost", "[::1]"):
                raise SystemExit(f"the API key would go unencrypted to another machine: write --server https://{target}")
            self.channel = grpc.insecure_channel(target, OPTIONS)
        self.members = member_service_pb2_grpc.MemberServiceStub(self.channel)
        self.points = points_service_pb2_grpc.PointsServiceStub(self.channel)
        self.purchases = purchase_service_pb2_grpc.PurchaseServiceStub(self.channel)
        self.rewards = reward_service_pb2_grpc.RewardServiceStub(self.channel)
        self.offers = offer_service_pb2_grpc.OfferServiceStub(self.channel)

    def api_key(self):
        if self.api_key_file:
            return read("--api-key-file", self.api_key_file).decode().strip()
        return os.environ.get("LOYALTYD_API_KEY", "").strip()

    def call(self, method, request, deadline=None, patience=None):
        """Calls `method` until there is an answer, a refusal, or no patience left, which is NoAnswer. All attempts send the same request: its
        request_id is why none is counted twice."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            raise ValueError("a request that changes something needs a request_id, made once and kept for its retries")
        end = time.monotonic() + (patience or self.patience)
        attempt = 0
        while True:
            key = self.api_key()
            metadata = [("authorization", f"Bearer {key}")] if key else None
            # The last attempt ends when the patience does.
            timeout = max(0.1, min(deadline or self.deadline, end - time.monotonic()))
            try:
                return method(request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                refusal = errors.from_call(error)
            delay = self.delay(refusal, attempt)
            if delay is None or time.monotonic() + delay >= end:
                raise refusal
            time.sleep(delay)
            attempt += 1

    @staticmethod
    def delay(refusal, attempt):
        """How long to wait before the next attempt; None: there should be none."""
        wait = min(LONGEST_DELAY, FIRST_DELAY * 2**attempt)
        if refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            # Without RetryInfo it is this side that says so, of an answer larger than it takes: that would be as large again.
            if refusal.retry_delay is None:
                return None
        elif refusal.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return None
        if refusal.retry_delay is not None:
            # Not sooner than the service says, and not all callers at once.
            return max(refusal.retry_delay, wait / 2) + random.uniform(0, wait / 2)
        return random.uniform(wait / 2, wait)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
