#!/usr/bin/env python3
"""Compares the contract and the storage messages with those of the last release: what breaks those who have it fails. Then it breaks copies
of both on purpose, to see that this would be noticed.

    python3 tests/released/breaking.py

Needs buf.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"

# Of the contract nothing may change that generated code or JSON would notice, as buf.yaml says; what is stored is read by its numbers and types.
CHECKS = {
    "contract": ("loyalty/v1", None),
    "storage": ("loyalty/storage/v1", '{"version": "v2", "breaking": {"use": ["WIRE"]}}'),
}

# What is done to the copies, and what it must be found by.
BREAKS = {
    "contract": [
        ("loyalty/v1/member.proto", r"  int64 redeemed = 6;\n", "", "redeemed"),
        ("loyalty/v1/common.proto", r"string currency_code = 1;", "string currency = 1;", "currency"),
        ("loyalty/v1/member_service.proto", r"  rpc GetMember\(.*\n", "", "GetMember"),
    ],
    "storage": [
        ("loyalty/storage/v1/journal.proto", r"sint64 redeemed = 6;", "bytes redeemed = 6;", "redeemed"),
        ("loyalty/storage/v1/journal.proto", r"  sint64 redeemed = 6;\n", "", "redeemed"),
    ],
}


def last_release():
    releases = [path for path in HERE.iterdir() if path.is_dir() and re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    if not releases:
        raise SystemExit("there is no release: run tests/released/make.py")
    return max(releases, key=lambda path: [int(part) for part in path.name.split(".")])


def compare(name, release, proto):
    """buf's exit code and words."""
    path, config = CHECKS[name]
    command = ["buf", "breaking", ".", "--against", release / f"{name}.binpb", "--path", path, *(["--config", config] if config else [])]
    done = subprocess.run(command, cwd=proto, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main():
    release = last_release()
    for name in CHECKS:
        code, words = compare(name, release, PROTO)
        if code != 0:
            raise SystemExit(f"{name}: this breaks those who have {release.name}:\n{words}")
        for file, before, after, found_by in BREAKS[name]:
            with tempfile.TemporaryDirectory(prefix="loyaltyd-breaking-") as folder:
                copy = pathlib.Path(folder) / "proto"
                shutil.copytree(PROTO, copy)
                text = (copy / file).read_text()
                broken, count = re.subn(before, after, text, count=1)
                if count != 1:
                    raise SystemExit(f"{file} has nothing that looks like {before}: name something else to break")
                (copy / file).write_text(broken)
                code, words = compare(name, release, copy)
                if code == 0 or found_by not in words:
                    raise SystemExit(f"a broken {file} was not noticed: {before!r} became {after!r}, and buf said {code}: {words}")
        print(f"{name}: nothing breaks those who have {release.name}; {len(BREAKS[name])} breaks on purpose were noticed")


if __name__ == "__main__":
    main()
