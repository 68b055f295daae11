#!/usr/bin/env python3
"""A till: finds members, shows what a basket costs and earns, records sales and returns, and goes on selling while the service is away.

    till.py sell --card LOYAL-0001 rice-cooker=5000000 coffee-beans=270000x2@coffee
    till.py shift < commands          the same commands, one a line, over one connection

Goods are SKU=AMOUNT, then xQUANTITY and @CATEGORY if need be; the amount is for all units together.
"""

import argparse
import copy
import os
import pathlib
import shlex
import sys
import uuid

import loyalty_client  # noqa: F401  Before the generated code: it puts that on the path.
from google.protobuf import timestamp_pb2
from loyalty.v1 import common_pb2, member_service_pb2, purchase_pb2, purchase_service_pb2

from loyalty_client import connection, errors, goods, money
from loyalty_client.outbox import Outbox, method



class Till:
    def __init__(self, args):
        self.args = args
        self.outbox = Outbox(pathlib.Path(args.state))
        # Why the service was away.
        self.lost = None
        # A customer waits: better to sell offline after some seconds than to wait longer.
        self.service = connection.Connection(
            args.server, args.ca, args.client_cert, args.client_key, args.api_key_file, deadline=args.patience / 2, patience=args.patience
        )

    # -- commands ------------------------------------------------------------------------------------------------------------------

    def enroll(self, args):
        identifiers = [identifier(kind, value) for kind, value in (("CARD", args.card), ("PHONE", args.phone)) if value]
        request = member_service_pb2.EnrollMemberRequest(request_id=str(uuid.uuid4()), program_id=self.args.program, identifiers=identifiers)
        answer = self.perform("EnrollMember", request)
        say(f"enrolled {answer.member.member_id}, tier {answer.member.tier.display_name}")

    def member(self, args):
        request = member_service_pb2.GetMemberRequest(program_id=self.args.program, member=member_ref(args))
        found = self.service.call(self.service.members.GetMember, request).member
        say(f"{found.profile.display_name or found.member_id}: {found.balance.available} points, {found.tier.display_name}")

    def quote(self, args):
        self.quoted(args, self.purchase(args, order_id=""))

    def sell(self, args):
        sale = self.purchase(args, order_id=f"{self.args.till}/{self.outbox.next_number():06}")
        if not self.deliver():
            return self.sell_offline(args, sale, self.lost)
        request = purchase_service_pb2.RecordPurchaseRequest(
            request_id=str(uuid.uuid4()), program_id=self.args.program, member=member_ref(args)
        )
        for _ in range(3):
            try:
                quote, priced = self.quoted(args, sale)
            except errors.NoAnswer as lost:
                # Nothing was sent that changes anything, so this can still become an offline sale.
                return self.sell_offline(args, sale, lost)
            request.purchase.CopyFrom(priced)
            request.quote_id = quote.quote_id
            try:
                answer = self.perform("RecordPurchase", request, if_changed=self.as_paid(request, quote))
            except errors.NoAnswer as lost:
                # It may be recorded: only this request, as it was sent, can tell. The customer pays what was quoted, and goes.
                return say(f"sold {sale.order_id} without an answer: it is in the outbox ({lost})")
            except errors.Refused as refusal:
                if refusal.reason != "QUOTE_CHANGED":
                    raise
                say(f"{refusal.metadata['changed']} changed since the quote:")
                continue
            say(f"sold {sale.order_id}: +{answer.accrual.points} points, {answer.balance.available} available, tier {answer.tier_id}")
            for voucher in answer.issued_vouchers:
                say(f"  for the customer: {voucher.display_name}, code {voucher.code}")
            return None
        raise SystemExit("the price changes faster than it can be paid: try again")

    def return_(self, args):
        request = purchase_service_pb2.ReturnPurchaseRequest(
            request_id=str(uuid.uuid4()), program_id=self.args.program, store_id=self.args.store, order_id=args.order, reason=args.reason
        )
        if args.line:
            for line in args.line:
                index, _, quantity = line.partition("x")
                request.lines.add(line_index=int(index), quantity=quantity or "1")
        else:
            request.whole_purchase = True
        # The sale that it belongs to may be waiting yet.
        self.deliver()
        answer = self.perform("ReturnPurchase", request)
        returned = answer.entry.purchase_returned
        say(f"returned of {args.order}: {answer.entry.points:+} points, {answer.balance.available} available")
        if returned.withheld:
            say(f"  keep back {money.show(returned.withheld_value)} of the refund: {returned.withheld} points were spent already")

    def send(self, _):
        if self.deliver(patience=60):
            say("the outbox is empty")
        else:
            raise SystemExit(f"{len(self.outbox.waiting)} requests wait: the service does not answer ({self.lost})")

    def queue(self, _):
        say(f"{len(self.outbox.waiting)} requests wait, {len(self.outbox.refused.records)} were refused before")

    def shift(self, _):
        for line in sys.stdin:
            if line.strip():
                say(f"> {line.strip()}")
                try:
                    args = parser().parse_args(shlex.split(line), copy.copy(self.args))
                except SystemExit:
                    continue  # What is wrong with the line has been said.
                self.run(args)
        self.send(self.args)

    # -- how ---------------------------------------------------------------------------------------------------------------------

    def run(self, args):
        """Says whether it worked."""
        try:
            getattr(self, "return_" if args.command == "return" else args.command)(args)
        except errors.LoyaltyError as refusal:
            explain(refusal)
            return False
        except ValueError as mistake:
            say(str(mistake))
            return False
        return True

    def perform(self, kind, request, if_changed=None):
        """On disk before it is sent; settled by an answer or a refusal."""
        self.outbox.put(kind, request, if_changed)
        try:
            answer = self.service.call(method(self.service, kind), request)
        except errors.NoAnswer:
            raise
        except errors.LoyaltyError:
            self.outbox.settle(request.request_id)
            raise
        self.outbox.settle(request.request_id)
        return answer

    def deliver(self, patience=None):
        """What waits goes first. Says whether the service was there."""
        try:
            self.outbox.deliver(self.service, say, patience)
        except errors.NoAnswer as lost:
            self.lost = lost
            return False
        return True

    def purchase(self, args, order_id):
        sale = purchase_pb2.Purchase(store_id=self.args.store, order_id=order_id, channel="pos", voucher_codes=args.voucher, codes=args.code)
        # Always said, so that a sale is the same request whether it is delivered at once or tomorrow.
        sale.occurred_time.CopyFrom(now())
        goods.fill(sale, args.goods, self.args.currency)
        return sale

    def quoted(self, args, sale):
        """Shows the customer what it costs and earns; the quote, and the purchase that leads to it."""
        priced = purchase_pb2.Purchase()
        priced.CopyFrom(sale)
        priced.apply_price_effects = True
        quote = self.ask(args, priced)
        if args.points:
            self.pay_with_points(args.points, priced, quote)
            quote = self.ask(args, priced)
        for effect in quote.price_effects:
            say(f"  {effect.voucher_code or effect.tier_id}: -{money.show(effect.amount)}")
        for tender in priced.tenders:
            if tender.kind == common_pb2.Tender.KIND_POINTS:
                say(f"  paid with {priced.points_payments[0].redeem_points} points: -{money.show(tender.amount)}")
        say(f"  to pay {money.show(left_to_pay(priced, quote))}; earns {quote.accrual.points} points")
        if quote.usable_points.points and not args.points:
            say(f"  could be paid with up to {quote.usable_points.points} points ({money.show(quote.usable_points.value)})")
        for hint in quote.hints:
            say(f"  {money.show(hint.spend)} more: {hint.points} points more")
        return quote, priced

    def ask(self, args, sale):
        request = purchase_service_pb2.QuotePurchaseRequest(program_id=self.args.program, member=member_ref(args), purchase=sale)
        return self.service.call(self.service.purchases.QuotePurchase, request)

    def pay_with_points(self, wanted, sale, quote):
        usable = quote.usable_points
        points = usable.points if wanted == "max" else int(wanted)
        if not 0 < points <= usable.points:
            raise ValueError(f"up to {usable.points} points can pay for this")
        value = money.of(usable.value) * points / usable.points
        sale.points_payments.add(redeem_points=points)
        sale.tenders.add(kind=common_pb2.Tender.KIND_POINTS, amount=money.to_proto(value, self.args.currency))
        rest = money.of(quote.priced.total) - value
        sale.tenders.add(kind=common_pb2.Tender.KIND_CASH, amount=money.to_proto(rest, self.args.currency))

    def sell_offline(self, args, sale, lost):
        """At the shelf's prices: what the tier, vouchers and points would take off nobody can say now."""
        if sale.voucher_codes or args.points:
            raise ValueError(f"the service is away: without it neither vouchers nor points are taken ({lost})")
        sale.offline = True
        request = purchase_service_pb2.RecordPurchaseRequest(
            request_id=str(uuid.uuid4()), program_id=self.args.program, member=member_ref(args), purchase=sale
        )
        self.outbox.put("RecordPurchase", request)
        say(f"sold {sale.order_id} offline for {money.show(sale.total)}: it is in the outbox ({lost})")

    def as_paid(self, request, quote):
        """The sale as a till tells of it that gave the discounts itself: for when the customer has paid what was quoted, no answer came, and
        the service says later that it would be something else by now."""
        paid = purchase_service_pb2.RecordPurchaseRequest()
        paid.CopyFrom(request)
        paid.request_id, paid.quote_id = str(uuid.uuid4()), ""
        paid.purchase.apply_price_effects, paid.purchase.offline = False, True
        paid.purchase.total.CopyFrom(quote.priced.total)
        for line, priced in zip(paid.purchase.lines, quote.priced.lines, strict=True):
            off = money.of(line.amount) - money.parse(priced.price)
            line.discount.CopyFrom(money.to_proto(off, self.args.currency))
        return paid


