#!/usr/bin/env python3
"""Whether .ci/advisories says what it should, with databases of advisories that are made here: the real one cannot be fetched everywhere.

    python3 tests/dependencies/advisories.py

What is known and accepted today passes, each with a reason in deny.toml; something new about a dependency does not, and is named; an exception that is
not made is missed; and a database that cannot be fetched is no good news. Needs cargo-deny and git.
"""

import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DENY = ROOT / "deny.toml"
REAL = "https://github.com/RustSec/advisory-db"
# As the real database has it of what sled brings.
ACCEPTED = {"RUSTSEC-2025-0057": "fxhash", "RUSTSEC-2024-0384": "instant"}
ADVISORY = """```toml
[advisory]
id = "{id}"
package = "{package}"
date = "2026-01-01"
url = "https://example.com/{id}"
{kind}

[versions]
patched = []
```

# {title}

Made up, for a test.
"""


def database(folder, advisories):
    """A repository as RustSec's is: id -> package and what is known of it."""
    folder.mkdir()
    for name, (package, kind, title) in advisories.items():
        place = folder / "crates" / package
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.md").write_text(ADVISORY.format(id=name, package=package, kind=kind, title=title))
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "--message", "advisories"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, stdin=subprocess.DEVNULL)
    return folder.as_uri()


def ask(folder, url, text):
    """Code and output of .ci/advisories over this database."""
    config = folder / "deny.toml"
    fetched = tempfile.mkdtemp(dir=folder)
    config.write_text(text.replace("[advisories]\n", f'[advisories]\ndb-path = "{fetched}"\n'))
    # The address stays that of the real one, for which git goes to this one.
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{url}.insteadOf", "GIT_CONFIG_VALUE_0": REAL}
    command = ["bash", ROOT / ".ci" / "advisories", "--config", config]
    environment = {**os.environ, **instead}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    return done.returncode, done.stdout


def expect(what, found, code, *parts):
    if found[0] != code or (missing := [part for part in parts if part not in found[1]]):
        raise SystemExit(f"{what}: expected {code}, found {found[0]}; not said: {missing if found[0] == code else parts}\n{found[1]}")
    print(f"{what}: ends with {code}")


def main():
    text = DENY.read_text()
    ignored = re.findall(r'id = "(RUSTSEC-[0-9-]+)"', text)
    if sorted(ignored) != sorted(ACCEPTED):
        raise SystemExit(f"deny.toml makes other exceptions than are known here: {ignored}")
    unmaintained = {name: (package, 'informational = "unmaintained"', f"{package} is unmaintained") for name, package in ACCEPTED.items()}
    unsound = {"RUSTSEC-2026-9999": ("sled", "", "sled loses what it was given")}
    with tempfile.TemporaryDirectory(prefix="loyaltyd-advisories-") as place:
        folder = pathlib.Path(place)
        today, tomorrow = database(folder / "today", unmaintained), database(folder / "tomorrow", unmaintained | unsound)
        expect("what is known of sled's dependencies, and accepted", ask(folder, today, text), 0)
        expect("something new", ask(folder, tomorrow, text), 1, "RUSTSEC-2026-9999", "sled v0.34.7", "deny.toml")
        for name, package in ACCEPTED.items():
            without = re.sub(rf'^.*id = "{name}".*\n', "", text, flags=re.MULTILINE)
            expect(f"without the exception for {package}", ask(folder, today, without), 1, name, package)
        expect("no database", ask(folder, (folder / "nowhere").as_uri(), text), 2, "COULD NOT BE FETCHED")


if __name__ == "__main__":
    main()
