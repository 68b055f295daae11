#!/usr/bin/env python3
"""The commands of the README that the tour does not run, each section as a user types it who begins there; needs grpcurl on the PATH.

    python3 tests/tour/readme_rest.py --binary target/release/loyaltyd

`loyaltyd serve` goes on in a terminal of its own, until the next one or the end of the section. Rule books that the README shows a part of are taken by
`program validate` within a whole one. And no block of commands of any README is left that nothing runs: it is run here, by another step of
.ci/run, or stands below in NOT_RUN with the reason.
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

import markdown
import readme_tour
import yaml
from server_site import ROOT

sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from harness import free_port  # noqa: E402

README = ROOT / "README.md"
PROGRAM = ["--program", "examples/programs/vietnam.yaml"]
PATIENCE = 60
# Section -> what the service that runs already was started with; none: none runs.
SECTIONS = {
    "## A year in a minute": None,
    "## Importing": PROGRAM,
    "## Who may do what": None,
    "## TLS": None,
    "## Backup and restore": PROGRAM,
    "## Watching it": None,
    "## Upgrades": [*PROGRAM, "--data", "/var/lib/loyaltyd"],
}
# Blocks by their first words, and why nothing runs them.
NOT_RUN = {
    "cargo run --release -- serve": "it is how the program was built; a release build takes as long as all of CI",
    "cargo test\n": "CI does so itself",
    "loyaltyd serve --tls-cert server.pem --tls-key server.key\n\n": "it is run further down in its section, with a certificate",
    "cargo test --test it crash::": "CI does so itself; the long form is random and takes hours",
    "cargo test --test it power::": "CI does so itself; the long form takes hours",
    "cargo test --test it fuzz::": "CI does so itself; the long form is random",
    "python tests/hostile/hostile.py": "a step of .ci/run",
    "cargo run --release -- bench --suite": "CI runs all its parts, small: the figures take an hour of a quiet machine",
    "python3 tests/it/simulation/mutants.py": "builds the simulation anew, and runs it for each of some three hundred mistakes",
    "cargo install cargo-fuzz": "needs a nightly compiler; the same targets are tests that CI runs",
    "cargo build --release\npython3 tests/released/make.py": "is done once for each release",
    "bash .ci/advisories": "fetches a database; tests/dependencies/advisories.py runs it with others",
    "docker build": "needs Docker; tests/chart/dockerfile.py goes as far as it can",
    "helm install": "needs a cluster; tests/chart/check_chart.py renders it",
    "helm upgrade": "needs a cluster; tests/chart/check_chart.py renders it",
    "loyaltyd key new --key-id 2026-11 > till.key       #": "needs a cluster; tests/chart/run_rendered.py makes its secrets",
    "kubectl -n loyalty": "needs a cluster; tests/chart/check_chart.py renders the commands of helm in it",
}
# Whole files that other steps run.
OTHERS = ["examples/grpcurl/README.md", "examples/clients/python/README.md", "examples/clients/typescript/README.md"]


class Terminal:
    """Where a user types, and the service in another one."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.ports = {}
        self.service = None
        self.log = folder / "service.log"
        (folder / "examples").symlink_to(ROOT / "examples")
        kept = pathlib.Path(folder / "shell")
        kept.touch()
        self.kept = kept
        self.environment = {"PATH": f"{binary.parent}:{os.environ['PATH']}", "LOYALTYD_SERVER": f"127.0.0.1:{self.port('50051')}"}

    def port(self, written):
        return self.ports.setdefault(written, str(free_port()))

    def here(self, text):
        """With ports of the system's choice, and folders that no user owns in this one."""
        text = re.sub(r"(127\.0\.0\.1|localhost):(\d{4,5})\b", lambda found: f"{found[1]}:{self.port(found[2])}", text)
        return re.sub(r"(?<![\w.])/(backup|safe|var/lib)(?=/)", lambda found: f"{self.folder}/{found[1]}", text)

    def serve(self, words):
        self.stop()
        command = [self.binary, "serve", *shlex.split(self.here(" ".join(words)), comments=True)]
        if "--listen" not in command:
            command += ["--listen", self.environment["LOYALTYD_SERVER"]]
        begun = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.service = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while "loyaltyd::app: serving" not in self.log.read_text()[begun:]:
            if self.service.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the service does not serve:\n{self.log.read_text()[begun:]}")
            time.sleep(0.02)

    def stop(self):
        if self.service and self.service.poll() is None:
            self.service.terminate()
            if self.service.wait(timeout=PATIENCE) != 0:
                raise SystemExit(f"the service stopped with {self.service.returncode}:\n{self.log.read_text()[-3000:]}")

    def type(self, block, served):
        """Code and output of a block; what stands before and behind a `loyaltyd serve` or `systemctl` is a script of its own."""
        output, script = "", []

        def run():
            nonlocal output
            text = self.here("\n".join(script))
            script.clear()
            if not text.strip():
                return 0
            code, said = markdown.shell(text, self.kept, self.folder, self.environment)
            output += said
            return code

        lines = block.replace("\\\n", " ").splitlines()
        for line in lines:
            words = line.split("#")[0].split()
            if words[:2] == ["loyaltyd", "serve"] or words[:1] == ["systemctl"]:
                if (code := run()) != 0:
                    return code, output
                if words[0] == "loyaltyd":
                    self.serve(words[2:])
                elif words[1] == "stop":
                    self.stop()
                else:
                    self.serve(served)
            else:
                script.append(line)
        return run(), output


