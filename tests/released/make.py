#!/usr/bin/env python3
"""Makes the folder of a release: data folders that its binary wrote, what it answered about them, and the contract and storage messages
that it has. Every later build opens them (tests/it/released.rs).

    python3 tests/released/make.py --binary target/release/loyaltyd

Needs grpcio, grpcio-reflection and buf (.ci/run installs them). The folder is named after the binary's version and is made once, with the
release; README.md in this folder says when. `--again` makes it again, as long as the release is not out.
"""

import argparse
import contextlib
import datetime
import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "tour"), str(ROOT / "tests" / "oracle")]

from google.protobuf import json_format  # noqa: E402
from harness import PROGRAMS, Loyaltyd  # noqa: E402
from reflected import Server  # noqa: E402
from server_site import access_file, bearer  # noqa: E402

HERE = ROOT / "tests" / "released"
STORY, CARD = "story", "stamp-card"
ACTOR = {"actor_id": "support-1"}
# So small that there are several segments, and compressed ones among them.
SEGMENT_BYTES = 65_536
BASKETS = 50
# Of each member so many of the newest entries are explained one by one.
EXPLAINED = 40


def usd(amount):
    return {"currency_code": "USD", "amount": str(amount)}


class Teller:
    """Tells the story to a server: who is who, and a request id for each call."""

    def __init__(self, server):
        self.server = server
        self.members = {}
        self.calls = 0

    def call(self, service, method, program=STORY, **fields):
        self.calls += 1
        full = f"loyalty.v1.{service}Service"
        return self.server.call(full, method, request_id=f"call-{self.calls}", program_id=program, **fields)

    def ref(self, name):
        return {"member_id": self.members[name]}

    def enrol(self, name, program=STORY, **fields):
        identifiers = [{"kind": "KIND_CARD", "value": f"card-{program}-{name}"}, {"kind": "KIND_PHONE", "value": f"+1202555{len(self.members):04}"}]
        profile = {"display_name": name.title(), "language_code": "en-US", **fields}
        answer = self.call("Member", "EnrollMember", program, profile=profile, identifiers=identifiers)
        self.members[name] = answer.member.member_id

    def member(self, method, name, program=STORY, service="Member", **fields):
        return self.call(service, method, program, member=self.ref(name), **fields)

    def points(self, method, name, **fields):
        return self.member(method, name, service="Points", **fields)

    def buy(self, name, order, amount, program=STORY, lines=None, **fields):
        lines = lines or [{"sku": "goods", "category": "things", "labels": ["new"], "amount": usd(amount)}]
        purchase = {"store_id": "store-1", "order_id": order, "channel": "pos", "lines": lines, "total": usd(amount), **fields}
        return self.member("RecordPurchase", name, program, service="Purchase", purchase=purchase)

    def of_order(self, method, order, **fields):
        return self.call("Purchase", method, store_id="store-1", order_id=order, **fields)

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc)


