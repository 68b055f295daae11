#!/usr/bin/env python3
"""What a file of basket lines is worth under examples/programs/grocery.yaml, reckoned apart from loyaltyd.

    python3 tests/oracle/grocery.py FILE > expected.json

Points are in hundredths. Each line is rounded by itself, a half up. The basis of a line is its value less its coupon; a coupon
of more than the value counts as the value (--limit-discount-to-amount).
"""

import collections
import csv
import json
import sys
from fractions import Fraction

# Points per dollar where it is not 1.
RATES = {"FUEL": Fraction(1, 2), "PRODUCE": Fraction(2), "MISCELLANEOUS": Fraction(0), "COUPON": Fraction(0)}


def line_points(department, basis):
    exact = basis * RATES.get(department, Fraction(1)) * 100
    return int((exact + Fraction(1, 2)) // 1)


def expected(path):
    members = collections.defaultdict(lambda: {"points": 0, "spend_cents": 0, "visits": 0})
    baskets, departments, limited = {}, collections.Counter(), 0
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            value, coupon = Fraction(row["sales_value"]), Fraction(row["coupon_disc"])
            limited += coupon > value
            basis = value - min(coupon, value)
            points = line_points(row["department"], basis)
            member = members[row["household_id"]]
            key = row["store_id"] + "/" + row["basket_id"]
            if key not in baskets:
                baskets[key] = {"member": row["household_id"], "lines": []}
                member["visits"] += 1
            baskets[key]["lines"].append([row["department"], points])
            member["points"] += points
            member["spend_cents"] += int(basis * 100)
            departments[row["department"]] += points
    return {"members": members, "baskets": baskets, "departments": departments, "limited": limited}


if __name__ == "__main__":
    json.dump(expected(sys.argv[1]), sys.stdout, indent=0)
