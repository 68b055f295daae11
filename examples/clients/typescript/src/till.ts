/** A till: finds members, shows what a basket costs and earns, records sales and returns, and goes on selling while the service is away. */

import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { clone, create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Connection, CONNECTION_FLAGS, settings } from "./client/connection.js";
import { isNoAnswer, LoyaltyError } from "./client/errors.js";
import { fill } from "./client/goods.js";
import { Amount, Mistake, show } from "./client/money.js";
import { type Intention, Outbox, send } from "./client/outbox.js";
import { type Identifier, Identifier_Kind, IdentifierSchema, type MemberRef, MemberRefSchema, Tender_Kind, TenderSchema } from "./generated/loyalty/v1/common_pb.js";
import { ReturnLineSchema } from "./generated/loyalty/v1/entry_pb.js";
import { EnrollMemberRequestSchema, type EnrollMemberResponse, GetMemberRequestSchema } from "./generated/loyalty/v1/member_service_pb.js";
import { PointsPaymentSchema, type Purchase, PurchaseSchema } from "./generated/loyalty/v1/purchase_pb.js";
import {
  QuotePurchaseRequestSchema,
  type QuotePurchaseResponse,
  type RecordPurchaseRequest,
  RecordPurchaseRequestSchema,
  type RecordPurchaseResponse,
  ReturnPurchaseRequestSchema,
  type ReturnPurchaseResponse,
} from "./generated/loyalty/v1/purchase_service_pb.js";

const USAGE = `node dist/till.js [FLAGS] COMMAND

  enroll --card CARD --phone PHONE     a new member, by one of both or both
  member --card CARD                   who is this, and how many points are there; --phone in all commands too
  quote --card CARD GOODS...           what a basket costs and earns
  sell --card CARD GOODS...            quote, and record the sale; with --points N or max, --voucher CODE, --code CODE
  return ORDER                         goods come back: all of the order, or --line INDEXxQUANTITY; --reason TEXT
  send                                 deliver what waits
  queue                                what waits
  shift                                commands from standard input, one a line

GOODS are SKU=AMOUNT, then xQUANTITY and @CATEGORY if need be: kettle=300000 beans=270000x2@coffee; the amount is for all units together.
FLAGS: --server host:port or https://host:port, --ca, --client-cert, --client-key, --api-key-file, --grpc-web (over fetch), --program, --currency, --store, --till,
--state (folder for what must outlive the program), --patience (seconds after which the till sells offline).
`;

function parse(args: string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...CONNECTION_FLAGS,
      program: { type: "string", default: "vietnam" },
      currency: { type: "string", default: "VND" },
      store: { type: "string", default: "saigon-1" },
      till: { type: "string", default: "till-3" },
      state: { type: "string", default: "state/till" },
      patience: { type: "string", default: "4" },
      card: { type: "string" },
      phone: { type: "string" },
      points: { type: "string" },
      voucher: { type: "string", multiple: true, default: [] },
      code: { type: "string", multiple: true, default: [] },
      line: { type: "string", multiple: true, default: [] },
      reason: { type: "string", default: "" },
      help: { type: "boolean", default: false },
    },
  });
  return { flags: values, command: positionals[0], rest: positionals.slice(1) };
}

type Args = ReturnType<typeof parse>;
type Flags = Args["flags"];

class Till {
  private readonly service: Connection;
  /** Why the service was away. */
  private lost = "";

  constructor(
    private readonly own: Flags,
    private readonly outbox: Outbox,
  ) {
    // A customer waits: better to sell offline after some seconds than to wait longer.
    const patienceMs = Number(own.patience) * 1_000;
    if (!(patienceMs > 0)) {
      throw new Mistake(`--patience: '${own.patience}' is not a number of seconds`);
    }
    this.service = new Connection({ ...settings(own), deadlineMs: patienceMs / 2, patienceMs });
  }

  close(): void {
    this.outbox.close();
    this.service.close();
  }

