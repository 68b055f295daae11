#!/usr/bin/env python3
"""Plays a year of baskets under examples/programs/grocery-promotions.yaml as it happened, on a sandbox's clock, and compares with the separate
calculation (grocery_promotions.py).

    python3 tests/oracle/check_promotions.py --binary target/release/loyaltyd
    python3 tests/oracle/check_promotions.py --binary target/release/loyaltyd --grocery grocery_lines.csv

At the end of each month: who is in which segment, how many, and each household's points, tier and spend. At the end, after a restart: the points
of every rule and promotion of every basket, and their sums. A sandbox's clock never goes back, so that the year is one to come with the calendar
of that of the file. Without a file it makes a sample (sample.py). Exits 1 on any difference, and if the baskets do not try all of the book: each
promotion must give points, and each segment must have a member. Needs grpcio and grpcio-reflection.
"""

import argparse
import calendar
import collections
import datetime
import pathlib
import re
import sys
import tempfile
import time
from decimal import Decimal

import grocery_promotions as oracle
import sample
from harness import PROGRAMS, Loyaltyd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tour"))

from reflected import Server  # noqa: E402

PROGRAM = "grocery-promotions"
BOOK_YEAR = 2017
SHOWN = 20
MOST_AT_A_TIME = datetime.timedelta(days=3000)


def year_to_come(like):
    """The next year that is all ahead, and whose days are the same weekdays."""
    year = datetime.datetime.now(datetime.timezone.utc).year + 1
    while (calendar.isleap(year), datetime.date(year, 1, 1).weekday()) != (calendar.isleap(like), datetime.date(like, 1, 1).weekday()):
        year += 1
    return year


def money(amount):
    return {"currency_code": "USD", "amount": f"{Decimal(amount.numerator) / Decimal(amount.denominator):.2f}"}


def line_of(line):
    told = {"sku": line.sku, "category": line.department, "quantity": str(line.quantity), "amount": money(line.value), "discount": money(line.coupon)}
    return {**told, "labels": [line.kind]} if line.kind else told


class Play:
    """The clock of a server, and what it is told when the clock says so."""

    def __init__(self, address):
        self.server = Server(address)
        self.requests = 0

    def request(self):
        self.requests += 1
        return f"r-{self.requests}"

    def clock(self):
        stamp = self.server.call("loyalty.v1.SandboxService", "GetClock").time
        return stamp.seconds + stamp.nanos / 1e9

    def until(self, instant):
        """It runs on while it is told of what happens: of two things that are closer together than that the second is told a moment late."""
        while (missing := instant - self.clock()) > 0:
            step = f"{min(missing, MOST_AT_A_TIME.total_seconds()) + 1e-6:.6f}s"
            self.server.call("loyalty.v1.SandboxService", "AdvanceClock", timeout=300, request_id=self.request(), duration=step)

    def enrol(self, household):
        identifiers = [{"kind": "KIND_EXTERNAL_ID", "value": household}]
        self.server.call("loyalty.v1.MemberService", "EnrollMember", request_id=self.request(), program_id=PROGRAM, identifiers=identifiers)

    def sell(self, basket):
        total = sum(line.value - line.coupon for line in basket.lines)
        purchase = {
            "store_id": basket.store,
            "order_id": basket.order,
            "occurred_time": basket.time.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
            "lines": [line_of(line) for line in basket.lines],
            "total": money(total),
        }
        member = {"identifier": {"kind": "KIND_EXTERNAL_ID", "value": basket.household}}
        self.server.call(
            "loyalty.v1.PurchaseService", "RecordPurchase", request_id=self.request(), program_id=PROGRAM, member=member, purchase=purchase
        )

    def members(self, segment=""):
        """Each household as the service has it."""
        found = {}
        for member in self.server.pages("loyalty.v1.MemberService", "ListMembers", "members", program_id=PROGRAM, page_size=500, segment_id=segment):
            found[member.identifiers[0].value] = {
                "segments": sorted((held.segment_id for held in member.segments), key=oracle.SEGMENTS.index),
                "tier": member.tier.tier_id,
                "issued": member.balance.issued,
                "expired": member.balance.expired,
                "spend_cents": int(Decimal(member.lifetime.spend.amount or "0") * 100),
                "visits": member.lifetime.visits,
            }
            if member.balance.available != member.balance.issued - member.balance.expired:
                raise SystemExit(f"the balance of {member.identifiers[0].value} does not add up: {member.balance}")
        return found


def differences(what, expected, found):
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            yield f"{what} {name}: expected {expected.get(name)}, found {found.get(name)}"


