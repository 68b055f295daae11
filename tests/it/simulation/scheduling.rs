//! The schedule: who has something due, foretold by the auditor's own reckoning, has all of it entered, those who have waited longest first,
//! and nobody else has anything.

use jiff::Timestamp;
use loyaltyd::{
    domain::MemberKey,
    ledger::{Advanced, Ledger},
};

use super::{
    auditor,
    life::{Life, Who},
    settling::ensure,
};

/// Members who have a turn in one step are no more.
const MANY_TURNS: usize = 64;
/// Steps in which everybody's turn has come.
const MANY_STEPS: usize = 200;

/// What was met.
#[derive(Debug, Default)]
pub struct Scheduled {
    pub entered: u64,
    pub paged: u64,
    pub beside: u64,
    pub in_part: u64,
}

/// Steps until there is nothing to do: how many entries.
pub async fn enter_all(ledger: &Ledger) -> usize {
    let mut entries = 0;
    for _ in 0..MANY_STEPS {
        let step = ledger.advance_due().await.expect("what is due can be entered");
        if step.members == 0 {
            return entries;
        }
        entries += step.entries;
    }
    panic!("the schedule goes on for ever");
}

impl Life {
    /// Who has something due by an instant, since when, in the order of their turns.
    fn due(&self, now: Timestamp) -> Vec<(Timestamp, Who)> {
        let mut due = Vec::new();
        for (shop, place) in self.shops.iter().enumerate() {
            for (member, account) in place.accounts.iter().enumerate() {
                let since = auditor::due_since(account, &place.books).filter(|since| *since <= now);
                due.extend(since.map(|since| (since, (shop, member))));
            }
        }
        due.sort_by_key(|(since, (shop, member))| (*since, *shop, self.shops[*shop].ids[*member]));
        due
    }

    /// All that is due of a member: how many entries.
    fn foretell_due(&mut self, now: Timestamp, who: Who) -> usize {
        let place = &mut self.shops[who.0];
        let expected = auditor::advance(&place.accounts[who.1], &place.books, now);
        place.accounts[who.1] = expected.account;
        let count = expected.said.len();
        self.told.entry(who).or_default().extend(expected.said);
        self.touched.insert(who);
        count
    }

    /// Some steps, or until there is nothing to do.
    pub async fn keep_schedule(&mut self) {
        let now = self.ledger_now();
        let due = self.due(now);
        let most = if self.random.percent(40) { self.random.within(1..=2) as usize } else { MANY_STEPS };
        let (mut place, mut steps) = (0, 0);
        while steps < most && place < due.len() {
            let step = self.ledger().advance_due().await.expect("what is due can be entered");
            steps += 1;
            let turns = &due[place..due.len().min(place + step.members)];
            place += turns.len();
            let entries = turns.iter().map(|(_, who)| self.foretell_due(now, *who)).sum();
            let expected = Advanced { members: turns.len(), entries, entered: turns.len(), left: 0 };
            let who = turns.first().map_or(due[0].1, |(_, who)| *who);
            let fault = || format!("of what is due at {now}, {due:?}, step {steps} did {step:?} and not {expected:?}");
            let is_right = step == expected && (1..=MANY_TURNS).contains(&step.members);
            ensure(is_right, fault).unwrap_or_else(|fault| self.fail(who, &fault));
            self.compare();
            self.scheduled.entered += turns.len() as u64;
        }
        self.nothing_is_entered_of_others();
        if place == due.len() {
            self.nothing_is_due().await;
            self.scheduled.paged += u64::from(steps > 1);
        } else {
            self.scheduled.in_part += 1;
        }
    }

    /// Whoever is due then has all of it entered while commands are asked: before they are, or behind them.
    pub fn foretell_all_due(&mut self, now: Timestamp) -> usize {
        let due = self.due(now);
        self.scheduled.beside += u64::from(!due.is_empty());
        due.into_iter().map(|(_, who)| self.foretell_due(now, who)).sum()
    }

    pub async fn nothing_is_due(&mut self) {
        let step = self.ledger().advance_due().await.expect("what is due can be entered");
        if step != Advanced::default() {
            // Which says of whom.
            self.nothing_is_entered_of_others();
        }
        let fault = || format!("all that is due is entered, and then {step:?} comes");
        ensure(step == Advanced::default(), fault).unwrap_or_else(|fault| self.fail((0, 0), &fault));
    }

    fn nothing_is_entered_of_others(&self) {
        for (shop, place) in self.shops.iter().enumerate() {
            for (member, account) in place.accounts.iter().enumerate() {
                let key = MemberKey { program: place.id.clone(), member: place.ids[member] };
                let found = self.ledger().recorded(&key, account.sequence + 1, 1).expect("entries can be read");
                let fault = || format!("nothing was due of the member, and there is {found:?}");
                ensure(found.is_empty(), fault).unwrap_or_else(|fault| self.fail((shop, member), &fault));
            }
        }
    }
}
