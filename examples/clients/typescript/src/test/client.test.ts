/** What the tour with a real server cannot bring about at will. */

import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { delayBefore } from "../client/caller.js";
import { Connection } from "../client/connection.js";
import { Intentions, Log } from "../client/disk.js";
import { edgeCaller } from "../client/edge.js";
import { LoyaltyError } from "../client/errors.js";
import { fill } from "../client/goods.js";
import { Amount, Mistake, show } from "../client/money.js";
import { nameOf } from "../client/names.js";
import edge from "../edge.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../generated/google/rpc/error_details_pb.js";
import { ListedOffer_State, ListedOfferSchema } from "../generated/loyalty/v1/offer_service_pb.js";
import { PointsService, RedeemPointsRequestSchema } from "../generated/loyalty/v1/points_service_pb.js";
import { PurchaseSchema } from "../generated/loyalty/v1/purchase_pb.js";

type Detail = NonNullable<ConstructorParameters<typeof ConnectError>[3]>[number];

function refusal(code: Code, reason: string, metadata: Record<string, string> = {}, ...details: Detail[]): ConnectError {
  return new ConnectError("no", code, undefined, [{ desc: ErrorInfoSchema, value: { reason, domain: "loyaltyd", metadata } }, ...details]);
}

/** Refuses as it is told to, and then answers. */
async function call(refusals: ConnectError[], requestId = "one", patienceMs = 10_000) {
  const seen: string[] = [];
  const client = createClient(
    PointsService,
    createRouterTransport(({ rpc }) => {
      rpc(PointsService.method.redeemPoints, (request) => {
        seen.push(request.requestId);
        const next = refusals.shift();
        if (next) {
          throw next;
        }
        return { points: request.points };
      });
    }),
  );
  const service = new Connection({ server: "127.0.0.1:1", patienceMs });
  const request = create(RedeemPointsRequestSchema, { requestId, points: 5n });
  const result = await service.call(client.redeemPoints, request).then(
    ({ points }) => points,
    (thrown: unknown) => thrown,
  );
  service.close();
  return { result, seen };
}

const told: Detail = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 2n, nanos: 0 } } };

test("what may pass is tried again, with the same request_id", async () => {
  const soon: Detail = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos: 1_000_000 } } };
  const { result, seen } = await call([refusal(Code.Unavailable, "STARTING"), refusal(Code.ResourceExhausted, "QUEUE_FULL", {}, soon)]);
  assert.equal(result, 5n);
  assert.deepEqual(seen, ["one", "one", "one"]);
});

test("not sooner than told, and longer each time", () => {
  const away = LoyaltyError.from(refusal(Code.Unavailable, "STOPPING"));
  assert.ok((delayBefore(away, 0) ?? 0) <= 100);
  assert.ok((delayBefore(away, 5) ?? 0) >= 1_600);
  assert.ok((delayBefore(away, 50) ?? 0) <= 5_000);
  assert.ok((delayBefore(LoyaltyError.from(refusal(Code.ResourceExhausted, "QUEUE_FULL", {}, told)), 0) ?? 0) >= 2_000);
});

test("what stays is not tried again, and says why with numbers", async () => {
  const { result, seen } = await call([refusal(Code.FailedPrecondition, "INSUFFICIENT_POINTS", { available: "3" })]);
  assert.ok(result instanceof LoyaltyError);
  assert.deepEqual([result.kind, result.reason, result.metadata], ["refused", "INSUFFICIENT_POINTS", { available: "3" }]);
  assert.equal(seen.length, 1);
});

test("an answer too large for this side is not asked for again", async () => {
  const { seen } = await call([new ConnectError("too large", Code.ResourceExhausted)]);
  assert.equal(seen.length, 1);
});

test("patience ends", async () => {
  const { result, seen } = await call(
    Array.from({ length: 1_000 }, () => refusal(Code.Unavailable, "STOPPING")),
    "one",
    200,
  );
  assert.ok(result instanceof LoyaltyError && result.kind === "no-answer");
  assert.ok(seen.length < 10);
});

test("paths of fields are there", async () => {
  const bad: Detail = { desc: BadRequestSchema, value: { fieldViolations: [{ field: "points", description: "must be more than 0" }] } };
  const { result } = await call([refusal(Code.InvalidArgument, "INVALID_FIELD", {}, bad)]);
  assert.ok(result instanceof LoyaltyError);
  assert.deepEqual([result.fields[0]?.field, result.fields[0]?.description], ["points", "must be more than 0"]);
});

