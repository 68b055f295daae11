#!/usr/bin/env python3
"""Whether every link within the repository leads somewhere: those of all Markdown files, to files and headings, and the headings that alerts name.

    python3 tests/tour/links.py
"""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ALERTS = ROOT / "helm" / "files" / "alerts.yaml"


def headings(path):
    """As GitHub makes anchors of them."""
    lines = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


def dead(source, link, base):
    """Why the link leads nowhere, or nothing."""
    path, _, heading = link.partition("#")
    target = (base / path).resolve() if path else source
    if not target.exists():
        return f"{source.relative_to(ROOT)}: there is no {path}"
    if heading and heading not in headings(target):
        return f"{source.relative_to(ROOT)}: {target.relative_to(ROOT)} has no heading #{heading}"
    return None


def main():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    sources = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    links = [(source, link, source.parent) for source in sources for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", source.read_text())]
    told = [(ALERTS, link, ROOT) for link in re.findall(r'runbook: "(.*)"', ALERTS.read_text())]
    if len(links) < 100 or len(told) < 10:
        raise SystemExit(f"only {len(links)} links and {len(told)} runbooks of alerts were found")
    if faults := [fault for link in links + told if (fault := dead(*link))]:
        raise SystemExit("\n".join(faults))
    print(f"{len(links)} links of {len(sources)} Markdown files and {len(told)} of alerts lead somewhere")


if __name__ == "__main__":
    main()
