//! Deciding: a command and a state become entries, or a rejection.

mod activities;
mod adjusting;
mod birthdays;
mod due;
mod effects;
mod erasure;
mod goals;
mod hints;
mod history;
mod holding;
mod offers;
mod promotions;
mod referrals;
mod reviewing;
mod rewards;
mod segments;
mod vouchers;

use referrals::{Borne, Earning};

pub use hints::hints;
pub use history::{History, Thread};

use std::{ops::Range, sync::Arc};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use rust_decimal::Decimal;

use super::{
    ActorId, CaptureRequest, Command, Entry, EntryKind, EntryRef, FoldError, FraudLimit, Header, Identifier, LotKey, MAX_IDENTIFIERS,
    MAX_LOTS, Member, MemberState, Numbered, OperatorDay, OrderKey, Payment, Person, Points, PrincipalId, Profile, ProfileUpdate, Program,
    ProgramHistory, Purchase, PurchaseAccrued, QuoteId, RedeemRequest, Redeemed, Rejection, Request, ReturnRequest, ReversalRequest,
    Sealed, Watched, accrual, activation,
    fold::fold,
    fraud, purchase, redemption,
    returns::{self, Due, Sale},
    taking::Taking,
    transfer,
};

/// What a decision may look at beside the member.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub programs: &'a ProgramHistory,
    pub now: Timestamp,
    /// `None` in a quote, and for what time alone causes.
    pub request: Option<&'a Request>,
    pub actor: Option<&'a ActorId>,
    pub principal: Option<&'a PrincipalId>,
    /// Of an adjustment: what the actor had adjusted when an adjustment of theirs was last counted.
    pub operator: Option<OperatorDay>,
    pub history: &'a History,
}

/// Entries, and the state after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub entries: Vec<Entry>,
    /// The places of those that the command itself entered; the others are caused by time.
    pub own: Range<usize>,
    pub member: Member,
    /// What was asked for had been done before, by this entry: the command itself enters nothing.
    pub done_before: Option<Entry>,
    /// More lots have lapsed than one commit takes. What is due must be entered before anything else is decided: these entries are to be
    /// committed, and then it is decided again. The command itself enters nothing.
    pub still_due: bool,
    /// The state right after the command's own entries, which the answer shows, where time brings more with the command.
    pub shown: Option<Box<Member>>,
}

/// Decides a command. The member must be loaded as [`Command::demand`] and what is due ask; a member that is about to enrol has a new
/// header.
pub fn decide(context: Context<'_>, member: Member, command: &Command) -> Result<Decision, Rejection> {
    let mut draft = Draft::new(context, member);
    if !draft.enter_what_is_due(MAX_LOTS)? {
        return Ok(draft.finish(0..0));
    }
    // What an erased member bought can come back to the shop, and an activity is judged before who did it; else nobody acts for nobody.
    if !matches!(command, Command::ReturnPurchase(_) | Command::RecordActivity(_)) {
        draft.require_somebody()?;
    }
    if let Command::Erase { .. } = command {
        draft.end_holds()?;
        draft.leave_segments()?;
    }
    let first = draft.entries.len();
    match command {
        Command::Enroll { person } => draft.enroll(person),
        Command::UpdateProfile(update) => draft.update_profile(update),
        Command::AddIdentifier { identifier } => draft.add_identifier(identifier),
        Command::RemoveIdentifier { identifier } => draft.remove_identifier(identifier),
        Command::SetTier { tier, reason, last_date } => draft.set_tier(tier, reason, *last_date),
        Command::Suspend { reason } => draft.suspend(reason),
        Command::Reactivate { reason } => draft.reactivate(reason),
        Command::Erase { reason } => draft.enter_now(EntryKind::MemberErased { reason: reason.clone() }),
        Command::RecordPurchase(purchase) => draft.record_purchase(purchase, Earning::First),
        Command::AdjustPoints(request) => draft.adjust(request),
        Command::RedeemPoints(request) => draft.redeem(request),
        Command::ReverseRedemption(request) => draft.reverse_redemption(request),
        Command::HoldPoints(request) => draft.hold(request),
        Command::CaptureHold(request) => draft.capture_hold(request),
        Command::ReleaseHold { hold, reason } => draft.release_hold(*hold, reason),
        Command::ConfirmPurchase { order } => draft.confirm_purchase(order),
        Command::ReturnPurchase(request) => draft.return_purchase(request),
        Command::TransferPoints(request) => {
            draft.require_active()?;
            let sent = transfer::send(context.programs.newest(), &draft.member, request, context.now)?;
            draft.enter_now(EntryKind::PointsTransferredOut(sent))
        }
        Command::RecordActivity(request) => draft.record_activity(request),
        Command::Voucher(request) => draft.voucher(request),
        Command::Offer(request) => draft.offer(request),
        Command::MergeMembers(_) => unreachable!("a merge is decided over both members: see `merge`"),
    }?;
    draft.settle_goal(context.now)?;
    let own = first..draft.entries.len();
    if let Command::RecordPurchase(purchase) = command
        && let Some(quote) = &purchase.quote
    {
        quote.check(&QuoteId::of(&draft.member.key, &draft.entries[own.clone()]))?;
    }
    let shown = command.answers_with_member().then(|| Box::new(draft.member.clone()));
    // A late sale can earn points that have become active or have lapsed since. All that it is about is loaded.
    draft.enter_what_it_brought()?;
    draft.settle_segments_now()?;
    let shown = shown.filter(|_| draft.entries.len() > own.end);
    Ok(Decision { shown, ..draft.finish(own) })
}

