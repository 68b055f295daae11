//! The policies of a rule book.

use jiff::civil::Date;

use super::{Mistakes, v1};
use crate::domain::{
    Activation, BasisPolicy, CalendarPeriod, Combination, ConsumptionOrder, CountedActivities, Expiry, Extension, InactivityPolicy,
    MAX_COUNTED_MONTHS, PurchaseTimePolicy, ReturnPolicy, Rounding, RoundingMode, RoundingStage, Shortfall,
};

const DEFAULT_MAX_AGE_DAYS: u32 = 30;
const DEFAULT_MAX_AHEAD_SECONDS: u32 = 300;

pub(super) fn basis(document: Option<&v1::BasisPolicy>) -> BasisPolicy {
    let Some(document) = document else { return BasisPolicy::default() };
    BasisPolicy {
        include_tax: document.include_tax,
        include_shipping: document.include_shipping,
        include_tips: document.include_tips,
        include_gift_cards: document.include_gift_cards,
        include_points_and_vouchers: document.include_points_and_vouchers,
    }
}

pub(super) fn rounding(path: &str, document: &v1::Rounding, mistakes: &mut Mistakes) -> Option<Rounding> {
    use v1::rounding::{Fraction, Mode, Stage};
    let mode = match mistakes.choice(format!("{path}.mode"), document.mode) {
        Some(Mode::Floor) => Some(RoundingMode::Floor),
        Some(Mode::HalfUp) => Some(RoundingMode::HalfUp),
        Some(Mode::HalfEven) => Some(RoundingMode::HalfEven),
        Some(Mode::Ceiling) => Some(RoundingMode::Ceiling),
        Some(Mode::Unspecified) | None => None,
    };
    let stage = match mistakes.choice(format!("{path}.stage"), document.stage) {
        Some(Stage::Line) => Some(RoundingStage::Line),
        Some(Stage::Rule) => Some(RoundingStage::Rule),
        Some(Stage::Order) => Some(RoundingStage::Order),
        Some(Stage::Unspecified) | None => None,
    };
    let carry = match mistakes.choice(format!("{path}.fraction"), document.fraction) {
        Some(Fraction::Drop) => Some(false),
        Some(Fraction::Carry) => Some(true),
        Some(Fraction::Unspecified) | None => None,
    };
    if carry == Some(true) && mode.is_some_and(|mode| mode != RoundingMode::Floor) {
        mistakes.note(format!("{path}.fraction"), "FRACTION_CARRY needs MODE_FLOOR: other modes leave no fraction to carry");
    }
    Some(Rounding { mode: mode?, stage: stage?, carry: carry? })
}

/// Without a document: never.
pub(super) fn expiry(path: &str, document: Option<&v1::ExpiryPolicy>, mistakes: &mut Mistakes) -> Option<Expiry> {
    use v1::expiry_policy::Policy;
    let Some(document) = document else { return Some(Expiry::Never) };
    match &document.policy {
        Some(Policy::Never(_)) => Some(Expiry::Never),
        Some(Policy::After(after)) => expiry_after(&format!("{path}.after"), after, mistakes),
        Some(Policy::EndOfPeriod(end)) => end_of_period(&format!("{path}.end_of_period"), end, mistakes),
        Some(Policy::FixedDate(date)) => fixed_date(&format!("{path}.fixed_date"), date, mistakes),
        Some(Policy::Inactivity(inactivity)) => self::inactivity(&format!("{path}.inactivity"), inactivity, mistakes),
        None => {
            mistakes.note(path, "needs one of never, after, end_of_period, fixed_date, inactivity");
            None
        }
    }
}

