#!/usr/bin/env python3
"""Reads every member of a programme back over gRPC and compares it with what cdnow.py or grocery.py expects.

    python3 tests/oracle/compare.py --server 127.0.0.1:50051 --program cdnow --expected expected.json

With expected baskets, each purchase is read back too, and its points are compared line by line and summed by department.
Needs grpcio and grpcio-reflection.
"""

import argparse
import collections
import json
import pathlib
import sys
from decimal import Decimal

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tour"))

from reflected import Server  # noqa: E402

SHOWN = 20


def found_members(server, program):
    """What compare needs of each member, by external id."""
    external = None
    found = {}
    for member in server.pages("loyalty.v1.MemberService", "ListMembers", "members", program_id=program, page_size=500):
        external = external or member.identifiers[0].DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_name["KIND_EXTERNAL_ID"].number
        name = next(identifier.value for identifier in member.identifiers if identifier.kind == external)
        balance = member.balance
        if balance.issued != balance.available + balance.expired or balance.pending or balance.held or balance.debt:
            raise SystemExit(f"the balance of {name} does not add up: {balance}")
        if name in found:
            raise SystemExit(f"{name} is there twice")
        found[name] = {"points": balance.issued, "spend_cents": int(Decimal(member.lifetime.spend.amount or "0") * 100), "visits": member.lifetime.visits}
        if member.tier.tier_id:
            found[name]["tier"] = member.tier.tier_id
    return found


def differences(what, expected, found):
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            yield f"{what} {name}: expected {expected.get(name)}, found {found.get(name)}"


def found_baskets(server, program, names):
    """Points of each line of each purchase, and their sums by department."""
    baskets, departments = {}, collections.Counter()
    for name in names:
        store, order = name.split("/")
        answer = server.call("loyalty.v1.PurchaseService", "GetPurchase", program_id=program, store_id=store, order_id=order)
        points = [0] * len(answer.purchase.lines)
        for award in answer.accrual.awards:
            if award.points != sum(line.points for line in award.lines):
                raise SystemExit(f"an award of {name} is not the sum of its lines: {award}")
            for line in award.lines:
                points[line.line_index] += line.points
        if sum(points) != answer.accrual.points:
            raise SystemExit(f"the points of {name} are not the sum of its awards: {answer.accrual}")
        baskets[name] = [[line.category, earned] for line, earned in zip(answer.purchase.lines, points)]
        for department, earned in baskets[name]:
            departments[department] += earned
    return baskets, departments


def compare(address, program, expected):
    server = Server(address)
    found = found_members(server, program)
    problems = list(differences("member", expected["members"], found))
    print(f"{program}: {len(expected['members'])} members expected, {len(found)} found, {sum(m['points'] for m in found.values())} points, {sum(m['visits'] for m in found.values())} purchases")
    if "baskets" in expected:
        baskets, departments = found_baskets(server, program, expected["baskets"])
        problems += differences("basket", {name: basket["lines"] for name, basket in expected["baskets"].items()}, baskets)
        problems += differences("department", dict(expected["departments"]), dict(departments))
        print(f"{program}: {len(baskets)} baskets, points by department:", json.dumps(departments))
    for problem in problems[:SHOWN]:
        print(problem)
    print(f"{program}: {len(problems)} differences")
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--program", required=True)
    parser.add_argument("--expected", type=pathlib.Path, required=True)
    args = parser.parse_args()
    if not compare(args.server, args.program, json.loads(args.expected.read_text())):
        sys.exit(1)


if __name__ == "__main__":
    main()
