#!/usr/bin/env python3
"""A till in Python: enrols a member, quotes and records a sale with retries, reads it back. No generated code: the message classes
come from the server's reflection.

    python3 tests/tour/client.py --server 127.0.0.1:50051      a server that serves examples/programs/vietnam.yaml
    python3 tests/tour/client.py --binary target/release/loyaltyd      starts one

Needs grpcio and grpcio-reflection.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import uuid

import grpc
from reflected import Server

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))

from harness import PROGRAMS, Loyaltyd  # noqa: E402

PROGRAM = "vietnam"
RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def with_retries(call, attempts=20):
    """Sends the same request, with the same request_id, until there is an answer: nothing is counted twice."""
    for attempt in range(attempts):
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in RETRIED or attempt == attempts - 1:
                raise
            time.sleep(min(0.05 * 2**attempt, 2))
    return None


def dong(amount):
    return {"currency_code": "VND", "amount": str(amount)}


def equal(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: expected {expected}, found {found}")
    print(f"{what}: {found}")


def refused(call, code, what):
    try:
        call()
    except grpc.RpcError as error:
        equal(error.code(), code, what)
        print("   ", error.details())
        return
    raise SystemExit(f"{what}: was not refused")


def shop(server):
    mark = uuid.uuid4().hex
    card = {"identifier": {"kind": "KIND_CARD", "value": f"card-{mark}"}}
    purchases, members, points = (f"loyalty.v1.{name}Service" for name in ("Purchase", "Member", "Points"))

    identifiers = [card["identifier"], {"kind": "KIND_EXTERNAL_ID", "value": f"crm-{mark}"}]
    enrol = {"request_id": f"enrol-{mark}", "program_id": PROGRAM, "identifiers": identifiers}
    member = with_retries(lambda: server.call(members, "EnrollMember", **enrol)).member
    again = with_retries(lambda: server.call(members, "EnrollMember", **enrol)).member
    equal(again == member, True, "enrolling again with the same request_id gives the first answer")

    sale = {
        "store_id": "saigon-1",
        "order_id": mark,
        "lines": [{"sku": "cooker", "amount": dong(5_000_000)}, {"sku": "beans", "quantity": "2", "amount": dong(270_000), "discount": dong(20_000)}],
        "total": dong(5_250_000),
    }
    quote = server.call(purchases, "QuotePurchase", program_id=PROGRAM, member=card, purchase=sale)
    equal(quote.accrual.points, 525, "quoted points")
    record = {"request_id": f"sale-{mark}", "program_id": PROGRAM, "member": card, "purchase": sale}
    answer = with_retries(lambda: server.call(purchases, "RecordPurchase", **record))
    equal(answer.accrual.points, quote.accrual.points, "recorded points")
    equal((answer.tier_id, answer.tier_change.to_tier_id), ("silver", "silver"), "tier after the purchase")
    equal(with_retries(lambda: server.call(purchases, "RecordPurchase", **record)) == answer, True, "the same request gives the same answer")

    member = server.call(members, "GetMember", program_id=PROGRAM, member=card).member
    equal((member.balance.available, member.lifetime.visits), (525, 1), "balance and visits")
    found = server.call(members, "LookupMember", program_id=PROGRAM, identifier={"kind": "KIND_EXTERNAL_ID", "value": f"crm-{mark}"})
    equal(found.member_id == member.member_id, True, "the external id leads to the same member")
    entries = list(server.pages(points, "ListEntries", "entries", program_id=PROGRAM, member=card, page_size=1))
    equal([entry.sequence for entry in entries], [3, 2, 1], "entries, newest first, a page each")
    why = server.call(points, "ExplainEntry", program_id=PROGRAM, member=card, sequence=answer.entry_sequence)
    equal(len(why.explanation) > 0, True, "the purchase is explained")
    print("   ", "\n    ".join(why.explanation))

    other = {**record, "purchase": {**sale, "channel": "web"}}
    refused(lambda: server.call(purchases, "RecordPurchase", **other), grpc.StatusCode.ALREADY_EXISTS, "the same id with another payload")
    other = {**record, "request_id": f"other-{mark}"}
    refused(lambda: server.call(purchases, "RecordPurchase", **other), grpc.StatusCode.ALREADY_EXISTS, "the same order under another request_id")
    broken = {**sale, "order_id": f"b-{mark}", "total": dong("5250000.5")}
    broken = {**record, "request_id": f"broken-{mark}", "purchase": broken}
    refused(lambda: server.call(purchases, "RecordPurchase", **broken), grpc.StatusCode.INVALID_ARGUMENT, "half a dong")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server")
    where.add_argument("--binary", type=pathlib.Path)
    args = parser.parse_args()
    if args.server:
        shop(Server(args.server))
        return
    with tempfile.TemporaryDirectory(prefix="loyaltyd-client-") as folder, Loyaltyd(args.binary, folder, [PROGRAMS / "vietnam.yaml"]) as own:
        server = Server(own.address)
        print("\n".join(server.services()))
        shop(server)
        own.stop()


if __name__ == "__main__":
    main()