fn inactivity(path: &str, document: &v1::expiry_policy::Inactivity, mistakes: &mut Mistakes) -> Option<Expiry> {
    use v1::expiry_policy::{CountedActivity as Document, Extension as Extended};
    let before = mistakes.count();
    let months = mistakes.number(format!("{path}.months"), document.months, 1..=1_200);
    let mut activities = CountedActivities::default();
    for (index, number) in document.activities.iter().enumerate() {
        let place = format!("{path}.activities[{index}]");
        let counted = match mistakes.choice(&place, *number) {
            Some(Document::Purchase) => &mut activities.purchase,
            Some(Document::Redemption) => &mut activities.redemption,
            Some(Document::Activity) => &mut activities.activity,
            Some(Document::Adjustment) => &mut activities.adjustment,
            Some(Document::Transfer) => &mut activities.transfer,
            Some(Document::Unspecified) | None => continue,
        };
        if std::mem::replace(counted, true) {
            mistakes.note(place, "is named before too");
        }
    }
    if document.activities.is_empty() {
        mistakes.note(format!("{path}.activities"), "is required: at least one");
    }
    let extension = match Extended::try_from(document.extension) {
        Ok(Extended::Unspecified | Extended::Restart) => Extension::Restart,
        Ok(Extended::Month) => Extension::Month,
        Err(_) => {
            mistakes.note(format!("{path}.extension"), format_args!("has no value with the number {}", document.extension));
            Extension::Restart
        }
    };
    if extension == Extension::Month && months.is_some_and(|months| months > MAX_COUNTED_MONTHS) {
        mistakes.note(format!("{path}.months"), format_args!("is at most {MAX_COUNTED_MONTHS} with EXTENSION_MONTH"));
    }
    let months = months.filter(|_| mistakes.count() == before)?;
    Some(Expiry::Inactivity(InactivityPolicy { months, activities, extension }))
}

/// Points of a rule or a grant lapse with inactivity only where all of the programme do, and as they do: the member has one clock for them.
pub(super) fn own_expiry(path: &str, document: &v1::ExpiryPolicy, program: Option<Expiry>, mistakes: &mut Mistakes) -> Option<Expiry> {
    let own = expiry(path, Some(document), mistakes)?;
    if let (Expiry::Inactivity(_), Some(program)) = (own, program)
        && own != program
    {
        mistakes.note(format!("{path}.inactivity"), "must be the same as the programme's own expiry: a member has one time of inactivity");
        return None;
    }
    Some(own)
}

pub(super) fn consumption_order(number: i32, mistakes: &mut Mistakes) -> Option<ConsumptionOrder> {
    match v1::ConsumptionOrder::try_from(number) {
        Ok(v1::ConsumptionOrder::Unspecified | v1::ConsumptionOrder::SoonestExpiry) => Some(ConsumptionOrder::SoonestExpiry),
        Ok(v1::ConsumptionOrder::OldestFirst) => Some(ConsumptionOrder::OldestFirst),
        Err(_) => {
            mistakes.note("consumption_order", format_args!("has no value with the number {number}"));
            None
        }
    }
}

fn expiry_after(path: &str, document: &v1::expiry_policy::After, mistakes: &mut Mistakes) -> Option<Expiry> {
    match (document.days, document.months) {
        (0, 0) => {
            mistakes.note(path, "needs days or months");
            None
        }
        (days, 0) => {
            let days = mistakes.number(format!("{path}.days"), days, 1..=36_500);
            days.map(if document.from_activation { Expiry::DaysAfterActivation } else { Expiry::AfterDays })
        }
        (0, months) => {
            let months = mistakes.number(format!("{path}.months"), months, 1..=1_200);
            months.map(if document.from_activation { Expiry::MonthsAfterActivation } else { Expiry::AfterMonths })
        }
        (_, _) => {
            mistakes.note(path, "has both days and months; only one is possible");
            None
        }
    }
}

fn end_of_period(path: &str, document: &v1::expiry_policy::EndOfPeriod, mistakes: &mut Mistakes) -> Option<Expiry> {
    use v1::expiry_policy::CalendarPeriod as Document;
    let period = match mistakes.choice(format!("{path}.period"), document.period) {
        Some(Document::Month) => Some(CalendarPeriod::Month),
        Some(Document::Quarter) => Some(CalendarPeriod::Quarter),
        Some(Document::HalfYear) => Some(CalendarPeriod::HalfYear),
        Some(Document::Year) => Some(CalendarPeriod::Year),
        Some(Document::Unspecified) | None => None,
    };
    let additional_periods = mistakes.number(format!("{path}.additional_periods"), document.additional_periods, 0..=100);
    Some(Expiry::EndOfPeriod { period: period?, additional_periods: additional_periods? })
}

