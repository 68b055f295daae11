//! All members of a programme together: how many there are, and their points. What a commit changes of a member is added as the difference
//! to what the member was before, so that the totals cost the same however many members there are.

use jiff::Timestamp;

use crate::domain::{Adjusted, Balance, Entry, EntryKind, Header, MemberState};

/// What must be known of a member as it was before a commit.
#[derive(Debug, Clone)]
pub struct Before {
    /// What was due next ([`Header::next_due_time`]).
    pub due: Option<Timestamp>,
    /// `None`: nobody, for the commit enrols.
    state: Option<MemberState>,
    balance: Balance,
}

impl Before {
    pub fn of(header: &Header) -> Self {
        let state = (header.last_sequence > 0).then_some(header.state);
        Self { due: header.next_due_time(), state, balance: header.balance.clone() }
    }
}

/// Points are in the programme's smallest unit; a sum over members need not fit into 64 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Members by their state.
    pub active: i128,
    pub suspended: i128,
    pub merged: i128,
    pub erased: i128,
    pub available: i128,
    pub pending: i128,
    pub held: i128,
    pub debt: i128,
    pub issued: i128,
    pub redeemed: i128,
    pub expired: i128,
    pub clawed_back: i128,
    pub reinstated: i128,
    pub transferred_in: i128,
    pub transferred_out: i128,
    /// What somebody added by hand, a part of what was issued; and what somebody took, a part of what was clawed back.
    pub adjusted_up: i128,
    pub adjusted_down: i128,
}

/// How many numbers they are.
pub const NUMBERS: usize = 17;

impl Totals {
    /// What a commit makes of a member.
    pub fn turn(&mut self, before: &Before, after: &Header, entries: &[Entry]) {
        if let Some(state) = before.state {
            *self.members(state) -= 1;
        }
        *self.members(after.state) += 1;
        self.add(&before.balance, -1);
        self.add(&after.balance, 1);
        for entry in entries {
            if let EntryKind::PointsAdjusted(Adjusted { points, .. }) = &entry.kind {
                let points = i128::from(points.0);
                self.adjusted_up += points.max(0);
                self.adjusted_down += (-points).max(0);
            }
        }
    }

    /// One more member, as it is stored.
    pub fn count(&mut self, header: &Header) {
        *self.members(header.state) += 1;
        self.add(&header.balance, 1);
    }

    fn members(&mut self, state: MemberState) -> &mut i128 {
        match state {
            MemberState::Active => &mut self.active,
            MemberState::Suspended => &mut self.suspended,
            MemberState::Merged { .. } => &mut self.merged,
            MemberState::Erased => &mut self.erased,
        }
    }

    fn add(&mut self, balance: &Balance, sign: i128) {
        self.available += sign * i128::from(balance.available.0);
        self.pending += sign * i128::from(balance.pending.0);
        self.held += sign * i128::from(balance.held.0);
        self.debt += sign * i128::from(balance.debt.0);
        self.issued += sign * i128::from(balance.issued.0);
        self.redeemed += sign * i128::from(balance.redeemed.0);
        self.expired += sign * i128::from(balance.expired.0);
        self.clawed_back += sign * i128::from(balance.clawed_back.0);
        self.reinstated += sign * i128::from(balance.reinstated.0);
        self.transferred_in += sign * i128::from(balance.transferred_in.0);
        self.transferred_out += sign * i128::from(balance.transferred_out.0);
    }

    /// What members have and may come to spend.
    pub fn outstanding(&self) -> i128 {
        self.available + self.pending + self.held
    }

    /// In the order of the fields.
    pub fn numbers(&self) -> [i128; NUMBERS] {
        let Self { active, suspended, merged, erased, available, pending, held, debt, issued, redeemed, expired, .. } = *self;
        let Self { clawed_back, reinstated, transferred_in, transferred_out, adjusted_up, adjusted_down, .. } = *self;
        [
            active,
            suspended,
            merged,
            erased,
            available,
            pending,
            held,
            debt,
            issued,
            redeemed,
            expired,
            clawed_back,
            reinstated,
            transferred_in,
            transferred_out,
            adjusted_up,
            adjusted_down,
        ]
    }

    /// From what [`Totals::numbers`] gives.
    pub fn from_numbers(numbers: [i128; NUMBERS]) -> Self {
        let [active, suspended, merged, erased, available, pending, held, debt, issued, redeemed, expired, rest @ ..] = numbers;
        let [clawed_back, reinstated, transferred_in, transferred_out, adjusted_up, adjusted_down] = rest;
        Self {
            active,
            suspended,
            merged,
            erased,
            available,
            pending,
            held,
            debt,
            issued,
            redeemed,
            expired,
            clawed_back,
            reinstated,
            transferred_in,
            transferred_out,
            adjusted_up,
            adjusted_down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        let numbers = std::array::from_fn(|place| place as i128 * 7 - 3);
        assert_eq!(Totals::from_numbers(numbers).numbers(), numbers);
    }
}
