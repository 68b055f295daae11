//! Points that one member gives another.

use loyaltyd::{
    contract::v1::expiry_policy::CountedActivity,
    domain::{Points, Recipient, Rejection, TransferRequest},
};

use super::{
    Act, Lot, Passed, What,
    book::Lapse,
    facts::{Fact, LotSaid},
    months::{Brought, Month, month},
    parts,
};

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
        self.stir(CountedActivity::Transfer, Brought::default(), self.now);
        self.enter_now(Fact::Sent { to, points, taken: parts(&lots) });
        let last = lots.iter().map(|lot| self.lasts(lot.lapse)).collect();
        self.passed = Some(Passed { to, from, sequence: self.account.sequence, what: What::Points { points, lots, last } });
        Ok(())
    }

    /// A new lot for each, which lapses when the old one would have, or as late as it would have by months.
    pub fn get<'b>(
        &mut self,
        passed: &Passed,
        points: i64,
        lots: impl Iterator<Item = (&'b Lot, &'b Option<Month>)>,
    ) -> Result<(), Rejection> {
        match (self.account.erased, self.account.suspended) {
            (true, _) => return Err(Rejection::RecipientErased),
            (false, true) => return Err(Rejection::RecipientSuspended),
            (false, false) => {}
        }
        let mut said = Vec::new();
        let (most, current) = (self.most_now(), month(self.books.newest(), self.now));
        for (Lot { points, lapse, earned, .. }, last) in lots.map(|(lot, last)| (lot.clone(), *last)) {
            let lapse = match lapse {
                Lapse::Month(earned) => {
                    let here = self.account.months.as_long_as(most, last, (earned, current));
                    if here != earned {
                        self.account.months.note("months given");
                    }
                    Lapse::Month(here)
                }
                Lapse::On(_) | Lapse::Inactive | Lapse::Never => lapse,
            };
            self.account.last_lot += 1;
            let id = self.account.last_lot;
            let debt_paid = self.receive(Lot { id, points, lapse, earned });
            said.push(LotSaid { id, points, lapse, debt_paid, waits: None });
        }
        self.account.got += points;
        self.welcome(said.iter(), self.now);
        self.enter_now(Fact::Got { from: passed.from, sequence: passed.sequence, points, lots: said });
        Ok(())
    }
}
