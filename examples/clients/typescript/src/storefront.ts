/** A web shop: shows what a member has and may have, holds points while the customer checks out, and turns points into vouchers. */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import type { CallOptions } from "@connectrpc/connect";
import { Connection, CONNECTION_FLAGS, settings } from "./client/connection.js";
import { Intentions } from "./client/disk.js";
import { isNoAnswer, LoyaltyError } from "./client/errors.js";
import { fill } from "./client/goods.js";
import { Amount, Mistake, show } from "./client/money.js";
import { nameOf } from "./client/names.js";
import { Identifier_Kind, type MemberRef, MemberRefSchema, Tender_Kind, TenderSchema } from "./generated/loyalty/v1/common_pb.js";
import type { Hold } from "./generated/loyalty/v1/lot_pb.js";
import { GetMemberRequestSchema } from "./generated/loyalty/v1/member_service_pb.js";
import { ActivateOfferRequestSchema, ListedOffer_State, ListOffersRequestSchema } from "./generated/loyalty/v1/offer_service_pb.js";
import { HoldPointsRequestSchema, ListHoldsRequestSchema, ReleaseHoldRequestSchema } from "./generated/loyalty/v1/points_service_pb.js";
import { PointsPaymentSchema, type Purchase, PurchaseSchema } from "./generated/loyalty/v1/purchase_pb.js";
import { QuotePurchaseRequestSchema, type QuotePurchaseResponse, RecordPurchaseRequestSchema } from "./generated/loyalty/v1/purchase_service_pb.js";
import {
  ListedReward_Reason,
  ListRewardsRequestSchema,
  ListVouchersRequestSchema,
  RedeemRewardRequestSchema,
  UseVoucherRequestSchema,
} from "./generated/loyalty/v1/reward_service_pb.js";

const USAGE = `node dist/storefront.js [FLAGS] COMMAND --card CARD

  show                     balance, what lapses next, and the way to the next tier
  rewards                  what there is for points, and why not
  offers                   what there is for this member alone
  activate OFFER           turn an offer on
  redeem REWARD            a reward for points: its voucher
  vouchers                 those that can be used
  use CODE CART            a voucher, without a purchase here; --total AMOUNT for vouchers with a minimum order
  hold CART GOODS...       set points aside for a cart: --points N, or as many as the order takes
  pay CART GOODS...        record the order, paid with what is held for it; --voucher CODE
  give-up CART             release what is held for a cart

GOODS are SKU=AMOUNT, then xQUANTITY and @CATEGORY if need be: kettle=300000 beans=270000x2@coffee; the amount is for all units together.
FLAGS: --server host:port or https://host:port, --ca, --client-cert, --client-key, --api-key-file, --program, --currency, --store,
--grpc-web (over fetch), --state (folder for what must outlive the program).
`;

/** What a customer can be told; for everything else the service's own text, which is for staff, goes to the log. */
const FOR_CUSTOMERS: Record<string, (metadata: Record<string, string>) => string> = {
  MEMBER_NOT_FOUND: () => "We do not know this card.",
  INSUFFICIENT_POINTS: ({ available, requested }) => `You have ${available} points; that takes ${requested}.`,
  REWARD_TIER: () => "This is for members of another tier.",
  REWARD_LIMIT: () => "You have had as many of these as there are for one member now.",
  REWARD_OUT_OF_STOCK: () => "There are none left.",
  VOUCHER_NOT_FOUND: () => "We do not know this code.",
  VOUCHER_USED: () => "This voucher was used before.",
  VOUCHER_EXPIRED: () => "This voucher is over.",
  VOUCHER_HELD: () => "This voucher is in another cart.",
  VOUCHER_BELOW_MINIMUM_ORDER: ({ minimum }) => `This voucher is for orders of ${minimum} or more.`,
};

function parse(args: string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...CONNECTION_FLAGS,
      program: { type: "string", default: "vietnam" },
      currency: { type: "string", default: "VND" },
      store: { type: "string", default: "web" },
      state: { type: "string", default: "state/storefront" },
      card: { type: "string" },
      points: { type: "string" },
      total: { type: "string" },
      voucher: { type: "string", multiple: true, default: [] },
      help: { type: "boolean", default: false },
    },
  });
  return { flags: values, command: positionals[0], rest: positionals.slice(1) };
}

