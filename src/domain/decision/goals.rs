//! Goals: what the balance reaches, and what becomes of it.

use jiff::Timestamp;

use super::{
    super::{
        AccruedLot, Balance, Entry, EntryKind, EntryRef, Goal, GoalChanged, GoalPaid, GoalRefund, GoalWaiting, LotExpiry, LotId, LotKey,
        MAX_LOTS, Member, MemberState, Points, Program, ProgramHistory, Rejection, Voucher, VoucherCause, VoucherChanged, VoucherCode,
        goal, redemption, returns,
        taking::{Taken, Taking},
    },
    Draft,
    vouchers::Paid,
};

/// What a goal may take a voucher's points for.
#[derive(Clone, Copy)]
struct Reached {
    /// It had waited.
    waited: bool,
    by: u64,
}

/// The lot from which on goals take nothing, since not all behind it are loaded; it stays, and says when the next one lapses. `None`: all are
/// loaded.
pub(super) fn lots_end(programs: &ProgramHistory, member: &Member, now: Timestamp) -> Option<LotKey> {
    let is_all = || Points::total(member.lots.values().map(|lot| lot.remaining)).is_ok_and(|all| all >= member.header.balance.available);
    if !programs.has_goals() || is_all() {
        return None;
    }
    // Lots that have lapsed are loaded beside the others, unless there are too many of them.
    let lapsed = member.lots.values().take_while(|lot| lot.has_lapsed(now)).take(MAX_LOTS + 1).count();
    let header = &member.header;
    let is_inactive = [header.inactivity.due_time(), header.inactive_months.due_time()].into_iter().flatten().any(|time| time <= now);
    let first = if lapsed > MAX_LOTS || is_inactive { MAX_LOTS } else { lapsed + MAX_LOTS };
    let end = member.lots.keys().nth(first).or_else(|| member.lots.keys().next_back());
    Some(end.copied().unwrap_or(LotKey::new(LotExpiry::At(Timestamp::MIN), LotId(0))))
}

