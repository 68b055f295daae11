//! The programmes that the load generator publishes for itself.

use crate::contract::v1::{
    self, birthday_policy, birthday_reward, expiry_policy,
    tier_policy::{ReviewOutcome, Validity, Window},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Book {
    /// One point per dollar, worth a cent, which lapses at the end of the next year, and three tiers by all points since enrolment.
    Usual,
    /// The same points that never lapse, without tiers and birthdays: time alone brings nothing.
    Plain,
    /// The points of the usual one, five tiers with benefits by the points of a calendar year, held to its end, and 100 points for the
    /// birthday. All members are born on 1 January.
    Timed,
    /// The plain one with a hundred promotions, of which five give something to each purchase, one of them out of a budget.
    Promoted,
}

impl Book {
    pub fn program_id(self) -> &'static str {
        match self {
            Self::Usual => "bench",
            Self::Plain => "bench-plain",
            Self::Timed => "bench-timed",
            Self::Promoted => "bench-promoted",
        }
    }

    /// Of its members; the year is not known.
    pub fn birth_date(self) -> Option<v1::Date> {
        match self {
            Self::Usual | Self::Plain | Self::Promoted => None,
            Self::Timed => Some(v1::Date { year: 0, month: 1, day: 1 }),
        }
    }

    pub fn program(self) -> v1::Program {
        let plain = self.without_time();
        match self {
            Self::Plain => plain,
            Self::Promoted => v1::Program { promotions: promotions(), ..plain },
            Self::Usual => v1::Program {
                expiry: Some(end_of_next_year()),
                tiers: vec![tier("member", "", ""), tier("silver", "1000", "1.25"), tier("gold", "10000", "1.5")],
                ..plain
            },
            Self::Timed => v1::Program {
                expiry: Some(end_of_next_year()),
                tiers: five_tiers(),
                tier_policy: Some(v1::TierPolicy {
                    window: Window::CalendarYear.into(),
                    validity: Validity::EndOfPeriod.into(),
                    review_outcome: ReviewOutcome::Earned.into(),
                    ..Default::default()
                }),
                birthday: Some(v1::BirthdayPolicy {
                    window: birthday_policy::Window::Day.into(),
                    rewards: vec![v1::BirthdayReward {
                        tier_id: String::new(),
                        reward: Some(birthday_reward::Reward::Points(birthday_reward::Points { points: "100".into(), expiry: None })),
                    }],
                    ..Default::default()
                }),
                ..plain
            },
        }
    }

    fn without_time(self) -> v1::Program {
        v1::Program {
            program_id: self.program_id().into(),
            display_name: "Load generator".into(),
            currency_code: "USD".into(),
            time_zone: ZONE.into(),
            rounding: Some(v1::Rounding {
                mode: v1::rounding::Mode::Floor.into(),
                stage: v1::rounding::Stage::Rule.into(),
                fraction: v1::rounding::Fraction::Drop.into(),
            }),
            accrual_rules: vec![v1::AccrualRule {
                rule_id: "goods".into(),
                display_name: "Goods".into(),
                award: Some(v1::accrual_rule::Award::PerAmount(v1::PerAmount {
                    amount: "1".into(),
                    points: "1".into(),
                    whole_blocks: false,
                })),
                ..Default::default()
            }],
            redemption: Some(v1::RedemptionPolicy { points: "100".into(), amount: "1".into(), ..Default::default() }),
            ..Default::default()
        }
    }
}

