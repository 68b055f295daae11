//! Goals: points turn into vouchers by themselves when the balance reaches the goal, at once or some days later.
//!
//! Only what brings points reaches a goal. What a voucher gives back that is cancelled does not: it would turn into a voucher again at once.

use jiff::Timestamp;

use super::{
    GoalId, Header, LotId, LotKey, Member, Overflow, Points, Portion, Program, PutBack, VoucherChange, VoucherChanged, VoucherKindId,
    calendar,
};

/// Vouchers that points turn into at once, at most.
pub const MAX_GOAL_VOUCHERS: u32 = 100;

/// Days that a delivery waits, at most.
pub const MAX_GOAL_DELAY_DAYS: u32 = 366;

/// What a rule book turns points into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    pub id: GoalId,
    pub display_name: String,
    /// What one voucher takes; more than 0.
    pub points: Points,
    /// A kind of vouchers that the programme has.
    pub voucher: VoucherKindId,
    /// Delivered at the start of the local day so many days after the balance reached the goal; 0: at once.
    pub delay_days: u32,
    /// Vouchers that one purchase can lead to, or whatever else brings points; 1 to [`MAX_GOAL_VOUCHERS`].
    pub maximum_at_once: u32,
}

/// Vouchers that the balance has reached, and that are delivered later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoalWaiting {
    pub due_time: Timestamp,
    /// At least 1.
    pub vouchers: u32,
}

/// What a header knows of goals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goals {
    /// By the instants of their delivery, of which there are as many as a delay has days.
    pub waiting: Vec<GoalWaiting>,
}

/// The balance has reached the goal so many times more, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoalChanged {
    /// `None`: the rule book has none any more.
    pub goal: Option<GoalId>,
    /// All that wait after it.
    pub waiting: Vec<GoalWaiting>,
    /// So many more than before; fewer where negative.
    pub vouchers: i64,
}

/// The points that a voucher took, with the entry that issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoalPaid {
    pub goal: GoalId,
    pub points: Points,
    /// Where they came from.
    pub portions: Vec<Portion>,
    /// When the next of the lots that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
    /// It had waited: the first of those that do.
    pub waited: bool,
    /// The entry that brought the points which reached the goal; 0: it had waited.
    pub reached_by: u64,
}

/// The points that come back with a voucher that is cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoalRefund {
    pub points: Points,
    /// So many of them, the first ones, paid debt.
    pub debt_paid: Points,
    /// Those that were taken last first.
    pub put_back: Vec<PutBack>,
}

/// How far a member is from the next voucher, as things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoalProgress {
    /// What is missing to the next voucher, beside those that wait; 0 where the balance has it, and what brings points next leads to it.
    pub missing: Points,
}

impl Goals {
    pub fn due_time(&self) -> Option<Timestamp> {
        self.waiting.first().map(|waiting| waiting.due_time)
    }

    /// Vouchers that wait.
    pub fn waiting(&self) -> i64 {
        count(&self.waiting)
    }

    /// The first one is delivered.
    pub(super) fn deliver(&mut self) -> Option<()> {
        let first = self.waiting.first_mut()?;
        first.vouchers = first.vouchers.checked_sub(1)?;
        if first.vouchers == 0 {
            self.waiting.remove(0);
        }
        Some(())
    }

    /// Of two members who are one from now on.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        other.waiting.iter().for_each(|waiting| add(&mut joined.waiting, *waiting));
        joined
    }
}

pub(super) fn count(waiting: &[GoalWaiting]) -> i64 {
    waiting.iter().map(|waiting| i64::from(waiting.vouchers)).sum()
}

/// Those of one instant are delivered together.
pub(super) fn add(waiting: &mut Vec<GoalWaiting>, more: GoalWaiting) {
    match waiting.binary_search_by_key(&more.due_time, |waiting| waiting.due_time) {
        Ok(place) => waiting[place].vouchers = waiting[place].vouchers.saturating_add(more.vouchers),
        Err(place) => waiting.insert(place, more),
    }
}

