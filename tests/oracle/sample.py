#!/usr/bin/env python3
"""Makes sample files in the shape of real purchase histories: purchases.csv (a sale a row) and lines.csv (a line a row).

    python3 tests/oracle/sample.py FOLDER [--seed 1] [--members 300]

The same seed gives the same files. They hold what real files hold: sales of 0, several sales of a member on a day, departments
without a name, quantities of 0 and of thousands, discounts larger than their line.
"""

import argparse
import csv
import datetime
import pathlib
import random

DEPARTMENTS = ["GROCERY", "GROCERY", "GROCERY", "DRUG GM", "PRODUCE", "PRODUCE", "MEAT", "FUEL", "MISCELLANEOUS", "DELI", ""]


def cents(amount):
    return f"{amount // 100}.{amount % 100:02}"


def purchases(dice, members, path):
    rows = []
    for member in range(1, members + 1):
        for _ in range(1 + int(dice.expovariate(0.4))):
            day = datetime.date(1997, 1, 1) + datetime.timedelta(days=dice.randrange(540))
            amount = 0 if dice.random() < 0.02 else int(dice.lognormvariate(8, 0.9)) + 1
            rows.append((f"{member:05}", day.isoformat(), dice.randint(1, 6), cents(amount)))
            if dice.random() < 0.05:
                rows.append((f"{member:05}", day.isoformat(), 1, cents(int(dice.lognormvariate(7, 0.5)))))
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["order_id", "customer_id", "date", "units", "amount_usd"])
        for number, row in enumerate(rows, 1):
            out.writerow([f"C{number:06}", *row])
    return len(rows)


def lines(dice, members, path):
    count = 0
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(
            ["basket_id", "transaction_timestamp", "household_id", "store_id", "product_id", "department", "quantity", "sales_value", "coupon_disc"]
        )
        moment = datetime.datetime(2017, 1, 1, 15, 34, 46)
        for basket in range(members * 5):
            moment += datetime.timedelta(seconds=dice.randrange(20_000))
            head = [31_000_000_000 + basket, moment.isoformat(), dice.randint(1, members), dice.randint(300, 340)]
            for _ in range(1 + int(dice.expovariate(0.15))):
                department = dice.choice(DEPARTMENTS)
                amount = 0 if dice.random() < 0.01 else int(dice.lognormvariate(5.3, 0.8)) + 1
                quantity = dice.choice([0, 1, 1, 1, 2, 3, dice.randint(1000, 28_000) if department == "FUEL" else 1])
                coupon = dice.choice([0] * 30 + [25, 50, 100, amount])
                out.writerow([*head, dice.randint(800_000, 900_000), department, quantity, cents(amount), cents(coupon)])
                count += 1
    return count


def year(path, seed=1, households=30):
    """Baskets of 2017, line by line: households that come often or seldom, from some day on, and stay away for a while or for good."""
    dice = random.Random(seed)
    baskets = []
    for household in range(1, households + 1):
        day = dice.uniform(0, 150)
        away = dice.uniform(day, 365)
        back = away + dice.choice([0, 20, 60, 500])
        gap = dice.choice([2, 4, 9, 20])
        while (day := day + dice.expovariate(1 / gap)) < 365:
            if not away < day < back:
                baskets.append((datetime.datetime(2017, 1, 1) + datetime.timedelta(seconds=int(day * 86_400)), household))
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow("basket_id,transaction_timestamp,household_id,store_id,product_id,department,product_category,quantity,sales_value,coupon_disc".split(","))
        for number, (moment, household) in enumerate(sorted(baskets)):
            head = [31_000_000_000 + number, moment.isoformat(), household, dice.randint(300, 340)]
            for _ in range(1 + int(dice.expovariate(0.15))):
                out.writerow([*head, *goods(dice)])
    return len(baskets)


def goods(dice):
    """A line from `product_id` on."""
    department, kind = dice.choice([(name, "") for name in DEPARTMENTS] + [("GROCERY", "SOFT DRINKS"), ("COSMETICS", "MAKEUP"), ("COUPON", "COUPON/MISC ITEMS")])
    amount = 0 if dice.random() < 0.01 else int(dice.lognormvariate(7.5 if department == "FUEL" else 5.6, 0.8)) + 1
    quantity = dice.choice([0, 1, 1, 1, 2, 3, dice.randint(1000, 28_000) if department == "FUEL" else 1])
    sku = 1_082_185 if department == "PRODUCE" and dice.random() < 0.2 else dice.randint(800_000, 900_000)
    return [sku, department, kind, quantity, cents(amount), cents(dice.choice([0] * 30 + [25, 50, 100, amount]))]


def make(folder, seed=1, members=300):
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    print(purchases(dice, members, folder / "purchases.csv"), "purchases")
    print(lines(dice, members, folder / "lines.csv"), "lines")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--members", type=int, default=300)
    args = parser.parse_args()
    make(args.folder, args.seed, args.members)


if __name__ == "__main__":
    main()