/// Five that give something to each purchase of the load generator, and 95 with budgets that ask for other goods, stores, codes and channels, for
/// more than is spent, or that are over.
fn promotions() -> Vec<v1::Promotion> {
    use v1::promotion::{AddFixed, AddPerAmount, Effect, Multiply};
    let promotion = |id: &str, effect| v1::Promotion {
        display_name: format!("Promotion {id}"),
        promotion_id: id.into(),
        effect: Some(effect),
        ..Default::default()
    };
    let multiply = |by: &str| Effect::Multiply(Multiply { multiplier: by.into(), whole_order: false });
    let fixed = |points: &str| Effect::AddFixed(AddFixed { points: points.into(), each_minimum_quantity: false });
    let cap = v1::PointsCap { points: "1000000000".into(), period: v1::Period::Month.into() };
    let capped = v1::PromotionLimits { cap: Some(cap), ..Default::default() };
    let budget = v1::PromotionLimits { budget_points: "900000000000".into(), ..Default::default() };
    let mut all = vec![
        promotion("double", multiply("2")),
        v1::Promotion { filter: filter(|filter| filter.channels = vec!["pos".into()]), ..promotion("pos", fixed("5")) },
        v1::Promotion { limits: Some(capped), ..promotion("capped", multiply("1.5")) },
        promotion("amount", Effect::AddPerAmount(AddPerAmount { amount: "10".into(), points: "1".into(), ..Default::default() })),
        v1::Promotion { limits: Some(budget.clone()), ..promotion("budget", fixed("1")) },
    ];
    let past = Some(prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 });
    all.extend((0..95).map(|number| {
        let id = format!("other-{number:02}");
        let one = v1::Promotion { limits: Some(budget.clone()), ..promotion(&id, multiply("3")) };
        match number % 8 {
            0 => v1::Promotion { filter: filter(|filter| filter.skus = (0..50).map(|sku| format!("other-{sku}")).collect()), ..one },
            1 => v1::Promotion { filter: filter(|filter| filter.categories = vec![id, "nothing".into()]), ..one },
            2 => v1::Promotion { filter: filter(|filter| filter.store_ids = vec![id]), ..one },
            3 => v1::Promotion { filter: filter(|filter| filter.channels = vec!["web".into(), "app".into()]), ..one },
            4 => v1::Promotion { code: id, ..one },
            5 => v1::Promotion { end_time: past, ..one },
            6 => v1::Promotion { filter: filter(|filter| filter.labels = vec!["organic".into()]), ..one },
            _ => v1::Promotion { minimum_spend: "100000".into(), ..one },
        }
    }));
    all
}

fn filter(with: impl FnOnce(&mut v1::Filter)) -> Option<v1::Filter> {
    let mut filter = v1::Filter::default();
    with(&mut filter);
    Some(filter)
}

/// Of all of them.
pub const ZONE: &str = "America/New_York";

/// A member's first purchase of the load generator, of 600 points, leads to silver.
fn five_tiers() -> Vec<v1::Tier> {
    let tiers = [("member", ""), ("silver", "500"), ("gold", "2000"), ("platinum", "5000"), ("diamond", "10000")];
    let with_benefits = |(place, (id, points)): (u32, (&str, &str))| v1::Tier {
        benefits: (place > 0).then(|| v1::TierBenefits {
            discount_percent: (5 * place).to_string(),
            free_shipping: place > 1,
            ..Default::default()
        }),
        ..tier(id, points, ["", "1.1", "1.25", "1.5", "2"][place as usize])
    };
    (0..).zip(tiers).map(with_benefits).collect()
}

fn tier(id: &str, points: &str, multiplier: &str) -> v1::Tier {
    v1::Tier {
        tier_id: id.into(),
        display_name: id.into(),
        threshold: (!points.is_empty()).then(|| v1::TierThreshold { qualifying_points: points.into(), ..Default::default() }),
        multiplier: multiplier.into(),
        ..Default::default()
    }
}

fn end_of_next_year() -> v1::ExpiryPolicy {
    let end = expiry_policy::EndOfPeriod { period: expiry_policy::CalendarPeriod::Year.into(), additional_periods: 1 };
    v1::ExpiryPolicy { policy: Some(expiry_policy::Policy::EndOfPeriod(end)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::program;

    #[test]
    fn they_can_be_published() {
        for book in [Book::Usual, Book::Plain, Book::Timed, Book::Promoted] {
            let parsed = program::parse(&book.program(), 1, jiff::Timestamp::UNIX_EPOCH);
            assert!(parsed.is_ok(), "{book:?}: {parsed:?}");
        }
    }
}
