#!/usr/bin/env python3
"""The table of values in helm/README.md is made from values.yaml and its comments.

python tests/chart/readme.py --write
"""

import argparse
import json
import re

import yaml
from chart import CHART

BEGIN, END = "<!-- values: made by tests/chart/readme.py --write -->", "<!-- end of values -->"


def at(values, path):
    for step in path:
        values = values.get(step) if isinstance(values, dict) else None
    return values


def leaves(values, path=()):
    """Values that are no maps with keys."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def comments():
    """Of each value, the comment right above it."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    found = {}

    def walk(node, path):
        for key, value in node.value:
            line = key.start_mark.line
            above = []
            while line > 0 and re.match(r"\s*#", lines[line - 1]):
                line -= 1
                above.insert(0, lines[line].strip().lstrip("#").strip())
            if isinstance(value, yaml.MappingNode) and value.value:
                walk(value, (*path, key.value))
            else:
                found[(*path, key.value)] = " ".join(above)

    walk(yaml.compose("\n".join(lines)), ())
    return found


def table():
    said = comments()
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for path, value in leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        text = said.get(path)
        if not text or not text.endswith((".", "?")):
            raise SystemExit(f"values.yaml: {'.'.join(path)} has no comment of whole sentences")
        default = "" if value in ("", None) else f"`{json.dumps(value, ensure_ascii=False)}`"
        said_so = text.replace("|", "&#124;").replace("<", "&lt;")
        rows.append(f"| `{'.'.join(path)}` | {default} | {said_so} |")
    return "\n".join(rows)


def example():
    """The values of an installation that the README shows."""
    return re.search(r"^```yaml\n(.*?)^```", (CHART / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1]


def commands():
    """What both READMEs tell to install and upgrade with, as renderings of the same values."""
    for path in (CHART / "README.md", CHART.parent / "README.md"):
        text = path.read_text().replace("\\\n", " ")
        for found in re.findall(r"helm (?:install|upgrade) loyalty helm [^`\n#]*", text):
            words = [word for word in found.split() if word != "--create-namespace"]
            yield ["template", *words[2:]]


def names():
    """Values that the prose names, the table aside."""
    text = (CHART / "README.md").read_text().split(BEGIN)[0]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in re.findall(r"`([a-z][A-Za-z]*(?:\.[a-zA-Z]+)*)(?:: [^`]*)?`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if name.split(".")[0] in values:
            yield name, at(values, name.split("."))


def check(write=False):
    path = CHART / "README.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    made = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if write:
        path.write_text(made)
    elif made != text:
        raise SystemExit("helm/README.md does not have the values of values.yaml: python tests/chart/readme.py --write")
    print(f"helm/README.md: {table().count(chr(10)) - 1} values")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    check(parser.parse_args().write)
