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
}

impl Book {
    pub fn program_id(self) -> &'static str {
        match self {
            Self::Usual => "bench",
            Self::Plain => "bench-plain",
            Self::Timed => "bench-timed",
        }
    }

    /// Of its members; the year is not known.
    pub fn birth_date(self) -> Option<v1::Date> {
        match self {
            Self::Usual | Self::Plain => None,
            Self::Timed => Some(v1::Date { year: 0, month: 1, day: 1 }),
        }
    }

    pub fn program(self) -> v1::Program {
        let plain = self.without_time();
        match self {
            Self::Plain => plain,
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
        for book in [Book::Usual, Book::Plain, Book::Timed] {
            let parsed = program::parse(&book.program(), 1, jiff::Timestamp::UNIX_EPOCH);
            assert!(parsed.is_ok(), "{book:?}: {parsed:?}");
        }
    }
}