/// No more than so many: those that were reached last go first.
pub(super) fn keep(waiting: &[GoalWaiting], mut most: i64) -> Vec<GoalWaiting> {
    let mut kept = Vec::with_capacity(waiting.len());
    for one in waiting {
        let vouchers = i64::from(one.vouchers).min(most).max(0);
        most -= vouchers;
        kept.push(GoalWaiting { vouchers: u32::try_from(vouchers).unwrap_or(one.vouchers), ..*one });
    }
    kept.retain(|waiting| waiting.vouchers > 0);
    kept
}

impl Goal {
    /// How many times so many points are the goal.
    pub(super) fn times(&self, points: Points) -> i64 {
        points.0.max(0) / self.points.0
    }

    /// When what the balance reached at an instant is delivered.
    pub(super) fn due_time(&self, program: &Program, instant: Timestamp) -> Result<Timestamp, Overflow> {
        let day = calendar::local_date(&program.time_zone, instant);
        calendar::start_of_day(&program.time_zone, calendar::add_days(day, self.delay_days)?)
    }

    /// What the member's points pay debt first, and what waits, is not there for the next one. Points that are set aside are not there either:
    /// they keep what waits from being missed, and no more.
    pub fn progress(&self, header: &Header) -> Result<GoalProgress, Overflow> {
        let wait = Points(self.points.0.checked_mul(header.goals.waiting()).ok_or(Overflow)?);
        let missing = self.points.plus(wait)?.minus(header.balance.available)?.max(Points::ZERO).plus(header.balance.debt)?;
        Ok(GoalProgress { missing })
    }
}

impl Member {
    /// What goals may look at of the vouchers: so many more may be issued.
    pub(super) fn voucher_room(&self) -> i64 {
        let most = i64::try_from(super::MAX_VOUCHERS).unwrap_or(i64::MAX);
        (most - i64::from(self.header.vouchers.live)).max(0)
    }
}

impl VoucherChanged {
    /// The points that turned into it, if it is issued.
    pub fn goal_paid(&self) -> Option<&GoalPaid> {
        match &self.change {
            VoucherChange::Issued { goal, .. } => goal.as_deref(),
            VoucherChange::Held(_)
            | VoucherChange::Released { .. }
            | VoucherChange::Used { .. }
            | VoucherChange::Cancelled { .. }
            | VoucherChange::Expired
            | VoucherChange::Reinstated { .. } => None,
        }
    }

    /// The points that come back, if it is cancelled.
    pub fn goal_refund(&self) -> Option<&GoalRefund> {
        match &self.change {
            VoucherChange::Cancelled { refund, .. } => refund.as_deref(),
            VoucherChange::Issued { .. }
            | VoucherChange::Held(_)
            | VoucherChange::Released { .. }
            | VoucherChange::Used { .. }
            | VoucherChange::Expired
            | VoucherChange::Reinstated { .. } => None,
        }
    }

    /// The change of the available points.
    pub(super) fn points(&self) -> Points {
        let paid = self.paid().map_or(0, |(points, ..)| points.0);
        Points(self.goal_refund().map_or(0, |refund| refund.points.0 - refund.debt_paid.0) - paid)
    }

    /// The lots that points were taken from for it.
    pub(super) fn paid_lots(&self) -> impl Iterator<Item = LotKey> {
        self.paid().into_iter().flat_map(|(_, portions, _)| portions).map(|portion| portion.lot)
    }

    pub(super) fn touched_lots(&self) -> Vec<LotKey> {
        let paid = self.paid_lots();
        paid.chain(self.goal_refund().into_iter().flat_map(|refund| &refund.put_back).map(|back| back.into)).collect()
    }

    /// The numbers of the lots that it made.
    pub(super) fn made_lots(&self) -> Vec<LotId> {
        let back = self.goal_refund().into_iter().flat_map(|refund| &refund.put_back);
        back.filter(|back| back.into != back.portion.lot).map(|back| back.into.id()).collect()
    }
}