  /** Says whether it worked. */
  async run({ flags, command, rest }: Args): Promise<boolean> {
    try {
      switch (command) {
        case "enroll":
          await this.enroll(flags);
          break;
        case "member":
          await this.member(flags);
          break;
        case "quote":
          await this.quoted(flags, this.purchase(flags, rest, ""));
          break;
        case "sell":
          await this.sell(flags, rest);
          break;
        case "return":
          await this.return(flags, rest);
          break;
        case "send":
          await this.send();
          break;
        case "queue":
          say(`${this.outbox.size} requests wait, ${this.outbox.refusals} were refused before`);
          break;
        case "shift":
          await this.shift();
          break;
        default:
          throw new Mistake(`${command ?? "nothing"} is no command:\n${USAGE}`);
      }
      return true;
    } catch (thrown) {
      if (thrown instanceof LoyaltyError) {
        explain(thrown);
      } else if (thrown instanceof Mistake) {
        say(thrown.message);
      } else {
        throw thrown;
      }
      return false;
    }
  }

  private async enroll(flags: Flags): Promise<void> {
    const identifiers = [
      ...(flags.card ? [identifier(Identifier_Kind.CARD, flags.card)] : []),
      ...(flags.phone ? [identifier(Identifier_Kind.PHONE, flags.phone)] : []),
    ];
    const request = create(EnrollMemberRequestSchema, { requestId: randomUUID(), programId: this.own.program, identifiers });
    const { member } = (await this.perform({ kind: "EnrollMember", request })) as EnrollMemberResponse;
    say(`enrolled ${member?.memberId}, tier ${member?.tier?.displayName}`);
  }

  private async member(flags: Flags): Promise<void> {
    const request = create(GetMemberRequestSchema, { programId: this.own.program, member: memberRef(flags) });
    const { member } = await this.service.call(this.service.members.getMember, request);
    say(`${member?.profile?.displayName || member?.memberId}: ${member?.balance?.available} points, ${member?.tier?.displayName}`);
  }

