#!/usr/bin/env python3
"""What a purchase file is worth under examples/programs/cdnow-import.yaml, reckoned apart from loyaltyd.

    python3 tests/oracle/cdnow.py FILE > expected.json

Of each customer: points (whole dollars of each purchase), lifetime spend in cents, number of purchases, tier by spend.
"""

import csv
import json
import sys
from decimal import ROUND_FLOOR, Decimal

# Lifetime spend in dollars that it takes, from the lowest tier to the highest.
TIERS = [("listener", 0), ("fan", 100), ("collector", 500)]


def expected(path):
    members = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            member = members.setdefault(row["customer_id"], {"points": 0, "spend_cents": 0, "visits": 0})
            amount = Decimal(row["amount_usd"])
            member["points"] += int(amount.to_integral_value(rounding=ROUND_FLOOR))
            member["spend_cents"] += int(amount * 100)
            member["visits"] += 1
    for member in members.values():
        member["tier"] = [name for name, dollars in TIERS if member["spend_cents"] >= dollars * 100][-1]
    return {"members": members}


if __name__ == "__main__":
    json.dump(expected(sys.argv[1]), sys.stdout, indent=0)
