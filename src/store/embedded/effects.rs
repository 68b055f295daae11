//! Price effects, as the journal has them.

use super::{
    decode::{Decoded, Malformed, decimal, tier_id},
    stored,
    vouchers::read_code,
    wire::Writer,
};
use crate::domain::{EffectLine, EffectSource, OwnDiscounts, PriceEffect};

pub(super) fn write(w: &mut Writer, effect: &PriceEffect) {
    match &effect.source {
        EffectSource::TierDiscount { tier, percent } => {
            w.text(2, tier.as_str());
            w.decimal(3, *percent);
        }
        EffectSource::TierShipping { tier } => {
            w.uint(1, 1);
            w.text(2, tier.as_str());
        }
        EffectSource::Voucher { code } => {
            w.uint(1, 2);
            w.bytes(4, code.as_bytes());
        }
    }
    w.decimal(5, effect.amount);
    w.uint(6, u64::from(effect.off_shipping));
    for line in &effect.lines {
        w.message(7, |w| {
            w.uint(1, line.line as u64);
            w.decimal(2, line.amount);
        });
    }
}

pub(super) fn read(effect: stored::PriceEffect) -> Decoded<PriceEffect> {
    let source = match effect.source {
        0 => EffectSource::TierDiscount { tier: tier_id(&effect.tier_id)?, percent: decimal(&effect.percent)? },
        1 => EffectSource::TierShipping { tier: tier_id(&effect.tier_id)? },
        2 => EffectSource::Voucher { code: read_code(&effect.voucher_code)? },
        _ => return Err(Malformed("price_effect.source")),
    };
    let line = |line: &stored::EffectLine| {
        let place = usize::try_from(line.line).map_err(|_| Malformed("price_effect.line"))?;
        Ok(EffectLine { line: place, amount: decimal(&line.amount)? })
    };
    Ok(PriceEffect {
        source,
        amount: decimal(&effect.amount)?,
        off_shipping: effect.off_shipping,
        lines: effect.lines.iter().map(line).collect::<Decoded<_>>()?,
    })
}

pub(super) fn write_own(w: &mut Writer, own: &OwnDiscounts) {
    w.decimal(1, own.order_discount);
    for (line, discount) in &own.lines {
        w.message(2, |w| {
            w.uint(1, *line as u64);
            w.decimal(2, *discount);
        });
    }
}

pub(super) fn read_own(own: &stored::OwnDiscounts) -> Decoded<OwnDiscounts> {
    let line = |line: &stored::EffectLine| {
        let place = usize::try_from(line.line).map_err(|_| Malformed("own_discounts.line"))?;
        Ok((place, decimal(&line.amount)?))
    };
    Ok(OwnDiscounts { order_discount: decimal(&own.order_discount)?, lines: own.lines.iter().map(line).collect::<Decoded<_>>()? })
}
