"""What must outlive the process: intentions with their request_ids. A file of lines of JSON, each written through to the disk before
anything is sent; the last word about an intention counts. It holds cards and phone numbers, so only its owner may read it."""

import fcntl
import json
import os
import pathlib
import uuid


class Log:
    """Appends records, and reads them back. One process at a time."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = open_private(self.path.with_suffix(".lock"))
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise SystemExit(f"{self.path} is used by another process: each till needs a --state folder of its own") from None
        self.file = open_private(self.path)
        whole = self.file.read()
        # A line without its end was being written when the process was killed: nothing was sent then.
        kept = whole[: whole.rfind(b"\n") + 1]
        self.file.truncate(len(kept))
        self.records = [json.loads(line) for line in kept.splitlines()]
        sync_folder(self.path.parent)

    def append(self, record):
        self.file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.records.append(record)

    def replace(self, records):
        """All of it, by these: the old ones or the new ones are there, whatever happens meanwhile."""
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        self.file.close()
        self.file, self.records = open_private(new), []
        for record in records:
            self.append(record)
        os.replace(new, self.path)
        sync_folder(self.path.parent)

    def close(self):
        self.file.close()
        self.lock.close()


def open_private(path):
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b")


def sync_folder(folder):
    """A file's name is durable only then."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


class Intentions:
    """A request_id for each intention, by a name such as `pay cart-77`: the same one until there is an answer, however often it is tried."""

    def __init__(self, path):
        self.log = Log(path)
        self.open = {}
        for record in self.log.records:
            self._take(record)

    def _take(self, record):
        if record["request_id"]:
            self.open[record["intention"]] = record["request_id"]
        else:
            self.open.pop(record["intention"], None)

    def _note(self, intention, request_id):
        record = {"intention": intention, "request_id": request_id}
        self.log.append(record)
        self._take(record)

    def request_id(self, intention):
        if intention not in self.open:
            self._note(intention, str(uuid.uuid4()))
        return self.open[intention]

    def settled(self, intention):
        """There is an answer, or a refusal: the next time it is another intention."""
        self._note(intention, None)
        if not self.open:
            self.log.replace([])
