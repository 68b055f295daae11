/** Money is a decimal number all the way: a JavaScript number has no exact cent. Here it is a whole number of parts of a power of ten. */

import { create } from "@bufbuild/protobuf";
import { type Money, MoneySchema } from "../generated/loyalty/v1/common_pb.js";

export class Amount {
  private constructor(
    private readonly units: bigint,
    private readonly places: number,
  ) {}

  static readonly ZERO = new Amount(0n, 0);

  /** What somebody typed, or an answer says, such as 12.50. */
  static parse(text: string): Amount {
    const match = /^(\d+)(?:\.(\d+))?$/.exec(text);
    if (!match) {
      throw new Mistake(`'${text}' is not an amount: write it like 12.50`);
    }
    const fraction = match[2] ?? "";
    return new Amount(BigInt(match[1] + fraction), fraction.length);
  }

  static of(money: Money | undefined): Amount {
    return money ? Amount.parse(money.amount || "0") : Amount.ZERO;
  }

  plus(other: Amount): Amount {
    const places = Math.max(this.places, other.places);
    return new Amount(this.at(places) + other.at(places), places);
  }

  minus(other: Amount): Amount {
    const places = Math.max(this.places, other.places);
    return new Amount(this.at(places) - other.at(places), places);
  }

  /** Only where it comes out even. */
  share(part: bigint, whole: bigint): Amount {
    const product = this.units * part;
    if (whole === 0n || product % whole !== 0n) {
      throw new Mistake(`${part} of ${whole} points are not a round amount`);
    }
    return new Amount(product / whole, this.places);
  }

  isMoreThan(other: Amount): boolean {
    return this.minus(other).units > 0n;
  }

  toString(): string {
    const digits = (this.units < 0n ? -this.units : this.units).toString().padStart(this.places + 1, "0");
    const sign = this.units < 0n ? "-" : "";
    const point = digits.length - this.places;
    return sign + digits.slice(0, point) + (this.places > 0 ? `.${digits.slice(point)}` : "");
  }

  toMoney(currencyCode: string): Money {
    return create(MoneySchema, { currencyCode, amount: this.toString() });
  }

  private at(places: number): bigint {
    return this.units * 10n ** BigInt(places - this.places);
  }
}

/** Of the one who typed the command. */
export class Mistake extends Error {}

export function show(money: Money | undefined): string {
  if (!money) {
    return "0";
  }
  const [whole = "", fraction] = Amount.of(money).toString().split(".");
  return `${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${fraction ? `.${fraction}` : ""} ${money.currencyCode}`;
}
