"""Goods as they are typed on a command line: SKU=AMOUNT, then xQUANTITY and @CATEGORY if need be."""

import re

from loyalty_client import money

FORM = re.compile(r"(?P<sku>[^=@]+)=(?P<amount>[0-9.]+)(x(?P<quantity>[0-9.]+))?(@(?P<category>.+))?")


def fill(purchase, goods, currency):
    """The lines of a purchase, and their total."""
    total = 0
    for text in goods:
        match = FORM.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} are no goods: write SKU=AMOUNT, such as kettle=300000 or beans=270000x2@coffee")
        amount = money.parse(match["amount"])
        purchase.lines.add(sku=match["sku"], category=match["category"], quantity=match["quantity"], amount=money.to_proto(amount, currency))
        total += amount
    purchase.total.CopyFrom(money.to_proto(total, currency))
