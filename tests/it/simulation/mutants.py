#!/usr/bin/env python3
"""Plants each mistake of mutations/list.txt in a copy of the tree, and asks whether the simulation notices.

    mutants.py [--copy FOLDER] [--commands N] [--seeds N] [--patience SECONDS] [name ...]

Without names all are tried, but for those that the copy's RESULTS file has an answer for. A mistake that no seed notices, or that does
not compile, makes the exit status 1. In the copy the simulation is a test binary of its own, which is built far sooner than the whole.

All mistakes are built at once: a function that has some becomes a choice between its body as it is and its body with each of them, and
the environment variable LOYALTYD_PLANTED says which one lives. What stands outside a function that can choose while it runs (a constant,
a `const fn`, one that returns `impl Trait`) is built alone.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
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
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        elif source.exists():
            shutil.copy2(source, target)
    alone = copy / "tests/alone"
    alone.mkdir(exist_ok=True)
    for name, text in ALONE.items():
        (alone / name).write_text(text)


# What the brackets of a file's code are: neither those in comments nor those in strings count.
TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'|\bfn\b|[{}()\[\];]""",
    re.DOTALL,
)


def functions(text):
    """Each function's first position, and those of its body's braces."""
    tokens = [(token.group(), token.start()) for token in TOKEN.finditer(text)]
    tokens = [(kind, at) for kind, at in tokens if kind in ("fn", *"{}()[];")]
    for index, (kind, start) in enumerate(tokens):
        if kind != "fn":
            continue
        depth, opened = 0, None
        for kind, at in tokens[index + 1 :]:
            depth += (kind in "([{") - (kind in ")]}")
            if kind == ";" and depth == 0 and opened is None:
                break
            if kind == "{" and depth == 1 and opened is None:
                opened = at
            elif kind == "}" and depth == 0:
                yield start, opened, at
                break


def enclosing(text, at):
    """The innermost function round a position, if it can choose its body while it runs."""
    round_it = [found for found in functions(text) if found[1] < at < found[2]]
    if not round_it:
        return None
    start, opened, closed = max(round_it)
    before = text[:start].rsplit("\n", 1)[-1]
    chooses = "const" not in before and "impl " not in text[start:opened].rpartition("->")[2]
    return (opened, closed) if chooses else None


def plant_all(copy, known):
    """Plants all that can be planted together, and gives the number of each by its name."""
    numbers, bodies = {}, {}
    for name, (file, old, new) in known.items():
        text = (copy / file).read_text()
        if text.count(old) != 1:
            sys.exit(f"{name}: what is to be changed is {text.count(old)} times in {file}")
        at = text.index(old)
        body = enclosing(text, at)
        if body and at + len(old) <= body[1]:
            numbers[name] = len(numbers) + 1
            mistaken = text[body[0] : at] + new + text[at + len(old) : body[1] + 1]
            bodies.setdefault((file, body), []).append((numbers[name], mistaken))
    # From the end of each file to its start, so that positions stay true.
    for (file, (opened, closed)), choices in sorted(bodies.items(), reverse=True, key=lambda item: item[0]):
        path = copy / file
        text = path.read_text()
        arms = "".join(f" {number} => {mistaken}\n" for number, mistaken in choices)
        path.write_text(f"{text[:opened]}{{ match crate::planted() {{\n{arms} _ => {text[opened : closed + 1]} }} }}{text[closed + 1 :]}")
    (copy / "src/lib.rs").write_text((copy / "src/lib.rs").read_text() + PLANTED)
    return numbers


PLANTED = """
/// The mistake that lives in this run; 0 for none.
pub fn planted() -> usize {
    static PLANTED: std::sync::LazyLock<usize> =
        std::sync::LazyLock::new(|| std::env::var("LOYALTYD_PLANTED").map_or(0, |number| number.parse().expect("a number")));
    *PLANTED
}
"""


def run(copy, command, patience=None, **variables):
    """Its exit status, `None` if it did not end in time, and what it said."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(copy / "target"), "RUST_BACKTRACE": "0", **variables}
    with tempfile.TemporaryFile("w+") as said:
        # A group of its own, for cargo does not end what it has started.
        process = subprocess.Popen(command, cwd=copy, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
        said.seek(0)
        return status, said.read()


def try_one(copy, arguments, number=0):
    status, told = run(copy, ["cargo", "test", "--test", "alone", "--locked", "--no-run"])
    if status != 0:
        return "does not compile", told
    for seed in range(1, arguments.seeds + 1):
        variables = {
            "LOYALTYD_PLANTED": str(number),
            "LOYALTYD_TEST_SEED": str(seed * 1000),
            "LOYALTYD_SIMULATION_COMMANDS": str(arguments.commands),
        }
        status, told = run(copy, ["cargo", "test", "--test", "alone", "--locked", "simulation::lives"], arguments.patience, **variables)
        if status is None:
            return f"caught by seed {seed * 1000}, which did not end", told
        if status != 0:
            return f"caught by seed {seed * 1000}", told
    return "MISSED", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copy", default=os.path.join(tempfile.gettempdir(), "loyaltyd-mutants"))
    parser.add_argument("--commands", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--patience", type=int, help="seconds after which a run that does not end counts as caught; 600, and one for each 50 commands")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.patience is None:
        arguments.patience = 600 + arguments.commands // 50
    known = mutations()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        sys.exit(f"no such mistake: {', '.join(unknown)}")
    copy = pathlib.Path(arguments.copy)
    copy.mkdir(parents=True, exist_ok=True)
    copy_tree(copy)
    whole = {file: (copy / file).read_text() for file in sorted({file for file, _, _ in known.values()} | {"src/lib.rs"})}
    results = copy / "RESULTS"
    done = dict(line.split(": ", 1) for line in results.read_text().splitlines()) if results.exists() else {}
    names = arguments.names or [name for name in known if name not in done]
    numbers = plant_all(copy, {name: known[name] for name in names})
    verdict, told = try_one(copy, arguments)
    if verdict != "MISSED":
        sys.exit(f"the simulation fails without a mistake: {verdict}\n{told[-3000:]}")
    bad = False
    # First those that are in the binary that is built now.
    for name in sorted(names, key=lambda name: name not in numbers):
        since = time.time()
        if name not in numbers:
            for file, text in whole.items():
                (copy / file).write_text(text)
            file, old, new = known[name]
            (copy / file).write_text(whole[file].replace(old, new))
        verdict, told = try_one(copy, arguments, numbers.get(name, 0))
        print(f"{name}: {verdict} ({time.time() - since:.0f} s)", flush=True)
        if not verdict.startswith("caught"):
            bad = True
            print(told[-2000:])
        done[name] = verdict
        results.write_text("".join(f"{name}: {verdict}\n" for name, verdict in done.items()))
    sys.exit(1 if bad or any(not verdict.startswith("caught") for verdict in done.values()) else 0)


if __name__ == "__main__":
    main()
