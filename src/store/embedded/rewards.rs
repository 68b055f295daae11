//! Rewards: how what they took and freed is stored, what a member has had of them, and the rows that say how many are taken.
//!
//! How many are taken is counted over all members, several of whom may have changed it in one commit. Each change has a number, so that the
//! row is that of the last one, whatever the order in which a commit names its members: it follows from the commit alone, and a replay gives
//! the same.

use std::collections::BTreeMap;

use super::{
    Engine,
    decode::{Decoded, Malformed, date, message, optional_time},
    decode_holds::portions,
    encode::date_number,
    encode_points::portion,
    index::Index,
    rows::{Change, ProgramNumber, RowKey, value},
    stored,
    wire::Writer,
};
use crate::domain::{Entry, Points, ProgramId, RewardFreed, RewardId, RewardPaid, RewardStock, RewardTally, TALLIED};

/// How many of a reward are taken.
pub(super) const STOCK: u8 = b's';

pub(super) fn stock_row(index: &Index, number: ProgramNumber, reward: &RewardId) -> RowKey {
    RowKey::new(&[&[STOCK], &number.to_be_bytes(), &index.reward(reward)[..16]])
}

impl Engine {
    /// The rows of all rewards that a commit takes or frees.
    pub(super) fn stock_rows<'a>(&self, entries: impl Iterator<Item = &'a Entry>, changes: &mut Vec<Change>) {
        let mut latest: BTreeMap<(&ProgramId, &RewardId), RewardStock> = BTreeMap::new();
        for entry in entries {
            let Some((reward, stock)) = entry.voucher_change().and_then(|changed| changed.reward_stock()) else { continue };
            let kept = latest.entry((&entry.key.program, reward)).or_insert(stock);
            if stock.change > kept.change {
                *kept = stock;
            }
        }
        for ((program, reward), stock) in latest {
            let number = self.programs.number_or_new(program, changes);
            let row = value(|w| {
                w.text(1, reward.as_str());
                w.message(2, |w| self::stock(w, stock));
            });
            changes.push((stock_row(&self.index, number, reward), Some(row)));
        }
    }
}

/// The row of a reward; `None`: it is another one's, whose hash is the same.
pub(super) fn read_stock_row(reward: &RewardId, bytes: &[u8]) -> Decoded<Option<RewardStock>> {
    let row: stored::RewardStockRow = message(bytes)?;
    Ok((row.reward_id == reward.as_str()).then(|| read_stock(row.stock)))
}

fn stock(w: &mut Writer, stock: RewardStock) {
    w.uint(1, stock.change);
    w.uint(2, stock.taken);
}

fn read_stock(stock: Option<stored::RewardStock>) -> RewardStock {
    let stored::RewardStock { change, taken } = stock.unwrap_or_default();
    RewardStock { change, taken }
}

pub(super) fn tally(w: &mut Writer, reward: &RewardId, tally: Option<&RewardTally>) {
    w.text(1, reward.as_str());
    if let Some(RewardTally { day, counts }) = tally {
        w.sint(2, date_number(*day));
        counts.iter().for_each(|count| w.item_uint(3, u64::from(*count)));
    }
}

fn reward_id(text: &str) -> Decoded<RewardId> {
    RewardId::new(text).map_err(|_| Malformed("reward_id"))
}

/// Without counts: nothing is left.
fn read_tally(tally: Option<&stored::RewardTally>) -> Decoded<(RewardId, Option<RewardTally>)> {
    let tally = tally.ok_or(Malformed("reward_tally"))?;
    let reward = reward_id(&tally.reward_id)?;
    if tally.counts.is_empty() {
        return Ok((reward, None));
    }
    let counts = <[u32; TALLIED.len()]>::try_from(tally.counts.as_slice()).map_err(|_| Malformed("reward_tally.counts"))?;
    Ok((reward, Some(RewardTally { day: date(tally.day)?, counts })))
}

pub(super) fn read_tallies<C: FromIterator<(RewardId, RewardTally)>>(tallies: &[stored::RewardTally]) -> Decoded<C> {
    let read = |tally| match read_tally(Some(tally))? {
        (reward, Some(tally)) => Ok((reward, tally)),
        (_, None) => Err(Malformed("reward_tally.counts")),
    };
    tallies.iter().map(read).collect()
}

pub(super) fn paid(w: &mut Writer, paid: &RewardPaid) {
    w.message(1, |w| tally(w, &paid.reward, Some(&paid.tally)));
    w.sint(2, paid.points.0);
    for one in &paid.portions {
        w.message(3, |w| portion(w, one));
    }
    w.optional_time(4, paid.next_expiry_time);
    w.message(5, |w| stock(w, paid.stock));
    paid.dropped.iter().for_each(|reward| w.item_text(6, reward.as_str()));
}

pub(super) fn read_paid(paid: &stored::RewardPaid) -> Decoded<RewardPaid> {
    let (reward, tally) = read_tally(paid.tally.as_ref())?;
    Ok(RewardPaid {
        reward,
        points: Points(paid.points),
        portions: portions(&paid.portions)?,
        next_expiry_time: optional_time(paid.next_expiry_time)?,
        tally: tally.ok_or(Malformed("reward_tally.counts"))?,
        stock: read_stock(paid.stock),
        dropped: paid.dropped_reward_ids.iter().map(|reward| reward_id(reward)).collect::<Decoded<_>>()?,
    })
}

pub(super) fn freed(w: &mut Writer, freed: &RewardFreed) {
    w.message(1, |w| tally(w, &freed.reward, freed.tally.as_ref()));
    w.message(2, |w| stock(w, freed.stock));
}

pub(super) fn read_freed(freed: &stored::RewardFreed) -> Decoded<RewardFreed> {
    let (reward, tally) = read_tally(freed.tally.as_ref())?;
    Ok(RewardFreed { reward, tally, stock: read_stock(freed.stock) })
}
