#!/usr/bin/env python3
"""Plants each mistake of mutations/list.txt in a copy of the tree, and asks whether the simulation notices.

    mutants.py [--copy FOLDER] [--commands N] [--seeds N] [name ...]

Without names all are tried, but for those that the copy's RESULTS file has an answer for. A mistake that no seed notices, or that does
not compile, makes the exit status 1. In the copy the simulation is a test binary of its own, which is built far sooner than the whole.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[2]
ALONE = {
    "main.rs": 'mod crash;\n#[path = "../it/simulation/mod.rs"]\nmod simulation;\n',
    "crash.rs": '#[path = "../it/crash/random.rs"]\npub mod random;\n',
}


def mutations():
    text = "\n".join(line for line in (HERE / "mutations/list.txt").read_text().splitlines() if not line.startswith("#"))
    found = {}
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        name, file, old, new = paragraph.split("\n")
        if not (old.startswith("- ") and new.startswith("+ ")) or name in found:
            sys.exit(f"{name}: a name, a file, '- ' and '+ ' are expected, each name once")
        found[name] = (file, old[2:].replace("\\n", "\n"), new[2:].replace("\\n", "\n"))
    return found


def copy_tree(copy):
    for part in ["src", "tests", "proto", "benches", "examples", "Cargo.toml", "Cargo.lock", "build.rs"]:
        source, target = TREE / part, copy / part
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, target)
    alone = copy / "tests/alone"
    alone.mkdir(exist_ok=True)
    for name, text in ALONE.items():
        (alone / name).write_text(text)


def run(copy, command, **variables):
    environment = {**os.environ, "CARGO_TARGET_DIR": str(copy / "target"), "RUST_BACKTRACE": "0", **variables}
    return subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def try_one(copy, arguments):
    built = run(copy, ["cargo", "test", "--test", "alone", "--locked", "--no-run"])
    if built.returncode != 0:
        return "does not compile", built.stdout
    for seed in range(1, arguments.seeds + 1):
        variables = {"LOYALTYD_TEST_SEED": str(seed * 1000), "LOYALTYD_SIMULATION_COMMANDS": str(arguments.commands)}
        tried = run(copy, ["cargo", "test", "--test", "alone", "--locked", "simulation::lives"], **variables)
        if tried.returncode != 0:
            return f"caught by seed {seed * 1000}", tried.stdout
    return "MISSED", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copy", default=os.path.join(tempfile.gettempdir(), "loyaltyd-mutants"))
    parser.add_argument("--commands", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    known = mutations()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        sys.exit(f"no such mistake: {', '.join(unknown)}")
    copy = pathlib.Path(arguments.copy)
    copy.mkdir(parents=True, exist_ok=True)
    copy_tree(copy)
    results = copy / "RESULTS"
    done = dict(line.split(": ", 1) for line in results.read_text().splitlines()) if results.exists() else {}
    if not arguments.names and "none" not in done:
        verdict, told = try_one(copy, arguments)
        if verdict != "MISSED":
            sys.exit(f"the simulation fails without a mistake: {verdict}\n{told[-3000:]}")
        done["none"] = "passes"
    bad = False
    for name in arguments.names or [name for name in known if name not in done]:
        file, old, new = known[name]
        path = copy / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{name}: what is to be changed is {text.count(old)} times in {file}")
        since = time.time()
        path.write_text(text.replace(old, new))
        try:
            verdict, told = try_one(copy, arguments)
        finally:
            path.write_text(text)
        print(f"{name}: {verdict} ({time.time() - since:.0f} s)", flush=True)
        if not verdict.startswith("caught"):
            bad = True
            print(told[-2000:])
        done[name] = verdict
        results.write_text("".join(f"{name}: {verdict}\n" for name, verdict in done.items()))
    sys.exit(1 if bad or any(not verdict.startswith(("caught", "passes")) for verdict in done.values()) else 0)


if __name__ == "__main__":
    main()
