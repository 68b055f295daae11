//! Expiry: when lots lapse, and the entries that say so.

use jiff::{Timestamp, tz::TimeZone};

use super::{Allocation, Expired, Expiry, Lot, Member, Overflow, fold::sooner};

/// The next lapse that is due, with its instant: all loaded lots that lapse at the earliest due instant.
pub(super) fn next_lapse(member: &Member, now: Timestamp) -> Option<(Expired, Timestamp)> {
    let instant = member.lots.values().next().filter(|lot| lot.has_lapsed(now))?.expire_time?;
    let lapsed = |lot: &&Lot| lot.expire_time == Some(instant);
    let allocations = member.lots.values().take_while(lapsed).map(|lot| Allocation { lot: lot.key(), points: lot.remaining }).collect();
    let next_loaded = member.lots.values().find(|lot| !lapsed(lot)).and_then(|lot| lot.expire_time);
    // The header's time was right for the lots that are not loaded, unless it is what has just become due.
    let next_other = member.header.next_expiry_time.filter(|next| *next > now);
    Some((Expired { allocations, next_expiry_time: sooner(next_loaded, next_other) }, instant))
}

/// The instant until which points earned at `earned` are valid, exclusive: the start of a local day. `None`: for ever.
pub(super) fn expire_time(_expiry: Expiry, _zone: &TimeZone, _earned: Timestamp) -> Result<Option<Timestamp>, Overflow> {
    Ok(None)
}