type Args = ReturnType<typeof parse>;
type Flags = Args["flags"];

class Storefront {
  private readonly service: Connection;

  constructor(
    private readonly flags: Flags,
    /** A real shop keeps these with the cart, in its database. */
    private readonly intentions: Intentions,
  ) {
    this.service = new Connection(settings(flags));
  }

  close(): void {
    this.intentions.close();
    this.service.close();
  }

  async run(command: string | undefined, rest: string[]): Promise<void> {
    const [subject, ...goods] = rest;
    const named = () => {
      if (subject === undefined) {
        throw new Mistake(`${command} needs a name:\n${USAGE}`);
      }
      return subject;
    };
    switch (command) {
      case "show":
        return await this.show();
      case "rewards":
        return await this.rewards();
      case "offers":
        return await this.offers();
      case "activate":
        return await this.activate(named());
      case "redeem":
        return await this.redeem(named());
      case "vouchers":
        return await this.vouchers();
      case "use":
        return await this.use(named(), goods[0]);
      case "hold":
        return await this.hold(named(), goods);
      case "pay":
        return await this.pay(named(), goods);
      case "give-up":
        return await this.giveUp(named());
      default:
        throw new Mistake(`${command ?? "nothing"} is no command:\n${USAGE}`);
    }
  }

  private async show(): Promise<void> {
    const request = create(GetMemberRequestSchema, { programId: this.flags.program, member: this.member() });
    const { member } = await this.service.call(this.service.members.getMember, request);
    const [tier, balance] = [member?.tier, member?.balance];
    say(`${member?.profile?.displayName || "Member"}: ${balance?.available} points, ${balance?.held} held, ${tier?.displayName}`);
    for (const lapse of member?.expiring ?? []) {
      say(`  ${lapse.points} points are valid until ${day(lapse.expireTime)}`);
    }
    if (tier?.nextTierId) {
      const ways = [
        ...(tier.nextMissingPoints === undefined ? [] : [`${tier.nextMissingPoints} points`]),
        ...(tier.nextMissingSpend === undefined ? [] : [show(tier.nextMissingSpend)]),
        ...(tier.nextMissingVisits === undefined ? [] : [`${tier.nextMissingVisits} visits`]),
      ];
      say(`  to ${tier.nextTierId}: ${ways.join(tier.nextRequireAll ? " and " : " or ")} more`);
    }
    if (tier?.fallsToTierId) {
      say(`  falls to ${tier.fallsToTierId} on ${day(tier.fallsTime)}`);
    }
  }

  private async rewards(): Promise<void> {
    const request = create(ListRewardsRequestSchema, { programId: this.flags.program, member: this.member() });
    for await (const page of this.pages(this.service.rewards.listRewards, request)) {
      for (const { reward, points, reasons } of page.rewards) {
        const against = reasons.map((reason) => nameOf(ListedReward_Reason, reason)).join(", ");
        say(`${reward?.rewardId}: ${reward?.displayName}, ${points} points${against && ` (${against})`}`);
      }
    }
  }

  private async offers(): Promise<void> {
    const request = create(ListOffersRequestSchema, { programId: this.flags.program, member: this.member(), channel: "web" });
    const { offers } = await this.service.call(this.service.offers.listOffers, request);
    for (const { offer, state } of offers) {
      say(`${offer?.offerId}: ${offer?.displayName} (${nameOf(ListedOffer_State, state)})`);
    }
    if (offers.length === 0) {
      say("no offers now");
    }
  }

  private async activate(offerId: string): Promise<void> {
    const request = create(ActivateOfferRequestSchema, { programId: this.flags.program, member: this.member(), offerId });
    const answer = await this.change(`activate ${offerId} ${this.flags.card}`, this.service.offers.activateOffer, request);
    say(`activated ${offerId}${answer.voucher ? `: code ${answer.voucher.code}` : ""}`);
  }

