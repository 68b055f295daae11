#!/usr/bin/env python3
"""A web shop: shows what a member has and may have, holds points while the customer checks out, and turns points into vouchers.

    storefront.py show --card LOYAL-0001
    storefront.py hold cart-77 --card LOYAL-0001 kettle=300000
    storefront.py pay cart-77 --card LOYAL-0001 kettle=300000
"""

import argparse
import os
import pathlib
import sys

import loyalty_client  # noqa: F401  Before the generated code: it puts that on the path.
from loyalty.v1 import (
    common_pb2,
    member_service_pb2,
    offer_service_pb2,
    points_service_pb2,
    purchase_pb2,
    purchase_service_pb2,
    reward_service_pb2,
)

from loyalty_client import connection, errors, goods, money, names
from loyalty_client.disk import Intentions

# What a customer can be told; for everything else the service's own text, which is for staff, goes to the log.
FOR_CUSTOMERS = {
    "MEMBER_NOT_FOUND": "We do not know this card.",
    "INSUFFICIENT_POINTS": "You have {available} points; that takes {requested}.",
    "REWARD_TIER": "This is for members of another tier.",
    "REWARD_LIMIT": "You have had as many of these as there are for one member now.",
    "REWARD_OUT_OF_STOCK": "There are none left.",
    "VOUCHER_NOT_FOUND": "We do not know this code.",
    "VOUCHER_USED": "This voucher was used before.",
    "VOUCHER_EXPIRED": "This voucher is over.",
    "VOUCHER_HELD": "This voucher is in another cart.",
    "VOUCHER_BELOW_MINIMUM_ORDER": "This voucher is for orders of {minimum} or more.",
}


