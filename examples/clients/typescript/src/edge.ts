/**
 * What a shop's web pages ask an edge function: what the customer has, and a reward for points. It calls the service by gRPC-Web over `fetch`, and
 * nothing in it is of Node, so that a worker or an edge function takes it as it is.
 *
 *   GET  /points                     {"points": "173", "tier": "Bạc"}
 *   POST /rewards/coffee/redeem      {"codes": ["..."], "points": "73"}; with an Idempotency-Key, which the page makes once for each click
 */

import { create } from "@bufbuild/protobuf";
import type { Caller } from "./client/caller.js";
import { edgeCaller } from "./client/edge.js";
import { isNoAnswer, LoyaltyError } from "./client/errors.js";
import { Identifier_Kind, MemberRefSchema } from "./generated/loyalty/v1/common_pb.js";
import { GetMemberRequestSchema } from "./generated/loyalty/v1/member_service_pb.js";
import { RedeemRewardRequestSchema } from "./generated/loyalty/v1/reward_service_pb.js";

/** Variables and secrets of the runtime. */
export interface Env {
  LOYALTYD_SERVER: string;
  /** Of a principal with the role storefront and no other. It stays here: pages never see it. */
  LOYALTYD_API_KEY?: string;
}

/** Who is logged in. A real shop looks its session up: a card number that the page sends says nothing of who sends it. */
function cardOf(request: Request): string {
  return request.headers.get("x-card") ?? "";
}

let service: Caller | undefined;

async function answer(request: Request, env: Env): Promise<Response> {
  service ??= edgeCaller(env.LOYALTYD_SERVER, env.LOYALTYD_API_KEY ?? "");
  const ref = { case: "identifier" as const, value: { kind: Identifier_Kind.CARD, value: cardOf(request) } };
  const mine = { programId: "vietnam", member: create(MemberRefSchema, { ref }) };
  const { pathname } = new URL(request.url);
  if (request.method === "GET" && pathname === "/points") {
    const { member } = await service.call(service.members.getMember, create(GetMemberRequestSchema, mine));
    return Response.json({ points: String(member?.balance?.available), tier: member?.tier?.displayName });
  }
  const rewardId = /^\/rewards\/([a-z0-9-]+)\/redeem$/.exec(pathname)?.[1];
  if (request.method === "POST" && rewardId !== undefined) {
    const requestId = request.headers.get("idempotency-key");
    if (!requestId) {
      return Response.json({ error: "an Idempotency-Key is needed, so that a click that is sent twice counts once" }, { status: 400 });
    }
    const redeemed = await service.call(service.rewards.redeemReward, create(RedeemRewardRequestSchema, { ...mine, rewardId, requestId }));
    return Response.json({ codes: redeemed.vouchers.map(({ code }) => code), points: String(redeemed.balance?.available) });
  }
  return Response.json({ error: "there is no such page" }, { status: 404 });
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    try {
      return await answer(request, env);
    } catch (thrown) {
      if (!(thrown instanceof LoyaltyError)) {
        throw thrown;
      }
      // The text is for staff; the page gets the reason, which has no data of the customer's.
      console.error(thrown.message);
      return isNoAnswer(thrown)
        ? Response.json({ error: "try again: nothing will be done twice" }, { status: 503, headers: { "retry-after": "1" } })
        : Response.json({ error: thrown.reason }, { status: thrown.kind === "not-found" ? 404 : 409 });
    }
  },
};