def month_differences(play, day, expected):
    """Of members, and of the lists and counts of each segment."""
    found = play.members()
    yield from differences(f"at the end of {day}, household", expected, found)
    counted = play.server.call("loyalty.v1.MemberService", "ListSegments", program_id=PROGRAM).segments
    counted = {listed.segment.segment_id: listed.members for listed in counted}
    members = {segment: sorted(name for name, household in expected.items() if segment in household["segments"]) for segment in oracle.SEGMENTS}
    listed = {segment: sorted(play.members(segment)) for segment in oracle.SEGMENTS}
    yield from differences(f"at the end of {day}, members of", members, listed)
    yield from differences(f"at the end of {day}, number of", {segment: len(names) for segment, names in members.items()}, counted)
    print(f"{day}: {len(found)} households;", ", ".join(f"{number} {segment}" for segment, number in counted.items()))


def basket_differences(server, expected):
    """Of each basket, as it is read back, and of the sums by rule and promotion."""
    found, limited = {}, collections.Counter()
    for key in expected:
        store, order = key.split("/")
        answer = server.call("loyalty.v1.PurchaseService", "GetPurchase", program_id=PROGRAM, store_id=store, order_id=order)
        awards = {"rules": {}, "promotions": {}}
        for award in answer.accrual.awards:
            if award.points:
                awards["promotions" if award.promotion_id else "rules"][award.promotion_id or award.rule_id] = award.points
            limited[award.promotion_id or award.rule_id] += award.limit != 0
        if answer.accrual.points != sum(sum(points.values()) for points in awards.values()):
            raise SystemExit(f"the points of {key} are not the sum of its awards: {answer.accrual}")
        found[key] = awards
    for kind in ("rules", "promotions"):
        sums, times = totals(found, kind)
        yield from differences(f"all points of {kind},", totals(expected, kind)[0], sums)
        for name, points in sums.items():
            print(f"{name:17} {points:9} points with {times[name]:5} baskets, {limited[name]:4} times a limit gave less")
    yield from differences("basket", expected, found)


def totals(baskets, kind):
    points, times = collections.Counter(), collections.Counter()
    for awards in baskets.values():
        points.update(awards[kind])
        times.update(awards[kind].keys())
    return dict(sorted(points.items())), times


def untried(text, expected):
    """What is in the book, and nothing comes of it in the baskets: of that both calculations would say the same whatever they reckon."""
    given = {promotion for awards in expected["baskets"].values() for promotion, points in awards["promotions"].items() if points}
    entered = {segment for month in expected["months"].values() for household in month.values() for segment in household["segments"]}
    for kind, seen in (("promotion", given), ("segment", entered)):
        named = re.findall(rf"^ *- {kind}_id: (\S+)$", text, re.MULTILINE)
        if not named:
            yield f"no {kind} is found in the book"
        yield from (f"{kind} {name}: nothing comes of it in these baskets" for name in named if name not in seen)


def run(binary, folder, file):
    years = year_to_come(BOOK_YEAR) - BOOK_YEAR
    sales = oracle.baskets(file, years)
    expected = oracle.expected(sales, years)
    book = folder / "book.yaml"
    text = (PROGRAMS / "grocery-promotions.yaml").read_text().replace(f'"{BOOK_YEAR}-', f'"{BOOK_YEAR + years}-')
    if problems := list(untried(text, expected)):
        return problems
    book.write_text(text)
    problems = []
    started = time.monotonic()
    with Loyaltyd(binary, folder, [book], "--sandbox") as server:
        play = Play(server.address)
        for instant, what, subject in oracle.events(sales):
            play.until(instant.timestamp())
            if what == "enrol":
                play.enrol(subject)
            elif what == "sale":
                play.sell(subject)
            else:
                problems += month_differences(play, subject.isoformat(), expected["months"][subject.isoformat()])
        print(f"{len(sales)} baskets of {len(play.members())} households were played in {time.monotonic() - started:.1f} s")
        server.stop()
        server.start()
        # First what tells most.
        problems = [*basket_differences(Server(server.address), expected["baskets"]), *problems]
        server.stop()
        server.check()
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--grocery", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loyaltyd-promotions-") as folder:
        folder = pathlib.Path(folder)
        file = args.grocery
        if not file:
            file = folder / "year.csv"
            sample.year(file)
        problems = run(args.binary, folder, file)
    for problem in problems[:SHOWN]:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} differences or gaps")
    print("all points by promotion, and all members by segment, are as the separate calculation says")


if __name__ == "__main__":
    main()
