//! As `decode.rs`: what is stored of what fraud limits count.

use super::{
    decode::{Decoded, Malformed, date, message, time},
    stored,
};
use crate::domain::{ActorId, FraudCounter, FraudFlag, FraudLimit, OperatorDay, Points, Watched};

pub(super) fn watched(watched: &stored::Watched) -> Decoded<Watched> {
    let dropped = watched.dropped.iter().map(|counter| Ok((fraud_limit(counter.limit)?, time(counter.period_start)?)));
    Ok(Watched {
        counters: watched.counters.iter().map(fraud_counter).collect::<Decoded<_>>()?,
        dropped: dropped.collect::<Decoded<_>>()?,
        operator: watched.operator.as_ref().map(operator_day).transpose()?,
        flags: watched.flags.iter().map(fraud_flag).collect::<Decoded<_>>()?,
    })
}

pub(super) fn fraud_counter(counter: &stored::FraudCounter) -> Decoded<FraudCounter> {
    Ok(FraudCounter { limit: fraud_limit(counter.limit)?, period_start: time(counter.period_start)?, count: counter.count })
}

fn fraud_flag(flag: &stored::FraudFlag) -> Decoded<FraudFlag> {
    let (limit, period_start) = (fraud_limit(flag.limit)?, time(flag.period_start)?);
    Ok(FraudFlag { limit, maximum: flag.maximum, count: flag.count, period_start })
}

pub(super) fn fraud_limit(number: u32) -> Decoded<FraudLimit> {
    match number {
        0 => Ok(FraudLimit::PurchasesPerHour),
        1 => Ok(FraudLimit::PointsPerDay),
        2 => Ok(FraudLimit::AdjustmentsPerDay),
        3 => Ok(FraudLimit::AdjustedPointsPerDay),
        _ => Err(Malformed("fraud_counter.limit")),
    }
}

fn operator_day(operator: &stored::OperatorDay) -> Decoded<OperatorDay> {
    Ok(OperatorDay { day: date(operator.day)?, adjustments: operator.adjustments, points: Points(operator.points) })
}

/// The row of an operator; `None`: it is another one's, whose hash is the same.
pub(super) fn operator_row(actor: &ActorId, bytes: &[u8]) -> Decoded<Option<OperatorDay>> {
    let row: stored::OperatorRow = message(bytes)?;
    if row.actor_id != actor.as_str() {
        return Ok(None);
    }
    row.operator.as_ref().map(operator_day).transpose()
}
