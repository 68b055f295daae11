#!/usr/bin/env python3
"""Plays the kubelet: runs the program with the very arguments that the chart renders, over folders in place of the volumes, on loopback.

    python tests/chart/run_rendered.py --binary target/release/loyaltyd

A trial without TLS: serve, publish the rule book, back up, verify, restore into another folder, serve that. Traces to a collector of a private
authority. Then TLS and an access file:
the probes, a backup by an operator's key, closed health. As root, each container runs as the chart's user without capabilities, and can
write to nothing but the volumes that are mounted for it to write to. What only a cluster can show, such as network policies, is not
shown here.

Needs grpcio, PyYAML, npm (which fetches Helm) and openssl.
"""

import argparse
import concurrent.futures
import contextlib
import copy
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import grpc
from chart import Helm, merged, of_kind, only, pod_of
from matrix import BOOK

SERVING = b"\x08\x01"
# As a container is: all is read-only but the volumes that are mounted for writing, and the user has no capabilities and gets none.
CONFINED = """
outer=$(findmnt --noheadings --output TARGET --target "$1")
mount --make-rprivate /
for written in $4; do mount --bind "$written" "$written"; done
mount -o remount,bind,ro /
test "$outer" = / || mount -o remount,bind,ro "$outer"
user=$2; group=$3; shift 4
exec setpriv --reuid="$user" --regid="$group" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""
NAMESPACE, RELEASE = "shop", "loyalty"
BACKED_UP = {"enabled": True, "credentials": {"apiKey": {"existingSecret": "backup-key"}}}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Cluster:
    """Volumes and secrets as folders; the containers' paths and addresses become those of this machine."""

    def __init__(self, folder, binary):
        # Where the container's user can read it.
        self.folder, self.binary = folder, shutil.copy(binary, folder / "loyaltyd")
        self.claims = folder / "claims"
        self.claims.mkdir()
        folder.chmod(0o755)
        self.is_confined = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
        if not self.is_confined:
            print("!!! USERS AND READ-ONLY ROOTS ARE NOT TESTED HERE: that needs root and the right to mount")
        self.secrets, self.config_maps = {}, {}
        self.ports = {}
        self.log = folder / "server.log"

    def apply(self, values):
        things = Helm().render(values, RELEASE, NAMESPACE)
        self.config_maps = {thing["metadata"]["name"]: thing["data"] for thing in of_kind(things, "ConfigMap")}
        return things

    def give(self, place, mode, security):
        """To the pod's group, as Kubernetes does it."""
        if self.is_confined:
            os.chown(place, 0, security["fsGroup"])
            place.chmod(mode)

    def _volume(self, volume, security):
        """The folder of a volume; those of secrets and config maps are written anew."""
        if "persistentVolumeClaim" in volume:
            place = self.claims / volume["persistentVolumeClaim"]["claimName"]
            place.mkdir(parents=True, exist_ok=True)
            # As ext4 has it: a folder of the ledger that were the volume's own would never be empty.
            (place / "lost+found").mkdir(mode=0o700, exist_ok=True)
            self.give(place, 0o2770, security)
            return place
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        if "secret" in volume:
            source = volume["secret"]
            keys = self.secrets[source["secretName"]]
            items = source.get("items") or [{"key": key, "path": key} for key in keys]
            for item in items:
                (place / item["path"]).write_bytes(keys[item["key"]])
        else:
            for name, text in self.config_maps[volume["configMap"]["name"]].items():
                (place / name).write_text(text)
        self.give(place, 0o750, security)
        for file in place.iterdir():
            self.give(file, volume.get("secret", {}).get("defaultMode", 0o644), security)
        return place

    def command(self, words, container, volumes):
        places = sorted(((mount["mountPath"], volumes[mount["name"]]) for mount in container.get("volumeMounts", [])), reverse=True)
        done = []
        for word in words:
            flag, equals, value = word.rpartition("=")
            for at, place in places:
                if value.startswith(at + "/"):
                    value = str(place) + value[len(at) :]
            value = re.sub(
                rf"(0\.0\.0\.0|127\.0\.0\.1|{RELEASE}-loyaltyd\.{NAMESPACE}\.svc):(\d+)$",
                lambda found: f"127.0.0.1:{self.port(found[2])}",
                value,
            )
            done.append(f"{flag}{equals}{value}")
        return [self.binary, *done]

    def variables(self, container, volumes):
        named = container.get("env", [])
        given = self.command([f"{variable['name']}={variable['value']}" for variable in named], container, volumes)[1:]
        return {"PATH": os.environ["PATH"], **dict(variable.split("=", 1) for variable in given)}

    def confined(self, command, container, volumes):
        if not self.is_confined:
            return command
        user, group = str(self.security["runAsUser"]), str(self.security["fsGroup"])
        mounts = [mount for mount in container.get("volumeMounts", []) if not mount.get("readOnly")]
        written = " ".join(str(volumes[mount["name"]]) for mount in mounts)
        return ["unshare", "--mount", "sh", "-ec", CONFINED, "sh", self.claims, user, group, written, *command]

    def port(self, rendered):
        return self.ports.setdefault(rendered, free_port())

    def volumes(self, thing):
        pod = pod_of(thing)
        self.security = pod["spec"]["securityContext"]
        found = {volume["name"]: self._volume(volume, self.security) for volume in pod["spec"].get("volumes", [])}
        for claim in thing["spec"].get("volumeClaimTemplates", []):
            name = f"{claim['metadata']['name']}-{thing['metadata']['name']}-0"
            found[claim["metadata"]["name"]] = self._volume({"persistentVolumeClaim": {"claimName": name}}, self.security)
        return found

    def run(self, container, volumes, words=None):
        command = self.confined(self.command(words or container["args"], container, volumes), container, volumes)
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=120
        )

    def job(self, thing, expected="", code=0):
        """Runs the containers of a job one after the other."""
        volumes = self.volumes(thing)
        pod = pod_of(thing)
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            done = self.run(container, volumes)
            if done.returncode != code:
                fail(f"{container['name']} ended with {done.returncode}: {done.stdout}{done.stderr}")
            print(f"  {container['name']}: {(done.stdout or done.stderr).strip().splitlines()[-1]}")
        if expected not in done.stdout + done.stderr:
            fail(f"{container['name']} did not say {expected!r}: {done.stdout}{done.stderr}")

    @contextlib.contextmanager
    def served(self, things):
        """The StatefulSet's pod, once its startup probe passes; stopped in order within its grace period."""
        stateful = only(things, "StatefulSet")
        spec = pod_of(stateful)["spec"]
        (container,) = spec["containers"]
        volumes = self.volumes(stateful)
        with open(self.log, "ab") as log:
            command = self.confined(self.command(container["args"], container, volumes), container, volumes)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.variables(container, volumes))
        try:
            deadline = time.monotonic() + 60
            while not self.probe(container, "startupProbe", volumes):
                if process.poll() is not None or time.monotonic() > deadline:
                    fail(f"the pod did not start: {self.why}\n{self.log.read_text()[-3000:]}")
                time.sleep(0.05)
            for name in ("readinessProbe", "livenessProbe"):
                if not self.probe(container, name, volumes):
                    fail(f"{name}: {self.why}")
            yield container, volumes
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=spec["terminationGracePeriodSeconds"])
            if code != 0:
                fail(f"the pod ended with {code}:\n{self.log.read_text()[-3000:]}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def probe(self, container, name, volumes):
        probe = container[name]
        if "exec" in probe:
            done = self.run(container, volumes, probe["exec"]["command"][1:])
            self.why = (done.stdout + done.stderr).strip()
            return done.returncode == 0
        with grpc.insecure_channel(f"127.0.0.1:{self.port(str(probe['grpc']['port']))}") as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
            try:
                answer = check(b"", timeout=probe["timeoutSeconds"])
            except grpc.RpcError as error:
                self.why = error.details()
                return False
            self.why = answer.hex()
            return answer == SERVING

    def cli(self, *words):
        return subprocess.run([self.binary, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def fail(why):
    raise SystemExit(why)


def holds(done, part, what):
    if done.returncode != 0 or part not in done.stdout + done.stderr:
        fail(f"{what}: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def collector(files):
    """Takes traces by OTLP over TLS, with a certificate for localhost; its port, and the methods that were called."""
    called = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            called.append(details.method)
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[Handler()])
    credentials = grpc.ssl_server_credentials([(files["tls.key"], files["tls.crt"])])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port, called
    finally:
        server.stop(None).wait()


def traced(cluster):
    """Over TLS, to a collector whose authority nobody knows but the chart's secret."""
    print("traces:")
    files = certificate(cluster.folder, "localhost")
    cluster.secrets = {"authorities": {"bundle.pem": files["ca.crt"]}}
    with collector(files) as (port, called):
        values = {
            "insecure": True,
            "otlp": {"endpoint": f"https://localhost:{port}", "sampleRatio": 1},
            "trust": {"existingSecret": "authorities", "key": "bundle.pem"},
        }
        with cluster.served(cluster.apply(values)):
            deadline = time.monotonic() + 60
            while not called:
                if time.monotonic() > deadline:
                    fail(f"no traces come:\n{cluster.log.read_text()[-3000:]}")
                cluster.cli("program", "show", "--server", f"127.0.0.1:{cluster.port('50051')}")
    if set(called) != {"/opentelemetry.proto.collector.trace.v1.TraceService/Export"}:
        fail(f"something else was called: {set(called)}")
    print("  sent over TLS to a collector of a private authority")


def trial(cluster):
    print("a trial:")
    cluster.secrets = {"operator": {"wrap": os.urandom(32)}}
    values = {
        "insecure": True,
        "adminFromAnywhere": True,
        "programs": {"vietnam": BOOK},
        "backup": {"enabled": True},
        "operatorKey": {"existingSecret": "operator", "key": "wrap"},
        "log": {"format": "json"},
    }
    things = cluster.apply(values)
    with cluster.served(things):
        server = f"127.0.0.1:{cluster.port('50051')}"
        holds(cluster.cli("program", "show", "vietnam", "--server", server), "vietnam", "the rule book is not published")
        cluster.job(only(things, "CronJob"))
        # The second run fetches what is new, which is nothing.
        cluster.job(only(things, "CronJob"))
    restored = merged(values, {"restore": {"enabled": True}, "storage": {"folder": "restored-1"}})
    things = cluster.apply(restored)
    if cluster.is_confined:
        # Or this would show nothing of what containers write to.
        shut = copy.deepcopy(only(things, "Job"))
        for mount in pod_of(shut)["spec"]["containers"][0]["volumeMounts"]:
            mount["readOnly"] = True
        cluster.job(shut, "Read-only file system", code=1)
    cluster.job(only(things, "Job"), "restored up to commit")
    cluster.job(only(things, "Job"), "restored-1", code=1)
    things = cluster.apply(merged(restored, {"restore": {"enabled": False}}))
    with cluster.served(things):
        holds(cluster.cli("program", "show", "vietnam", "--server", server), "vietnam", "the rule book is not restored")
    print("  served, backed up twice, restored beside, served from there")


def certificate(folder, name):
    """A CA and a certificate of it, by openssl."""

    def run(*words):
        subprocess.run(["openssl", *words], check=True, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True)

    (folder / "san").write_text(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=a CA for a test")
    run("req", *curve, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=loyaltyd")
    run(
        "x509",
        "-req",
        "-in",
        "tls.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        "tls.crt",
        "-days",
        "2",
        "-extfile",
        "san",
    )
    return {file: (folder / file).read_bytes() for file in ("ca.crt", "tls.crt", "tls.key")}


def secured(cluster):
    print("TLS and an access file:")
    made = {name: cluster.cli("key", "new", "--key-id", "test") for name in ("operator", "probe")}
    for done in made.values():
        holds(done, "hash:", "no API key")
    lines = {name: re.search(r"\{key_id.*\}", done.stderr)[0] for name, done in made.items()}
    access = (
        "principals:\n"
        f"  - {{principal_id: backups, roles: [operator], programs: ['*'], api_keys: [{lines['operator']}]}}\n"
        f"  - {{principal_id: probes, roles: [pos], programs: ['*'], api_keys: [{lines['probe']}]}}\n"
    )
    cluster.secrets = {
        "cert": certificate(cluster.folder, f"{RELEASE}-loyaltyd.{NAMESPACE}.svc"),
        "access": {"access.yaml": access.encode()},
        "backup-key": {"api-key": made["operator"].stdout.encode()},
        "probe-key": {"api-key": made["probe"].stdout.encode()},
    }
    values = {"tls": {"existingSecret": "cert"}, "access": {"existingSecret": "access"}, "programs": {"vietnam": BOOK}, "backup": BACKED_UP}
    # The backup calls the service by its name. That leads nowhere here, so it is given this machine's address and verifies the name.
    values["tls"]["serverName"] = f"{RELEASE}-loyaltyd.{NAMESPACE}.svc"
    things = cluster.apply(values)
    with cluster.served(things):
        with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port('9464')}/metrics", timeout=10) as answer:
            if b"# EOF" not in answer.read():
                fail("these are no metrics")
        cluster.job(only(things, "CronJob"))
        cluster.job(only(things, "Pod"))
    closed = merged(values, {"health": "closed", "reflection": "closed", "probes": {"apiKey": {"existingSecret": "probe-key"}}})
    with cluster.served(cluster.apply(closed)) as (container, volumes):
        command = [word for word in container["livenessProbe"]["exec"]["command"][1:] if not word.startswith("--api-key-file")]
        if cluster.run(container, volumes, command).returncode == 0:
            fail("closed health answers whoever asks")
    print("  probed open and closed, scraped, backed up by an operator's key")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    with tempfile.TemporaryDirectory() as folder:
        parts = [pathlib.Path(folder) / name for name in ("trial", "traced", "secured")]
        for part in parts:
            part.mkdir()
        pathlib.Path(folder).chmod(0o755)
        trial(Cluster(parts[0], binary))
        traced(Cluster(parts[1], binary))
        secured(Cluster(parts[2], binary))


if __name__ == "__main__":
    sys.exit(main())
