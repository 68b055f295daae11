#!/usr/bin/env python3
"""What a file of basket lines brings under examples/programs/grocery-promotions.yaml, reckoned apart from loyaltyd.

    python3 tests/oracle/grocery_promotions.py FILE > expected.json

Of each basket the points of every rule and promotion, and of each household its segments, points and tier at the end of each month, which is the
first instant of the next one. A household enrols an hour before its first basket. Sales are judged as they occur: by the tier and the segments
of right before them. A coupon of more than its line counts as the line's value.
"""

import calendar
import collections
import csv
import datetime
import json
import math
import sys
import zoneinfo
from fractions import Fraction

ZONE = zoneinfo.ZoneInfo("America/New_York")
BEFORE_THE_FIRST_BASKET = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)

# Points per dollar; departments that are not here have 10.
RATES = {"FUEL": ("fuel", 5), "PRODUCE": ("produce", 20), "MISCELLANEOUS": (None, 0), "COUPON": (None, 0)}
FUEL_IN_A_MONTH = 300
REGULAR, PREMIUM = 500, 2000
PREMIUM_MULTIPLIER = Fraction("1.2")
SEGMENTS = ("vip", "new", "at-risk", "lapsed")
BANANAS = "1082185"

Line = collections.namedtuple("Line", "sku department kind quantity value coupon")


def add_months(date, months):
    month = date.year * 12 + date.month - 1 + months
    year, month = month // 12, month % 12 + 1
    return datetime.date(year, month, min(date.day, calendar.monthrange(year, month)[1]))


def start_of_day(date):
    return datetime.datetime(date.year, date.month, date.day, tzinfo=ZONE)


class Basket:
    """A sale of the file, as many years later as is asked for."""

    def __init__(self, row, years):
        local = datetime.datetime.fromisoformat(row["transaction_timestamp"])
        self.time = local.replace(year=local.year + years, tzinfo=ZONE)
        self.date = self.time.date()
        self.household, self.store, self.order = row["household_id"], row["store_id"], row["basket_id"]
        self.lines = []

    def add(self, row):
        value, coupon = Fraction(row["sales_value"]), Fraction(row["coupon_disc"])
        self.lines.append(Line(row["product_id"], row["department"], row["product_category"], Fraction(row["quantity"]), value, min(coupon, value)))

    @property
    def key(self):
        return f"{self.store}/{self.order}"


def baskets(path, years=0):
    """In the order of time; equal ones in that of the file."""
    found = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            key = row["store_id"], row["basket_id"]
            if key not in found:
                found[key] = Basket(row, years)
            found[key].add(row)
    # As instants: of two times on one clock Python compares what the clock showed.
    return sorted(found.values(), key=lambda basket: basket.time.timestamp())


def events(sales):
    """What happens, in its order: (instant, "month", its last day), (instant, "enrol", household) and (instant, "sale", basket)."""
    found, seen = [], set()
    for sale in sales:
        if sale.household not in seen:
            seen.add(sale.household)
            found.append((sale.time.timestamp() - BEFORE_THE_FIRST_BASKET.total_seconds(), 1, "enrol", sale.household))
        found.append((sale.time.timestamp(), 2, "sale", sale))
    first = min(sale.date for sale in sales).replace(day=1)
    while first <= max(sale.date for sale in sales).replace(day=1):
        first = add_months(first, 1)
        found.append((start_of_day(first).timestamp(), 0, "month", first - DAY))
    found.sort(key=lambda event: event[:2])
    return [(datetime.datetime.fromtimestamp(instant, ZONE), what, subject) for instant, _, what, subject in found]


class Household:
    def __init__(self, enrolled):
        self.enrolled = enrolled.date()
        self.sales = []  # (date, basis)
        self.spend = Fraction(0)
        self.lots = []  # (points, valid until this instant, exclusive)
        self.had = collections.Counter()  # Points by (rule or promotion, period), or times.

    def buy(self, date, basis):
        self.sales.append((date, basis))
        self.spend += basis

    def tier(self):
        return "premium" if self.spend >= PREMIUM else "regular" if self.spend >= REGULAR else "shopper"

    def segments(self, today):
        """As the book's four conditions say, on a local day."""
        last = max((date for date, _ in self.sales), default=self.enrolled)
        away = (today - last).days
        four_weeks = sum(date > today - 28 * DAY for date, _ in self.sales)
        two_months_ago = add_months(today, -2)
        two_months = sum(basis for date, basis in self.sales if date > two_months_ago)
        holds = {
            "vip": self.tier() == "premium" or four_weeks >= 8 or two_months >= 500,
            "new": (today - self.enrolled).days < 30 and len(self.sales) <= 3,
            "at-risk": bool(self.sales) and 14 < away <= 45,
            "lapsed": away > 45,
        }
        return [segment for segment in SEGMENTS if holds[segment]]

    def issued(self):
        return sum(points for points, _ in self.lots)

    def expired(self, now):
        return sum(points for points, until in self.lots if until <= now)


def half_up(exact):
    return math.floor(exact + Fraction(1, 2))


