"""What is done in the rows of the table, where it is more than one call and needs no frames of its own: those are in floods.py. Each
returns the outcome in the words in which the table expects it."""

import collections
import concurrent.futures
import os
import socket
import subprocess
import threading
import time

from credentials import good_claims
from wire import DATA, END_STREAM, field, frame, message

GET, QUOTE, RECORD = "MemberService/GetMember", "PurchaseService/QuotePurchase", "PurchaseService/RecordPurchase"
STREAM, BATCH, BACKUP = "PurchaseService/StreamPurchases", "PurchaseService/BatchRecordPurchases", "AdminService/StreamBackup"


def path(method):
    return f"/loyalty.v1.{method}"


def within(seconds, end, begun):
    """An end that has to come in time; one that came too late says when."""
    took = time.monotonic() - begun
    return f"{end} within {seconds} s" if took <= seconds else f"{end} after {took:.1f} s"


# Credentials


def key_that_is_removed(w):
    """A till's key leaves the access file while a stream of it is open; what it says after that is not read."""
    first = w.call(GET, key="leaver")
    with w.line() as line:
        line.request(path(STREAM), message(), end=False, metadata=w.headers("leaver"))
        w.access.write(without=["leaver"])
        try:
            deadline = time.monotonic() + 8
            while (then := w.call(GET, key="leaver")) == "OK" and time.monotonic() < deadline:
                time.sleep(0.1)
            line.send(frame(DATA, END_STREAM, 1, message()))
            stream, _ = line.answer()
        finally:
            w.access.write()
    return f"{first}, then {then}; its stream: {stream}"


def token_that_ends(w):
    claims = good_claims() | {"exp": int(time.time()) + 2}
    token = w.access.rsa.token(payload=claims)
    first = w.call(GET, token=token)
    time.sleep(max(claims["exp"] - time.time(), 0) + 0.1)
    return f"{first}, replayed: {w.call(GET, token=token)}"


def unknown_keys(w):
    """Each token names another key; the issuer must not be asked for each."""
    before, outcomes = w.access.page.asked, set()
    for batch in range(6):
        with w.line() as line:
            for n in range(50):
                token = w.access.rsa.token(header={"kid": f"unknown-{batch}-{n}"})
                line.request(path(GET), message(w.encode(GET, w.member())), stream=2 * n + 1, metadata=w.headers(token=token))
                outcomes.add(line.answer(2 * n + 1)[0])
    expected = {"UNAUTHENTICATED CREDENTIAL_INVALID", "UNAVAILABLE ISSUER_KEYS_AWAITED"}
    asked = w.access.page.asked - before
    kinds = "refused" if outcomes <= expected else ", ".join(sorted(outcomes - expected))
    return f"300 tokens {kinds}, keys fetched {'at most twice' if asked <= 2 else f'{asked} times'}"


def token_with_keys_elsewhere(w, header):
    """The token tells where the keys are that it is signed with."""
    stranger = w.stranger
    trap = w.access.trap
    before = trap.asked
    filled = {name: trap.url if value == "URL" else stranger.jwk() if value == "JWK" else value for name, value in header.items()}
    outcome = w.call(GET, token=stranger.token(header=filled))
    return outcome + (f", and asked the stranger's page {trap.asked - before} times" if trap.asked > before else "")


def with_other_claims(w):
    """The parts of two good tokens, put together."""
    first, second = w.access.rsa.token().split("."), w.access.rsa.token(claims={"sub": "backups"}).split(".")
    return ".".join([first[0], second[1], first[2]])


# Rights


def batch_of_two_programmes(w):
    """Another programme's sale, and one of Anna's that is recorded already."""
    other = {**w.sale(order_id="o-9"), "request_id": "batch-1", "program_id": "corner-shop"}
    outcome, answers = w.answer(BATCH, {"purchases": [other, w.sale()]})
    if outcome != "OK":
        return outcome
    return ", ".join(result.error.reason or "first answer" for result in answers[0].results)


def stream_of_two_programmes(w):
    other = {**w.sale(order_id="o-9"), "request_id": "stream-1", "program_id": "corner-shop"}
    body = b"".join(message(w.encode(STREAM, {"purchase": sale})) for sale in (w.sale(), other))
    outcome, answers = w.answer(STREAM, body=body)
    if outcome != "OK":
        return outcome
    return ", ".join(answer.result.error.reason or "first answer" for answer in answers)


def page_token(w, change=lambda token: token, method="PointsService/ListEntries", **fields):
    """The token of a page of Anna's entries, sent with another list or changed. The caller may see both programmes."""
    asked = {**w.member(), "page_size": 1}
    outcome, answers = w.answer("PointsService/ListEntries", asked, key="desk")
    if outcome != "OK" or not answers[0].next_page_token:
        return f"no token: {outcome}"
    changed = {**asked, **fields, "page_token": change(answers[0].next_page_token)}
    return w.call(method, {name: value for name, value in changed.items() if value is not None}, key="desk")


def another_letter(token):
    return token[:3] + ("B" if token[3] != "B" else "C") + token[4:]