class Storefront:
    def __init__(self, args):
        self.args = args
        # A real shop keeps these with the cart, in its database.
        self.intentions = Intentions(pathlib.Path(args.state) / "intentions.jsonl")
        self.service = connection.Connection(args.server, args.ca, args.client_cert, args.client_key, args.api_key_file)

    def show(self, args):
        member = self.get_member()
        tier = member.tier
        say(f"{member.profile.display_name or 'Member'}: {member.balance.available} points, {member.balance.held} held, {tier.display_name}")
        for lapse in member.expiring:
            say(f"  {lapse.points} points are valid until {lapse.expire_time.ToDatetime():%Y-%m-%d}")
        if tier.next_tier_id:
            ways = []
            if tier.HasField("next_missing_points"):
                ways.append(f"{tier.next_missing_points} points")
            if tier.HasField("next_missing_spend"):
                ways.append(money.show(tier.next_missing_spend))
            if tier.HasField("next_missing_visits"):
                ways.append(f"{tier.next_missing_visits} visits")
            say(f"  to {tier.next_tier_id}: {(' and ' if tier.next_require_all else ' or ').join(ways)} more")
        if tier.falls_to_tier_id:
            say(f"  falls to {tier.falls_to_tier_id} on {tier.falls_time.ToDatetime():%Y-%m-%d}")

    def rewards(self, args):
        request = reward_service_pb2.ListRewardsRequest(program_id=self.args.program, member=self.member())
        for listed in self.pages(self.service.rewards.ListRewards, request, "rewards"):
            reasons = ", ".join(names.name_of(reward_service_pb2.ListedReward.Reason, reason, "REASON_") for reason in listed.reasons)
            say(f"{listed.reward.reward_id}: {listed.reward.display_name}, {listed.points} points{f' ({reasons})' if reasons else ''}")

    def offers(self, args):
        request = offer_service_pb2.ListOffersRequest(program_id=self.args.program, member=self.member(), channel="web")
        answer = self.service.call(self.service.offers.ListOffers, request)
        for listed in answer.offers:
            state = names.name_of(offer_service_pb2.ListedOffer.State, listed.state, "STATE_")
            say(f"{listed.offer.offer_id}: {listed.offer.display_name} ({state})")
        if not answer.offers:
            say("no offers now")

    def activate(self, args):
        request = offer_service_pb2.ActivateOfferRequest(program_id=self.args.program, member=self.member(), offer_id=args.offer)
        answer = self.change(f"activate {args.offer} {args.card}", self.service.offers.ActivateOffer, request)
        say(f"activated {args.offer}{f': code {answer.voucher.code}' if answer.HasField('voucher') else ''}")

    def redeem(self, args):
        request = reward_service_pb2.RedeemRewardRequest(program_id=self.args.program, member=self.member(), reward_id=args.reward)
        answer = self.change(f"redeem {args.reward} {args.card}", self.service.rewards.RedeemReward, request)
        for voucher in answer.vouchers:
            say(f"{voucher.display_name}: code {voucher.code}, valid until {voucher.expire_time.ToDatetime():%Y-%m-%d}")
        say(f"{answer.balance.available} points left")

    def vouchers(self, args):
        request = reward_service_pb2.ListVouchersRequest(program_id=self.args.program, member=self.member())
        for voucher in self.pages(self.service.rewards.ListVouchers, request, "vouchers"):
            say(f"{voucher.code}: {voucher.display_name}")

    def use(self, args):
        """For a shop that records no purchases here."""
        request = reward_service_pb2.UseVoucherRequest(
            program_id=self.args.program, code=args.code, store_id=self.args.store, order_id=args.cart
        )
        if args.total:
            request.order_total.CopyFrom(money.to_proto(money.parse(args.total), self.args.currency))
        self.change(f"use {args.code} {args.cart}", self.service.rewards.UseVoucher, request)
        say("used")

    def hold(self, args):
        cart = self.cart(args)
        request = points_service_pb2.HoldPointsRequest(
            program_id=self.args.program,
            member=self.member(),
            points=args.points,
            up_to=not args.points,
            order_total=cart.total,
            store_id=self.args.store,
            order_id=args.cart,
        )
        held = self.change(f"hold {args.cart}", self.service.points.HoldPoints, request).hold
        say(f"held {held.points} points for {args.cart}, worth {money.show(held.value)}, until {held.expire_time.ToDatetime():%H:%M} UTC")

    def pay(self, args):
        cart = self.cart(args)
        cart.apply_price_effects = True
        cart.voucher_codes.extend(args.voucher)
        quote = self.ask(cart)
        for effect in quote.price_effects:
            say(f"  {effect.voucher_code or effect.tier_id}: -{money.show(effect.amount)}")
        rest = money.of(quote.priced.total)
        hold = self.open_hold(args.cart)
        if hold:
            if money.of(hold.value) > rest:
                raise SystemExit(f"{hold.points} points are held, which is more than {money.show(quote.priced.total)}: give up, and hold again")
            rest -= money.of(hold.value)
            cart.points_payments.add().capture_hold.hold_id = hold.hold_id
            cart.tenders.add(kind=common_pb2.Tender.KIND_POINTS, amount=hold.value)
            say(f"  {hold.points} points: -{money.show(hold.value)}")
        cart.tenders.add(kind=common_pb2.Tender.KIND_CARD, amount=money.to_proto(rest, self.args.currency))
        quote = self.ask(cart)
        say(f"  to pay {money.show(cart.tenders[-1].amount)}; earns {quote.accrual.points} points")
        request = purchase_service_pb2.RecordPurchaseRequest(
            program_id=self.args.program, member=self.member(), purchase=cart, quote_id=quote.quote_id
        )
        answer = self.change(f"pay {args.cart}", self.service.purchases.RecordPurchase, request)
        say(f"ordered {args.cart}: +{answer.accrual.points} points, {answer.balance.available} available, {answer.balance.held} held")

    def give_up(self, args):
        hold = self.open_hold(args.cart)
        if not hold:
            return say(f"nothing is held for {args.cart}")
        request = points_service_pb2.ReleaseHoldRequest(
            program_id=self.args.program, member=self.member(), hold_id=hold.hold_id, reason="cart was given up"
        )
        answer = self.change(f"give up {args.cart} {hold.hold_id}", self.service.points.ReleaseHold, request)
        say(f"released {hold.points} points: {answer.balance.available} available")
        return None

    # -- how ---------------------------------------------------------------------------------------------------------------------

    def change(self, intention, method, request):
        """The request_id is the intention's until there is an answer: a customer who presses the button again after a timeout asks for the
        same thing, and not for another one."""
        request.request_id = self.intentions.request_id(intention)
        try:
            answer = self.service.call(method, request)
        except errors.NoAnswer:
            raise
        except errors.LoyaltyError:
            self.intentions.settled(intention)
            raise
        self.intentions.settled(intention)
        return answer

    def pages(self, method, request, items):
        while True:
            answer = self.service.call(method, request)
            yield from getattr(answer, items)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def ask(self, cart):
        request = purchase_service_pb2.QuotePurchaseRequest(program_id=self.args.program, member=self.member(), purchase=cart)
        return self.service.call(self.service.purchases.QuotePurchase, request)

    def member(self):
        identifier = common_pb2.Identifier(kind=common_pb2.Identifier.KIND_CARD, value=self.args.card)
        return common_pb2.MemberRef(identifier=identifier)

    def get_member(self):
        request = member_service_pb2.GetMemberRequest(program_id=self.args.program, member=self.member())
        return self.service.call(self.service.members.GetMember, request).member

    def open_hold(self, cart):
        request = points_service_pb2.ListHoldsRequest(program_id=self.args.program, member=self.member())
        holds = self.service.call(self.service.points.ListHolds, request).holds
        return next((hold for hold in holds if (hold.store_id, hold.order_id) == (self.args.store, cart)), None)

    def cart(self, args):
        cart = purchase_pb2.Purchase(store_id=self.args.store, order_id=args.cart, channel="web")
        goods.fill(cart, args.goods, self.args.currency)
        return cart