test("a change needs a request_id", async () => {
  const { result, seen } = await call([], "");
  assert.ok(result instanceof TypeError);
  assert.equal(seen.length, 0);
});

test("an intention keeps its request_id until it is settled, over a kill in the midst of a line", async () => {
  const folder = mkdtempSync(join(tmpdir(), "loyaltyd-intentions-"));
  const path = join(folder, "intentions.jsonl");
  const first = await Intentions.open(path);
  const requestId = first.requestId("pay cart-77");
  await assert.rejects(Log.open(path), Mistake);
  first.close();
  appendFileSync(path, '{"intention": "pay ca');
  const second = await Intentions.open(path);
  assert.equal(second.requestId("pay cart-77"), requestId);
  second.settled("pay cart-77");
  assert.notEqual(second.requestId("pay cart-77"), requestId);
  second.close();
  rmSync(folder, { recursive: true });
});

test("a file that is not there is named with its flag", () => {
  assert.throws(() => new Connection({ server: "127.0.0.1:1", apiKeyFile: "/nowhere/key" }), /^Error: --api-key-file \/nowhere\/key: .*ENOENT/);
  assert.throws(() => new Connection({ server: "https://127.0.0.1:1", ca: "/nowhere/ca" }), /--ca \/nowhere\/ca/);
});

test("why a connection failed is in the text, however deep it is", async () => {
  const service = edgeCaller("127.0.0.1:9", "", { patienceMs: 100 });
  const request = create(RedeemPointsRequestSchema, { requestId: "one" });
  const thrown = await service.call(service.points.redeemPoints, request).catch((error: unknown) => error);
  assert.match(String(thrown), /fetch failed: \S/);
});

test("money is exact", () => {
  assert.equal(Amount.parse("0.10").plus(Amount.parse("0.2")).toString(), "0.30");
  assert.equal(Amount.parse("0.1").minus(Amount.parse("0.25")).toString(), "-0.15");
  assert.equal(Amount.parse("9007199254740993.01").plus(Amount.ZERO).toString(), "9007199254740993.01");
  assert.equal(show(Amount.parse("1234567.50").toMoney("USD")), "1,234,567.50 USD");
  for (const wrong of ["1,5", "-1", "NaN", "", "1e3"]) {
    assert.throws(() => Amount.parse(wrong), Mistake);
  }
});

test("goods", () => {
  const purchase = create(PurchaseSchema);
  fill(purchase, ["rice-cooker=5000000", "beans=270000x2@coffee"], "VND");
  assert.equal(purchase.total?.amount, "5270000");
  assert.deepEqual([purchase.lines[1]?.sku, purchase.lines[1]?.quantity, purchase.lines[1]?.category], ["beans", "2", "coffee"]);
});

test("values of a newer service", () => {
  // As they come over the wire.
  const { state } = fromBinary(ListedOfferSchema, new Uint8Array([ListedOfferSchema.field.state.number << 3, 99]));
  assert.equal(nameOf(ListedOffer_State, state), "not known here: 99");
  assert.equal(nameOf(ListedOffer_State, ListedOffer_State.AVAILABLE), "AVAILABLE");
});

test("what an edge runtime runs takes nothing of Node", () => {
  const seen = new Set<string>();
  const waiting = [new URL("../edge.js", import.meta.url)];
  for (let module = waiting.pop(); module; module = waiting.pop()) {
    const text = readFileSync(module, "utf8");
    for (const [, name = ""] of text.matchAll(/^(?:import|export) (?:[^"';]* from )?"([^"]+)";/gm)) {
      assert.doesNotMatch(name, /^node:|connect-node/, `${module.pathname} imports ${name}`);
      if (name.startsWith(".") && !seen.has(new URL(name, module).href)) {
        seen.add(new URL(name, module).href);
        waiting.push(new URL(name, module));
      }
    }
    assert.doesNotMatch(text, /\bprocess\.|\bBuffer\b/, module.pathname);
  }
  assert.ok(seen.size >= 8, `only ${seen.size} modules were found`);
});

test("an edge function answers though the service does not", async () => {
  const shop = (path: string, init?: RequestInit) => edge.fetch(new Request(`https://shop${path}`, init), { LOYALTYD_SERVER: "127.0.0.1:1" });
  assert.equal((await shop("/else")).status, 404);
  assert.equal((await shop("/rewards/coffee/redeem", { method: "POST" })).status, 400);
});