  private async sell(flags: Flags, goods: string[]): Promise<void> {
    const member = memberRef(flags);
    const sale = this.purchase(flags, goods, `${this.own.till}/${String(this.outbox.nextNumber()).padStart(6, "0")}`);
    if (!(await this.deliver())) {
      this.sellOffline(flags, sale, this.lost);
      return;
    }
    const request = create(RecordPurchaseRequestSchema, { requestId: randomUUID(), programId: this.own.program, member });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      let quoted: Quoted;
      try {
        quoted = await this.quoted(flags, sale);
      } catch (thrown) {
        if (!isNoAnswer(thrown)) {
          throw thrown;
        }
        // Nothing was sent that changes anything, so this can still become an offline sale.
        this.sellOffline(flags, sale, String(thrown));
        return;
      }
      request.purchase = quoted.priced;
      request.quoteId = quoted.quote.quoteId;
      try {
        const intention: Intention = { kind: "RecordPurchase", request, ifChanged: this.asPaid(request, quoted.quote) };
        const answer = (await this.perform(intention)) as RecordPurchaseResponse;
        say(`sold ${sale.orderId}: +${answer.accrual?.points} points, ${answer.balance?.available} available, tier ${answer.tierId}`);
        for (const voucher of answer.issuedVouchers) {
          say(`  for the customer: ${voucher.displayName}, code ${voucher.code}`);
        }
        return;
      } catch (thrown) {
        if (isNoAnswer(thrown)) {
          // It may be recorded: only this request, as it was sent, can tell. The customer pays what was quoted, and goes.
          say(`sold ${sale.orderId} without an answer: it is in the outbox (${thrown})`);
          return;
        }
        if (!(thrown instanceof LoyaltyError) || thrown.reason !== "QUOTE_CHANGED") {
          throw thrown;
        }
        say(`${thrown.metadata["changed"]} changed since the quote:`);
      }
    }
    throw new Mistake("the price changes faster than it can be paid: try again");
  }

  private async return(flags: Flags, [orderId]: string[]): Promise<void> {
    if (orderId === undefined) {
      throw new Mistake("which order? return ORDER");
    }
    const lines = flags.line.map((text) => {
      const match = /^(\d+)(?:x([0-9.]+))?$/.exec(text);
      if (!match) {
        throw new Mistake(`--line ${text}: write INDEXxQUANTITY; the first line has index 0`);
      }
      return create(ReturnLineSchema, { lineIndex: Number(match[1]), quantity: match[2] ?? "1" });
    });
    const request = create(ReturnPurchaseRequestSchema, {
      requestId: randomUUID(),
      programId: this.own.program,
      storeId: this.own.store,
      orderId,
      reason: flags.reason,
      lines,
      wholePurchase: lines.length === 0,
    });
    // The sale that it belongs to may be waiting yet.
    await this.deliver();
    const answer = (await this.perform({ kind: "ReturnPurchase", request })) as ReturnPurchaseResponse;
    say(`returned of ${orderId}: ${answer.entry?.points} points, ${answer.balance?.available} available`);
    const returned = answer.entry?.kind.case === "purchaseReturned" ? answer.entry.kind.value : undefined;
    if (returned && returned.withheld > 0n) {
      say(`  keep back ${show(returned.withheldValue)} of the refund: ${returned.withheld} points were spent already`);
    }
  }

  private async send(): Promise<void> {
    if (!(await this.deliver(60_000))) {
      throw new Mistake(`${this.outbox.size} requests wait: the service does not answer (${this.lost})`);
    }
    say("the outbox is empty");
  }

  private async shift(): Promise<void> {
    for await (const line of createInterface({ input: process.stdin })) {
      if (!line.trim()) {
        continue;
      }
      say(`> ${line.trim()}`);
      try {
        await this.run(parse(line.trim().split(/\s+/)));
      } catch (thrown) {
        // A flag that there is not.
        if (!(thrown instanceof TypeError)) {
          throw thrown;
        }
        say(thrown.message);
      }
    }
    await this.send();
  }

  /** On disk before it is sent; settled by an answer or a refusal. */
  private async perform(intention: Intention) {
    this.outbox.put(intention);
    try {
      const answer = await send(this.service, intention);
      this.outbox.settle(intention.request.requestId);
      return answer;
    } catch (thrown) {
      if (thrown instanceof LoyaltyError && !isNoAnswer(thrown)) {
        this.outbox.settle(intention.request.requestId);
      }
      throw thrown;
    }
  }

  /** What waits goes first. Says whether the service was there. */
  private async deliver(patienceMs?: number): Promise<boolean> {
    try {
      await this.outbox.deliver(this.service, say, patienceMs);
      return true;
    } catch (thrown) {
      if (isNoAnswer(thrown)) {
        this.lost = String(thrown);
        return false;
      }
      throw thrown;
    }
  }

  private purchase(flags: Flags, goods: string[], orderId: string): Purchase {
    const sale = create(PurchaseSchema, {
      storeId: this.own.store,
      orderId,
      channel: "pos",
      // Always said, so that a sale is the same request whether it is delivered at once or tomorrow.
      occurredTime: timestampNow(),
      voucherCodes: flags.voucher,
      codes: flags.code,
    });
    fill(sale, goods, this.own.currency);
    return sale;
  }

  /** Shows the customer what it costs and earns; the quote, and the purchase that leads to it. */
  private async quoted(flags: Flags, sale: Purchase): Promise<Quoted> {
    const priced = clone(PurchaseSchema, sale);
    priced.applyPriceEffects = true;
    let quote = await this.ask(flags, priced);
    if (flags.points !== undefined) {
      this.payWithPoints(flags.points, priced, quote);
      quote = await this.ask(flags, priced);
    }
    for (const effect of quote.priceEffects) {
      say(`  ${effect.voucherCode || effect.tierId}: -${show(effect.amount)}`);
    }
    let rest = Amount.of(quote.priced?.total);
    for (const tender of priced.tenders.filter(({ kind }) => kind === Tender_Kind.POINTS)) {
      rest = rest.minus(Amount.of(tender.amount));
      say(`  paid with ${priced.pointsPayments[0]?.payment.value} points: -${show(tender.amount)}`);
    }
    say(`  to pay ${show(rest.toMoney(this.own.currency))}; earns ${quote.accrual?.points} points`);
    const usable = quote.usablePoints;
    if (usable && usable.points > 0n && flags.points === undefined) {
      say(`  could be paid with up to ${usable.points} points (${show(usable.value)})`);
    }
    for (const hint of quote.hints) {
      say(`  ${show(hint.spend)} more: ${hint.points} points more`);
    }
    return { quote, priced };
  }

  private async ask(flags: Flags, purchase: Purchase): Promise<QuotePurchaseResponse> {
    const request = create(QuotePurchaseRequestSchema, { programId: this.own.program, member: memberRef(flags), purchase });
    return await this.service.call(this.service.purchases.quotePurchase, request);
  }

  private payWithPoints(wanted: string, sale: Purchase, quote: QuotePurchaseResponse): void {
    const usable = quote.usablePoints;
    if (wanted !== "max" && !/^\d+$/.test(wanted)) {
      throw new Mistake(`--points: '${wanted}' is neither a number of points nor max`);
    }
    const most = usable?.points ?? 0n;
    const points = wanted === "max" ? most : BigInt(wanted);
    if (points <= 0n || points > most) {
      throw new Mistake(`up to ${most} points can pay for this`);
    }
    const value = Amount.of(usable?.value).share(points, most);
    const rest = Amount.of(quote.priced?.total).minus(value);
    sale.pointsPayments.push(create(PointsPaymentSchema, { payment: { case: "redeemPoints", value: points } }));
    sale.tenders.push(create(TenderSchema, { kind: Tender_Kind.POINTS, amount: value.toMoney(this.own.currency) }));
    sale.tenders.push(create(TenderSchema, { kind: Tender_Kind.CASH, amount: rest.toMoney(this.own.currency) }));
  }

  /** At the shelf's prices: what the tier, vouchers and points would take off nobody can say now. */
  private sellOffline(flags: Flags, sale: Purchase, lost: string): void {
    if (sale.voucherCodes.length > 0 || flags.points !== undefined) {
      throw new Mistake(`the service is away: without it neither vouchers nor points are taken (${lost})`);
    }
    const request = create(RecordPurchaseRequestSchema, {
      requestId: randomUUID(),
      programId: this.own.program,
      member: memberRef(flags),
      purchase: { ...sale, offline: true },
    });
    this.outbox.put({ kind: "RecordPurchase", request, ifChanged: undefined });
    say(`sold ${sale.orderId} offline for ${show(sale.total)}: it is in the outbox (${lost})`);
  }

  /**
   * The sale as a till tells of it that gave the discounts itself: for when the customer has paid what was quoted, no answer came, and the
   * service says later that it would be something else by now.
   */
  private asPaid(request: RecordPurchaseRequest, quote: QuotePurchaseResponse): RecordPurchaseRequest {
    const paid = clone(RecordPurchaseRequestSchema, request);
    paid.requestId = randomUUID();
    paid.quoteId = "";
    if (paid.purchase && quote.priced) {
      paid.purchase.applyPriceEffects = false;
      paid.purchase.offline = true;
      paid.purchase.total = quote.priced.total;
      for (const [index, line] of paid.purchase.lines.entries()) {
        const price = Amount.parse(quote.priced.lines[index]?.price ?? "0");
        line.discount = Amount.of(line.amount).minus(price).toMoney(this.own.currency);
      }
    }
    return paid;
  }
}

