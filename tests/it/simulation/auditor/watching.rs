//! What fraud limits count: of a member by when it happened, of an operator by the clock.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use loyaltyd::domain::{FraudFlag, FraudLimit, Rejection};

use super::{Act, book::Book};

/// Since when, and how many.
pub type Counted = BTreeMap<(&'static str, Timestamp), i64>;

/// Day, adjustments, points.
pub type Desk = (Date, i64, i64);

const LIMITS: [(&str, FraudLimit); 4] = [
    ("purchases_per_hour", FraudLimit::PurchasesPerHour),
    ("points_per_day", FraudLimit::PointsPerDay),
    ("adjustments_per_day", FraudLimit::AdjustmentsPerDay),
    ("adjusted_points_per_day", FraudLimit::AdjustedPointsPerDay),
];

impl Act<'_> {
    /// So many purchases, and what is earned.
    pub fn watch_earning(&mut self, occurred_time: Timestamp, purchases: i64, points: i64) -> Result<(), Rejection> {
        if occurred_time < self.books.0[0].since {
            return Ok(());
        }
        let book = self.books.at(occurred_time);
        let day = book.dawn(book.date(occurred_time));
        for (name, since, more) in [("purchases_per_hour", book.hour(occurred_time), purchases), ("points_per_day", day, points)] {
            if more == 0 || !book.limits.contains_key(name) {
                continue;
            }
            let count = self.account.counted.entry((name, since)).or_default();
            *count += more;
            let count = *count;
            self.judge_count(book, name, count, since)?;
        }
        Ok(())
    }

    pub fn watch_adjustment(&mut self, size: i64) -> Result<(), Rejection> {
        let book = self.books.newest();
        if !["adjustments_per_day", "adjusted_points_per_day"].iter().any(|name| book.limits.contains_key(name)) {
            return Ok(());
        }
        let today = book.date(self.now);
        let Some(desk) = &mut self.desk else { return Ok(()) };
        let (adjustments, points) = desk.filter(|(day, ..)| *day == today).map_or((0, 0), |(_, adjustments, points)| (adjustments, points));
        let (adjustments, points) = (adjustments + 1, points + size);
        *desk = Some((today, adjustments, points));
        let since = book.dawn(today);
        self.judge_count(book, "adjustments_per_day", adjustments, since)?;
        self.judge_count(book, "adjusted_points_per_day", points, since)
    }

    fn judge_count(&mut self, book: &Book, name: &'static str, count: i64, since: Timestamp) -> Result<(), Rejection> {
        let Some((maximum, refuses)) = book.limits.get(name).copied().filter(|(maximum, _)| count > *maximum) else { return Ok(()) };
        if refuses {
            let (_, limit) = LIMITS.into_iter().find(|(known, _)| *known == name).expect("it is one of them");
            return Err(Rejection::FraudLimit(FraudFlag { limit, maximum, count, period_start: since }));
        }
        self.flags.push((name, maximum, count, since));
        Ok(())
    }
}
