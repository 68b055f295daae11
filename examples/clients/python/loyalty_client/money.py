"""Money is a decimal number all the way: a float has no exact cent."""

import decimal

from loyalty.v1 import common_pb2


def parse(text):
    """What somebody typed, such as 12.50."""
    try:
        amount = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError(f"{text!r} is not an amount: write it like 12.50") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{text!r} is not an amount: it must be a number of 0 or more")
    return amount


def to_proto(amount, currency):
    # `f`: never with an exponent.
    return common_pb2.Money(currency_code=currency, amount=f"{amount:f}")


def of(money):
    return decimal.Decimal(money.amount or "0")


def show(money):
    return f"{of(money):,f} {money.currency_code}"