def rfc(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def people(teller):
    soon = (teller.now() + datetime.timedelta(days=10)).date()
    birth = {"year": 1984, "month": soon.month, "day": min(soon.day, 28)}
    for name in ["anna", "binh", "carla", "dmitri", "emre", "fatou", "gita", "hugo"]:
        teller.enrol(name, **({"birth_date": birth} if name in ("anna", "emre") else {}))
    teller.member("UpdateMember", "anna", profile={"display_name": "Anna B."}, update_mask="displayName")
    email = {"kind": "KIND_EMAIL", "value": "carla@example.com"}
    teller.member("AddIdentifier", "carla", identifier=email)
    teller.member("AddIdentifier", "carla", identifier={"kind": "KIND_EXTERNAL_ID", "value": "crm-3"})
    teller.member("RemoveIdentifier", "carla", identifier=email)
    teller.member("SuspendMember", "hugo", reason="a card found", actor=ACTOR)
    teller.member("ReactivateMember", "hugo", reason="it was brought back", actor=ACTOR)


def sales(teller):
    teller.points("RecordActivity", "binh", activity="referral", reference="code-1", referrer=teller.ref("anna"))
    teller.points("RecordActivity", "gita", activity="referral", reference="code-2", referrer=teller.ref("anna"))
    for number, name in enumerate(["anna", "binh", "carla", "dmitri", "emre", "fatou", "gita", "hugo"]):
        teller.buy(name, f"first-{name}", 60 + number)
    # More than the fraud limit lets pass unseen, and enough for a tier.
    for number in range(4):
        teller.buy("anna", f"tier-{number}", 100, channel="app")
    teller.buy("dmitri", "web-1", 80, channel="web")
    teller.buy("dmitri", "web-2", 90, channel="web")
    teller.of_order("ConfirmPurchase", "web-1")
    basket = [
        {"sku": "rice", "category": "food", "quantity": "2.5", "amount": usd("24.99"), "discount": usd("1.01"), "tax": usd("2.18")},
        {"sku": "gift", "amount": usd(30), "kind": "KIND_GIFT_CARD"},
    ]
    tenders = [{"kind": "KIND_CARD", "amount": usd("54.16")}, {"kind": "KIND_CASH", "amount": usd("2.50")}]
    teller.buy("carla", "basket", "56.66", lines=basket, shipping=usd("3.50"), order_discount=usd("3.00"), tenders=tenders, labels=["tuesday"])
    teller.buy("carla", "trial", 40, codes=["TRIAL"])
    teller.buy("binh", "trial-2", 40, codes=["TRIAL", "THANKS"])
    late = rfc(teller.now() - datetime.timedelta(days=20))
    # Of a till that was offline, from before the programme and the member were there.
    teller.buy("fatou", "late", 35, occurred_time=late, offline=True)
    teller.points("RecordActivity", "carla", activity="review", reference="review-1")
    teller.points("RecordActivity", "carla", activity="review", reference="review-2", occurred_time=rfc(teller.now()))


def spending(teller):
    spent = teller.points("RedeemPoints", "anna", points=50, order_total=usd(40), store_id="store-1", order_id="spent-1", actor=ACTOR)
    teller.points("ReverseRedemption", "anna", redemption_sequence=spent.entry.sequence, points=20, reason="half came back", actor=ACTOR)
    hold = teller.points("HoldPoints", "anna", points=100, duration="600s", reference="checkout").hold.hold_id
    teller.points("CaptureHold", "anna", hold_id=hold, points=60, actor=ACTOR)
    hold = teller.points("HoldPoints", "anna", points=30, duration="600s").hold.hold_id
    teller.points("ReleaseHold", "anna", hold_id=hold, reason="changed her mind")
    teller.points("HoldPoints", "anna", points=20, duration="600s", reference="forgotten")
    teller.buy("anna", "paid", 20, points_payments=[{"redeem_points": 20}], tenders=[{"kind": "KIND_POINTS", "amount": usd(2)}, {"kind": "KIND_CARD", "amount": usd(18)}])
    teller.points("AdjustPoints", "carla", points=500, reason="goodwill", reference="case-1", actor=ACTOR, qualifying=True)
    teller.points("AdjustPoints", "carla", points=40, reason="a gift for ever", actor=ACTOR, expiry={"never": {}})
    teller.points("AdjustPoints", "hugo", points=-100, reason="fraud", actor=ACTOR)
    teller.points("TransferPoints", "carla", recipient=teller.ref("dmitri"), points=45, reason="a present", actor=ACTOR)
    teller.of_order("ReturnPurchase", "tier-0", amount=usd(40), reason="too large")
    teller.of_order("ReturnPurchase", "tier-0", whole_purchase=True, reason="all of it", actor=ACTOR)
    lines = [{"line_index": 0, "quantity": "1", "amount": usd("10.00")}]
    exchange = {"store_id": "store-1", "order_id": "instead", "channel": "pos", "lines": [{"sku": "goods", "amount": usd(15)}], "total": usd(15)}
    teller.of_order("ReturnPurchase", "basket", lines=lines, exchange=exchange)
    # What brought a referral its points goes back.
    teller.of_order("ReturnPurchase", "first-gita", whole_purchase=True, reason="not hers")


def gifts(teller):
    rewards = teller.member("RedeemReward", "anna", service="Reward", reward_id="seat", quantity=2).vouchers
    codes = [voucher.code for voucher in rewards]
    for kind in ["treat", "treat", "tenth", "tenth"]:
        voucher = teller.member("IssueVoucher", "binh", service="Reward", voucher_kind_id=kind, reason="sorry", actor=ACTOR).voucher
        codes.append(voucher.code)
    teller.call("Reward", "HoldVoucher", code=codes[0], store_id="store-1", order_id="held", duration="600s", actor=ACTOR)
    teller.call("Reward", "ReleaseVoucher", code=codes[0], reason="not today", actor=ACTOR)
    teller.call("Reward", "UseVoucher", code=codes[0], store_id="store-1", order_id="used", order_total=usd(50), actor=ACTOR)
    teller.call("Reward", "CancelVoucher", code=codes[1], reason="the show is off", actor=ACTOR)
    teller.call("Reward", "HoldVoucher", code=codes[2], store_id="store-1", order_id="forgotten", duration="600s")
    # Its price effects are applied by the service, the tier's discount with them.
    teller.buy("binh", "priced", 70, voucher_codes=[codes[3]], apply_price_effects=True)
    teller.member("AssignOffer", "dmitri", service="Offer", offer_id="sorry", reason="a broken cup", actor=ACTOR)
    teller.member("AssignOffer", "carla", service="Offer", offer_id="sorry", reason="a broken plate", actor=ACTOR)
    teller.member("WithdrawOffer", "carla", service="Offer", offer_id="sorry", reason="it was another", actor=ACTOR)
    teller.member("ActivateOffer", "fatou", service="Offer", offer_id="welcome")
    teller.buy("dmitri", "sorry", 30)
    teller.member("SetMemberTier", "emre", tier_id="gold", reason="a friend of the house", actor=ACTOR)
    for number in range(3):
        teller.buy("emre", f"regular-{number}", 10 + number)
    return codes


def cards(teller):
    for name, cups in (("ines", 12), ("jo", 11)):
        teller.enrol(name, CARD)
        coffee = [{"sku": "espresso", "category": "coffee", "quantity": str(cups), "amount": usd(3 * cups)}]
        teller.buy(name, f"cups-{name}", 3 * cups, CARD, coffee)
    teller.member("AdjustPoints", "jo", CARD, service="Points", points=-5, reason="spilt", actor=ACTOR)


def weekly(teller):
    """Long baskets, so that there are several segments."""
    for name in ("kofi", "lena", "mara"):
        teller.enrol(name)
        of = {"program_id": STORY, "member": teller.ref(name)}
        purchases = []
        for week in range(BASKETS):
            lines = [{"sku": f"sku-{week}-{line}", "category": f"shelf-{line}", "quantity": str(1 + line % 3), "amount": usd(f"{1 + line}.{10 + week}")} for line in range(20)]
            cents = sum(100 * (1 + line) + 10 + week for line in range(20))
            order = {"store_id": "store-2", "order_id": f"{name}-{week}", "channel": "pos", "lines": lines, "total": usd(f"{cents // 100}.{cents % 100:02}")}
            purchases.append({"request_id": f"{name}-{week}", **of, "purchase": order})
        answer = teller.server.call("loyalty.v1.PurchaseService", "BatchRecordPurchases", purchases=purchases)
        refused = [result.error.message for result in answer.results if result.HasField("error")]
        if refused:
            raise SystemExit(refused[0])


def ends(teller):
    teller.member("MergeMembers", "gita", into=teller.ref("hugo"), reason="one person, two cards", actor=ACTOR)
    teller.member("EraseMember", "fatou", reason="asked for it", actor=ACTOR)


def publishes(teller):
    """By somebody at a desk: the same rule book under another name."""
    found = teller.server.call("loyalty.v1.ProgramService", "GetProgram", program_id=STORY).program
    program = json_format.MessageToDict(found, preserving_proto_field_name=True)
    program["display_name"] += ", renamed"
    teller.calls += 1
    teller.server.call("loyalty.v1.ProgramService", "PublishProgram", request_id=f"call-{teller.calls}", program=program, actor=ACTOR)


def advance(teller, days):
    teller.calls += 1
    answer = teller.server.call("loyalty.v1.SandboxService", "AdvanceClock", timeout=120, request_id=f"clock-{teller.calls}", duration=f"{days * 86400}s")
    print(f"  {days} days later: {answer.entries} entries of {answer.members} members by time alone")


def tell(teller, is_sandbox):
    people(teller)
    sales(teller)
    spending(teller)
    codes = gifts(teller)
    cards(teller)
    weekly(teller)
    publishes(teller)
    if is_sandbox:
        # Holds end, pending points become active, the stamp card is delivered or missed.
        advance(teller, 3)
        # Birthdays, and vouchers that lapse.
        advance(teller, 12)
        teller.buy("anna", "later", 320)
        # Points lapse.
        advance(teller, 45)
        # Tiers are kept, or fall.
        teller.buy("anna", "much-later", 330)
        advance(teller, 40)
        teller.buy("anna", "last", 12)
    ends(teller)
    return codes


def reads(teller, codes):
    """Every question that a read RPC answers about what is there. One page holds each list."""
    page = {"page_size": 500}
    for program in (STORY, CARD):
        yield "Program", "GetProgram", {"program_id": program}
        yield "Member", "ListMembers", {"program_id": program, **page}
        yield "Member", "ListSegments", {"program_id": program}
        yield "Reward", "ListRewards", {"program_id": program, **page}
        yield "Audit", "ListAuditEntries", {"program_id": program, **page}
    yield "Program", "ListPrograms", page
    yield "Member", "ListMembers", {"program_id": STORY, "segment_id": "regulars", **page}
    yield "Audit", "ListAuditEntries", {"program_id": STORY, **ACTOR, "kinds": ["AUDIT_KIND_POINTS_ADJUSTED"], **page}
    for name, member_id in teller.members.items():
        program = CARD if name in ("ines", "jo") else STORY
        of = {"program_id": program, "member": {"member_id": member_id}}
        yield "Member", "GetMember", {**of, "view": "MEMBER_VIEW_FULL"}
        if name != "fatou":
            card = {"kind": "KIND_CARD", "value": f"card-{program}-{name}"}
            yield "Member", "LookupMember", {"program_id": program, "identifier": card}
        yield "Points", "ListEntries", {**of, **page}
        yield "Points", "ListLots", {**of, **page}
        yield "Points", "ListHolds", of
        yield "Reward", "ListRewards", {**of, **page}
        yield "Reward", "ListVouchers", {**of, **page}
        yield "Offer", "ListOffers", {**of, "include_unavailable": True}
        found = teller.server.call("loyalty.v1.PointsService", "ListEntries", **of, **page)
        for entry in found.entries[:EXPLAINED]:
            yield "Points", "ExplainEntry", {**of, "sequence": entry.sequence}
            order = entry.purchase_accrued.purchase if entry.WhichOneof("kind") == "purchase_accrued" else None
            if order:
                yield "Purchase", "GetPurchase", {"program_id": program, "store_id": order.store_id, "order_id": order.order_id}
    for code in codes:
        yield "Reward", "GetVoucher", {"program_id": STORY, "code": code}


def answers(teller, codes):
    said = []
    for service, method, fields in reads(teller, codes):
        answer = teller.server.call(f"loyalty.v1.{service}Service", method, **fields)
        if getattr(answer, "next_page_token", ""):
            raise SystemExit(f"{method}: one page does not hold the list")
        path = f"/loyalty.v1.{service}Service/{method}"
        said.append({"method": path, "request": fields, "response": json_format.MessageToDict(answer, preserving_proto_field_name=True)})
    return said


def kinds_of(said, server):
    """The kinds of entries that the answers have, and those that there are."""
    entry = server.pool.FindMessageTypeByName("loyalty.v1.Entry")
    every = {field.name for field in entry.oneofs_by_name["kind"].fields}
    found = {kind for one in said if one["method"].endswith("/ListEntries") for entry in one["response"].get("entries", []) for kind in entry}
    return found & every, every


def packed(folder, target):
    """An archive that the same files give the same bytes of."""
    with open(target, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            info = tar.gettarinfo(path, arcname=str(path.relative_to(folder.parent)))
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            if path.is_file():
                with open(path, "rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def has_compressed(data):
    return any(path.read_bytes()[:8] == b"LOYLJNZ\n" for path in (data / "journal").glob("*.seg"))


def make_folder(binary, target, is_sandbox, programs):
    """Serves a new folder, tells the story, asks all questions, stops in order, and packs the folder."""
    name = "sandbox" if is_sandbox else "ledger"
    print(f"{name}:")
    with contextlib.ExitStack() as stack:
        folder, callers = (pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loyaltyd-released-"))) for _ in range(2))
        # With callers who are known, so that entries name them.
        flags = ["--segment-bytes", str(SEGMENT_BYTES), "--access", access_file(binary, callers), *(["--sandbox"] if is_sandbox else [])]
        key = callers / "all.key"
        own = stack.enter_context(Loyaltyd(binary, folder, programs, *flags, reach=["--api-key-file", key]))
        teller = Teller(Server(own.address, metadata=bearer(key)))
        codes = tell(teller, is_sandbox)
        said = answers(teller, codes)
        asked = rfc(teller.now())
        kinds, every = kinds_of(said, teller.server)
        print(f"  {len(said)} answers, {len(kinds)} of {len(every)} kinds of entries; not there: {', '.join(sorted(every - kinds)) or 'none'}")
        if is_sandbox and kinds != every:
            raise SystemExit("the story does not have all kinds of entries: add to it what makes the others")
        if not any(entry.get("principal_id") == "all" for one in said for entry in one["response"].get("entries", [])):
            raise SystemExit("no entry says who called")
        data = folder / "data"
        # By a thread of its own, soon after a segment is closed.
        for _ in range(100):
            if has_compressed(data):
                break
            time.sleep(0.1)
        own.stop()
        # A copy: the check opens a folder as the service does, with files of the usual size.
        shutil.copytree(data, folder / "copy" / "data")
        check = subprocess.run([binary, "check", "--data", folder / "copy" / "data"], capture_output=True, text=True)
        if check.returncode != 0:
            raise SystemExit(f"the check ended with {check.returncode}:\n{check.stdout}{check.stderr}")
        segments = len(list((data / "journal").glob("*.seg")))
        if segments < 3 or not has_compressed(data):
            raise SystemExit(f"{segments} segments are too few, or none was compressed: tell more")
        (data / "LOCK").unlink()
        whole = folder / name
        whole.mkdir()
        data.rename(whole / "data")
        with open(whole / "answers.json", "w", encoding="utf-8") as file:
            json.dump({"asked_time": asked, "answers": said}, file, ensure_ascii=False, indent=1, sort_keys=True)
        packed(whole, target / f"{name}.tar.gz")


def make(binary, target):
    story = HERE / "story.yaml"
    with tempfile.TemporaryDirectory(prefix="loyaltyd-released-") as folder:
        # The stamp card with a delay, so that what is reached can be missed, and with stamps that lapse by months without a purchase.
        more = """
    delay_days: 2

adjustments: { maximum_points: 100 }
expiry: { inactivity: { months: 2, activities: [COUNTED_ACTIVITY_PURCHASE], extension: EXTENSION_MONTH } }
"""
        card = pathlib.Path(folder) / "card.yaml"
        card.write_text((PROGRAMS / "stamp-card.yaml").read_text().rstrip() + more)
        for is_sandbox in (False, True):
            make_folder(binary, target, is_sandbox, [story, card])
    for name, path in (("contract", "loyalty/v1"), ("storage", "loyalty/storage/v1")):
        subprocess.run(["buf", "build", ".", "--path", path, "--exclude-source-info", "-o", target / f"{name}.binpb"], cwd=ROOT / "proto", check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--again", action="store_true", help="make it again: only as long as the release is not out")
    args = parser.parse_args()
    binary = args.binary.resolve()
    version = re.search(r"\d+\.\d+\.\d+", subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout).group()
    target = HERE / version
    if target.exists() and not args.again:
        raise SystemExit(f"{target} is there: what was released is not made again")
    with tempfile.TemporaryDirectory(prefix="loyaltyd-released-") as folder:
        made = pathlib.Path(folder) / version
        made.mkdir()
        make(binary, made)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {size} bytes")


if __name__ == "__main__":
    main()