def left_to_pay(sale, quote):
    points = sum(money.of(tender.amount) for tender in sale.tenders if tender.kind == common_pb2.Tender.KIND_POINTS)
    return money.to_proto(money.of(quote.priced.total) - points, quote.priced.total.currency_code)


def now():
    time = timestamp_pb2.Timestamp()
    time.GetCurrentTime()
    return time


def identifier(kind, value):
    return common_pb2.Identifier(kind=common_pb2.Identifier.Kind.Value(f"KIND_{kind}"), value=value)


def member_ref(args):
    kind, value = ("CARD", args.card) if args.card else ("PHONE", args.phone)
    return common_pb2.MemberRef(identifier=identifier(kind, value))


def explain(refusal):
    say(f"refused: {refusal}")
    for path, text in refusal.fields:
        say(f"  {path}: {text}")
    if refusal.metadata:
        say("  " + ", ".join(f"{key}={value}" for key, value in sorted(refusal.metadata.items())))


def say(text):
    print(text, flush=True)


def parser():
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    connection.add_flags(whole)
    whole.add_argument("--program", default="vietnam")
    whole.add_argument("--currency", default="VND")
    whole.add_argument("--store", default="saigon-1")
    whole.add_argument("--till", default="till-3")
    whole.add_argument("--state", default="state/till", help="folder for what must outlive the program")
    whole.add_argument("--patience", type=float, default=4.0, help="seconds after which the till sells offline")
    commands = whole.add_subparsers(dest="command", required=True)

    def command(name, text, *parts):
        sub = commands.add_parser(name, help=text)
        if "member" in parts:
            who = sub.add_argument_group("member") if name == "enroll" else sub.add_mutually_exclusive_group(required=True)
            who.add_argument("--card")
            who.add_argument("--phone")
        if "goods" in parts:
            sub.add_argument("goods", nargs="+")
            sub.add_argument("--voucher", action="append", default=[])
            sub.add_argument("--code", action="append", default=[], help="of a promotion")
            sub.add_argument("--points", help="a number of points to pay with, or max")
        return sub

    command("enroll", "a new member", "member")
    command("member", "who is this, and how many points are there", "member")
    command("quote", "what a basket costs and earns", "member", "goods")
    command("sell", "quote, and record the sale", "member", "goods")
    back = command("return", "goods come back: all of the order, or lines")
    back.add_argument("order")
    back.add_argument("--line", action="append", help="INDEXxQUANTITY; the first line has index 0")
    back.add_argument("--reason", default="")
    command("send", "deliver what waits")
    command("queue", "what waits")
    command("shift", "commands from standard input, one a line")
    return whole


def main():
    args = parser().parse_args()
    till = Till(args)
    with till.service:
        sys.exit(0 if till.run(args) else 1)


if __name__ == "__main__":
    os.umask(0o077)
    main()
