"""What a till or a web shop in Python needs to call loyaltyd well: connection, deadlines, retries, errors, money, and intentions on disk."""

import pathlib
import sys

GENERATED = pathlib.Path(__file__).resolve().parent.parent / "generated"
if not (GENERATED / "loyalty" / "v1").is_dir():
    raise SystemExit(f"{GENERATED} has no generated code yet: run the set-up line of README.md")
# Generated modules import one another as `loyalty.v1`, from the top.
sys.path.insert(0, str(GENERATED))