def calls_above_the_rate(w):
    """50 calls of a principal that has 5 a second."""
    with w.line() as line:
        outcomes, begun = [], time.monotonic()
        for n in range(50):
            line.request(path(GET), message(w.encode(GET, w.member())), stream=2 * n + 1, metadata=w.headers("limited"))
            outcomes.append(line.answer(2 * n + 1)[0])
        most = 5 + int(5 * (time.monotonic() - begun)) + 1
    others = {outcome for outcome in outcomes if outcome not in ("OK", "RESOURCE_EXHAUSTED RATE_LIMITED")}
    if others:
        return ", ".join(others)
    done = outcomes.count("OK")
    return "5 a second, others RESOURCE_EXHAUSTED RATE_LIMITED" if 5 <= done <= most else f"{done} of 50 calls done, at most {most} may be"


def programmes_shown(w, key):
    outcome, answers = w.answer("ProgramService/ListPrograms", {}, key=key)
    return outcome + "".join(f" {program.program_id}" for program in answers[0].programs) if outcome == "OK" else outcome


def another_principals_request(w, key, **changes):
    """A request_id that the till used; the same payload has the first answer, be it by whom it may."""
    return w.call(RECORD, w.sale(**changes), key=key)


# Messages


def sale_of(w, amount=None, **changes):
    """QuotePurchase of a sale with one thing in it that is wrong, such as the amount of its line."""
    if amount is not None:
        changes["lines"] = [{"sku": "cooker", "amount": {"currency_code": "VND", "amount": amount}}]
    return w.call(QUOTE, {**w.member(), "purchase": {**w.sale(order_id="o-2")["purchase"], **changes}})


def sale_and(w, content):
    """QuotePurchase of a good sale, with more fields behind it as bytes."""
    quote = w.kind(QUOTE, "input_type")()
    quote.ParseFromString(w.encode(QUOTE, {**w.member(), "purchase": w.sale(order_id="o-2")["purchase"]}))
    sale = quote.purchase.SerializeToString() + content
    return w.call(QUOTE, body=message(w.encode(QUOTE, w.member()) + field(3, sale)))


def empty_lines(count):
    """Of a purchase."""
    return field(5, b"") * count


def at_once(w, content, most, method=BATCH, count=6):
    """The same request on so many connections at a time, and whether the server took more memory for them than it may."""

    def call(_):
        return w.call(method, body=message(content), seconds=20)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        found, taken = w.tls.taken(lambda: collections.Counter(pool.map(call, range(count))))
    outcome = ", ".join(f"{count} {outcome}" for outcome, count in found.items())
    return outcome if taken <= most else f"{outcome}, and took {taken >> 20} MiB"


def identified(w, kind, value):
    return w.call(GET, {"program_id": "vietnam", "member": {"identifier": {"kind": kind, "value": value}}})


def timed(w, seconds, nanos=0):
    """A time that the JSON form does not have, so it is written by hand."""
    return sale_and(w, field(3, field(1, seconds) + field(2, nanos)))


def many_identifiers(w):
    method = "MemberService/EnrollMember"
    return w.call(method, body=message(w.encode(method, {"request_id": "x", "program_id": "vietnam"}) + field(4, b"") * 200_000))


def backup_after(w, last_commit_hash, **more):
    """A backup asked for by somebody who says what there is already."""
    return w.call(BACKUP, {"store_id": "A" * 22 + "==", "last_commit": "1", "last_commit_hash": last_commit_hash, **more}, key="operator")


def adjustment(w, points):
    return {**w.member(), "request_id": f"adjust{points}", "points": str(points), "reason": "because"}


def redeem(w, points):
    total = {"currency_code": "VND", "amount": "1000000"}
    return w.call("PointsService/RedeemPoints", {**w.member(), "request_id": "redeem-1", "points": str(points), "order_total": total})


def publish_condition(w, condition):
    """The rule book in effect with one more promotion."""
    _, answers = w.answer("ProgramService/GetProgram", {"program_id": "vietnam"}, key="manager")
    request = w.kind("ProgramService/PublishProgram", "input_type")(request_id="publish-1", program=answers[0].program)
    request.actor.actor_id = "manager-1"
    promotion = request.program.promotions.add(promotion_id="deep", condition=condition)
    promotion.multiply.multiplier = "2"
    return w.call("ProgramService/PublishProgram", body=message(request.SerializeToString()), key="manager")


# Files and flags


