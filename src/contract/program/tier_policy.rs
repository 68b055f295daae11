//! How tiers are counted, held and reviewed.

use super::{Mistakes, v1};
use crate::domain::{ReviewOutcome, TierPolicy, TierValidity, TierWindow};

/// Without a document: over the lifetime, and without end.
pub(super) fn tier_policy(document: Option<&v1::TierPolicy>, mistakes: &mut Mistakes) -> Option<TierPolicy> {
    use v1::tier_policy::{OnChange, QualifyingBasis, RateTier};
    let Some(document) = document else { return Some(TierPolicy::default()) };
    let rate_at_tier_after = match RateTier::try_from(document.rate_tier) {
        Ok(RateTier::Unspecified | RateTier::Before) => Some(false),
        Ok(RateTier::After) => Some(true),
        Err(_) => unknown("rate_tier", document.rate_tier, mistakes),
    };
    let qualify_unmultiplied = match QualifyingBasis::try_from(document.qualifying_basis) {
        Ok(QualifyingBasis::Unspecified | QualifyingBasis::Awarded) => Some(false),
        Ok(QualifyingBasis::Unmultiplied) => Some(true),
        Err(_) => unknown("qualifying_basis", document.qualifying_basis, mistakes),
    };
    let review_at_change = match OnChange::try_from(document.on_change) {
        Ok(OnChange::Unspecified | OnChange::AtReview) => Some(false),
        Ok(OnChange::AtOnce) => Some(true),
        Err(_) => unknown("on_change", document.on_change, mistakes),
    };
    let window = window(document, mistakes);
    let validity = validity(document, window, mistakes);
    let outcome = outcome(document, mistakes);
    let grace_days = mistakes.number("tier_policy.grace_days", document.grace_days, 0..=366);
    if document.reset_at_review {
        if window.is_some_and(TierWindow::has_periods) {
            mistakes.note("tier_policy.reset_at_review", "is not possible with a window that has periods: each begins anew anyway");
        } else if validity == Some(TierValidity::Unlimited) {
            mistakes.note("tier_policy.reset_at_review", "needs a validity: without end there is no review");
        }
    }
    Some(TierPolicy {
        rate_at_tier_after: rate_at_tier_after?,
        qualify_unmultiplied: qualify_unmultiplied?,
        qualify_pending: document.qualify_pending,
        window: window?,
        validity: validity?,
        outcome: outcome?,
        grace_days: grace_days?,
        reset_at_review: document.reset_at_review,
        review_returns_at_once: document.review_returns_at_once,
        review_at_change: review_at_change?,
    })
}

fn unknown<T>(field: &str, number: i32, mistakes: &mut Mistakes) -> Option<T> {
    mistakes.note(format!("tier_policy.{field}"), format_args!("has no value with the number {number}"));
    None
}

fn window(document: &v1::TierPolicy, mistakes: &mut Mistakes) -> Option<TierWindow> {
    use v1::tier_policy::Window;
    let window = match Window::try_from(document.window) {
        Ok(Window::Unspecified | Window::Lifetime) => Some(TierWindow::Lifetime),
        Ok(Window::CalendarYear) => Some(TierWindow::CalendarYear),
        Ok(Window::CalendarQuarter) => Some(TierWindow::CalendarQuarter),
        Ok(Window::MembershipYear) => Some(TierWindow::MembershipYear),
        Ok(Window::RollingMonths) => {
            return mistakes.number("tier_policy.rolling_months", document.rolling_months, 1..=60).map(TierWindow::RollingMonths);
        }
        Err(_) => unknown("window", document.window, mistakes),
    };
    if document.rolling_months != 0 {
        mistakes.note("tier_policy.rolling_months", "is possible with WINDOW_ROLLING_MONTHS only");
    }
    window
}

fn validity(document: &v1::TierPolicy, window: Option<TierWindow>, mistakes: &mut Mistakes) -> Option<TierValidity> {
    use v1::tier_policy::Validity;
    let validity = match Validity::try_from(document.validity) {
        Ok(Validity::Unspecified | Validity::Unlimited) => Some(TierValidity::Unlimited),
        Ok(Validity::EndOfPeriod) => Some(TierValidity::EndOfPeriod),
        Ok(Validity::EndOfNextPeriod) => Some(TierValidity::EndOfNextPeriod),
        Ok(Validity::Months) => {
            return mistakes.number("tier_policy.validity_months", document.validity_months, 1..=120).map(TierValidity::Months);
        }
        Err(_) => unknown("validity", document.validity, mistakes),
    };
    let needs_periods = matches!(validity, Some(TierValidity::EndOfPeriod | TierValidity::EndOfNextPeriod));
    if needs_periods && window.is_some_and(|window| !window.has_periods()) {
        mistakes.note("tier_policy.validity", "needs a window with periods: a calendar year or quarter, or the membership year");
    }
    if document.validity_months != 0 {
        mistakes.note("tier_policy.validity_months", "is possible with VALIDITY_MONTHS only");
    }
    validity
}

fn outcome(document: &v1::TierPolicy, mistakes: &mut Mistakes) -> Option<ReviewOutcome> {
    use v1::tier_policy::ReviewOutcome as Document;
    match Document::try_from(document.review_outcome) {
        Ok(Document::Unspecified | Document::Earned) => Some(ReviewOutcome::Earned),
        Ok(Document::OneDown) => Some(ReviewOutcome::OneDown),
        Ok(Document::NeverDown) => Some(ReviewOutcome::NeverDown),
        Err(_) => unknown("review_outcome", document.review_outcome, mistakes),
    }
}