/// Turns all that is due at or before now into entries, in order of time, but for lots that lapse beyond [`MAX_LOTS`]. What is due must be
/// loaded, or one lot more than that, and the lot after those that are.
pub fn advance(programs: &ProgramHistory, now: Timestamp, member: Member) -> Result<Decision, Rejection> {
    let mut draft =
        Draft::new(Context { programs, now, request: None, actor: None, principal: None, operator: None, history: History::NONE }, member);
    draft.enter_what_is_due(MAX_LOTS)?;
    Ok(draft.finish(0..0))
}

/// The other side of an entry of another member: of a transfer, or of an activity that this one referred that one to, be it earned or taken back.
/// The header is loaded, and what is due; where something is taken back what a return of a purchase asks for, with its history. `giver` is the
/// other member behind that entry.
pub fn receive(context: Context<'_>, member: Member, (giver, sent): (&Header, &Entry)) -> Result<Decision, Rejection> {
    let mut draft = Draft::new(context, member);
    if !draft.enter_what_is_due(MAX_LOTS)? {
        return Ok(draft.finish(0..0));
    }
    let first = draft.entries.len();
    if let EntryKind::PointsTransferredOut(transferred) = &sent.kind {
        let got = transfer::receive(context.programs, &draft.member, (giver, sent), transferred, context.now)?;
        draft.enter_now(EntryKind::PointsTransferredIn(got))?;
    }
    if let EntryKind::ReferralMade(_) = &sent.kind {
        draft.require_referrer()?;
    }
    if let EntryKind::ActivityAccrued(accrued) = &sent.kind {
        match &accrued.referral {
            Some(earned) => draft.referrer_earns(sent, earned)?,
            None => draft.referred(sent, accrued)?,
        }
    }
    if let EntryKind::ReferralTakenBack(back) = &sent.kind {
        draft.referrer_gives_back(sent, back)?;
    }
    draft.settle_goal(context.now)?;
    let own = first..draft.entries.len();
    draft.enter_what_it_brought()?;
    draft.settle_segments_now()?;
    Ok(draft.finish(own))
}

