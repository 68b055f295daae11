//! What a rule book costs a purchase: RecordPurchase in a programme with five tiers that are reviewed, birthdays, and points that lapse, or in one
//! with many promotions, beside the same in one without any of these. Both are measured in one run, in turns, so that what else the machine
//! does comes upon both.

use std::{sync::Arc, time::Duration};

use super::{
    books::Book,
    load,
    report::Target,
    session::Step,
    suite::{CONNECTIONS, IN_FLIGHT, Suite},
    workload::Scenario,
};
use crate::cli::CliError;

/// Each member has bought so often before, on average: they stand on all tiers then, and one of about ten purchases leads to another.
const BOUGHT: u64 = 10;
const BATCH_IN_FLIGHT: usize = 2;
const TURNS: usize = 4;

/// What was measured of a programme.
#[derive(Default, Clone, Copy)]
struct Sum {
    rate: f64,
    purchases: u64,
    /// Of the server's processors, until all that follows from the purchases is written.
    used: Duration,
}

impl Sum {
    fn microseconds(self) -> f64 {
        self.used.as_secs_f64() * 1e6 / self.purchases.max(1) as f64
    }
}

/// What is measured beside the plain programme.
pub(super) struct Beside {
    pub part: &'static str,
    pub book: Book,
    /// What it has.
    pub what: &'static str,
    /// Of the rate of the plain one.
    pub target: Target,
}

pub(super) async fn measure(suite: &mut Suite<'_>, beside: Beside) -> Result<(), CliError> {
    let Beside { part, book, what, target } = beside;
    let members = suite.members(100_000);
    suite.renew(members, false).await?;
    let books = [Book::Plain, book];
    for book in books {
        suite.session.book = book;
        suite.session.publish().await?;
        suite.session.preload(members).await?;
        let batches = (members * BOUGHT).div_ceil(suite.session.settings.batch as u64);
        let workload = Arc::new(suite.session.workload(Scenario::Batch));
        load::send(&suite.session.connections, workload, BATCH_IN_FLIGHT, batches).await?;
        suite.session.purchases += batches * suite.session.settings.batch as u64;
    }
    suite.session.settle().await;
    let turns = if suite.is_quick() { 1 } else { TURNS };
    let mut sums = [Sum::default(); 2];
    for _ in 0..turns {
        for (book, sum) in books.into_iter().zip(&mut sums) {
            suite.session.book = book;
            take_turn(suite, sum).await?;
        }
    }
    let [plain, other] = sums;
    for (name, sum) in [(format!("without {what}"), plain), ("with them".to_owned(), other)] {
        let name = format!("RecordPurchase {name}, {:.1} us of the server's processors each", sum.microseconds());
        suite.figure(part, name, sum.rate / turns as f64, "/s", None);
    }
    let ratio = |one: f64, other: f64| if other > 0.0 { one / other } else { 0.0 };
    suite.figure(part, format!("rate with {what}, of the one without"), ratio(other.rate, plain.rate), "", Some(target));
    let cost = ratio(other.microseconds(), plain.microseconds());
    suite.figure(part, format!("processor time of a purchase with {what}, of one without"), cost, "", None);
    Ok(())
}

async fn take_turn(suite: &mut Suite<'_>, sum: &mut Sum) -> Result<(), CliError> {
    let before = suite.session.cpu().0;
    let step = Step(Scenario::Record, CONNECTIONS, IN_FLIGHT, suite.seconds(10));
    let workload = suite.session.workload(Scenario::Record);
    let measured = suite.session.step(step, workload, None).await?;
    sum.rate += measured.rate();
    sum.purchases += measured.tally.all;
    suite.session.settle().await;
    let used = suite.session.cpu().0.zip(before).map(|(after, before)| after.saturating_sub(before));
    sum.used += used.unwrap_or_default();
    Ok(())
}
