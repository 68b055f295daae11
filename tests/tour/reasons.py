#!/usr/bin/env python3
"""Whether the support runbook says what to do about every reason that the service refuses with, and about no others.

    python3 tests/tour/reasons.py
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNBOOK = ROOT / "examples" / "grpcurl" / "README.md"


def main():
    tables = [ROOT / "src/grpc/status.rs", *(ROOT / "src/grpc/status").glob("*.rs")]
    words = {word for table in tables for word in re.findall(r'"([A-Z][A-Z_]+[A-Z])"', table.read_text())}
    # And those that are refused with elsewhere.
    words |= {word for source in (ROOT / "src/grpc").rglob("*.rs") for word in re.findall(r'Code::\w+,\s*"([A-Z_]+)"', source.read_text())}
    # Kinds of identifiers are metadata.
    reasons = {word for word in words if not word.startswith("KIND_")}
    table = RUNBOOK.read_text().split("## What refusals mean\n")[1]
    told = set(re.findall(r"`([A-Z][A-Z_]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
    if len(reasons) < 50:
        raise SystemExit(f"only {len(reasons)} reasons were found in src/grpc")
    if missing := sorted(reasons - told):
        raise SystemExit(f"{RUNBOOK} does not say what to do about: {', '.join(missing)}")
    if gone := sorted(told - reasons):
        raise SystemExit(f"{RUNBOOK} tells of what the service does not refuse with: {', '.join(gone)}")
    print(f"{len(reasons)} reasons, each in the runbook's table")


if __name__ == "__main__":
    main()