class Grocery:
    """The promotions, with what they have given to all."""

    def __init__(self, years):
        self.years = years
        self.households = {}
        self.drugstore_by_day = collections.Counter()
        self.drugstore = 0

    def is_between(self, date, first, end):
        day = (date.year - self.years, date.month, date.day)
        return first <= day < end

    def sale(self, basket):
        """The points of each rule, and of each promotion that gives any."""
        household = self.households[basket.household]
        basis = [line.value - line.coupon for line in basket.lines]
        multiplier = PREMIUM_MULTIPLIER if household.tier() == "premium" else Fraction(1)
        segments = household.segments(basket.date)
        rules = self.rules(household, basket, multiplier)
        given = {**self.alone(household, basket, rules, multiplier, segments), **self.in_groups(household, basket, rules, multiplier, segments)}
        given = {promotion: points for promotion, points in given.items() if points}
        self.keep(household, basket, rules, given)
        household.buy(basket.date, sum(basis))
        return {"rules": rules, "promotions": given}

    def rules(self, household, basket, multiplier):
        exact = collections.Counter()
        for line in basket.lines:
            rule, rate = RATES.get(line.department, ("groceries", 10))
            if rule:
                exact[rule] += (line.value - line.coupon) * rate * multiplier
        points = {rule: math.floor(exact[rule]) for rule in exact}
        if "fuel" in points:
            left = FUEL_IN_A_MONTH - household.had["fuel", basket.date.replace(day=1)]
            points["fuel"] = min(points["fuel"], left)
        return {rule: number for rule, number in points.items() if number}

    def alone(self, household, basket, rules, multiplier, segments):
        """Promotions that look at no other one."""
        date, given = basket.date, {}
        total = sum(line.value - line.coupon for line in basket.lines)
        if date.weekday() == 1 and 6 <= basket.time.hour < 15:
            given["tuesday-morning"] = min(sum(rules.values()), 1000 - household.had["tuesday-morning", date.replace(day=1)])
        produce = sum(line.value - line.coupon for line in basket.lines if line.department == "PRODUCE" and line.sku != BANANAS)
        if self.is_between(date, (2017, 6, 5), (2017, 6, 19)) and produce >= 5:
            of_these = min(math.floor(produce * 20 * multiplier), rules.get("produce", 0))
            given["produce-weeks"] = half_up(of_these * Fraction("1.5"))
        drinks = sum(line.quantity for line in basket.lines if line.kind == "SOFT DRINKS")
        monday = date - date.weekday() * DAY
        if drinks >= 3 and household.had["three-drinks", monday] < 2:
            given["three-drinks"] = min(drinks // 3 * 60, 120)
        care = sum(
            line.value - line.coupon for line in basket.lines if line.department in ("DRUG GM", "COSMETICS") and line.value - line.coupon >= 4
        )
        if self.is_between(date, (2017, 9, 1), (2017, 11, 1)):
            given["drugstore"] = min(care // 5 * 40, 400 - self.drugstore_by_day[date], 4000 - self.drugstore)
        if not household.sales and total >= 20:
            given["welcome"] = 500
        quarter = date.replace(month=(date.month - 1) // 3 * 3 + 1, day=1)
        if ("at-risk" in segments or "lapsed" in segments) and total >= 10 and not household.had["come-back", quarter]:
            given["come-back"] = 300
        return given

    def in_groups(self, household, basket, rules, multiplier, segments):
        """Large baskets before medium ones; of VIP and Saturdays what is more."""
        month, given = basket.date.replace(day=1), {}
        total = sum(line.value - line.coupon for line in basket.lines)
        large = min(400, 1000 - household.had["large-basket", month]) if total >= 75 else 0
        is_fresh = any(line.department in ("MEAT", "DELI", "SEAFOOD") for line in basket.lines)
        if large:
            given["large-basket"] = large
        elif total >= 40 and is_fresh and household.had["medium-basket", month] < 4:
            given["medium-basket"] = 100
        vip = min(math.floor(sum(rules.values()) * Fraction("0.333333")), 300) if "vip" in segments else 0
        saturday = 0
        if household.tier() == "premium" and basket.date.weekday() == 5:
            groceries = sum(line.value - line.coupon for line in basket.lines if line.department == "GROCERY")
            saturday = math.floor(min(math.floor(groceries * 10 * multiplier), rules.get("groceries", 0)) * Fraction("0.5"))
        if vip >= saturday:
            given["vip"] = vip
        else:
            given["premium-saturday"] = saturday
        return given

    def keep(self, household, basket, rules, given):
        date = basket.date
        month = date.replace(day=1)
        quarter = date.replace(month=(date.month - 1) // 3 * 3 + 1, day=1)
        household.had["fuel", month] += rules.get("fuel", 0)
        for promotion in ("tuesday-morning", "large-basket"):
            household.had[promotion, month] += given.get(promotion, 0)
        household.had["three-drinks", date - date.weekday() * DAY] += "three-drinks" in given
        household.had["medium-basket", month] += "medium-basket" in given
        household.had["come-back", quarter] += "come-back" in given
        self.drugstore += given.get("drugstore", 0)
        self.drugstore_by_day[date] += given.get("drugstore", 0)
        for name, points in [*rules.items(), *given.items()]:
            last = {"welcome": date + 30 * DAY, "come-back": date + 14 * DAY}.get(name) or add_months(date, 6)
            household.lots.append((points, start_of_day(last + DAY)))


def expected(sales, years=0):
    grocery = Grocery(years)
    found = {"baskets": {}, "months": {}}
    for now, what, subject in events(sales):
        if what == "enrol":
            grocery.households[subject] = Household(now)
        elif what == "sale":
            found["baskets"][subject.key] = grocery.sale(subject)
        else:
            found["months"][subject.isoformat()] = {
                name: {
                    "segments": household.segments(now.date()),
                    "tier": household.tier(),
                    "issued": household.issued(),
                    "expired": household.expired(now),
                    "spend_cents": int(household.spend * 100),
                    "visits": len(household.sales),
                }
                for name, household in grocery.households.items()
            }
    return found


if __name__ == "__main__":
    json.dump(expected(baskets(sys.argv[1])), sys.stdout, indent=0, default=int)
