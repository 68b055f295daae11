#!/usr/bin/env python3
"""Hostile inputs and calls, each with its expected answer, against the binary.

    python tests/hostile/hostile.py --binary target/release/loyaltyd
    python tests/hostile/hostile.py --binary target/release/loyaltyd --only "rapid reset"     rows whose name has this

After each row usual calls have to be answered in time, over connections that are open since the start and over new ones. At the end nothing
may be left over: no open file, no thread, no memory, no entry in a ledger, no secret in a log. Needs grpcio, grpcio-reflection, hpack and
cryptography. Rows are in table.py.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import urllib.request

from table import TABLE
from world import ANNA, BEN, BOUND, LOG, MEMORY, PEAK, World


# Threads that read files come and go; one more or two are no leak.
SPARE = 2


def run(world, name, expected, do):
    begun = time.monotonic()
    found = do(world)
    took = time.monotonic() - begun
    faults = world.serves_on()
    good = found in expected.split(" | ")
    print(f"{'ok  ' if good and not faults else 'FAIL'} {took:5.1f} s  {name}: {found}", flush=True)
    if not good:
        print(f"     expected: {expected}")
    for fault in faults:
        print(f"     not served on: {fault}")
    return good and not faults


def settled(server, before):
    """Files and threads come back a moment after their connections have ended."""
    deadline = time.monotonic() + 15
    while True:
        now = server.measure()
        if (now.files <= before.files and now.threads <= before.threads + SPARE) or time.monotonic() > deadline:
            return now
        time.sleep(0.1)


def left_over(world, before):
    """What has grown."""
    faults = []
    for server, was in zip(world.servers, before):
        now = settled(server, was)
        print(f"{server.name}: open files {was.files} -> {now.files}, threads {was.threads} -> {now.threads}, "
              f"resident {was.resident >> 20} -> {now.resident >> 20} MiB, {now.peak >> 20} MiB at most")
        if now.files > was.files:
            faults.append(f"{server.name}: {now.files - was.files} files are left open")
        if now.threads > was.threads + SPARE:
            faults.append(f"{server.name}: {now.threads - was.threads} threads are left over")
        if now.resident > was.resident + MEMORY:
            faults.append(f"{server.name}: {(now.resident - was.resident) >> 20} MiB are left over, {MEMORY >> 20} at most may be")
        if now.peak > PEAK:
            faults.append(f"{server.name}: took {now.peak >> 20} MiB, {PEAK >> 20} at most may be")
    return faults


def metrics(server):
    with urllib.request.urlopen("http://%s:%d/metrics" % server.metrics, timeout=10) as page:
        return page.read()


def told(world, page):
    """What the logs, and the page of metrics, must not have."""
    secrets = {f"the key of {name}": key for name, key in world.keys.items()}
    secrets |= {f"a hash of {name}": digest[7:] for name, digest in world.access.hashes.items()}
    secrets |= {f"the planted {kind} of {name}": value for name, who in (("Anna", ANNA), ("Ben", BEN)) for kind, value in who.items()}
    secrets |= {"a phone number without its plus": ANNA["KIND_PHONE"][1:], "a token": "eyJ", "a private key": "PRIVATE KEY-----"}
    secrets |= {"a panic": "panicked"}
    faults = []
    for server in world.servers:
        log = server.log.read_bytes()
        print(f"{server.name}: {len(log) >> 10} KiB of log")
        faults += [f"{server.name}: the log has {what}" for what, secret in secrets.items() if secret.encode() in log]
        if len(log) > LOG:
            faults.append(f"{server.name}: the log has {len(log)} bytes, {LOG} at most may be")
    print(f"web: {len(page) >> 10} KiB of metrics")
    return faults + [f"the metrics have {what}" for what, secret in secrets.items() if secret.encode() in page]


def ledgers(world):
    """What `loyaltyd check` finds in the folders of servers that are stopped in order."""
    world.close()
    codes = [server.stop() for server in world.servers]
    if any(codes):
        raise SystemExit(f"the servers ended with {codes}")
    return [server.check() for server in world.servers]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="loyaltyd-hostile-") as folder:
        world = World(args.binary, pathlib.Path(folder))
        try:
            faults = table(world, args.only)
        finally:
            world.end()
    print(f"{time.monotonic() - begun:.0f} s")
    for fault in faults:
        print(f"FAIL {fault}")
    sys.exit(1 if faults else 0)


def table(world, only):
    world.start()
    world.enroll()
    accounts = ledgers(world)
    world.start()
    # Once before anything is measured: what is made at the first call stays.
    if faults := world.serves_on():
        raise SystemExit("\n".join(faults))
    before = [server.measure() for server in world.servers]
    rows = failed = 0
    for section, lines in TABLE.items():
        chosen = [line for line in lines if only in f"{section}: {line[0]}"]
        if chosen:
            print(f"\n{section}")
        for line in chosen:
            rows, failed = rows + 1, failed + (not run(world, *line))
    print(f"\n{rows} rows, {failed} failed; the slowest usual calls took {world.slowest:.2f} s, {BOUND} s are allowed")
    faults = [f"{failed} rows"] if failed else []
    faults += left_over(world, before)
    page = metrics(world.web)
    after = ledgers(world)
    for server, was, now in zip(world.servers, accounts, after):
        if was != now or not now.startswith("exit 0"):
            faults.append(f"{server.name}: the ledger has changed:\n{was}\nnow:\n{now}")
    return faults + told(world, page)


if __name__ == "__main__":
    main()
