/** Goods as they are typed on a command line: SKU=AMOUNT, then xQUANTITY and @CATEGORY if need be. */

import { create } from "@bufbuild/protobuf";
import { type Purchase, PurchaseLineSchema } from "../generated/loyalty/v1/purchase_pb.js";
import { Amount, Mistake } from "./money.js";

const FORM = /^([^=@]+)=([0-9.]+)(?:x([0-9.]+))?(?:@(.+))?$/;

/** The lines of a purchase, and their total. */
export function fill(purchase: Purchase, goods: string[], currency: string): void {
  if (goods.length === 0) {
    throw new Mistake("what is sold? Write SKU=AMOUNT, such as kettle=300000 or beans=270000x2@coffee");
  }
  let total = Amount.ZERO;
  for (const text of goods) {
    const match = FORM.exec(text);
    if (!match) {
      throw new Mistake(`'${text}' are no goods: write SKU=AMOUNT, such as kettle=300000 or beans=270000x2@coffee`);
    }
    const [, sku = "", typed = "", quantity = "", category = ""] = match;
    const amount = Amount.parse(typed);
    purchase.lines.push(create(PurchaseLineSchema, { sku, category, quantity, amount: amount.toMoney(currency) }));
    total = total.plus(amount);
  }
  purchase.total = total.toMoney(currency);
}
