/** The connection, the credentials, and calls with deadlines and retries. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type Client, Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { MemberService } from "../generated/loyalty/v1/member_service_pb.js";
import { OfferService } from "../generated/loyalty/v1/offer_service_pb.js";
import { PointsService } from "../generated/loyalty/v1/points_service_pb.js";
import { PurchaseService } from "../generated/loyalty/v1/purchase_service_pb.js";
import { RewardService } from "../generated/loyalty/v1/reward_service_pb.js";
import { LoyaltyError } from "./errors.js";
import { Mistake } from "./money.js";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

export interface Settings {
  /** host:port, or https://host:port for TLS. */
  server: string;
  /** PEM files: the CA that signed the server's certificate, and for mTLS a certificate of this client. */
  ca?: string | undefined;
  clientCert?: string | undefined;
  clientKey?: string | undefined;
  /** It is read for each call, so a new key needs no restart. */
  apiKeyFile?: string | undefined;
  /** For one attempt. */
  deadlineMs?: number;
  /** For all attempts together. */
  patienceMs?: number;
}

/** The flags of both programs, for `parseArgs`; each is also an environment variable. */
export const CONNECTION_FLAGS = {
  server: { type: "string", default: process.env["LOYALTYD_SERVER"] ?? "127.0.0.1:50051" },
  ca: { type: "string", default: process.env["LOYALTYD_CA"] ?? "" },
  "client-cert": { type: "string", default: process.env["LOYALTYD_CLIENT_CERT"] ?? "" },
  "client-key": { type: "string", default: process.env["LOYALTYD_CLIENT_KEY"] ?? "" },
  "api-key-file": { type: "string", default: process.env["LOYALTYD_API_KEY_FILE"] ?? "" },
} as const;

export function settings(flags: { [name in keyof typeof CONNECTION_FLAGS]: string }): Settings {
  return {
    server: flags.server,
    ca: flags.ca || undefined,
    clientCert: flags["client-cert"] || undefined,
    clientKey: flags["client-key"] || undefined,
    apiKeyFile: flags["api-key-file"] || undefined,
  };
}

type Changing = { requestId: string };

/** One connection for the whole program: it reconnects by itself. */
export class Connection {
  readonly members: Client<typeof MemberService>;
  readonly points: Client<typeof PointsService>;
  readonly purchases: Client<typeof PurchaseService>;
  readonly rewards: Client<typeof RewardService>;
  readonly offers: Client<typeof OfferService>;
  readonly patienceMs: number;
  private readonly sessions: Http2SessionManager;
  private readonly deadlineMs: number;

  constructor(private readonly settings: Settings) {
    this.deadlineMs = settings.deadlineMs ?? 3_000;
    this.patienceMs = settings.patienceMs ?? 10_000;
    const target = settings.server.replace(/^https?:\/\//, "").replace(/\/$/, "");
    const isTls = settings.server.startsWith("https://");
    if (!isTls && (settings.ca || settings.clientCert || settings.clientKey)) {
      throw new Mistake(`certificates are for TLS: write --server https://${target}`);
    }
    if (!isTls && this.apiKey() && !/^(127\.0\.0\.1|localhost|\[::1\]):/.test(target)) {
      throw new Mistake(`the API key would go unencrypted to another machine: write --server https://${target}`);
    }
    const read = (path: string | undefined) => (path ? readFileSync(path) : undefined);
    const [ca, cert, key] = [read(settings.ca), read(settings.clientCert), read(settings.clientKey)];
    const baseUrl = `${isTls ? "https" : "http"}://${target}`;
    // A connection that is dead without a word, as behind a router that was switched off, is noticed while a call waits.
    const alive = { pingIntervalMs: 30_000, pingTimeoutMs: 5_000, idleConnectionTimeoutMs: 10 * 60_000 };
    this.sessions = new Http2SessionManager(baseUrl, alive, isTls ? { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } : {});
    // What the service may answer about one purchase.
    const transport = createGrpcTransport({ baseUrl, sessionManager: this.sessions, readMaxBytes: 16 * 1024 * 1024 });
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
    limits: { deadlineMs?: number | undefined; patienceMs?: number | undefined } = {},
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
      await sleep(delayMs);
    }
  }

  close(): void {
    this.sessions.abort();
  }

  private apiKey(): string {
    const file = this.settings.apiKeyFile;
    return (file ? readFileSync(file, "utf8") : (process.env["LOYALTYD_API_KEY"] ?? "")).trim();
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
