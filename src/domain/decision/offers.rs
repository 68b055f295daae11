//! Offers: given to a member by hand and taken away again, and activated by who has them.

use super::{
    super::{
        EntryKind, Offer, OfferChange, OfferChanged, OfferGift, OfferHeld, OfferId, OfferObstacle, OfferRejection, OfferRequest, OfferTime,
        Rejection, RewardTally, VoucherCause, VoucherKind, calendar,
        offer::{self, earlier},
    },
    Draft,
    vouchers::Paid,
};
use jiff::Timestamp;

impl Draft<'_> {
    pub(super) fn offer(&mut self, request: &OfferRequest) -> Result<(), Rejection> {
        match request {
            OfferRequest::Assign { offer, reason, end_time } => self.assign_offer(offer, reason, *end_time),
            OfferRequest::Activate { offer } => self.activate_offer(offer),
            OfferRequest::Withdraw { offer, reason } => self.withdraw_offer(offer, reason),
        }
    }

    /// Gives it anew to who has it: for as long as is said now, and it can be activated again.
    fn assign_offer(&mut self, id: &OfferId, reason: &str, end_time: Option<Timestamp>) -> Result<(), Rejection> {
        self.require_active()?;
        let (program, now) = (self.context.programs.newest(), self.context.now);
        let offer = program.offer(id).ok_or_else(|| OfferRejection::NotFound { offer: id.clone() })?;
        // One that is still to begin can be given.
        if let Some(OfferRejection::NotOffered { end_time: Some(end), .. }) = offer.check_time(now) {
            return Err(OfferRejection::NotOffered { offer: id.clone(), start_time: None, end_time: Some(end) }.into());
        }
        if !offer.is_personal() {
            return Err(OfferRejection::NotPersonal { offer: id.clone() }.into());
        }
        let from = offer.start_time.map_or(now, |start| start.max(now));
        if let Some(end_time) = end_time.filter(|end| *end <= from) {
            return Err(OfferRejection::EndPast { offer: id.clone(), end_time }.into());
        }
        let valid = offer.valid_days.filter(|_| !offer.requires_activation);
        let valid = valid.map(|days| program.end_of_days(from, days)).transpose()?;
        // The offer's own times are looked at when it is used.
        let mut held = self.held(id);
        held.assign(OfferTime { from: now, until: earlier(valid, end_time) }, self.oldest());
        self.change_offer(id, OfferChange::Assigned { reason: reason.to_owned() }, held)
    }

    /// What it gave stays counted, and vouchers stay the member's.
    fn withdraw_offer(&mut self, id: &OfferId, reason: &str) -> Result<(), Rejection> {
        let mut held = self.held(id);
        let now = self.context.now;
        if held.given(now).is_none() {
            // What the rule book does not have may have been given before.
            let is_known = self.context.programs.newest().offer(id).is_some();
            let offer = id.clone();
            let rejection = if is_known { OfferRejection::NotAssigned { offer } } else { OfferRejection::NotFound { offer } };
            return Err(rejection.into());
        }
        held.withdraw(now, self.oldest());
        self.change_offer(id, OfferChange::Withdrawn { reason: reason.to_owned() }, held)
    }

    fn activate_offer(&mut self, id: &OfferId) -> Result<(), Rejection> {
        self.require_active()?;
        let (program, now) = (self.context.programs.newest(), self.context.now);
        let offer = program.offer(id).ok_or_else(|| OfferRejection::NotFound { offer: id.clone() })?;
        if let Some(first) = self.why_not_activated(offer)? {
            return Err(first);
        }
        let mut held = self.held(id);
        match &offer.gift {
            OfferGift::Promotion(_) => {
                let valid = offer.valid_days.map(|days| program.end_of_days(now, days)).transpose()?;
                let given = held.given(now).and_then(|given| given.until);
                held.activate(OfferTime { from: now, until: earlier(valid, given) }, self.oldest());
                self.change_offer(id, OfferChange::Activated, held)
            }
            OfferGift::Voucher { kind, validity } => {
                // A rule book names only kinds that it has.
                let kind = program.voucher_kind(kind).ok_or_else(|| OfferRejection::NotFound { offer: id.clone() })?;
                let kind = VoucherKind { validity: validity.unwrap_or(kind.validity), ..kind.clone() };
                let today = calendar::local_date(&program.time_zone, now);
                let vouchers = RewardTally::with_one(held.vouchers.as_ref(), today)?;
                self.change_offer(id, OfferChange::Activated, OfferHeld { vouchers: Some(vouchers), ..held })?;
                self.issue_voucher_for((program, &kind), (VoucherCause::Offer, "", Paid::ForOffer(id.clone())), now)
            }
        }
    }

    /// The first of what stands against an activation, in order of precedence.
    fn why_not_activated(&self, offer: &Offer) -> Result<Option<Rejection>, Rejection> {
        let (program, now) = (self.context.programs.newest(), self.context.now);
        let standing = offer.standing(program, &self.member.header, now)?;
        let is_later = |obstacle: &OfferObstacle| {
            matches!(
                obstacle,
                OfferObstacle::TooManyVouchers | OfferObstacle::Refused(OfferRejection::Ended { .. } | OfferRejection::Limit { .. })
            )
        };
        let (later, first): (Vec<_>, Vec<_>) = standing.why_not.into_iter().partition(is_later);
        let own = if offer.promotion().is_some() && !offer.requires_activation {
            Some(OfferRejection::NoActivation { offer: offer.id.clone() })
        } else if standing.state == offer::OfferState::Active {
            Some(OfferRejection::Active { offer: offer.id.clone(), end_time: standing.until })
        } else {
            None
        };
        let all = first.into_iter().chain(own.map(OfferObstacle::Refused)).chain(later);
        Ok(all.map(Rejection::from).next())
    }

    fn held(&self, id: &OfferId) -> OfferHeld {
        let none = || OfferHeld { time: self.context.now, assigned: Vec::new(), activated: Vec::new(), vouchers: None };
        self.member.header.offers.get(id).cloned().unwrap_or_else(none)
    }

    fn change_offer(&mut self, id: &OfferId, change: OfferChange, held: OfferHeld) -> Result<(), Rejection> {
        let held = OfferHeld { time: self.context.now, ..held };
        let dropped = offer::dropped(self.context.programs.newest(), &self.member.header, id);
        self.enter_now(EntryKind::OfferChanged(OfferChanged { offer: id.clone(), change, held, dropped }))
    }
}