interface Quoted {
  quote: QuotePurchaseResponse;
  priced: Purchase;
}

function identifier(kind: Identifier_Kind, value: string): Identifier {
  return create(IdentifierSchema, { kind, value });
}

function memberRef(flags: Flags): MemberRef {
  if (flags.card) {
    return create(MemberRefSchema, { ref: { case: "identifier", value: identifier(Identifier_Kind.CARD, flags.card) } });
  }
  if (flags.phone) {
    return create(MemberRefSchema, { ref: { case: "identifier", value: identifier(Identifier_Kind.PHONE, flags.phone) } });
  }
  throw new Mistake("which member? Write --card CARD or --phone PHONE");
}

function explain(refusal: LoyaltyError): void {
  say(`refused: ${refusal.message}`);
  for (const { field, description } of refusal.fields) {
    say(`  ${field}: ${description}`);
  }
  const numbers = Object.entries(refusal.metadata).sort();
  if (numbers.length > 0) {
    say(`  ${numbers.map(([key, value]) => `${key}=${value}`).join(", ")}`);
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<void> {
  process.umask(0o077);
  let till: Till | undefined;
  try {
    const args = parse(process.argv.slice(2));
    if (args.flags.help) {
      say(USAGE);
      return;
    }
    till = new Till(args.flags, await Outbox.open(args.flags.state));
    process.exitCode = (await till.run(args)) ? 0 : 1;
  } catch (thrown) {
    // A flag that there is not, or one that cannot be.
    if (!(thrown instanceof Mistake || thrown instanceof TypeError)) {
      throw thrown;
    }
    say(thrown.message);
    process.exitCode = 2;
  } finally {
    till?.close();
  }
}

await main();
