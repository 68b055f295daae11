/**
 * What a till has begun and has no answer to yet, on disk: sales from while the service was away, and requests whose answer was lost.
 *
 * Each is kept as it was sent, with its request_id, so that sending it again is the same request: what was carried out answers as it did the first
 * time, and what was not is carried out now. Nothing is counted twice, however often the till or the service is killed.
 */

import { join } from "node:path";
import { create, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type EnrollMemberRequest, EnrollMemberRequestSchema } from "../generated/loyalty/v1/member_service_pb.js";
import {
  BatchRecordPurchasesRequestSchema,
  type RecordPurchaseRequest,
  RecordPurchaseRequestSchema,
  type ReturnPurchaseRequest,
  ReturnPurchaseRequestSchema,
} from "../generated/loyalty/v1/purchase_service_pb.js";
import type { Connection } from "./connection.js";
import { Log } from "./disk.js";
import { isUnsettled, LoyaltyError } from "./errors.js";

// A batch may have 10,000 lines in all, and 1,000 purchases.
const BATCH_PURCHASES = 500;
const BATCH_LINES = 10_000;
// After so many records the file begins anew, once nothing waits.
const LONGEST_LOG = 1_000;

export type Intention =
  | { kind: "EnrollMember"; request: EnrollMemberRequest }
  | { kind: "ReturnPurchase"; request: ReturnPurchaseRequest }
  /** `ifChanged` is sent in its place if the service says, when the sale is long over, that its quote had changed. */
  | { kind: "RecordPurchase"; request: RecordPurchaseRequest; ifChanged: RecordPurchaseRequest | undefined };

type Stored = { kind: Intention["kind"]; request: JsonValue; ifChanged?: JsonValue };
type Noted = { number: number } | { settled: string } | Stored;

export class Outbox {
  private readonly waiting = new Map<string, Intention>();
  private number = 0;

  private constructor(
    private readonly log: Log<Noted>,
    /** For a person to look at: sales that the service refused for good. Nothing is dropped. */
    private readonly refused: Log<object>,
  ) {
    for (const record of this.log.records) {
      this.take(record);
    }
  }

  static async open(folder: string): Promise<Outbox> {
    return new Outbox(await Log.open(join(folder, "outbox.jsonl")), await Log.open(join(folder, "refused.jsonl")));
  }

  get size(): number {
    return this.waiting.size;
  }

  get refusals(): number {
    return this.refused.records.length;
  }

  /** Of the next sale; never the same one again, whatever becomes of this one. */
  nextNumber(): number {
    this.note({ number: this.number + 1 });
    return this.number;
  }

  /** Before it is sent. */
  put(intention: Intention): void {
    this.note(stored(intention));
  }

  settle(requestId: string): void {
    this.note({ settled: requestId });
    if (this.waiting.size === 0 && this.log.records.length > LONGEST_LOG) {
      this.log.replace([{ number: this.number }]);
    }
  }

  /** Sends all that waits, in the order in which it came about. No answer, or not allowed: what is left waits on. */
  async deliver(service: Connection, say: (text: string) => void, patienceMs?: number): Promise<void> {
    for (;;) {
      const [first] = this.waiting.values();
      if (first === undefined) {
        return;
      }
      if (first.kind === "RecordPurchase") {
        await this.deliverSales(service, this.firstSales(), say, patienceMs);
      } else {
        await this.deliverOther(service, first, say, patienceMs);
      }
    }
  }

  close(): void {
    this.log.close();
    this.refused.close();
  }

