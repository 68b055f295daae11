/** Refusals as errors that a caller can act on: what google.rpc error details say, decoded. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, PreconditionFailureSchema, RetryInfoSchema } from "../generated/google/rpc/error_details_pb.js";
import type { PurchaseError } from "../generated/loyalty/v1/purchase_service_pb.js";

const DOMAIN = "loyaltyd";

/** What can be done about it. */
export type Kind =
  /** The request itself is wrong (`fields` says where): repeating it does not help. */
  | "invalid-request"
  /** The programme, member, purchase, voucher ... is not there. */
  | "not-found"
  /** It is there already, or the request_id was used for something else. */
  | "conflict"
  /** As things stand it is not possible: too few points, a voucher that was used, a quote that has changed. */
  | "refused"
  /** No credential, a wrong one, or one that may not do this. */
  | "not-allowed"
  /** Nobody knows whether it was done. The same request, with the same request_id, may be sent again at any time. */
  | "no-answer"
  | "other";

const KINDS: Partial<Record<Code, Kind>> = {
  [Code.InvalidArgument]: "invalid-request",
  [Code.OutOfRange]: "invalid-request",
  [Code.NotFound]: "not-found",
  [Code.AlreadyExists]: "conflict",
  [Code.FailedPrecondition]: "refused",
  [Code.Unauthenticated]: "not-allowed",
  [Code.PermissionDenied]: "not-allowed",
  [Code.Unavailable]: "no-answer",
  [Code.DeadlineExceeded]: "no-answer",
  [Code.Canceled]: "no-answer",
  // An attempt that met a full queue or disk changed nothing, but one before it may have been carried out.
  [Code.ResourceExhausted]: "no-answer",
  // The service failed, and its log says why. It may be repeated like the others, though not at once.
  [Code.Internal]: "no-answer",
  [Code.Unknown]: "no-answer",
  [Code.Aborted]: "no-answer",
};

export interface FieldViolation {
  field: string;
  description: string;
}

export interface Precondition {
  type: string;
  subject: string;
  description: string;
}

interface Details {
  code: Code;
  text: string;
  /** ErrorInfo.reason, such as INSUFFICIENT_POINTS; empty where the refusal did not come from the service itself. */
  reason: string;
  /** ErrorInfo.metadata: the numbers, such as {available: "30", requested: "100", missing: "70"}. */
  metadata: Record<string, string>;
  fields: FieldViolation[];
  preconditions: Precondition[];
  /** RetryInfo; undefined: there is none. */
  retryDelayMs: number | undefined;
}

export class LoyaltyError extends Error {
  readonly kind: Kind;
  readonly code: Code;
  readonly reason: string;
  readonly metadata: Record<string, string>;
  readonly fields: FieldViolation[];
  readonly preconditions: Precondition[];
  readonly retryDelayMs: number | undefined;

  constructor(details: Details) {
    super(`${details.reason || Code[details.code]}: ${details.text}`);
    this.name = "LoyaltyError";
    this.kind = KINDS[details.code] ?? "other";
    this.code = details.code;
    this.reason = details.reason;
    this.metadata = details.metadata;
    this.fields = details.fields;
    this.preconditions = details.preconditions;
    this.retryDelayMs = details.retryDelayMs;
  }

  /** What a call threw. */
  static from(thrown: unknown): LoyaltyError {
    const error = ConnectError.from(thrown);
    const info = error.findDetails(ErrorInfoSchema).find((detail) => detail.domain === DOMAIN);
    const retry = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    return new LoyaltyError({
      code: error.code,
      text: [error.rawMessage, ...causes(error.cause)].join(": "),
      reason: info?.reason ?? "",
      metadata: info?.metadata ?? {},
      fields: error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations),
      preconditions: error.findDetails(PreconditionFailureSchema).flatMap((failure) => failure.violations),
      retryDelayMs: retry && durationMs(retry),
    });
  }

  /** The same for one purchase of a batch, which tells of its refusal in a message of its own. */
  static fromResult(error: PurchaseError): LoyaltyError {
    return new LoyaltyError({
      code: error.code,
      text: error.message,
      reason: error.reason,
      metadata: error.metadata,
      fields: error.fieldViolations,
      preconditions: [],
      retryDelayMs: error.retryDelay && durationMs(error.retryDelay),
    });
  }
}

/** Why there was no answer: what `fetch` and sockets say of it is in causes of causes. */
function causes(thrown: unknown): string[] {
  const texts: string[] = [];
  for (let cause = thrown; cause instanceof Error; cause = cause.cause) {
    texts.push(cause.message || cause.name);
  }
  // The first is what the error says itself.
  return texts.slice(1);
}

export function isNoAnswer(thrown: unknown): boolean {
  return thrown instanceof LoyaltyError && thrown.kind === "no-answer";
}

/** It says nothing about the request: what was asked for is still to be done. */
export function isUnsettled(thrown: unknown): boolean {
  return !(thrown instanceof LoyaltyError) || thrown.kind === "no-answer" || thrown.kind === "not-allowed";
}