  private async redeem(rewardId: string): Promise<void> {
    const request = create(RedeemRewardRequestSchema, { programId: this.flags.program, member: this.member(), rewardId });
    const answer = await this.change(`redeem ${rewardId} ${this.flags.card}`, this.service.rewards.redeemReward, request);
    for (const voucher of answer.vouchers) {
      say(`${voucher.displayName}: code ${voucher.code}, valid until ${day(voucher.expireTime)}`);
    }
    say(`${answer.balance?.available} points left`);
  }

  private async vouchers(): Promise<void> {
    const request = create(ListVouchersRequestSchema, { programId: this.flags.program, member: this.member() });
    for await (const page of this.pages(this.service.rewards.listVouchers, request)) {
      for (const voucher of page.vouchers) {
        say(`${voucher.code}: ${voucher.displayName}`);
      }
    }
  }

  /** For a shop that records no purchases here. */
  private async use(code: string, cart: string | undefined): Promise<void> {
    if (cart === undefined) {
      throw new Mistake("for which cart? use CODE CART");
    }
    const request = create(UseVoucherRequestSchema, { programId: this.flags.program, code, storeId: this.flags.store, orderId: cart });
    if (this.flags.total !== undefined) {
      request.orderTotal = Amount.parse(this.flags.total).toMoney(this.flags.currency);
    }
    await this.change(`use ${code} ${cart}`, this.service.rewards.useVoucher, request);
    say("used");
  }

  private async hold(cartId: string, goods: string[]): Promise<void> {
    const cart = this.cart(cartId, goods);
    const wanted = this.flags.points ?? "0";
    if (!/^\d+$/.test(wanted)) {
      throw new Mistake(`--points: '${wanted}' is not a number of points`);
    }
    const points = BigInt(wanted);
    const request = create(HoldPointsRequestSchema, {
      programId: this.flags.program,
      member: this.member(),
      points,
      upTo: points === 0n,
      ...(cart.total && { orderTotal: cart.total }),
      storeId: this.flags.store,
      orderId: cartId,
    });
    const { hold } = await this.change(`hold ${cartId}`, this.service.points.holdPoints, request);
    const until = hold?.expireTime && timestampDate(hold.expireTime).toISOString().slice(11, 16);
    say(`held ${hold?.points} points for ${cartId}, worth ${show(hold?.value)}, until ${until} UTC`);
  }

  private async pay(cartId: string, goods: string[]): Promise<void> {
    const cart = this.cart(cartId, goods);
    cart.applyPriceEffects = true;
    cart.voucherCodes = this.flags.voucher;
    const priced = await this.ask(cart);
    for (const effect of priced.priceEffects) {
      say(`  ${effect.voucherCode || effect.tierId}: -${show(effect.amount)}`);
    }
    let rest = Amount.of(priced.priced?.total);
    const hold = await this.openHold(cartId);
    if (hold?.value) {
      if (Amount.of(hold.value).isMoreThan(rest)) {
        throw new Mistake(`${hold.points} points are held, which is more than ${show(priced.priced?.total)}: give up, and hold again`);
      }
      rest = rest.minus(Amount.of(hold.value));
      cart.pointsPayments.push(create(PointsPaymentSchema, { payment: { case: "captureHold", value: { holdId: hold.holdId } } }));
      cart.tenders.push(create(TenderSchema, { kind: Tender_Kind.POINTS, amount: hold.value }));
      say(`  ${hold.points} points: -${show(hold.value)}`);
    }
    cart.tenders.push(create(TenderSchema, { kind: Tender_Kind.CARD, amount: rest.toMoney(this.flags.currency) }));
    const quote = await this.ask(cart);
    say(`  to pay ${show(rest.toMoney(this.flags.currency))}; earns ${quote.accrual?.points} points`);
    const request = create(RecordPurchaseRequestSchema, {
      programId: this.flags.program,
      member: this.member(),
      purchase: cart,
      quoteId: quote.quoteId,
    });
    const answer = await this.change(`pay ${cartId}`, this.service.purchases.recordPurchase, request);
    say(`ordered ${cartId}: +${answer.accrual?.points} points, ${answer.balance?.available} available, ${answer.balance?.held} held`);
  }

