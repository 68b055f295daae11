#!/usr/bin/env python3
"""Runs the commands of a Markdown file as they stand there, with a real grpcurl, against a server of its own; needs grpcurl on the PATH.

    python3 tests/tour/readme_tour.py --binary target/release/loyaltyd
    python3 tests/tour/readme_tour.py --binary target/release/loyaltyd --file examples/grpcurl/README.md --program examples/grpcurl/practice.yaml

Without --file it is the tour of the README. tests/tour/markdown.py says how a file tells what is expected.
"""

import argparse
import os
import pathlib
import tempfile

import markdown
from server_site import PROGRAMS, ROOT, Site

ADDRESS = "127.0.0.1:50051"
BINARY = "target/release/loyaltyd"
SECTIONS = ["## A five-minute tour", "## Rule books", "### Vouchers", "### Rewards", "### How to answer a data-protection request"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--file", type=pathlib.Path, help="in place of the README's tour")
    parser.add_argument("--program", type=pathlib.Path, action="append", help="rule book that the server serves; without: vietnam.yaml")
    parser.add_argument("--flag", action="append", default=[], help="for the server, such as --flag=--sandbox")
    parser.add_argument("--secure", action="store_true", help="with TLS and API keys; needs trustme")
    args = parser.parse_args()
    path, sections = (args.file.resolve(), []) if args.file else (ROOT / "README.md", SECTIONS)
    programs = args.program or [PROGRAMS / "vietnam.yaml"]
    with tempfile.TemporaryDirectory(prefix="loyaltyd-tour-") as folder:
        site = Site(args.binary.resolve(), pathlib.Path(folder), programs, args.secure, args.flag)
        with site.server as server:
            replaced = {"grpcurl -plaintext": site.grpcurl(), ADDRESS: server.address, BINARY: str(args.binary.resolve())}
            # For `loyaltyd` alone, as one types it that is installed.
            environment = {**site.user(), "PATH": f"{args.binary.resolve().parent}:{os.environ['PATH']}"}
            markdown.run(path, ROOT, sections, replaced, environment)
            server.stop()


if __name__ == "__main__":
    main()