pub(super) struct Draft<'a> {
    context: Context<'a>,
    /// When it is decided, whenever what is entered was due.
    record_time: Timestamp,
    pub(super) member: Member,
    pub(super) entries: Vec<Entry>,
    done_before: Option<Entry>,
    /// Of the next entry.
    pub(super) watched: Option<Box<Watched>>,
    /// Of the next return: what its sale counted in for tiers.
    sale_counted: Option<Date>,
    /// The same for windows of segments.
    sale_day_counted: Option<Date>,
    /// As of when segments were judged last.
    segments_judged: Timestamp,
    /// The latest end of a hold, or activation: points that it gave back lapse then, if they would have lapsed before.
    hold_end: Timestamp,
    /// What is entered now is not asked for: time alone causes it, or that the member is erased.
    by_time: bool,
    /// The state is that of now, and what is entered by time may have been due long ago.
    is_now: bool,
    /// Lots that may still lapse.
    lapses_left: usize,
    /// More have lapsed than may.
    still_due: bool,
    /// Lots that the command may still take points from.
    lots_left: usize,
    /// Lots that goals may still take points from.
    goal_lots_left: usize,
    /// The lot from which on goals take nothing; `None`: there is none.
    goal_lots_end: Option<LotKey>,
    /// The latest entry that brought what can reach a goal, since that was looked at.
    earned: Option<u64>,
    /// Points have gone since then, or what waits has come with another member.
    lost: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(context: Context<'a>, member: Member) -> Self {
        Self {
            context,
            goal_lots_end: goals::lots_end(context.programs, &member, context.now),
            record_time: context.now,
            member,
            entries: Vec::new(),
            done_before: None,
            watched: None,
            sale_counted: None,
            sale_day_counted: None,
            segments_judged: Timestamp::MIN,
            hold_end: Timestamp::MIN,
            by_time: false,
            is_now: false,
            lapses_left: 0,
            still_due: false,
            lots_left: MAX_LOTS,
            goal_lots_left: MAX_LOTS,
            earned: None,
            lost: false,
        }
    }

    pub(super) fn finish(self, own: Range<usize>) -> Decision {
        let Self { entries, member, done_before, still_due, .. } = self;
        Decision { entries, own, member, done_before, still_due, shown: None }
    }

    /// The only way an entry comes to be: numbered, folded, and with the balance after it.
    fn enter(&mut self, kind: EntryKind, occurred_time: Timestamp, program: &Program) -> Result<(), Rejection> {
        let (inactivity_time, months) = self.inactivity(&kind, occurred_time, program)?;
        let counted = self.counted(&kind, occurred_time)?;
        let day_counted = self.day_counted(&kind, occurred_time)?;
        let mut entry = Entry {
            key: self.member.key.clone(),
            sequence: self.member.header.last_sequence.checked_add(1).ok_or(Rejection::Overflow)?,
            record_time: self.record_time,
            occurred_time,
            request: self.context.request.filter(|_| !self.by_time).cloned(),
            actor: self.context.actor.filter(|_| !self.by_time).cloned(),
            principal: self.context.principal.filter(|_| !self.by_time).cloned(),
            program_version: program.version,
            balance: self.member.header.balance.clone(),
            watched: self.watched.take(),
            inactivity_time,
            inactive_months: None,
            counted,
            day_counted,
            kind,
        };
        fold(&mut self.member, &entry).map_err(|error| match error {
            FoldError::Overflow { .. } => Rejection::Overflow,
            other => panic!("a decision contradicts the ledger: {other}"),
        })?;
        self.enter_months(&mut entry, months)?;
        let before = std::mem::replace(&mut entry.balance, self.member.header.balance.clone());
        self.note_earning(&entry, &before);
        self.entries.push(entry);
        Ok(())
    }

    pub(super) fn enter_now(&mut self, kind: EntryKind) -> Result<(), Rejection> {
        self.enter(kind, self.context.now, self.context.programs.newest())
    }

    fn zone(&self) -> &'a TimeZone {
        &self.context.programs.newest().time_zone
    }

    fn require_active(&self) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active => Ok(()),
            MemberState::Suspended => Err(Rejection::MemberSuspended),
            MemberState::Merged { .. } => Err(Rejection::MemberNotFound),
            MemberState::Erased => Err(Rejection::MemberErased),
        }
    }

    fn enroll(&mut self, person: &Person) -> Result<(), Rejection> {
        self.enter_now(EntryKind::MemberEnrolled { person: Sealed::Open(person.clone()) })?;
        self.plan_birthday(false)
    }

    /// Without its key a person is nobody: there is nothing to change.
    fn person(&self) -> Result<&Person, Rejection> {
        self.member.person.as_ref().and_then(Sealed::open).ok_or(Rejection::MemberErased)
    }

    fn update_profile(&mut self, update: &ProfileUpdate) -> Result<(), Rejection> {
        let old = &self.person()?.profile;
        let profile = Profile {
            display_name: update.display_name.as_ref().unwrap_or(&old.display_name).clone(),
            birth_date: update.birth_date.unwrap_or(old.birth_date),
            language_code: update.language_code.as_ref().unwrap_or(&old.language_code).clone(),
        };
        let had = old.birth_date;
        let is_other = self.check_birth_date(had, profile.birth_date)?;
        self.enter_now(EntryKind::ProfileUpdated { profile: Sealed::Open(profile) })?;
        if is_other { self.plan_birthday(had.is_some()) } else { Ok(()) }
    }

    fn add_identifier(&mut self, identifier: &Identifier) -> Result<(), Rejection> {
        let held = &self.person()?.identifiers;
        if held.contains(identifier) {
            return Err(Rejection::IdentifierHeld { kind: identifier.kind });
        }
        if held.len() >= MAX_IDENTIFIERS {
            return Err(Rejection::TooManyIdentifiers { limit: MAX_IDENTIFIERS });
        }
        self.enter_now(EntryKind::IdentifierAdded { identifier: Sealed::Open(identifier.clone()) })
    }

    fn remove_identifier(&mut self, identifier: &Identifier) -> Result<(), Rejection> {
        if !self.person()?.identifiers.contains(identifier) {
            return Err(Rejection::IdentifierNotHeld { kind: identifier.kind });
        }
        self.enter_now(EntryKind::IdentifierRemoved { identifier: Sealed::Open(identifier.clone()) })
    }

    fn suspend(&mut self, reason: &str) -> Result<(), Rejection> {
        self.require_active()?;
        self.enter_now(EntryKind::MemberSuspended { reason: reason.to_owned() })
    }

    fn reactivate(&mut self, reason: &str) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active | MemberState::Merged { .. } => Err(Rejection::MemberNotSuspended),
            MemberState::Suspended => self.enter_now(EntryKind::MemberReactivated { reason: reason.to_owned() }),
            MemberState::Erased => Err(Rejection::MemberErased),
        }
    }

    fn redeem(&mut self, request: &RedeemRequest) -> Result<(), Rejection> {
        self.require_active()?;
        self.draw(self.context.programs.newest(), request, false, self.context.now).map(|_| ())
    }

    /// Takes points out of lots; the entry, and what they are worth. `may_owe`: also points that are not there.
    fn draw(
        &mut self,
        program: &Program,
        request: &RedeemRequest,
        may_owe: bool,
        occurred_time: Timestamp,
    ) -> Result<(EntryRef, Decimal), Rejection> {
        let lots = Taking::of(self.context.programs.newest(), &self.member, self.lots_left, self.context.now);
        let drawn = redemption::draw(program, &lots, request, may_owe)?;
        self.lots_left -= drawn.portions.len();
        let redeemed = Redeemed {
            points: drawn.points,
            value: drawn.value,
            order: request.order.clone(),
            reference: request.reference.clone(),
            owed: drawn.owed,
            portions: drawn.portions,
            captured: None,
            next_expiry_time: drawn.next_expiry_time,
        };
        self.enter(EntryKind::PointsRedeemed(redeemed), occurred_time, program)?;
        Ok((self.own(self.member.header.last_sequence), drawn.value))
    }

    fn own(&self, sequence: u64) -> EntryRef {
        EntryRef { member: self.member.key.member, sequence }
    }

    fn reverse_redemption(&mut self, request: &ReversalRequest) -> Result<(), Rejection> {
        let not_found = Rejection::RedemptionNotFound { redemption: request.redemption };
        let thread = self.context.history.named(Numbered::Redemption(request.redemption)).ok_or_else(|| not_found.clone())?;
        if thread.origin.voucher_change().is_some_and(|changed| changed.reward_paid().is_some()) {
            return Err(Rejection::RedemptionOfReward { redemption: request.redemption });
        }
        let EntryKind::PointsRedeemed(redeemed) = &thread.origin.kind else { return Err(not_found) };
        let so_far = gone_back(thread);
        let programs = self.context.programs;
        let mut reversed =
            redemption::reverse(programs.newest(), &self.member, (&thread.origin, redeemed), so_far, request.points, self.context.now)?;
        reversed.reason.clone_from(&request.reason);
        self.enter_now(EntryKind::RedemptionReversed(reversed))
    }

    fn confirm_purchase(&mut self, order: &OrderKey) -> Result<(), Rejection> {
        self.require_active()?;
        let (programs, now) = (self.context.programs, self.context.now);
        let sale = self.context.history.sale(order).ok_or(Rejection::NothingPending)?;
        let program = programs.version(sale.accrued.accrual.program_version).unwrap_or_else(|| programs.newest());
        let activated = activation::confirm(program, &self.member, &sale, now)?;
        self.enter_now(EntryKind::PointsActivated(activated))?;
        self.hold_end = self.hold_end.max(now);
        self.upgrade(now)
    }

    fn return_purchase(&mut self, request: &ReturnRequest) -> Result<(), Rejection> {
        if let Some(purchase) = &request.exchange {
            self.require_sale(purchase)?;
        }
        let history = self.context.history;
        let sale = history.sale(&request.order).ok_or(Rejection::PurchaseReturned)?;
        let mut due = returns::due(self.context.programs, (&self.member, &self.tallies()), &sale, request)?;
        let borne = self.borne(&sale, &due)?;
        due.totals.reinstated = self.reinstate(&sale, &due)?;
        for code in std::mem::take(&mut due.lost_vouchers) {
            self.cancel_voucher(code, &request.reason)?;
        }
        let own: Vec<LotKey> = sale.lots().collect();
        let by: Vec<EntryRef> = sale.accrued.referral.into_iter().chain([sale.entry.reference()]).collect();
        self.cancel_reached(&by, (&sale.accrued.accrual.lots, &own), due.points, &request.reason)?;
        let (newest, now) = (self.context.programs.newest(), self.context.now);
        let mut returned = returns::take(newest, &self.member, &sale, due, request, now)?;
        returned.referral_basis = borne.as_ref().and_then(Borne::shared_basis);
        let counts_now = returned.qualifying_points < Points::ZERO;
        self.lots_left = self.lots_left.saturating_sub(returned.from_sale.len() + returned.from_others.len());
        self.sale_counted = sale.entry.counted.map(|counted| counted.day);
        self.sale_day_counted = sale.entry.day_counted.map(|counted| counted.day);
        let voids = returned.voids;
        self.enter_now(EntryKind::PurchaseReturned(Arc::new(returned)))?;
        if voids {
            self.give_vouchers_back(&sale)?;
        }
        let earning = self.go_on(borne, request)?;
        match &request.exchange {
            Some(purchase) => self.record_purchase(purchase, earning)?,
            // Points that were to count later are gone, and what they were to count does so for the goods that stay.
            None if counts_now => self.upgrade(now)?,
            None => {}
        }
        if let (Earning::Nothing, Some(borne)) = (earning, &borne) {
            self.review_bonus(borne)?;
        }
        self.review_return(sale.entry.occurred_time)
    }

    /// Points that paid for what has come back go back, in proportion; how many have, of each redemption.
    fn reinstate(&mut self, sale: &Sale<'_>, due: &Due) -> Result<Vec<(EntryRef, Points)>, Rejection> {
        let (programs, now) = (self.context.programs, self.context.now);
        let mut back = Vec::with_capacity(sale.accrued.redemptions.len());
        for redemption in &sale.accrued.redemptions {
            let missing = Rejection::RedemptionNotFound { redemption: redemption.sequence };
            let thread = self.context.history.threads.get(redemption).ok_or(missing)?;
            let EntryKind::PointsRedeemed(redeemed) = &thread.origin.kind else { continue };
            let total = returns::reinstated(programs, sale, &due.rest, redeemed.points)?;
            let before = due.totals.reinstated.iter().find(|(other, _)| other == redemption).map_or(Points::ZERO, |(_, points)| *points);
            back.push((*redemption, total));
            // Some may have gone back by hand.
            let so_far = gone_back(thread);
            let points = total.minus(before)?.min(redeemed.points.minus(so_far)?);
            if points > Points::ZERO {
                let redeemed = (&thread.origin, redeemed);
                let mut reversed = redemption::reverse(programs.newest(), &self.member, redeemed, so_far, Some(points), now)?;
                reversed.order.clone_from(&sale.accrued.purchase.order);
                self.enter_now(EntryKind::RedemptionReversed(reversed))?;
            }
        }
        Ok(back)
    }

    /// Enters what pays the tenders of points; these entries.
    fn pay(&mut self, purchase: &Purchase, occurred_time: Timestamp) -> Result<Vec<EntryRef>, Rejection> {
        // What a till gave without asking it gave by the rules of then.
        let programs = self.context.programs;
        let program = if purchase.offline { programs.at(occurred_time) } else { programs.newest() };
        let may_owe = purchase.offline && program.offline.into_debt;
        if purchase.offline {
            redemption::check_floor(program, purchase)?;
        }
        let mut paid = Decimal::ZERO;
        let mut redemptions = Vec::with_capacity(purchase.payments.len());
        for payment in &purchase.payments {
            let (entry, value) = match *payment {
                Payment::Redeem { points } => {
                    let (order, order_total) = (purchase.order.clone(), Some(purchase.total));
                    let request = RedeemRequest { points: Some(points), up_to: false, order_total, order, reference: String::new() };
                    self.draw(program, &request, may_owe, occurred_time)?
                }
                Payment::Capture { hold, points } => {
                    let request = CaptureRequest { hold, points, order: purchase.order.clone(), reference: String::new() };
                    self.capture(&request, occurred_time)?
                }
                Payment::Redeemed { redemption } => {
                    let entry =
                        self.context.history.numbers.get(&Numbered::Redemption(redemption)).copied().unwrap_or(self.own(redemption));
                    if redemptions.contains(&entry) {
                        return Err(Rejection::RedemptionUnusable { redemption });
                    }
                    (entry, self.paid_before(redemption, purchase)?)
                }
            };
            redemptions.push(entry);
            paid = paid.checked_add(value).ok_or(Rejection::Overflow)?;
        }
        // What was held or spent before was judged then.
        if purchase.payments.iter().any(|payment| matches!(payment, Payment::Redeem { .. })) {
            redemption::check_order(program, purchase.total, paid)?;
        }
        let tendered = purchase.points_tender()?;
        if !redemptions.is_empty() && tendered != paid {
            return Err(Rejection::PaymentMismatch { tendered, paid });
        }
        Ok(redemptions)
    }

    /// What an earlier redemption for this order is worth. An order is one purchase, so none can pay two.
    fn paid_before(&self, redemption: u64, purchase: &Purchase) -> Result<Decimal, Rejection> {
        let not_found = Rejection::RedemptionNotFound { redemption };
        let thread = self.context.history.named(Numbered::Redemption(redemption)).ok_or_else(|| not_found.clone())?;
        // Whether what is due had been entered before makes no difference: an entry that is no redemption is as good as none.
        let EntryKind::PointsRedeemed(redeemed) = &thread.origin.kind else { return Err(not_found) };
        if redeemed.order.is_none() || redeemed.order != purchase.order || gone_back(thread) != Points::ZERO {
            return Err(Rejection::RedemptionUnusable { redemption });
        }
        Ok(redeemed.value)
    }

    /// Nothing that may still come occurred before.
    pub(super) fn oldest(&self) -> Timestamp {
        oldest(self.context)
    }

    /// What does not depend on points: somebody buys, and not too long ago.
    fn require_sale(&self, purchase: &Purchase) -> Result<Timestamp, Rejection> {
        self.require_active()?;
        let occurred_time = purchase.occurred_time.unwrap_or(self.context.now);
        purchase::check_time(self.context.programs.newest(), occurred_time, self.context.now)?;
        Ok(occurred_time)
    }

    fn record_purchase(&mut self, purchase: &Arc<Purchase>, earning: Earning<'_>) -> Result<(), Rejection> {
        let occurred_time = self.require_sale(purchase)?;
        let newest = self.context.programs.newest();
        let program = self.context.programs.at(occurred_time);
        let (purchase, effects) = self.price(purchase, occurred_time)?;
        let redemptions = self.pay(&purchase, occurred_time)?;
        let oldest = self.oldest();
        let tallies = self.tallies();
        let seen = (&self.member.header, self.seen(&tallies));
        let accrual = accrual::accrue(self.context.programs, seen, &purchase, occurred_time, oldest)?;
        let counted = [(FraudLimit::PurchasesPerHour, 1), (FraudLimit::PointsPerDay, accrual.points.0)];
        let watched = fraud::watch(self.context.programs, &self.member.header, occurred_time, oldest, &counted)?;
        let (referral, referral_basis) = self.bonus_of(&accrual, occurred_time, earning)?;
        let accrued = PurchaseAccrued {
            purchase,
            accrual,
            // The rule book of a late sale may not have it.
            tier: newest.tier(self.member.header.tier.current().map(|held| &held.tier)).map(|tier| tier.id.clone()),
            redemptions,
            effects,
            referral,
            referral_basis,
        };
        self.watched = watched;
        let accrued = Arc::new(accrued);
        self.enter(EntryKind::PurchaseAccrued(Arc::clone(&accrued)), occurred_time, program)?;
        let sale = self.own(self.member.header.last_sequence);
        self.issue_promoted(&accrued)?;
        self.earn_referral(&accrued, sale, occurred_time)?;
        self.upgrade(occurred_time)
    }
}

/// Nothing that may still come occurred before.
fn oldest(context: Context<'_>) -> Timestamp {
    let days = context.programs.max_age_days();
    context.now.checked_sub((i64::from(days) * 24).hours()).unwrap_or(Timestamp::MIN)
}

/// Points of a redemption that have gone back.
fn gone_back(thread: &Thread) -> Points {
    match thread.latest.as_ref().map(|latest| &latest.kind) {
        Some(EntryKind::RedemptionReversed(reversed)) => reversed.so_far,
        _ => Points::ZERO,
    }
}
