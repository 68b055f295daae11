#!/usr/bin/env python3
"""What the service and its backups take of memory and processor, beside what the chart asks for: of memory the requests must hold what was measured.

    python tests/chart/resources.py --binary target/release/loyaltyd

The figures of helm/README.md are from this. Members are enrolled and buy by `loyaltyd bench`, in streams as fast as it goes and then one at a time; a
backup is taken and verified. Needs PyYAML, and Linux for /proc. With fewer members, as CI runs it, the figures say little, but all of it runs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from harness import PROGRAMS, Loyaltyd  # noqa: E402

UNITS = {"Mi": 1, "Gi": 1024}
# Of the tables, which are written when nothing comes any more.
SETTLED = 10


def mebibytes(quantity):
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


class Process:
    """What one of them has taken, as the system counts it."""

    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}")

    def memory(self, field):
        lines = (self.folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) // 1024

    def seconds(self):
        fields = (self.folder / "stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(*words):
    """What it said, its most memory in MiB, and its seconds of processors."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode != 0:
        raise SystemExit(f"{words[1]} ended with {process.returncode}:\n{text}")
    return text, usage.ru_maxrss // 1024, usage.ru_utime + usage.ru_stime


def bench(binary, server, members, scenario, duration, *more):
    """Enrols them and lets them buy; the number of purchases."""
    command = [binary, "bench", "--server", server.address, "--members", members, "--scenario", scenario, "--duration", f"{duration}s", "--json"]
    text, *_ = run(*command, "--warm-up", "200ms", *more)
    figures = json.loads(text[text.index("{") :])["scenarios"]
    return next(figure["done"] for figure in figures if figure["scenario"] == scenario)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=20, help="of purchases, of each kind")
    args = parser.parse_args()
    binary = args.binary.resolve()
    values = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())
    service, backup = values["resources"], values["backup"]["resources"]
    rows = []

    def row(what, measured, key, quantity):
        rows.append((what, measured, key, quantity))
        print(f"{what}: {measured} MiB ({key}: {quantity})", flush=True)

    # On a disk, for a file system in memory would count as the service's own in a container.
    with tempfile.TemporaryDirectory(prefix="loyaltyd-resources-", dir=ROOT / "target") as folder:
        folder = pathlib.Path(folder)
        with Loyaltyd(binary, folder, [PROGRAMS / "vietnam.yaml"]) as server:
            process = Process(server.process.pid)
            print(f"without members: {process.memory('VmRSS')} MiB")
            begun = process.seconds()
            many = bench(binary, server, args.members, "stream", args.seconds)
            print(f"{args.members} enrolments and {many} purchases in streams: {process.seconds() - begun:.1f} s of processors")
            took = []
            # Each is measured after the empty call, whose part goes off.
            for scenario in ("empty", "record"):
                begun = process.seconds()
                alone = bench(binary, server, min(args.members, 1_000), scenario, args.seconds, "--connections", "1", "--in-flight", "1")
                took.append(process.seconds() - begun)
            share = (took[1] - took[0]) / args.seconds
            print(f"one purchase at a time, {alone / args.seconds:.0f} a second: {share:.2f} of a processor")
            time.sleep(SETTLED)
            row(f"service, {args.members} members", process.memory("VmRSS"), "resources.requests.memory", service["requests"]["memory"])
            _, most, seconds = run(binary, "backup", "--server", server.address, "--to", folder / "backup", "--keys-to", folder / "keys")
            row(f"a backup ({seconds:.1f} s of processors)", most, "backup.resources.requests.memory", backup["requests"]["memory"])
            row("service at most", process.memory("VmHWM"), "resources.limits.memory", service["limits"]["memory"])
            server.stop()
        _, most, seconds = run(binary, "backup", "verify", folder / "backup", "--keys", folder / "keys")
        row(f"verifying it ({seconds:.1f} s of processors)", most, "backup.resources.requests.memory", backup["requests"]["memory"])
        print(subprocess.run(["du", "-sm", "data", "backup"], cwd=folder, capture_output=True, text=True).stdout)
    if short := [f"{what} takes {measured} MiB, and {key} is {quantity}" for what, measured, key, quantity in rows if measured > mebibytes(quantity)]:
        raise SystemExit("\n".join(short))


if __name__ == "__main__":
    main()
