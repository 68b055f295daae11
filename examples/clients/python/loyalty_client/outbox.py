"""What a till has begun and has no answer to yet, on disk: sales from while the service was away, and requests whose answer was lost.

Each is kept as it was sent, with its request_id, so that sending it again is the same request: what was carried out answers as it did the first
time, and what was not is carried out now. Nothing is counted twice, however often the till or the service is killed.
"""

from google.protobuf import json_format
from loyalty.v1 import member_service_pb2, purchase_service_pb2

from loyalty_client import errors
from loyalty_client.disk import Log

# A batch may have 10,000 lines in all, and 1,000 purchases.
BATCH_PURCHASES, BATCH_LINES = 500, 10_000
# After so many records the file begins anew, once nothing waits.
LONGEST_LOG = 1_000


class Outbox:
    def __init__(self, folder):
        self.log = Log(folder / "outbox.jsonl")
        # For a person to look at: sales that the service refused for good. Nothing is dropped.
        self.refused = Log(folder / "refused.jsonl")
        self.waiting, self.number = {}, 0
        for record in self.log.records:
            self._take(record)

    def _take(self, record):
        if "number" in record:
            self.number = record["number"]
        elif "settled" in record:
            self.waiting.pop(record["settled"], None)
        else:
            self.waiting[record["request"]["request_id"]] = record

    def _note(self, record):
        self.log.append(record)
        self._take(record)

    def next_number(self):
        """Of the next sale; never the same one again, whatever becomes of this one."""
        self._note({"number": self.number + 1})
        return self.number

    def put(self, kind, request, if_changed=None):
        """Before it is sent. `if_changed` is sent in its place if the service says, when the sale is long over, that its quote had changed."""
        self._note({"kind": kind, "request": as_json(request), "if_changed": as_json(if_changed) if if_changed else None})

    def settle(self, request_id):
        self._note({"settled": request_id})
        if not self.waiting and len(self.log.records) > LONGEST_LOG:
            self.log.replace([{"number": self.number}])

    def refuse(self, request_id, refusal):
        record = {"reason": refusal.reason, "message": refusal.message, "metadata": refusal.metadata, **self.waiting[request_id]}
        self.refused.append(record)
        self.settle(request_id)

    def deliver(self, connection, say, patience=None):
        """Sends all that waits, in the order in which it came about. NoAnswer or NotAllowed: what is left waits on."""
        while self.waiting:
            records = list(self.waiting.values())
            if records[0]["kind"] == "RecordPurchase":
                self._deliver_sales(connection, first_sales(records), say, patience)
            else:
                self._deliver_other(connection, records[0], say, patience)

    def _deliver_sales(self, connection, sales, say, patience):
        batch = purchase_service_pb2.BatchRecordPurchasesRequest(purchases=sales)
        answer = connection.call(connection.purchases.BatchRecordPurchases, batch, deadline=30, patience=patience)
        wait = None
        for sale, result in zip(sales, answer.results, strict=True):
            if result.HasField("recorded"):
                self.settle(sale.request_id)
                say(f"delivered {sale.purchase.order_id}: {result.recorded.accrual.points} points")
                continue
            refusal = errors.from_result(result.error)
            instead = self.waiting[sale.request_id]["if_changed"]
            if refusal.retry_delay is not None or isinstance(refusal, (errors.NoAnswer, errors.NotAllowed)):
                wait = refusal
            elif refusal.reason == "QUOTE_CHANGED" and instead:
                # The customer has paid what the quote said, and is gone: it is booked at that.
                self.put("RecordPurchase", parsed("RecordPurchase", instead))
                self.settle(sale.request_id)
            else:
                self.refuse(sale.request_id, refusal)
                say(f"REFUSED {sale.purchase.order_id}: {refusal} (kept in {self.refused.path})")
        if wait:
            raise wait

    def _deliver_other(self, connection, record, say, patience):
        request = parsed(record["kind"], record["request"])
        try:
            connection.call(method(connection, record["kind"]), request, patience=patience)
        except (errors.NoAnswer, errors.NotAllowed):
            raise
        except errors.LoyaltyError as refusal:
            self.refuse(request.request_id, refusal)
            say(f"REFUSED {record['kind']}: {refusal} (kept in {self.refused.path})")
            return
        self.settle(request.request_id)
        say(f"delivered {record['kind']} {request.request_id}")


def first_sales(records):
    """The sales before anything else, as many as a batch takes."""
    sales, lines = [], 0
    for record in records:
        if record["kind"] != "RecordPurchase" or len(sales) == BATCH_PURCHASES:
            break
        sale = parsed("RecordPurchase", record["request"])
        lines += len(sale.purchase.lines)
        if sales and lines > BATCH_LINES:
            break
        sales.append(sale)
    return sales


def method(connection, kind):
    return getattr(connection.members if kind == "EnrollMember" else connection.purchases, kind)


def as_json(request):
    return json_format.MessageToDict(request, preserving_proto_field_name=True)


def parsed(kind, fields):
    module = member_service_pb2 if kind == "EnrollMember" else purchase_service_pb2
    return json_format.ParseDict(fields, getattr(module, f"{kind}Request")())
