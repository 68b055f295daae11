"""A real Prometheus for the checks of alerts and dashboard: promtool, and a server that scrapes and answers queries."""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / "target" / "tools" / "prometheus"


def binaries():
    """The folder of prometheus and promtool: those on the PATH, else Debian's, which is unpacked and not installed; nothing if there is no Debian."""
    if all(found := [shutil.which(name) for name in ("promtool", "prometheus")]):
        return dict(zip(("promtool", "prometheus"), found, strict=True))
    fetched = {name: TOOLS / "usr" / "bin" / name for name in ("promtool", "prometheus")}
    if not all(path.is_file() for path in fetched.values()):
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            return None
        TOOLS.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS.parent) as folder:
            fetch(folder)
            (package,) = pathlib.Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", package, TOOLS], check=True, stdin=subprocess.DEVNULL)
    return fetched


def fetch(folder):
    def attempt():
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
        return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    done = attempt()
    if done.returncode != 0:
        # Nobody has asked for Debian's list of packages on this machine yet.
        subprocess.run(["apt-get", "-qq", "update"], stdin=subprocess.DEVNULL, capture_output=True)
        done = attempt()
    if done.returncode != 0:
        raise SystemExit(f"Debian's prometheus cannot be fetched; put prometheus and promtool on the PATH:\n{done.stderr}")


def promtool(tools, *words):
    done = subprocess.run([tools["promtool"], *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    def __init__(self, address):
        self.address = address

    def ask(self, path, **query):
        """What the API answers; a query that it refuses ends the check with its reason."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["error"]) from error

    def values(self, expression):
        """Of the expression now, those that are numbers."""
        found = self.ask("query", query=expression)["result"]
        return [value for sample in found if (value := float(sample["value"][1])) == value]

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def until(self, alert, state):
        deadline = time.monotonic() + 60
        while (states := {rule["name"]: rule["state"] for rule in self.rules()})[alert] != state:
            if time.monotonic() > deadline:
                raise SystemExit(f"Prometheus does not come to say that {alert} is {state}: {states}")
            time.sleep(0.1)


@contextlib.contextmanager
def running(tools, metrics, rules):
    """A Prometheus that reads `metrics` every second as the job that the chart's ServiceMonitor makes, and judges by `rules`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{}".format(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="loyaltyd-prometheus-") as folder:
        place = pathlib.Path(folder)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "loyaltyd", "static_configs": [{"targets": [metrics]}]}],
        }
        # JSON is YAML.
        (place / "prometheus.yml").write_text(json.dumps(config))
        flags = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data", f"--web.listen-address={address}"]
        with open(place / "log", "ab") as log:
            process = subprocess.Popen([tools["prometheus"], *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/-/ready", timeout=5):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"Prometheus did not start:\n{(place / 'log').read_text()[-3000:]}")
                time.sleep(0.05)
            yield Prometheus(address)
        finally:
            process.terminate()
            process.wait(timeout=60)