fn fixed_date(path: &str, document: &v1::expiry_policy::FixedDate, mistakes: &mut Mistakes) -> Option<Expiry> {
    let minimum_days = mistakes.number(format!("{path}.minimum_days"), document.minimum_days, 0..=366);
    let month = mistakes.number(format!("{path}.month"), document.month, 1..=12).and_then(|month| i8::try_from(month).ok());
    // A leap year has each day that a year can have.
    let first = month.and_then(|month| Date::new(2000, month, 1).ok());
    let days = first.map_or(31, |first| first.days_in_month());
    let day = mistakes.number(format!("{path}.day"), document.day, 1..=i32::from(days)).and_then(|day| i8::try_from(day).ok());
    Some(Expiry::FixedDate { month: month?, day: day?, minimum_days: minimum_days? })
}

/// Without a document: at once.
pub(super) fn activation(path: &str, document: Option<&v1::ActivationPolicy>, mistakes: &mut Mistakes) -> Option<Activation> {
    use v1::activation_policy::Policy;
    let Some(document) = document else { return Some(Activation::Immediate) };
    match &document.policy {
        Some(Policy::Immediate(_)) => Some(Activation::Immediate),
        Some(Policy::AfterDays(days)) => mistakes.number(format!("{path}.after_days"), *days, 1..=3_650).map(Activation::AfterDays),
        Some(Policy::OnConfirmation(_)) => Some(Activation::Confirmation),
        None => {
            mistakes.note(path, "needs one of immediate, after_days, on_confirmation");
            None
        }
    }
}

pub(super) fn returns(document: Option<&v1::ReturnPolicy>, mistakes: &mut Mistakes) -> Option<ReturnPolicy> {
    use v1::return_policy::Shortfall as Document;
    let Some(document) = document else { return Some(ReturnPolicy { from_other_lots: true, shortfall: Shortfall::Debt }) };
    let shortfall = match Document::try_from(document.shortfall) {
        Ok(Document::Unspecified | Document::Debt) => Some(Shortfall::Debt),
        Ok(Document::Forgive) => Some(Shortfall::Forgive),
        Ok(Document::Refuse) => Some(Shortfall::Refuse),
        Ok(Document::Withhold) => Some(Shortfall::Withhold),
        Err(_) => {
            mistakes.note("returns.shortfall", format_args!("has no value with the number {}", document.shortfall));
            None
        }
    };
    Some(ReturnPolicy { from_other_lots: !document.own_lots_only, shortfall: shortfall? })
}

pub(super) fn combination(number: i32, mistakes: &mut Mistakes) -> Option<Combination> {
    match v1::Combination::try_from(number) {
        Ok(v1::Combination::Unspecified | v1::Combination::Sum) => Some(Combination::Sum),
        Ok(v1::Combination::Exclusive) => Some(Combination::Exclusive),
        Ok(v1::Combination::Best) => Some(Combination::Best),
        Err(_) => {
            mistakes.note("combination", format_args!("has no value with the number {number}"));
            None
        }
    }
}

pub(super) fn purchase_time(document: Option<&v1::PurchaseTimePolicy>, mistakes: &mut Mistakes) -> Option<PurchaseTimePolicy> {
    let (days, seconds) = document.map_or((0, 0), |policy| (policy.max_age_days, policy.max_ahead_seconds));
    let max_age_days = match days {
        0 => Some(DEFAULT_MAX_AGE_DAYS),
        days => mistakes.number("purchase_time.max_age_days", days, 1..=36_500),
    };
    let max_ahead_seconds = match seconds {
        0 => Some(DEFAULT_MAX_AHEAD_SECONDS),
        seconds => mistakes.number("purchase_time.max_ahead_seconds", seconds, 1..=86_400),
    };
    Some(PurchaseTimePolicy { max_age_days: max_age_days?, max_ahead_seconds: max_ahead_seconds? })
}