def for_customer(refusal):
    if isinstance(refusal, errors.NoAnswer):
        return "We could not reach the loyalty service. Please try again: nothing will be done twice."
    return FOR_CUSTOMERS.get(refusal.reason, "That is not possible.").format(**refusal.metadata)


def say(text):
    print(text, flush=True)


def parser():
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    connection.add_flags(whole)
    whole.add_argument("--program", default="vietnam")
    whole.add_argument("--currency", default="VND")
    whole.add_argument("--store", default="web")
    whole.add_argument("--state", default="state/storefront", help="folder for what must outlive the program")
    commands = whole.add_subparsers(dest="command", required=True)

    def command(name, text, *names, basket=False):
        sub = commands.add_parser(name, help=text)
        for argument in names:
            sub.add_argument(argument)
        if basket:
            sub.add_argument("goods", nargs="+", help="SKU=AMOUNT, then xQUANTITY and @CATEGORY if need be")
        if name != "use":
            sub.add_argument("--card", required=True)
        return sub

    command("show", "balance, what lapses next, and the way to the next tier")
    command("rewards", "what there is for points, and why not")
    command("offers", "what there is for this member alone")
    command("activate", "turn an offer on", "offer")
    command("redeem", "a reward for points: its voucher", "reward")
    command("vouchers", "those that can be used")
    use = command("use", "a voucher, without a purchase here", "code", "cart")
    use.add_argument("--total", help="what the goods come to, for vouchers with a minimum order")
    hold = command("hold", "set points aside for a cart", "cart", basket=True)
    hold.add_argument("--points", type=int, default=0, help="without: as many as the order takes")
    pay = command("pay", "record the order, paid with what is held for it", "cart", basket=True)
    pay.add_argument("--voucher", action="append", default=[])
    command("give-up", "release what is held for a cart", "cart")
    return whole


def main():
    args = parser().parse_args()
    shop = Storefront(args)
    with shop.service:
        try:
            getattr(shop, args.command.replace("-", "_"))(args)
        except errors.LoyaltyError as refusal:
            say(for_customer(refusal))
            print(f"for the log: {refusal} {refusal.metadata}", file=sys.stderr)
            sys.exit(1)
        except ValueError as mistake:
            raise SystemExit(str(mistake)) from None


if __name__ == "__main__":
    os.umask(0o077)
    main()
