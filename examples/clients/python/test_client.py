"""What the tour with a real server cannot bring about at will: python -m unittest"""

import concurrent.futures
import decimal
import pathlib
import tempfile
import unittest
from unittest import mock

import loyalty_client  # noqa: F401
import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from loyalty.v1 import points_service_pb2, points_service_pb2_grpc

from loyalty_client import errors, goods, money, names
from loyalty_client.connection import Connection
from loyalty_client.disk import Intentions, Log


def refusal(code, reason, metadata=None, *details):
    packed = [any_pb2.Any() for _ in range(len(details) + 1)]
    for box, detail in zip(packed, [error_details_pb2.ErrorInfo(reason=reason, domain="loyaltyd", metadata=metadata or {}), *details]):
        box.Pack(detail)
    return rpc_status.to_status(status_pb2.Status(code=code, message="no", details=packed))


class Script(points_service_pb2_grpc.PointsServiceServicer):
    """Refuses as it is told to, and then answers."""

    def __init__(self, *refusals):
        self.refusals, self.seen = list(refusals), []

    def RedeemPoints(self, request, context):
        self.seen.append(request.request_id)
        if self.refusals:
            context.abort_with_status(self.refusals.pop(0))
        return points_service_pb2.RedeemPointsResponse(points=request.points)


class Calls(unittest.TestCase):
    def call(self, script, request_id="one", **settings):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
        points_service_pb2_grpc.add_PointsServiceServicer_to_server(script, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with Connection(f"127.0.0.1:{port}", **settings) as service, mock.patch("time.sleep") as sleep:
                request = points_service_pb2.RedeemPointsRequest(request_id=request_id, points=5)
                try:
                    return service.call(service.points.RedeemPoints, request).points
                finally:
                    self.slept = [call.args[0] for call in sleep.call_args_list]
        finally:
            server.stop(None).wait()

    def test_what_may_pass_is_tried_again_with_the_same_request_id_and_not_sooner_than_told(self):
        told = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2))
        script = Script(refusal(code_pb2.UNAVAILABLE, "STARTING"), refusal(code_pb2.RESOURCE_EXHAUSTED, "QUEUE_FULL", {}, told))
        self.assertEqual(self.call(script), 5)
        self.assertEqual(script.seen, ["one"] * 3)
        self.assertLessEqual(self.slept[0], 0.1)
        self.assertGreaterEqual(self.slept[1], 2)

    def test_what_stays_is_not_tried_again(self):
        script = Script(refusal(code_pb2.FAILED_PRECONDITION, "INSUFFICIENT_POINTS", {"available": "3"}))
        with self.assertRaises(errors.Refused) as caught:
            self.call(script)
        self.assertEqual((caught.exception.reason, caught.exception.metadata), ("INSUFFICIENT_POINTS", {"available": "3"}))
        self.assertEqual(len(script.seen), 1)

    def test_an_answer_too_large_for_this_side_is_not_asked_for_again(self):
        script = Script(rpc_status.to_status(status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="too large")))
        with self.assertRaises(errors.NoAnswer):
            self.call(script)
        self.assertEqual(len(script.seen), 1)

    def test_patience_ends(self):
        script = Script(*[refusal(code_pb2.UNAVAILABLE, "STOPPING") for _ in range(1000)])
        with self.assertRaises(errors.NoAnswer):
            self.call(script, patience=0.2)
        self.assertLess(len(script.seen), 1000)

    def test_paths_of_fields_are_there(self):
        bad = error_details_pb2.BadRequest(field_violations=[{"field": "points", "description": "must be more than 0"}])
        with self.assertRaises(errors.InvalidRequest) as caught:
            self.call(Script(refusal(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", {}, bad)))
        self.assertEqual(caught.exception.fields, [("points", "must be more than 0")])

    def test_a_change_needs_a_request_id(self):
        with self.assertRaises(ValueError):
            self.call(Script(), request_id="")

    def test_a_key_does_not_leave_the_machine_unencrypted(self):
        with mock.patch.dict("os.environ", LOYALTYD_API_KEY="ldk_x"), self.assertRaises(SystemExit):
            Connection("loyalty.example.com:50051")


class Disk(unittest.TestCase):
    def test_an_intention_keeps_its_request_id_until_it_is_settled(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "intentions.jsonl"
            first = Intentions(path)
            request_id = first.request_id("pay cart-77")
            first.log.close()
            with open(path, "ab") as torn:
                torn.write(b'{"intention": "pay ca')
            second = Intentions(path)
            self.assertEqual(second.request_id("pay cart-77"), request_id)
            second.settled("pay cart-77")
            self.assertNotEqual(second.request_id("pay cart-77"), request_id)
            second.log.close()

    def test_one_process_at_a_time(self):
        with tempfile.TemporaryDirectory() as folder:
            log = Log(pathlib.Path(folder) / "outbox.jsonl")
            with self.assertRaises(SystemExit):
                Log(log.path)
            log.close()


class Files(unittest.TestCase):
    def test_a_file_that_is_not_there_is_named_with_its_flag(self):
        with self.assertRaisesRegex(SystemExit, "--api-key-file /nowhere/key: cannot be read"):
            Connection("127.0.0.1:1", api_key_file="/nowhere/key")
        with self.assertRaisesRegex(SystemExit, "--ca /nowhere/ca: cannot be read"):
            Connection("https://127.0.0.1:1", ca="/nowhere/ca")


class Amounts(unittest.TestCase):
    def test_money_is_exact(self):
        self.assertEqual(money.to_proto(money.parse("0.10") + money.parse("0.20"), "USD").amount, "0.30")
        self.assertEqual(money.to_proto(decimal.Decimal("1E+3"), "VND").amount, "1000")
        for wrong in ("1,5", "-1", "NaN", ""):
            with self.assertRaises(ValueError):
                money.parse(wrong)

    def test_goods(self):
        from loyalty.v1 import purchase_pb2

        purchase = purchase_pb2.Purchase()
        goods.fill(purchase, ["rice-cooker=5000000", "beans=270000x2@coffee"], "VND")
        self.assertEqual(purchase.total.amount, "5270000")
        self.assertEqual((purchase.lines[1].sku, purchase.lines[1].quantity, purchase.lines[1].category), ("beans", "2", "coffee"))

    def test_values_of_a_newer_service(self):
        from loyalty.v1 import offer_service_pb2

        # As they come over the wire.
        listed = offer_service_pb2.ListedOffer()
        state = offer_service_pb2.ListedOffer.DESCRIPTOR.fields_by_name["state"].number
        listed.MergeFromString(bytes([state << 3, 99]))
        self.assertEqual(names.name_of(offer_service_pb2.ListedOffer.State, listed.state, "STATE_"), "not known here: 99")
        known = offer_service_pb2.ListedOffer.State.Value("STATE_AVAILABLE")
        self.assertEqual(names.name_of(offer_service_pb2.ListedOffer.State, known, "STATE_"), "AVAILABLE")


if __name__ == "__main__":
    unittest.main()
