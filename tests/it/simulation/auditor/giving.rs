//! Points that one member gives another.

use jiff::Timestamp;
use loyaltyd::domain::{MemberId, Points, Recipient, Rejection, TransferRequest};

use super::{
    Account, Act, Books, Expected, Lot,
    facts::{Fact, LotSaid},
    parts,
};

/// On its way to the one who gets it.
#[derive(Debug, Clone)]
pub struct Gift {
    pub to: MemberId,
    from: MemberId,
    sequence: u64,
    points: i64,
    lots: Vec<Lot>,
}

impl Act<'_> {
    pub fn give(&mut self, request: &TransferRequest) -> Result<(), Rejection> {
        self.require_active()?;
        let policy = self.books.newest().transfers.as_ref().ok_or(Rejection::TransfersNotOffered)?;
        let from = self.account.id.expect("it is enrolled");
        let Recipient::Id(to) = request.to else { return Err(Rejection::RecipientNotFound) };
        let (points, requested) = (request.points.0, request.points);
        if to == from {
            return Err(Rejection::TransferToSelf);
        }
        if let Some(most) = policy.most.filter(|most| points > *most) {
            return Err(Rejection::TransferTooLarge { limit: Points(most), requested });
        }
        if self.account.debt > 0 {
            return Err(Rejection::InDebt { debt: Points(self.account.debt) });
        }
        if points < policy.fewest {
            return Err(Rejection::BelowMinimum { minimum: Points(policy.fewest), requested });
        }
        let available = self.spendable();
        if points > available {
            return Err(Rejection::InsufficientPoints { available: Points(available), requested });
        }
        let lots = self.take(points);
        self.account.given_away += points;
        self.enter_now(Fact::Sent { to, points, taken: parts(&lots) });
        self.gift = Some(Gift { to, from, sequence: self.account.sequence, points, lots });
        Ok(())
    }
}

/// What becomes of the one who gets it: a new lot for each, which lapses when the old one would have.
pub fn receive(account: &Account, books: &Books, now: Timestamp, gift: &Gift) -> Result<Expected, Rejection> {
    let mut act = Act::new(account, books, now);
    act.pass_time();
    if act.account.suspended {
        return Err(Rejection::RecipientSuspended);
    }
    let mut lots = Vec::new();
    for Lot { points, expire_time, .. } in gift.lots.iter().cloned() {
        act.account.last_lot += 1;
        let id = act.account.last_lot;
        let debt_paid = act.receive(id, points, expire_time);
        lots.push(LotSaid { id, points, expire_time, debt_paid, waits: None });
    }
    act.account.got += gift.points;
    // It has no request of its own, as what time causes has none.
    act.enter_now(Fact::Got { from: gift.from, sequence: gift.sequence, points: gift.points, lots });
    Ok(Expected { account: act.account, said: act.said, done_before: None, gift: None })
}