  private async giveUp(cartId: string): Promise<void> {
    const hold = await this.openHold(cartId);
    if (!hold) {
      say(`nothing is held for ${cartId}`);
      return;
    }
    const request = create(ReleaseHoldRequestSchema, {
      programId: this.flags.program,
      member: this.member(),
      holdId: hold.holdId,
      reason: "cart was given up",
    });
    const answer = await this.change(`give up ${cartId} ${hold.holdId}`, this.service.points.releaseHold, request);
    say(`released ${hold.points} points: ${answer.balance?.available} available`);
  }

  /**
   * The request_id is the intention's until there is an answer: a customer who presses the button again after a timeout asks for the same thing,
   * and not for another one.
   */
  private async change<Q extends { requestId: string }, A>(
    intention: string,
    method: (request: Q, options: CallOptions) => Promise<A>,
    request: Q,
  ): Promise<A> {
    request.requestId = this.intentions.requestId(intention);
    try {
      const answer = await this.service.call(method, request);
      this.intentions.settled(intention);
      return answer;
    } catch (thrown) {
      if (thrown instanceof LoyaltyError && !isNoAnswer(thrown)) {
        this.intentions.settled(intention);
      }
      throw thrown;
    }
  }

  private async *pages<Q extends { pageToken: string }, A extends { nextPageToken: string }>(
    method: (request: Q, options: CallOptions) => Promise<A>,
    request: Q,
  ): AsyncGenerator<A> {
    do {
      const page = await this.service.call(method, request);
      yield page;
      request.pageToken = page.nextPageToken;
    } while (request.pageToken !== "");
  }

  private async ask(purchase: Purchase): Promise<QuotePurchaseResponse> {
    const request = create(QuotePurchaseRequestSchema, { programId: this.flags.program, member: this.member(), purchase });
    return await this.service.call(this.service.purchases.quotePurchase, request);
  }

  private async openHold(cartId: string): Promise<Hold | undefined> {
    const request = create(ListHoldsRequestSchema, { programId: this.flags.program, member: this.member() });
    const { holds } = await this.service.call(this.service.points.listHolds, request);
    return holds.find(({ storeId, orderId }) => storeId === this.flags.store && orderId === cartId);
  }

  private cart(orderId: string, goods: string[]): Purchase {
    const cart = create(PurchaseSchema, { storeId: this.flags.store, orderId, channel: "web" });
    fill(cart, goods, this.flags.currency);
    return cart;
  }

  private member(): MemberRef {
    if (!this.flags.card) {
      throw new Mistake("which member? Write --card CARD");
    }
    return create(MemberRefSchema, { ref: { case: "identifier", value: { kind: Identifier_Kind.CARD, value: this.flags.card } } });
  }
}

function day(time: Timestamp | undefined): string {
  return time ? timestampDate(time).toISOString().slice(0, 10) : "";
}

function forCustomer(refusal: LoyaltyError): string {
  if (isNoAnswer(refusal)) {
    return "We could not reach the loyalty service. Please try again: nothing will be done twice.";
  }
  return FOR_CUSTOMERS[refusal.reason]?.(refusal.metadata) ?? "That is not possible.";
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<void> {
  process.umask(0o077);
  let shop: Storefront | undefined;
  try {
    const { flags, command, rest } = parse(process.argv.slice(2));
    if (flags.help) {
      say(USAGE);
      return;
    }
    shop = new Storefront(flags, await Intentions.open(join(flags.state, "intentions.jsonl")));
    await shop.run(command, rest);
  } catch (thrown) {
    if (thrown instanceof LoyaltyError) {
      say(forCustomer(thrown));
      process.stderr.write(`for the log: ${thrown.message} ${JSON.stringify(thrown.metadata)}\n`);
      process.exitCode = 1;
    } else if (thrown instanceof Mistake || thrown instanceof TypeError) {
      say(thrown.message);
      process.exitCode = 2;
    } else {
      throw thrown;
    }
  } finally {
    shop?.close();
  }
}

await main();