def section(binary, heading, served):
    count = checks = 0
    with tempfile.TemporaryDirectory(prefix="loyaltyd-readme-") as folder:
        terminal = Terminal(binary, pathlib.Path(folder))
        try:
            if served is not None:
                terminal.serve(served)
            for commands, notes in markdown.blocks(README, [heading]):
                if reason_not_to(commands):
                    continue
                print(f"$ {commands}", end="", flush=True)
                done = terminal.type(commands, served)
                print(done[1])
                markdown.check(README, done, notes)
                count, checks = count + 1, checks + len(notes)
            terminal.stop()
        finally:
            if terminal.service and terminal.service.poll() is None:
                terminal.service.kill()
                terminal.service.wait()
    if count == 0 or checks < count:
        raise SystemExit(f"{heading}: {count} blocks with {checks} expectations: something would not be seen")
    print(f"{heading}: {count} blocks, {checks} expectations met\n", flush=True)


def reason_not_to(commands):
    return next((reason for words, reason in NOT_RUN.items() if (commands + "\n").startswith(words)), None)


def accounted():
    """No block is left out; what runs it is named."""
    used, left, here = set(), [], {}
    for heading in [*readme_tour.SECTIONS, *SECTIONS]:
        here.update((commands, heading) for commands, _ in markdown.blocks(README, [heading]))
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    count = 0
    for name in filter(None, listed.split("\0")):
        if name in OTHERS:
            continue
        for commands, _ in markdown.blocks(ROOT / name):
            count += 1
            reason = reason_not_to(commands)
            used.add(reason)
            if not reason and not (name == "README.md" and commands in here):
                left.append(f"{name}: {commands}")
    if left:
        raise SystemExit("nothing runs these commands:\n" + "\n".join(left))
    if unused := [words for words, reason in NOT_RUN.items() if reason not in used]:
        raise SystemExit(f"no README says these any more: {unused}")
    print(f"{count} blocks of commands beside those of {', '.join(OTHERS)}: each is run, or there is a reason")


def rule_books(binary):
    """Parts of rule books, within that of the bookshop, which has what they name."""
    parts = re.findall(r"^```yaml\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    whole = yaml.safe_load((ROOT / "examples" / "programs" / "offers-bookshop.yaml").read_text())
    for part in parts:
        book = dict(whole)
        for field, value in yaml.safe_load(part).items():
            if isinstance(value, list) and isinstance(whole.get(field), list):
                key = next(iter(value[0]))
                named = {item[key] for item in value}
                # What both have is as the README has it.
                value = [item for item in whole[field] if item[key] not in named] + value
            book[field] = value
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(book, file, sort_keys=False)
            file.flush()
            done = subprocess.run([binary, "program", "validate", file.name], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"the README shows a rule book that is none:\n{part}\n{done.stdout}{done.stderr}")
    if len(parts) < 5:
        raise SystemExit(f"only {len(parts)} parts of rule books were found")
    print(f"{len(parts)} parts of rule books are valid within a whole one")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--section", action="append", choices=SECTIONS, help="only these, for who works on one")
    args = parser.parse_args()
    binary = args.binary.resolve()
    accounted()
    rule_books(binary)
    for heading, served in SECTIONS.items():
        if not args.section or heading in args.section:
            section(binary, heading, served)


if __name__ == "__main__":
    main()
