//! Tiers: what it takes to reach one.

use rust_decimal::Decimal;

use super::{Header, Points, Program, TierChange};

/// The way to the next tier.
#[derive(Debug, Clone)]
pub struct NextTier<'a> {
    pub tier: &'a super::Tier,
    pub missing_points: Option<Points>,
    pub missing_spend: Option<Decimal>,
    pub missing_visits: Option<u64>,
}

/// `None` at the highest tier and without tiers.
pub fn next_tier<'a>(_program: &'a Program, _header: &Header) -> Option<NextTier<'a>> {
    None
}

/// The change to the highest tier whose threshold is met, if that is above the one held.
pub(super) fn upgrade(_program: &Program, _header: &Header) -> Option<TierChange> {
    None
}
