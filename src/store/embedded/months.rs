//! Months without activity, in entries and headers.

use super::{
    decode::{Decoded, Malformed, month, optional_time, time},
    stored,
    wire::Writer,
};

use crate::domain::{InactiveMonths, MAX_COUNTED_MONTHS, Month, MonthRecord, Points, RanOut};

pub(super) fn months(w: &mut Writer, field: u32, months: &InactiveMonths) {
    if *months != InactiveMonths::default() {
        w.message(field, |w| {
            w.message(1, |w| record(w, &months.record));
            for (month, points) in &months.points {
                w.message(2, |w| {
                    w.sint(1, i64::from(month.0));
                    w.sint(2, points.0);
                });
            }
        });
    }
}

pub(super) fn record(w: &mut Writer, record: &MonthRecord) {
    w.uint(1, u64::from(record.months));
    if let Some(latest) = record.latest {
        w.present_sint(2, i64::from(latest.0));
    }
    for month in &record.inactive {
        w.present_sint(3, i64::from(month.0));
    }
    w.uint(4, u64::from(record.paused));
    if let Some(one) = &record.ran_out {
        w.message(5, |w| ran_out(w, one));
    }
    w.optional_time(6, record.lapse_time);
    if let Some(first) = record.first {
        w.present_sint(7, i64::from(first.0));
    }
}

pub(super) fn ran_out(w: &mut Writer, ran_out: &RanOut) {
    w.sint(1, i64::from(ran_out.through.0));
    w.time(2, ran_out.time);
}

pub(super) fn read(months: &stored::InactiveMonths) -> Decoded<InactiveMonths> {
    let points = |one: &stored::MonthPoints| Ok((read_month(one.month)?, Points(one.points)));
    Ok(InactiveMonths {
        record: months.record.as_ref().map(read_record).transpose()?.unwrap_or_default(),
        points: months.points.iter().map(points).collect::<Decoded<_>>()?,
    })
}

pub(super) fn read_record(record: &stored::MonthRecord) -> Decoded<MonthRecord> {
    if record.months > MAX_COUNTED_MONTHS {
        return Err(Malformed("the number of months without activity"));
    }
    Ok(MonthRecord {
        months: record.months,
        first: record.first.map(read_month).transpose()?,
        latest: record.latest.map(read_month).transpose()?,
        inactive: record.inactive.iter().copied().map(read_month).collect::<Decoded<_>>()?,
        paused: record.paused,
        ran_out: record.ran_out.as_ref().map(read_ran_out).transpose()?,
        lapse_time: optional_time(record.lapse_time)?,
    })
}

pub(super) fn read_ran_out(ran_out: &stored::RanOut) -> Decoded<RanOut> {
    Ok(RanOut { through: read_month(ran_out.through)?, time: time(ran_out.time)? })
}

fn read_month(number: i32) -> Decoded<Month> {
    month(i64::from(number))
}
