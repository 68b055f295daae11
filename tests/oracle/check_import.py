#!/usr/bin/env python3
"""Imports purchase files into a server of its own, twice, and compares every member with the separate calculation.

    python3 tests/oracle/check_import.py --binary target/release/loyaltyd
    python3 tests/oracle/check_import.py --binary target/release/loyaltyd --cdnow cdnow.csv --grocery grocery_lines.csv

Without files it makes a sample (sample.py). Exits 1 on any difference. Needs grpcio and grpcio-reflection.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

import cdnow
import grocery
import sample
from compare import compare
from harness import PROGRAMS, Loyaltyd, import_command


def summary(text):
    """The numbers that the import prints, by their names."""
    rows = (line.rsplit(maxsplit=1) for line in text.splitlines() if line.strip())
    return {name.strip(): int(number) for name, number in rows}


def run_import(command):
    started = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    print(f"{time.monotonic() - started:.1f} s")
    if done.returncode != 0:
        raise SystemExit(f"the import ended with {done.returncode}")
    return summary(done.stdout)


def check(kind, file, expected, binary, server, folder):
    purchases = sum(member["visits"] for member in expected["members"].values())
    for again in (False, True):
        numbers = run_import(import_command(binary, kind, file, server.address, folder))
        recorded = (0, purchases) if again else (purchases, 0)
        if (numbers["recorded"], numbers["already there"]) != recorded or numbers["refused"] != 0:
            raise SystemExit(f"{kind}: {numbers} is not what was expected: {recorded}")
        if numbers["members enrolled"] != (0 if again else len(expected["members"])):
            raise SystemExit(f"{kind}: {numbers['members enrolled']} members were enrolled")
        if numbers.get("discounts limited", 0) != expected.get("limited", 0):
            raise SystemExit(f"{kind}: {numbers['discounts limited']} discounts were limited, not {expected['limited']}")
        if not compare(server.address, "cdnow" if kind == "cdnow" else "grocery", expected):
            raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--cdnow", type=pathlib.Path)
    parser.add_argument("--grocery", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loyaltyd-check-") as folder:
        folder = pathlib.Path(folder)
        files = {"cdnow": args.cdnow, "grocery": args.grocery}
        if not any(files.values()):
            sample.make(folder)
            files = {"cdnow": folder / "purchases.csv", "grocery": folder / "lines.csv"}
        with Loyaltyd(args.binary, folder, [PROGRAMS / "cdnow-import.yaml", PROGRAMS / "grocery.yaml"]) as server:
            for kind, reckon in (("cdnow", cdnow), ("grocery", grocery)):
                if files[kind]:
                    check(kind, files[kind], reckon.expected(files[kind]), args.binary, server, folder)
            # What was read back must also be what a restarted server says.
            server.stop()
            server.start()
            for kind, reckon in (("cdnow", cdnow), ("grocery", grocery)):
                if files[kind] and not compare(server.address, kind, reckon.expected(files[kind])):
                    raise SystemExit(1)
            server.stop()
            server.check()
    print("all members are as the separate calculation says, after each run and after a restart")


if __name__ == "__main__":
    main()
