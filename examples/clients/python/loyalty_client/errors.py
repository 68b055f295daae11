"""Refusals as exceptions that a caller can act on: what google.rpc error details say, decoded."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

DOMAIN = "loyaltyd"


class LoyaltyError(Exception):
    """A call that was not answered as hoped for.

    code           grpc.StatusCode
    reason         ErrorInfo.reason, such as INSUFFICIENT_POINTS; empty where the refusal did not come from the service itself
    metadata       ErrorInfo.metadata: the numbers, such as {"available": "30", "requested": "100", "missing": "70"}
    fields         BadRequest: (path, what is wrong), such as ("purchase.lines[0].amount", "...")
    preconditions  PreconditionFailure: (type, subject, description)
    retry_delay    RetryInfo, in seconds; None: there is none
    """

    def __init__(self, code, message, reason="", metadata=None, fields=(), preconditions=(), retry_delay=None):
        super().__init__(f"{reason or code.name}: {message}")
        self.code, self.message, self.reason = code, message, reason
        self.metadata, self.fields, self.preconditions = dict(metadata or {}), list(fields), list(preconditions)
        self.retry_delay = retry_delay


class InvalidRequest(LoyaltyError):
    """The request itself is wrong (`fields` says where): repeating it does not help."""


class NotFound(LoyaltyError):
    """The programme, member, purchase, voucher ... is not there."""


class Conflict(LoyaltyError):
    """It is there already, or the request_id was used for something else."""


class Refused(LoyaltyError):
    """As things stand it is not possible: too few points, a voucher that was used, a quote that has changed."""


class NotAllowed(LoyaltyError):
    """No credential, a wrong one, or one that may not do this."""


class NoAnswer(LoyaltyError):
    """Nobody knows whether it was done. The same request, with the same request_id, may be sent again at any time."""


KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.UNAVAILABLE: NoAnswer,
    grpc.StatusCode.DEADLINE_EXCEEDED: NoAnswer,
    grpc.StatusCode.CANCELLED: NoAnswer,
    # An attempt that met a full queue or disk changed nothing, but one before it may have been carried out.
    grpc.StatusCode.RESOURCE_EXHAUSTED: NoAnswer,
    # The service failed, and its log says why. It may be repeated like the others, though not at once.
    grpc.StatusCode.INTERNAL: NoAnswer,
    grpc.StatusCode.UNKNOWN: NoAnswer,
}


def unpacked(details, kind):
    for detail in details:
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            detail.Unpack(message)
            return message
    return kind()


def from_call(error):
    """The exception for what grpc raised."""
    status = rpc_status.from_call(error)
    details = status.details if status else []
    info = unpacked(details, error_details_pb2.ErrorInfo)
    bad = unpacked(details, error_details_pb2.BadRequest)
    failure = unpacked(details, error_details_pb2.PreconditionFailure)
    retry = unpacked(details, error_details_pb2.RetryInfo)
    return KINDS.get(error.code(), LoyaltyError)(
        error.code(),
        error.details() or "",
        info.reason if info.domain == DOMAIN else "",
        info.metadata,
        [(violation.field, violation.description) for violation in bad.field_violations],
        [(violation.type, violation.subject, violation.description) for violation in failure.violations],
        retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
    )


def from_result(error):
    """The same for one purchase of a batch, which tells of its refusal in its own message, loyalty.v1.PurchaseError."""
    code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
    return KINDS.get(code, LoyaltyError)(
        code,
        error.message,
        error.reason,
        error.metadata,
        [(violation.field, violation.description) for violation in error.field_violations],
        retry_delay=error.retry_delay.ToTimedelta().total_seconds() if error.HasField("retry_delay") else None,
    )
