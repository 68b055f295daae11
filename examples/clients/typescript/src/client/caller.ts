/** Calls with deadlines and retries, over whatever carries them. Nothing here is of Node: an edge runtime has all of it. */

import { type CallOptions, type Client, Code, createClient, type Transport } from "@connectrpc/connect";
import { MemberService } from "../generated/loyalty/v1/member_service_pb.js";
import { OfferService } from "../generated/loyalty/v1/offer_service_pb.js";
import { PointsService } from "../generated/loyalty/v1/points_service_pb.js";
import { PurchaseService } from "../generated/loyalty/v1/purchase_service_pb.js";
import { RewardService } from "../generated/loyalty/v1/reward_service_pb.js";
import { LoyaltyError } from "./errors.js";
import { Mistake } from "./money.js";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;
/** What the service may answer about one purchase. */
export const LARGEST_ANSWER = 16 * 1024 * 1024;

export interface Patience {
  /** For one attempt. */
  deadlineMs?: number | undefined;
  /** For all attempts together. */
  patienceMs?: number | undefined;
}

type Changing = { requestId: string };

/** Where `server` is, host:port or https://host:port, as a URL; a key is not sent to another machine unencrypted. */
export function baseUrlOf(server: string, hasKey: boolean): string {
  const target = server.replace(/^https?:\/\//, "").replace(/\/$/, "");
  const isTls = server.startsWith("https://");
  if (!isTls && hasKey && !/^(127\.0\.0\.1|localhost|\[::1\]):/.test(target)) {
    throw new Mistake(`the API key would go unencrypted to another machine: write --server https://${target}`);
  }
  return `${isTls ? "https" : "http"}://${target}`;
}

export class Caller {
  readonly members: Client<typeof MemberService>;
  readonly points: Client<typeof PointsService>;
  readonly purchases: Client<typeof PurchaseService>;
  readonly rewards: Client<typeof RewardService>;
  readonly offers: Client<typeof OfferService>;
  readonly patienceMs: number;
  private readonly deadlineMs: number;

  constructor(
    transport: Transport,
    /** Asked for each call, so a new key needs no restart. */
    private readonly apiKey: () => string,
    { deadlineMs = 3_000, patienceMs = 10_000 }: Patience = {},
  ) {
    this.deadlineMs = deadlineMs;
    this.patienceMs = patienceMs;
    this.members = createClient(MemberService, transport);
    this.points = createClient(PointsService, transport);
    this.purchases = createClient(PurchaseService, transport);
    this.rewards = createClient(RewardService, transport);
    this.offers = createClient(OfferService, transport);
  }

  /**
   * Calls until there is an answer, a refusal, or no patience left, which is "no-answer". All attempts send the same request: its request_id is
   * why none is counted twice.
   */
  async call<Q, A>(
    method: (request: Q, options: CallOptions) => Promise<A>,
    request: Q & object,
    limits: Patience = {},
  ): Promise<A> {
    if ("requestId" in request && !(request as Changing).requestId) {
      throw new TypeError("a request that changes something needs a requestId, made once and kept for its retries");
    }
    const end = performance.now() + (limits.patienceMs ?? this.patienceMs);
    for (let attempt = 0; ; attempt += 1) {
      const key = this.apiKey();
      // The last attempt ends when the patience does.
      const timeoutMs = Math.max(100, Math.min(limits.deadlineMs ?? this.deadlineMs, end - performance.now()));
      let refusal: LoyaltyError;
      try {
        return await method(request, { timeoutMs: Math.floor(timeoutMs), ...(key && { headers: { authorization: `Bearer ${key}` } }) });
      } catch (thrown) {
        refusal = LoyaltyError.from(thrown);
      }
      const delayMs = delayBefore(refusal, attempt);
      if (delayMs === undefined || performance.now() + delayMs >= end) {
        throw refusal;
      }
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}

/** How long to wait before the next attempt; undefined: there should be none. */
export function delayBefore(refusal: LoyaltyError, attempt: number): number | undefined {
  const wait = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  if (refusal.code === Code.ResourceExhausted) {
    // Without RetryInfo it is this side that says so, of an answer larger than it takes: that would be as large again.
    if (refusal.retryDelayMs === undefined) {
      return undefined;
    }
  } else if (!isLost(refusal)) {
    return undefined;
  }
  if (refusal.retryDelayMs !== undefined) {
    // Not sooner than the service says, and not all callers at once.
    return Math.max(refusal.retryDelayMs, wait / 2) + (Math.random() * wait) / 2;
  }
  return wait / 2 + (Math.random() * wait) / 2;
}

/** The service is away or too slow, or the connection was lost: this library calls a connection that ends in the midst of a call by several
 * codes, none of them with a reason of the service. */
function isLost(refusal: LoyaltyError): boolean {
  if (refusal.code === Code.Unavailable || refusal.code === Code.DeadlineExceeded) {
    return true;
  }
  const ofConnection = [Code.Aborted, Code.Canceled, Code.Internal, Code.Unknown, Code.DataLoss];
  return refusal.reason === "" && ofConnection.includes(refusal.code);
}
