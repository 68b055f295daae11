//! Bounds of one rule: minimum, maximum, cap per member and period, once per member, in this order.
//!
//! A rule that is rounded together with the others has no award of its own to bound: rule books that ask for both are refused.

use super::{Sale, pricing::Price};
use crate::domain::{AccrualRule, LimitKind, Overflow, Points, calendar};

/// Limits what was rounded, and says what the rule's counters stand at then.
pub(super) fn limit(sale: &Sale<'_>, rule: &AccrualRule, price: &mut Price) -> Result<(), Overflow> {
    let limits = &rule.limits;
    let mut points = price.uncapped;
    if let Some(minimum) = limits.minimum.filter(|minimum| points > Points::ZERO && points < *minimum) {
        points = minimum;
        price.limit = Some(LimitKind::Minimum);
    }
    if let Some(maximum) = limits.maximum.filter(|maximum| points > *maximum) {
        points = maximum;
        price.limit = Some(LimitKind::Maximum);
    }
    let counted = |period| sale.header.counters.get(&(rule.id.clone(), period)).copied().unwrap_or_default();
    let period = limits.cap.map(|cap| calendar::period_start(sale.local_time.date(), cap.period));
    if let Some((cap, period)) = limits.cap.zip(period) {
        let left = cap.points.minus(counted(period))?.max(Points::ZERO);
        if points > left {
            points = left;
            price.limit = Some(LimitKind::Cap);
        }
    }
    if limits.once_per_member && points > Points::ZERO && counted(None) > Points::ZERO {
        points = Points::ZERO;
        price.limit = Some(LimitKind::OncePerMember);
    }
    price.points = points;
    if points > Points::ZERO {
        if let Some(period) = period {
            price.counters.push((period, counted(period).plus(points)?));
        }
        if limits.once_per_member && period != Some(None) {
            price.counters.push((None, counted(None).plus(points)?));
        }
    }
    Ok(())
}
