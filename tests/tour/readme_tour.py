#!/usr/bin/env python3
"""Runs the tour of README.md as it stands there, with a real grpcurl, against a server of its own; needs grpcurl on the PATH.

    python3 tests/tour/readme_tour.py --binary target/release/loyaltyd

After a block of commands the README says in comments that readers do not see what to hold it to:
`<!-- expect: TEXT -->` (TEXT is in the output), `<!-- fails -->` (the command does not succeed).
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))

from harness import PROGRAMS, ROOT, Loyaltyd  # noqa: E402

ADDRESS = "127.0.0.1:50051"
BINARY = "target/release/loyaltyd"


def tour():
    """The blocks of the section, each with its comments."""
    section = re.search(r"^## A five-minute tour\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE).group(1)
    for commands, notes in re.findall(r"```sh\n(.*?)```\n((?:<!--.*?-->\n)*)", section, re.DOTALL):
        comments = [comment.strip() for comment in re.findall(r"<!--(.*?)-->", notes, re.DOTALL)]
        expected = [comment.removeprefix("expect:").strip() for comment in comments if comment.startswith("expect:")]
        yield commands, expected, "fails" in comments


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    args = parser.parse_args()
    blocks = checks = 0
    with tempfile.TemporaryDirectory(prefix="loyaltyd-tour-") as folder, Loyaltyd(args.binary, folder, [PROGRAMS / "vietnam.yaml"]) as server:
        for commands, expected, fails in tour():
            commands = commands.replace(ADDRESS, server.address).replace(BINARY, str(args.binary.resolve()))
            print(f"$ {commands}", end="", flush=True)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            print(done.stdout)
            if (done.returncode != 0) != fails:
                raise SystemExit(f"it ended with {done.returncode}")
            for text in expected:
                if text not in done.stdout:
                    raise SystemExit(f"this is not in the output: {text}")
            blocks, checks = blocks + 1, checks + len(expected)
        server.stop()
    if checks < 10:
        raise SystemExit(f"the tour has only {checks} expectations: was the section of the README found?")
    print(f"{blocks} blocks, {checks} expectations met")


if __name__ == "__main__":
    main()