  private async deliverSales(service: Connection, sales: Sale[], say: (text: string) => void, patienceMs?: number): Promise<void> {
    const batch = create(BatchRecordPurchasesRequestSchema, { purchases: sales.map((sale) => sale.request) });
    const answer = await service.call(service.purchases.batchRecordPurchases, batch, { deadlineMs: 30_000, patienceMs });
    let wait: LoyaltyError | undefined;
    for (const [index, sale] of sales.entries()) {
      const result = answer.results[index]?.result;
      const order = sale.request.purchase?.orderId;
      if (result?.case === "recorded") {
        this.settle(sale.request.requestId);
        say(`delivered ${order}: ${result.value.accrual?.points} points`);
        continue;
      }
      if (result?.case !== "error") {
        throw new Error(`the service answered nothing about ${order}`);
      }
      const refusal = LoyaltyError.fromResult(result.value);
      if (refusal.retryDelayMs !== undefined || isUnsettled(refusal)) {
        wait = refusal;
      } else if (refusal.reason === "QUOTE_CHANGED" && sale.ifChanged) {
        // The customer has paid what the quote said, and is gone: it is booked at that.
        this.put({ kind: "RecordPurchase", request: sale.ifChanged, ifChanged: undefined });
        this.settle(sale.request.requestId);
      } else {
        this.refuse(sale, refusal);
        say(`REFUSED ${order}: ${refusal.message} (kept in ${this.refused.path})`);
      }
    }
    if (wait) {
      throw wait;
    }
  }

  private async deliverOther(service: Connection, intention: Intention, say: (text: string) => void, patienceMs?: number): Promise<void> {
    try {
      await send(service, intention, patienceMs);
    } catch (thrown) {
      if (isUnsettled(thrown)) {
        throw thrown;
      }
      const refusal = thrown as LoyaltyError;
      this.refuse(intention, refusal);
      say(`REFUSED ${intention.kind}: ${refusal.message} (kept in ${this.refused.path})`);
      return;
    }
    this.settle(intention.request.requestId);
    say(`delivered ${intention.kind} ${intention.request.requestId}`);
  }

  /** The sales before anything else, as many as a batch takes. */
  private firstSales(): Sale[] {
    const sales: Sale[] = [];
    let lines = 0;
    for (const intention of this.waiting.values()) {
      if (intention.kind !== "RecordPurchase" || sales.length === BATCH_PURCHASES) {
        break;
      }
      lines += intention.request.purchase?.lines.length ?? 0;
      if (sales.length > 0 && lines > BATCH_LINES) {
        break;
      }
      sales.push(intention);
    }
    return sales;
  }

  private refuse(intention: Intention, { reason, message, metadata }: LoyaltyError): void {
    this.refused.append({ reason, message, metadata, ...stored(intention) });
    this.settle(intention.request.requestId);
  }

  private note(record: Noted): void {
    this.log.append(record);
    this.take(record);
  }

  private take(record: Noted): void {
    if ("number" in record) {
      this.number = record.number;
    } else if ("settled" in record) {
      this.waiting.delete(record.settled);
    } else {
      const intention = restored(record);
      this.waiting.set(intention.request.requestId, intention);
    }
  }
}

type Sale = Extract<Intention, { kind: "RecordPurchase" }>;

export async function send(service: Connection, intention: Intention, patienceMs?: number) {
  switch (intention.kind) {
    case "EnrollMember":
      return await service.call(service.members.enrollMember, intention.request, { patienceMs });
    case "ReturnPurchase":
      return await service.call(service.purchases.returnPurchase, intention.request, { patienceMs });
    case "RecordPurchase":
      return await service.call(service.purchases.recordPurchase, intention.request, { patienceMs });
  }
}

function stored(intention: Intention): Stored {
  switch (intention.kind) {
    case "EnrollMember":
      return { kind: intention.kind, request: toJson(EnrollMemberRequestSchema, intention.request) };
    case "ReturnPurchase":
      return { kind: intention.kind, request: toJson(ReturnPurchaseRequestSchema, intention.request) };
    case "RecordPurchase": {
      const request = toJson(RecordPurchaseRequestSchema, intention.request);
      const { ifChanged } = intention;
      return { kind: intention.kind, request, ...(ifChanged && { ifChanged: toJson(RecordPurchaseRequestSchema, ifChanged) }) };
    }
  }
}

function restored({ kind, request, ifChanged }: Stored): Intention {
  switch (kind) {
    case "EnrollMember":
      return { kind, request: fromJson(EnrollMemberRequestSchema, request) };
    case "ReturnPurchase":
      return { kind, request: fromJson(ReturnPurchaseRequestSchema, request) };
    case "RecordPurchase":
      return {
        kind,
        request: fromJson(RecordPurchaseRequestSchema, request),
        ifChanged: ifChanged === undefined ? undefined : fromJson(RecordPurchaseRequestSchema, ifChanged),
      };
  }
}
