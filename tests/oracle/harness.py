"""Starts, stops and kills the server binary; Python's standard library only."""

import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = ROOT / "examples" / "programs"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Loyaltyd:
    """A server with its data in `folder`/data; starts on the same port again after a stop. `reach`: what a caller says beside the address,
    and the scheme before it, where the server asks for more."""

    def __init__(self, binary, folder, programs, *flags, scheme="", reach=()):
        self.binary, self.folder, self.programs, self.flags = binary, pathlib.Path(folder), programs, flags
        self.address = f"127.0.0.1:{free_port()}"
        self.scheme, self.reach = scheme, reach
        self.process = None

    def start(self):
        command = [self.binary, "serve", "--listen", self.address, "--data", self.folder / "data", *self.flags]
        for program in self.programs:
            command += ["--program", program]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")
            # It answers when it has read its ledger.
            probe = [self.binary, "program", "show", "--server", f"{self.scheme}{self.address}", *self.reach]
            if subprocess.run(probe, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        if code != 0:
            raise SystemExit(f"the server stopped with {code}:\n{(self.folder / 'server.log').read_text()[-3000:]}")

    def check(self):
        """After a stop: the journal folded again must be what the look-up tables say."""
        command = [self.binary, "check", "--data", self.folder / "data"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print(done.stdout, end="")
        if done.returncode != 0:
            raise SystemExit(f"the check ended with {done.returncode}")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


def import_command(binary, kind, file, server, folder, *extra):
    """What a user types for a file of this kind."""
    command = [binary, "import", "purchases", file, "--server", server, "--enroll", "--rejects", pathlib.Path(folder) / f"{kind}.rejects.csv"]
    if kind == "cdnow":
        command += ["--program", "cdnow", "--store", "web", "--map", "order=order_id", "--map", "member=customer_id"]
        command += ["--map", "time=date", "--map", "amount=amount_usd"]
    else:
        command += ["--program", "grocery", "--map", "order=basket_id", "--map", "member=household_id", "--map", "time=transaction_timestamp"]
        command += ["--map", "store=store_id", "--map", "sku=product_id", "--map", "category=department", "--map", "quantity=quantity"]
        command += ["--map", "amount=sales_value", "--map", "discount=coupon_disc", "--limit-discount-to-amount"]
    return [str(part) for part in [*command, *extra]]
