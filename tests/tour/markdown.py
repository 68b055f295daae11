"""Runs the blocks of shell commands of a Markdown file as they stand there.

After a block of commands (```sh) the file says in comments that readers do not see what to hold it to:
`<!-- expect: TEXT -->` (TEXT is in the output), `<!-- absent: TEXT -->` (it is not), `<!-- fails -->` (the last command does not succeed).
All blocks of a file run in one shell, as it were: what one sets or defines, the next ones have.
"""

import os
import pathlib
import re
import subprocess
import tempfile


def blocks(path, sections=()):
    """Each with its expectations. `sections`: only what is below these headings, such as `## A tour`, up to the next one; none: all."""
    text = path.read_text()
    if sections:
        found = [re.search(rf"^{re.escape(heading)}\n(.*?)(^##|\Z)", text, re.DOTALL | re.MULTILINE) for heading in sections]
        if None in found:
            raise SystemExit(f"{path} has no section {sections[found.index(None)]!r}")
        text = "".join(section.group(1) for section in found)
    for commands, notes in re.findall(r"```sh\n(.*?)```\n((?:<!--.*?-->\n)*)", text, re.DOTALL):
        yield commands, [comment.strip() for comment in re.findall(r"<!--(.*?)-->", notes, re.DOTALL)]


def texts(notes, kind):
    return [note.removeprefix(f"{kind}:").strip() for note in notes if note.startswith(f"{kind}:")]


def run(path, folder, sections=(), replaced=None, environment=None, least=10):
    """Runs the file's commands in `folder`, with all `replaced` texts as its values say. Fewer than `least` expectations: something is wrong."""
    count = checks = 0
    with tempfile.TemporaryDirectory(prefix="loyaltyd-shell-") as place:
        kept = pathlib.Path(place) / "shell"
        kept.touch()
        for commands, notes in blocks(path, sections):
            for text, value in (replaced or {}).items():
                commands = commands.replace(text, value)
            print(f"$ {commands}", end="", flush=True)
            output = shell(commands, kept, folder, environment)
            print(output[1])
            check(path, output, notes)
            count, checks = count + 1, checks + len(notes)
    if checks < least:
        raise SystemExit(f"{path} has only {checks} expectations: was the section found?")
    print(f"{path.name}: {count} blocks, {checks} expectations met\n", flush=True)


def shell(commands, kept, folder, environment):
    """The code and the output. What is set is kept for the next block, be it that a command fails."""
    script = f"set -a; source {kept}; trap '{{ declare -px; declare -f; }} > {kept}' EXIT\n{commands}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def check(path, output, notes):
    code, text = output
    if (code != 0) != ("fails" in notes):
        raise SystemExit(f"{path}: it ended with {code}")
    for expected in texts(notes, "expect"):
        if expected not in text:
            raise SystemExit(f"{path}: this is not in the output: {expected}")
    for absent in texts(notes, "absent"):
        if absent in text:
            raise SystemExit(f"{path}: this is in the output: {absent}")
