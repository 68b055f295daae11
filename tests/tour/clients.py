#!/usr/bin/env python3
"""The clients of examples/clients as a new user tries them, and through what networks and servers do to tills.

    python3 tests/tour/clients.py --binary target/release/loyaltyd
    python3 tests/tour/clients.py --binary target/release/loyaltyd --secure      with TLS and API keys; needs trustme

What git knows of the clients and the contract is copied to target/tour, as a clean clone has it; the commands of each client's README run there. Then
a till sells on while the server is killed and started again, while answers and requests are lost, and while the till itself is killed: in the
end each sale is in the ledger once. The TypeScript web shop calls by gRPC-Web over fetch too. Needs Node, and grpcio and grpcio-reflection.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import markdown
from proxy import Proxy
from server_site import PROGRAMS, ROOT, Site

TILLS = {"python": [".venv/bin/python", "till.py"], "typescript": ["node", "dist/till.js"]}
SALES = 18
PATIENCE = 1


def equal(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: expected {expected}, found {found}")
    print(f"{what}: {found}", flush=True)


class Till:
    """A till's process, which takes one command a line."""

    def __init__(self, command, folder, environment, server, state):
        self.state, self.folder = state, folder
        self.command = [*command, "--server", server, "--state", str(state), "--till", state.name, "--patience", str(PATIENCE)]
        self.environment = {**os.environ, **environment}
        self.process = None

    def open(self):
        self.process = subprocess.Popen(
            [*self.command, "shift"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A group of its own: some installations of Node start it from a script, and a kill has to reach both.
            start_new_session=True,
        )
        return self

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # What it wrote to nobody, and the end of whatever wrote it.
        self.process.stdout.read()

    def type(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, *starts):
        for line in self.process.stdout:
            print("   ", line, end="", flush=True)
            if line.startswith(starts):
                return line.strip()
        raise SystemExit("the till ended")

    def sell(self, card, goods="beans=100000"):
        self.type(f"sell --card {card} {goods}")
        return self.until("sold", "refused")

    def close(self):
        self.process.stdin.close()
        rest = self.process.stdout.read()
        print(rest, end="", flush=True)
        equal(self.process.wait(timeout=90), 0, "the till's shift ends with")
        return rest

    def run(self, *words):
        done = subprocess.run(
            [*self.command, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        print("   ", done.stdout, end="", flush=True)
        equal(done.returncode, 0, f"till {' '.join(words)} ends with")
        return done.stdout

    def records(self):
        """What it wrote down of purchases, oldest first."""
        lines = (self.state / "outbox.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [record for record in found if record.get("kind") == "RecordPurchase"]

    def is_recording(self):
        """The last thing that it wrote down is a purchase: it has been sent, or is about to be, and has no answer yet."""
        lines = (self.state / "outbox.jsonl").read_text().splitlines()
        return bool(lines) and '"RecordPurchase"' in lines[-1]


class Shop:
    """One client's part of the tour."""

    def __init__(self, client, folder, site):
        self.client, self.folder, self.site = client, folder, site
        self.checker = site.checker()

    def till(self, name, address=None):
        server = f"{self.site.scheme}{address or self.site.server.address}"
        state = self.folder / "state" / f"{self.client[:2]}-{name}"
        till = Till(TILLS[self.client], self.folder, self.site.environment, server, state)
        card = f"{self.client}-{name}-{uuid.uuid4().hex[:8]}"
        till.run("enroll", "--card", card)
        return till, card

    def member(self, card):
        return self.checker.call("loyalty.v1.MemberService", "GetMember", program_id="vietnam", member=by_card(card)).member

    def accrued(self, card):
        """The purchases in the ledger: order -> request_id. More than one entry for an order ends the tour."""
        pages = self.checker.pages("loyalty.v1.PointsService", "ListEntries", "entries", program_id="vietnam", member=by_card(card), page_size=500)
        found = {}
        for entry in pages:
            if entry.HasField("purchase_accrued"):
                purchase = entry.purchase_accrued.purchase
                if purchase.order_id in found:
                    raise SystemExit(f"{purchase.order_id} is twice in the ledger")
                found[purchase.order_id] = entry.request_id
        return found

    def settled(self, till, card, sales, points):
        """Nothing waits, nothing is doubled, nothing is missing."""
        equal("0 requests wait, 0 were refused before" in till.run("queue"), True, "nothing waits at the till")
        member = self.member(card)
        equal((member.lifetime.visits, member.balance.available, member.balance.issued), (sales, points, points), "visits and points")
        equal(len(self.accrued(card)), sales, "purchases in the ledger")

    # -- what can happen -----------------------------------------------------------------------------------------------------------

    def server_is_killed(self):
        till, card = self.till("killed-server")
        till.open()
        offline = 0
        for sale in range(SALES):
            till.type(f"sell --card {card} beans=100000")
            if sale == SALES // 3:
                self.site.server.kill()
            if sale == SALES // 2:
                self.site.server.start()
            offline += "outbox" in till.until("sold", "refused")
        till.close()
        equal(offline >= SALES // 2 - SALES // 3 - 1, True, f"{offline} sales while the server was away")
        self.settled(till, card, SALES, SALES * 10)

    def till_is_killed(self):
        till, card = self.till("killed-till")
        sold = []
        for life in range(3):
            till.open()
            for _ in range(2 + life):
                sold.append(till.sell(card))
            till.type(f"sell --card {card} beans=100000")
            deadline = time.monotonic() + 30
            while not till.is_recording() and f"{till.state.name}/{len(sold) + life + 1:06}" not in str(till.records()):
                if time.monotonic() > deadline:
                    raise SystemExit("the till does not write its sale down")
            till.kill()
        till.run("send")
        # Each life began one more sale, which it had written down.
        self.settled(till, card, len(sold) + 3, (len(sold) + 3) * 10)

    def answer_is_lost(self):
        """The service has recorded the sale, and the connection ends before its answer is there: the till asks again and gets the first answer."""
        with contextlib.closing(Proxy(self.site.server.address)) as proxy:
            till, card = self.till("lost-answer", proxy.address)
            till.open()
            till.sell(card)
            proxy.loses_answers = till.is_recording
            till.type(f"sell --card {card} beans=100000")
            self.wait_for_visits(card, 2)
            equal(proxy.lost.wait(30), True, "the answer is lost")
            proxy.loses_answers = lambda: False
            proxy.cut()
            line = till.until("sold", "refused")
            equal("+10 points, 20 available" in line, True, "the answer comes again")
            till.close()
            equal(set(self.accrued(card).values()), {record["request"][key(record)] for record in till.records()}, "request_ids sent and recorded")
            self.settled(till, card, 2, 20)

    def answer_stays_lost(self):
        """As before, but nothing answers any more: what may be recorded waits as it was sent, and is delivered in a batch."""
        with contextlib.closing(Proxy(self.site.server.address)) as proxy:
            till, card = self.till("answer-stays-lost", proxy.address)
            till.open()
            proxy.loses_answers = till.is_recording
            till.type(f"sell --card {card} beans=100000")
            self.wait_for_visits(card, 1)
            proxy.down = True
            proxy.cut()
            equal("without an answer" in till.until("sold", "refused"), True, "the till goes on")
            equal("offline" in till.sell(card), True, "and sells offline")
            proxy.down, proxy.loses_answers = False, lambda: False
            till.close()
            self.settled(till, card, 2, 20)

    def request_is_lost_and_the_quote_changes(self):
        """The sale never arrived, and by the time that it does the member is gold: it is booked at what the customer was told and paid."""
        with contextlib.closing(Proxy(self.site.server.address)) as proxy:
            till, card = self.till("lost-request", proxy.address)
            till.open()
            proxy.loses_requests = till.is_recording
            till.type(f"sell --card {card} beans=400000")
            equal("without an answer" in till.until("sold", "refused"), True, "the till goes on")
            equal(self.member(card).lifetime.visits, 0, "recorded so far")
            promoted = {"request_id": str(uuid.uuid4()), "program_id": "vietnam", "member": by_card(card), "tier_id": "gold"}
            self.checker.call("loyalty.v1.MemberService", "SetMemberTier", **promoted, reason="tour", actor={"actor_id": "tour"})
            proxy.loses_requests = lambda: False
            proxy.cut()
            till.close()
            instead = till.records()[0].get("if_changed") or till.records()[0]["ifChanged"]
            equal(list(self.accrued(card).values()), [instead[key({"request": instead})]], "recorded, as the customer paid it, is")
            self.settled(till, card, 1, 40)

    def wait_for_visits(self, card, visits):
        deadline = time.monotonic() + 30
        while self.member(card).lifetime.visits < visits:
            if time.monotonic() > deadline:
                raise SystemExit("the sale is not recorded")
            time.sleep(0.01)


def key(record):
    """One client keeps the names of the contract, the other those of JSON."""
    return "request_id" if "request_id" in record["request"] else "requestId"


def by_card(card):
    return {"identifier": {"kind": "KIND_CARD", "value": card}}


def clean_clone(target):
    """The files that git knows, as they are in the tree."""
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "examples", "proto"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--secure", action="store_true")
    parser.add_argument("--keep", action="store_true", help="what was set up before, for who works on the happenings: without the READMEs")
    parser.add_argument("--client", choices=TILLS, help="without: all, side by side")
    args = parser.parse_args()
    if args.client:
        visit(args.client, args.binary.resolve(), args.secure, args.keep)
        return
    # Most of the time goes into waiting: for packages, and for tills that wait for a server.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        command = [sys.executable, __file__, *sys.argv[1:], "--client"]
        visits = [pool.submit(subprocess.run, [*command, client], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for client in TILLS]
        done = [visit.result() for visit in visits]
    for each in done:
        print(each.stdout, flush=True)
    if any(each.returncode for each in done):
        raise SystemExit(f"the visits ended with {[each.returncode for each in done]}")


def visit(client, binary, secure, keep):
    started = time.monotonic()
    clone = ROOT / "target" / "tour" / client
    if not keep:
        clean_clone(clone)
    place = clone / "examples" / "clients" / client
    with tempfile.TemporaryDirectory(prefix="loyaltyd-clients-") as folder:
        # Plain servers answer browsers only if one says that there are none.
        web = ["--grpc-web"] if secure else ["--grpc-web", "--insecure"]
        site = Site(binary, pathlib.Path(folder), [PROGRAMS / "vietnam.yaml"], secure, web)
        with site.server as server:
            replaced = {"127.0.0.1:50051": f"{site.scheme}{server.address}", "=127.0.0.1:1 ": f"={site.scheme}127.0.0.1:1 "}
            if not keep:
                markdown.run(place / "README.md", place, replaced=replaced, environment=site.environment)
            shop = Shop(client, place, site)
            for happening in (
                shop.answer_is_lost,
                shop.answer_stays_lost,
                shop.request_is_lost_and_the_quote_changes,
                shop.till_is_killed,
                shop.server_is_killed,
            ):
                print(f"--- {client}: {happening.__name__.replace('_', ' ')} ({time.monotonic() - started:.0f} s)", flush=True)
                happening()
            server.stop()
        server.check()
    print(f"{client}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
