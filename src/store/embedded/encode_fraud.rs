//! As `encode.rs`: what is written of what fraud limits count.

use jiff::Timestamp;

use super::{encode::date_number, wire::Writer};
use crate::domain::{ActorId, FraudFlag, FraudLimit, OperatorDay, Points, Watched};

pub(super) fn watched(w: &mut Writer, watched: &Watched) {
    for counter in &watched.counters {
        w.message(1, |w| fraud_counter(w, counter.limit, counter.period_start, counter.count));
    }
    for (limit, period_start) in &watched.dropped {
        w.message(2, |w| fraud_counter(w, *limit, *period_start, 0));
    }
    if let Some(operator) = &watched.operator {
        w.message(3, |w| operator_day(w, operator));
    }
    for flag in &watched.flags {
        w.message(4, |w| fraud_flag(w, flag));
    }
}

pub(super) fn fraud_counter(w: &mut Writer, limit: FraudLimit, period_start: Timestamp, count: i64) {
    w.uint(1, fraud_limit(limit));
    w.time(2, period_start);
    w.sint(3, count);
}

fn fraud_flag(w: &mut Writer, flag: &FraudFlag) {
    w.uint(1, fraud_limit(flag.limit));
    w.sint(2, flag.maximum);
    w.sint(3, flag.count);
    w.time(4, flag.period_start);
}

pub(super) fn fraud_limit(limit: FraudLimit) -> u64 {
    match limit {
        FraudLimit::PurchasesPerHour => 0,
        FraudLimit::PointsPerDay => 1,
        FraudLimit::AdjustmentsPerDay => 2,
        FraudLimit::AdjustedPointsPerDay => 3,
    }
}

fn operator_day(w: &mut Writer, operator: &OperatorDay) {
    let OperatorDay { day, adjustments, points: Points(points) } = *operator;
    w.sint(1, date_number(day));
    w.sint(2, adjustments);
    w.sint(3, points);
}

/// The row of an operator.
pub(super) fn operator(w: &mut Writer, actor: &ActorId, operator: &OperatorDay) {
    w.text(1, actor.as_str());
    w.message(2, |w| operator_day(w, operator));
}
