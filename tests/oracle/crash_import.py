#!/usr/bin/env python3
"""Kills the server (SIGKILL) at random moments during an import, restarts it, and imports again until all is in.

    python3 tests/oracle/crash_import.py --binary target/release/loyaltyd --kills 10 --seed 1
    python3 tests/oracle/crash_import.py --binary target/release/loyaltyd --cdnow cdnow.csv

After each restart every purchase that was confirmed before the kill must be there; at the end every member must be as the separate
calculation says. Without a file it makes a sample. Needs grpcio and grpcio-reflection.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import cdnow
import sample
from compare import compare
from harness import PROGRAMS, Loyaltyd, import_command

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tour"))

from reflected import Server  # noqa: E402


def acknowledged_orders(path):
    """Complete lines only: the import may have been killed, too."""
    return path.read_text().rpartition("\n")[0].split("\n") if path.exists() and path.stat().st_size else []


def check_acknowledged(server, orders):
    client = Server(server.address)
    for order in orders:
        client.call("loyalty.v1.PurchaseService", "GetPurchase", program_id="cdnow", store_id="web", order_id=order)
    print(f"all {len(orders)} purchases confirmed since the last check are there")


def one_life(server, command, log, confirmations, pause):
    """Runs the import and kills the server a moment after it has confirmed so many purchases in this run, old ones included."""
    before = log.stat().st_size if log.exists() else 0
    importer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(log, "ab+") as file:
        file.seek(before)
        count = 0
        while count < confirmations and importer.poll() is None:
            count += file.read().count(b"\n")
            time.sleep(0.002)
    time.sleep(pause)
    server.kill()
    importer.kill()
    importer.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--cdnow", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--members", type=int, default=4000, help="of the sample")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="loyaltyd-crash-") as folder:
        folder = pathlib.Path(folder)
        file = args.cdnow or folder / "purchases.csv"
        if not args.cdnow:
            sample.purchases(random.Random(args.seed), args.members, file)
        log = folder / "acknowledged"
        with Loyaltyd(args.binary, folder, [PROGRAMS / "cdnow-import.yaml"]) as server:
            checked, total = 0, sum(1 for _ in open(file)) - 1
            for number in range(args.kills):
                command = import_command(args.binary, "cdnow", file, server.address, folder, "--acknowledged", log, "--retry-for", "1s")
                known = len(set(acknowledged_orders(log)))
                # New ones in each life, so that each kill falls among commits.
                new = dice.randint(1, max(1, 2 * (total - known) // (args.kills + 2 - number)))
                one_life(server, command, log, known + new, dice.uniform(0, 0.05))
                started = time.monotonic()
                server.start()
                orders = acknowledged_orders(log)
                print(f"kill {number + 1} at {len(set(orders))} of {total}: restarted in {time.monotonic() - started:.2f} s;", end=" ")
                check_acknowledged(server, sorted(set(orders[checked:])))
                checked = len(orders)
            # The last run goes on through a kill by itself.
            command = import_command(args.binary, "cdnow", file, server.address, folder, "--acknowledged", log, "--retry-for", "60s")
            importer = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            time.sleep(dice.uniform(0.05, 0.5))
            server.kill()
            server.start()
            if importer.wait() != 0:
                raise SystemExit("the last run of the import failed")
            check_acknowledged(server, sorted(set(acknowledged_orders(log)[checked:])))
            if not compare(server.address, "cdnow", cdnow.expected(file)):
                raise SystemExit(1)
            server.stop()
            server.check()
    print(f"{args.kills + 1} kills: nothing confirmed was lost, nothing was counted twice")


if __name__ == "__main__":
    main()