def cli(w, *words, says="", seconds=8):
    """A subcommand of a process of its own: how it ends, whether it says what is wrong, and that it took no memory to speak of."""
    process = subprocess.Popen(
        [str(word) for word in (w.binary, *words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=w.folder,
    )
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True)
    reader.start()
    deadline = time.monotonic() + seconds
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            process.kill()
            os.wait4(process.pid, 0)
            process.returncode = -9
            reader.join(5)
            return f"runs on after {seconds} s"
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join(5)
    said = b"".join(output).decode(errors="replace")
    mebibytes = usage.ru_maxrss >> 10
    if mebibytes > 300:
        return f"took {mebibytes} MiB"
    if "panicked" in said:
        return f"panicked: {said[:300]}"
    if says and says not in said:
        return f"exit {process.returncode}, says: {said.strip()[:300]}"
    return f"exit {process.returncode}, says: {says}"


def serve(w, *words, says=""):
    """A start that has to fail, with a data folder of its own, which it must not have filled."""
    return cli(w, "serve", "--listen", "127.0.0.1:0", "--data", w.folder / "no-data", *words, says=says)


def fifo(w):
    name = w.folder / "pipe"
    if not name.exists():
        os.mkfifo(name)
    return name


def loop(w):
    name = w.folder / "loop"
    if not name.is_symlink():
        name.symlink_to(name)
    return name


def sparse(w):
    name = w.folder / "sparse"
    with open(name, "wb") as file:
        file.truncate(1 << 30)
    return name


def written(w, name, content):
    path_of = w.folder / name
    path_of.write_text(content)
    return path_of


def aliases(key):
    """Each list has nine of the one before: a billion items, in a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9))}]" for n in range(1, 10)]
    return "\n".join(lines) + f"\n{key}: *a9\n"


def many_principals(count=200_000):
    one = "  - {principal_id: p-%d, roles: [pos], programs: [vietnam]}\n"
    return "principals:\n" + "".join(one % n for n in range(count))[: 3 << 20].rsplit("\n", 1)[0] + "\n"


def with_a_key(w):
    """The key itself, where its hash belongs."""
    return written(w, "shown.yaml", w.access.file.read_text().replace(w.access.hashes["till"], w.keys["stranger"]))


def with_jwks(w, source):
    kind = "jwks_url" if str(source).startswith("http") else "jwks_file"
    line = f'  - {{issuer: "https://other.test", audience: loyaltyd, {kind}: "{source}"}}\n'
    return written(w, "issuer.yaml", w.access.file.read_text() + line)


def full(w):
    """A folder that has something else in it."""
    folder = w.folder / "full"
    folder.mkdir(exist_ok=True)
    (folder / "thesis.txt").write_text("all of it")
    return folder


def reach(w, key="operator"):
    key_file = written(w, f"{key}.api-key", w.keys[key])
    return ["--server", "https://localhost:%d" % w.tls.address[1], "--ca", w.ca.file, "--api-key-file", key_file]


def backup(w, to, says):
    """What was there before stays as it is."""
    thesis = to / "thesis.txt" if to.is_dir() else to
    before = thesis.read_bytes()
    outcome = cli(w, "backup", *reach(w), "--to", to, says=says)
    return outcome if thesis.read_bytes() == before else f"{outcome}, and changed what was there"


def restored_into_full(w):
    made = cli(w, "backup", *reach(w), "--to", w.folder / "good-backup")
    return f"{made}, then " + cli(w, "restore", "--from", w.folder / "good-backup", "--to", full(w), says="full")


def backup_from_garbage(w):
    """A server that answers whatever comes with random bytes, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_garbage():
            while True:
                try:
                    peer, _ = listener.accept()
                    with peer:
                        while peer.send(os.urandom(4_096)):
                            pass
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=serve_garbage, daemon=True).start()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        return cli(w, "backup", "--server", address, "--to", w.folder / "from-garbage", says="loyaltyd: ")


def imported(w, file, says):
    words = ["--program", "vietnam", "--store", "s-1", "--map", "order=a", "--map", "member=b", "--map", "time=c", "--map", "amount=d"]
    return cli(w, "import", "purchases", file, *reach(w, "till"), *words, "--rejects", w.folder / "rejects.csv", says=says)


# Files that go bad while they are in use


def replaced(file, content):
    """Puts another file in its place, at once."""
    new = file.with_suffix(".new")
    if callable(content):
        content(new)
    else:
        new.write_text(content)
    new.rename(file)


# A server looks at its files every two seconds, and takes what two looks have found.
LOOKED, TAKEN = 2.3, 4.5


def files_go_bad(w):
    """A new connection is served as before, by what was read before."""
    files = [w.folder / "server.crt", w.folder / "server.key"]
    good = [file.read_text() for file in files]
    try:
        replaced(w.access.file, aliases("principals"))
        replaced(files[0], "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        replaced(files[1], lambda new: new.symlink_to("/dev/zero"))
        time.sleep(TAKEN)
        return w.call(GET)
    finally:
        w.access.write()
        for file, content in zip(files, good):
            replaced(file, content)


def access_file_is_a_pipe(w):
    """Nobody writes to it; that what comes after it is not noticed would leave a key in use that was taken back."""
    try:
        replaced(w.access.file, os.mkfifo)
        time.sleep(LOOKED)
        first = w.call(GET, key="leaver")
        w.access.write(without=["leaver"])
        deadline = time.monotonic() + 2 * TAKEN
        while (then := w.call(GET, key="leaver")) == "OK" and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        w.access.write()
    return f"{first}, then {then}"
