//! How a member stands: what is missing to the next tier, and by when, and what the next review would do with what is there now.

use jiff::{Timestamp, civil::Date};
use loyaltyd::domain::{LifetimeTotals, Missing, TierProgress};

use super::{Account, Act, Books, units};

/// Points, spend and visits, and whether all of them are asked for.
pub type MissingSaid = (Option<i64>, Option<i128>, Option<u64>, bool);

#[derive(Debug, PartialEq)]
pub struct Standing {
    tier: String,
    /// What is counted now: from a day, until another one.
    window: (Option<Date>, Option<Date>),
    totals: (i64, i128, u64),
    next: Option<(String, MissingSaid)>,
    /// When the status ends, and when it is reviewed.
    end: Option<(Timestamp, Timestamp)>,
    keep: Option<MissingSaid>,
    falls: Option<(String, Timestamp)>,
}

/// What the ledger says of it.
pub fn found(progress: &TierProgress<'_>, digits: u32) -> Standing {
    let missing = |missing: &Missing| {
        let spend = missing.spend.map(|spend| units(spend, digits));
        (missing.points.map(|points| points.0), spend, missing.visits, missing.require_all)
    };
    let LifetimeTotals { qualifying_points, spend, visits } = &progress.totals;
    Standing {
        tier: progress.tier.id.to_string(),
        window: (progress.window_start, progress.window_end),
        totals: (qualifying_points.0, units(*spend, digits), *visits),
        next: progress.next.as_ref().map(|(next, of)| (next.id.to_string(), missing(of))),
        end: progress.end.map(|end| (end.end_time, end.review_time)),
        keep: progress.keep.as_ref().map(missing),
        falls: progress.falls_to.map(|(tier, time)| (tier.id.to_string(), time)),
    }
}

/// Of an account in which all that is due is entered; `None` where there are no tiers, or nobody to have one.
pub fn standing(account: &Account, books: &Books, now: Timestamp) -> Option<Standing> {
    let (book, act) = (books.newest(), Act::new(account, books, now));
    let place = book.place_of_tier(account.tiers.last().map(|(tier, _)| tier));
    let tier = book.tiers.get(place).filter(|_| !account.erased && account.merged_into.is_none())?;
    let window = account.window(book, book.date(now));
    let totals = act.totals_of(book, book.date(now));
    let next = book.tiers.get(place + 1).and_then(|next| Some((next.id.clone(), next.reach.as_ref()?.missing(totals))));
    let floor_end = account.next_end(book).filter(|_| account.held_until.is_none());
    let (keep, falls) = match (account.held_until, floor_end) {
        (Some(end), _) => {
            let review = account.next_end(book).expect("it is reviewed");
            let to = act.reviewed(book, place, end).0.max(account.floor_at(book, review));
            // Of the windows that are looked at, one by which the tier is kept, or else the first.
            let looked_at = act.windows_of_review(book, end);
            let kept = looked_at.iter().find(|totals| tier.keep.as_ref().is_none_or(|keep| keep.is_met(**totals)));
            let counted = *kept.unwrap_or(&looked_at[0]);
            (tier.keep.as_ref().map(|keep| keep.missing(counted)), Some((to, review)))
        }
        (None, Some(end)) => (None, Some((act.after_floor(book, end).0, end))),
        (None, None) => (None, None),
    };
    let falls = falls.filter(|(to, _)| *to < place).map(|(to, time)| (book.tiers[to].id.clone(), time));
    let has_end = |(_, end): (Date, Date)| super::reviewing::has_periods(book).then_some(end);
    Some(Standing {
        tier: tier.id.clone(),
        window: (window.map(|(from, _)| from).filter(|from| *from != Date::MIN), window.and_then(has_end)),
        totals,
        next,
        end: act.status_times(book).or(floor_end.map(|end| (end, end))),
        keep,
        falls,
    })
}