impl Draft<'_> {
    /// What an entry brings reaches goals; so does that the member is active again, and what has come meanwhile. What it takes may have covered
    /// what waits. `before`: the balance before it.
    pub(super) fn note_earning(&mut self, entry: &Entry, before: &Balance) {
        let covering = |balance: &Balance| balance.available.0.saturating_add(balance.held.0);
        self.lost |= covering(&entry.balance) < covering(before) || matches!(entry.kind, EntryKind::MergedFrom(_));
        let brings = match &entry.kind {
            EntryKind::VoucherChanged(_) => false,
            EntryKind::MemberReactivated { .. } => true,
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PurchaseReturned(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::ActivityAccrued(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::BirthdayChanged(_) => entry.points() > Points::ZERO,
        };
        if brings {
            self.earned = Some(entry.sequence);
        }
    }

    /// After what happened at an instant: what waits and is not covered any more, since points have gone, waits no more, and what was brought
    /// leads to vouchers, or to some that wait. Points that are set aside cover what waits, for they come back or are the member's own choice.
    /// While a version without a goal is in effect, what waits does so: the version of its day says what becomes of it.
    pub(in crate::domain) fn settle_goal(&mut self, instant: Timestamp) -> Result<(), Rejection> {
        let (earned, lost) = (self.earned.take(), std::mem::take(&mut self.lost));
        let trims = lost && !self.member.header.goals.waiting.is_empty();
        if earned.is_none() && !trims {
            return Ok(());
        }
        let programs = self.context.programs;
        // What was due on time is settled as of then, and what a late sale brings as of now.
        let is_on_time = self.by_time && !self.is_now;
        let instant = if is_on_time { instant } else { self.context.now };
        let program = if is_on_time { programs.at(instant) } else { programs.newest() };
        let Some(goal) = &program.goal else { return Ok(()) };
        let spendable = self.goal_points(program, instant)?;
        if trims {
            let covering = spendable.plus(self.member.header.balance.held)?;
            let kept = goal::keep(&self.member.header.goals.waiting, goal.times(covering));
            self.enter_waiting(Some(goal), kept, instant, program)?;
        }
        let (Some(by), MemberState::Active) = (earned, self.member.header.state) else { return Ok(()) };
        let waiting = self.member.header.goals.waiting();
        let room = self.member.voucher_room() - waiting;
        let reached = (goal.times(spendable) - waiting).min(i64::from(goal.maximum_at_once)).min(room);
        let Ok(reached) = u32::try_from(reached) else { return Ok(()) };
        match (reached, goal.delay_days) {
            (0, _) => Ok(()),
            (vouchers, 0) => self.deliver((program, goal), vouchers, Reached { waited: false, by }, instant).map(|_| ()),
            (vouchers, _) => {
                let mut waiting = self.member.header.goals.waiting.clone();
                goal::add(&mut waiting, GoalWaiting { due_time: goal.due_time(program, instant)?, vouchers });
                self.enter_waiting(Some(goal), waiting, instant, program)
            }
        }
    }

    /// The delivery that is due.
    pub(super) fn due_goal(&self) -> Option<Timestamp> {
        self.member.header.goals.due_time().filter(|due| *due <= self.context.now)
    }

    /// `None`: it takes from as many lots as one commit may, which are loaded anew. One that was due before it can have taken from so many that
    /// the lots that are left are more than the commit may still take from.
    pub(super) fn enter_goal_due(&mut self, due: Timestamp) -> Result<Option<Timestamp>, Rejection> {
        let is_short = self.goal_lots_left < MAX_LOTS && self.goal_lots_left < self.member.lots.len();
        if (self.goal_lots_end.is_some() || is_short) && !self.entries.is_empty() && !self.is_now {
            self.still_due = true;
            return Ok(None);
        }
        self.enter_delivery(due)?;
        Ok(Some(due))
    }

    /// As many as the balance still covers, by the rule book of then. Who is suspended gets none: the goal is reached anew later.
    fn enter_delivery(&mut self, due: Timestamp) -> Result<(), Rejection> {
        let Some(first) = self.member.header.goals.waiting.first().copied() else { return Ok(()) };
        let program = self.context.programs.at(due);
        let mut delivered = 0;
        if let (Some(goal), MemberState::Active) = (&program.goal, self.member.header.state) {
            let covered = goal.times(self.goal_points(program, due)?).min(self.member.voucher_room());
            let vouchers = u32::try_from(covered).map_or(first.vouchers, |covered| covered.min(first.vouchers));
            delivered = self.deliver((program, goal), vouchers, Reached { waited: true, by: 0 }, due)?;
        }
        if delivered == first.vouchers {
            return Ok(());
        }
        let left = self.member.header.goals.waiting.get(1..).unwrap_or_default().to_vec();
        self.enter_waiting(program.goal.as_ref(), left, due, program)
    }

    /// Without those that have lapsed and came back with this very command.
    fn goal_points(&self, program: &Program, instant: Timestamp) -> Result<Points, Rejection> {
        Ok(self.goal_lots(program, instant).spendable()?)
    }

    /// In the order of the version that judges the goal: whoever enters late what was due takes what would have been taken on time.
    fn goal_lots(&self, program: &Program, instant: Timestamp) -> Taking<'_> {
        Taking::of(program, &self.member, self.goal_lots_left, instant).before(self.goal_lots_end)
    }

    fn enter_waiting(
        &mut self,
        goal: Option<&Goal>,
        waiting: Vec<GoalWaiting>,
        instant: Timestamp,
        program: &Program,
    ) -> Result<(), Rejection> {
        let before = &self.member.header.goals.waiting;
        if waiting == *before {
            return Ok(());
        }
        let vouchers = goal::count(&waiting) - goal::count(before);
        let changed = GoalChanged { goal: goal.map(|goal| goal.id.clone()), waiting, vouchers };
        self.enter(EntryKind::GoalChanged(changed), instant, program)
    }

    /// Each by an entry of its own that takes the points; how many. Fewer where that takes more lots than one commit may.
    fn deliver(
        &mut self,
        (program, goal): (&Program, &Goal),
        vouchers: u32,
        reached: Reached,
        instant: Timestamp,
    ) -> Result<u32, Rejection> {
        // A rule book names only kinds that it has.
        let Some(kind) = program.voucher_kind(&goal.voucher) else { return Ok(0) };
        let taken = self.goal_lots(program, instant).take_each(goal.points, vouchers)?;
        let delivered = u32::try_from(taken.len()).unwrap_or(vouchers);
        for Taken { portions, next_expiry_time } in taken {
            self.took_for_goal(portions.len());
            let paid = GoalPaid {
                goal: goal.id.clone(),
                points: goal.points,
                portions,
                next_expiry_time,
                waited: reached.waited,
                reached_by: reached.by,
            };
            self.issue_voucher_for((program, kind), (VoucherCause::Goal, "", Paid::ForGoal(paid)), instant)?;
        }
        Ok(delivered)
    }

    /// Where not all lots are loaded, what goals take is not there for the command, nor for what lapses: the rest is loaded anew with the next
    /// commit.
    fn took_for_goal(&mut self, lots: usize) {
        self.goal_lots_left = self.goal_lots_left.saturating_sub(lots);
        if self.goal_lots_end.is_some() {
            self.lots_left = self.lots_left.saturating_sub(lots);
            self.lapses_left = self.lapses_left.saturating_sub(lots);
            self.still_due |= self.by_time && !self.is_now;
        }
    }

    /// A return takes back what its sale led to: where it would not find so many points, vouchers that the sale reached, and that are neither
    /// used nor held, are cancelled, the one that was issued last first.
    ///
    /// `by`: the entries that brought the points, of which the last is what a voucher names that they reached together. `from`: their lots.
    pub(super) fn cancel_reached(
        &mut self,
        by: &[EntryRef],
        from: (&[AccruedLot], &[LotKey]),
        points: Points,
        reason: &str,
    ) -> Result<(), Rejection> {
        let (program, now, history) = (self.context.programs.newest(), self.context.now, self.context.history);
        let paid = |code| history.voucher(code)?.origin.voucher_change()?.goal_paid();
        let is_reached = |voucher: &&Voucher| {
            let reached_by = |paid: &GoalPaid| by.contains(&EntryRef { sequence: paid.reached_by, ..voucher.issued });
            voucher.hold.is_none() && paid(voucher.code).is_some_and(reached_by)
        };
        let mut reached: Vec<_> = self.member.vouchers.values().filter(is_reached).map(|one| (one.issued.sequence, one.code)).collect();
        reached.sort_unstable_by_key(|(issued, _)| *issued);
        while returns::within_reach(program, &self.member, from, now)? < points
            && let Some((_, code)) = reached.pop()
        {
            self.cancel_voucher(code, reason)?;
        }
        Ok(())
    }

    /// The points that a goal or a reward took for a voucher, which come back with it: into the lots that they came from, with their expiry.
    pub(super) fn goal_refund(&mut self, code: VoucherCode) -> Result<Option<GoalRefund>, Rejection> {
        let now = self.context.now;
        let Some(origin) = self.origin_of(code) else { return Ok(None) };
        let Some((points, portions, _)) = origin.voucher_change().and_then(VoucherChanged::paid) else { return Ok(None) };
        let header = &self.member.header;
        let program = self.context.programs.newest();
        let mut portions = header.coming_back(portions, (origin.occurred_time, now), &program.time_zone)?;
        portions.reverse();
        let mut last_lot = header.last_lot;
        let put_back = redemption::put_back(program, portions, &mut last_lot, now)?;
        Ok(Some(GoalRefund { points, debt_paid: header.balance.debt.min(points), put_back }))
    }
}
