//! Comparing what was foretold with what the ledger answers, and with what it shows afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use loyaltyd::{
    domain::{
        ActivityRejection, BirthdayChanged, Command, Entry, EntryKind, Member, MemberKey, MemberState, MergeRequest, MergedFrom, Points,
        Recipient, Rejection, Sealed, VoucherChange, VoucherChanged, tier_progress,
    },
    ledger::{LedgerError, MemberTarget, Outcome, Submission},
};
use rust_decimal::Decimal;

use super::{
    auditor::{self, Account, Named, book::Lapse, facts, months, referrals, standing},
    life::{Answered, Asked, Foretold, Life, Who},
};

type Answer = Result<Outcome, LedgerError>;

/// Steps that are told of a member when something goes wrong.
const TOLD_STEPS: usize = 30;
/// The newest entries of the ledger that are told beside them.
const FOUND_ENTRIES: usize = 30;

impl Life {
    /// What the ledger must answer; the account becomes what it is afterwards.
    pub fn foretell(&mut self, now: Timestamp, who: Who, submission: &Submission) -> Foretold {
        if let Some(answered) = self.answered.get(&submission.request.id) {
            return match answered.submission.request.fingerprint == submission.request.fingerprint {
                true => Foretold::Again(Box::new(answered.clone())),
                false => Foretold::Refused(Rejection::RequestIdReused),
            };
        }
        let (shop, named) = who;
        let member = match submission.command {
            Command::MergeMembers(_) => named,
            _ => self.shops[shop].now(named),
        };
        let who = (shop, member);
        self.steps.entry(who).or_default().push((now, submission.clone()));
        self.touched.insert(who);
        if let Command::MergeMembers(request) = &submission.command {
            return self.foretell_merge(now, who, request);
        }
        let by = match &submission.member {
            MemberTarget::Id(id) => Named::Id(*id),
            MemberTarget::New | MemberTarget::Identifier(_) | MemberTarget::Order(_) | MemberTarget::Voucher(_) => Named::Person,
        };
        let place = &mut self.shops[shop];
        let mut command = submission.command.clone();
        if let Err(ambiguous) = auditor::meant(&place.accounts[member], by, &command) {
            return Foretold::Refused(ambiguous);
        }
        let order = match &submission.command {
            Command::RecordPurchase(purchase) => purchase.order.clone(),
            Command::ReturnPurchase(request) => request.exchange.as_ref().and_then(|purchase| purchase.order.clone()),
            _ => None,
        };
        if let Err(exists) = place.known_order(order.as_ref()) {
            return Foretold::Refused(exists);
        }
        let other = match &mut command {
            Command::TransferPoints(request) => Some((&mut request.to, Rejection::RecipientNotFound)),
            Command::RecordActivity(request) => {
                if let Some(rejection) = auditor::known(&place.accounts[member], request) {
                    return Foretold::Refused(rejection);
                }
                request.referrer.as_mut().map(|referrer| (referrer, ActivityRejection::ReferrerNotFound.into()))
            }
            _ => None,
        };
        if let Some((Recipient::Id(other), rejection)) = other {
            let Some(found) = place.ids.iter().position(|id| id == other) else { return Foretold::Refused(rejection) };
            *other = place.ids[place.now(found)];
        }
        let actor = submission.actor.as_ref().map(ToString::to_string);
        let desk = actor.as_ref().map(|actor| place.desks.get(actor).copied());
        let promise = match &command {
            Command::RecordPurchase(purchase) => self.quotes.promise(purchase),
            _ => None,
        };
        let beside = place.beside(&command, promise.as_ref());
        match auditor::expect(&place.accounts[member], &place.books, now, &command, by, desk, beside) {
            Ok(expected) => {
                if let (Some(actor), Some(desk)) = (actor, expected.desk) {
                    place.desks.insert(actor, desk);
                }
                if let Some(passed) = &expected.passed {
                    let other = place.ids.iter().position(|id| *id == passed.to).expect("it was looked for above");
                    let got = match auditor::receive(&place.accounts[other], &place.books, now, passed) {
                        Ok(got) => got,
                        Err(rejection) => return Foretold::Refused(rejection),
                    };
                    place.accounts[other] = got.account;
                    self.told.entry((shop, other)).or_default().extend(got.said);
                    self.touched.insert((shop, other));
                }
                if let Some(order) = order {
                    let sequence = expected.account.sales[&order].sequence;
                    place.orders.insert(order, (member, sequence));
                }
                place.accounts[member] = expected.account;
                if let Command::Erase { .. } = command {
                    self.touched.extend((0..place.ids.len()).filter(|one| place.now(*one) == member).map(|one| (shop, one)));
                }
                self.told.entry(who).or_default().extend(expected.said.iter().cloned());
                Foretold::Done { said: expected.said, done_before: expected.done_before }
            }
            Err(rejection) => Foretold::Refused(rejection),
        }
    }

    fn foretell_merge(&mut self, now: Timestamp, (shop, member): Who, request: &MergeRequest) -> Foretold {
        let place = &mut self.shops[shop];
        let other = match &request.into {
            Recipient::Id(into) => place.ids.iter().position(|id| id == into),
            Recipient::Identifier(_) => None,
        };
        let Some(other) = other.map(|other| place.now(other)) else { return Foretold::Refused(Rejection::MergeTargetNotFound) };
        match auditor::merge(&place.accounts[member], &place.accounts[other], &place.books, now) {
            Ok([gone, stays]) => {
                let said = stays.said.clone();
                for (member, expected) in [(member, gone), (other, stays)] {
                    place.accounts[member] = expected.account;
                    self.told.entry((shop, member)).or_default().extend(expected.said);
                    self.touched.insert((shop, member));
                }
                Foretold::Done { said, done_before: None }
            }
            Err(rejection) => Foretold::Refused(rejection),
        }
    }

    pub fn settle(&mut self, asked: &[Asked], answers: &[Answer]) {
        assert_eq!(answers.len(), asked.len());
        for (asked, answer) in asked.iter().zip(answers) {
            let verdict = match &asked.foretold {
                Foretold::Twice(first) => verify(&again(&asked.submission, &answers[*first]), answer),
                foretold => verify(foretold, answer),
            };
            if let Err(fault) = verdict {
                let Submission { member, command, .. } = &asked.submission;
                self.fail(asked.who, &format!("of {member:?}: {command:?}\n{fault}"));
            }
            self.note(asked, answer);
        }
        self.compare();
    }

    fn note(&mut self, asked: &Asked, answer: &Answer) {
        self.done += 1;
        match &asked.foretold {
            Foretold::Done { done_before: None, .. } => self.quotes.note(&asked.submission, None),
            Foretold::Refused(rejection) => self.quotes.note(&asked.submission, Some(rejection)),
            Foretold::Done { .. } | Foretold::Again(_) | Foretold::Twice(_) => {}
        }
        self.touched.insert(asked.who);
        let is_recorded = matches!(asked.foretold, Foretold::Done { done_before: None, .. });
        if let Ok(outcome) = answer
            && is_recorded
        {
            self.answered.insert(asked.submission.request.id.clone(), answered(&asked.submission, outcome));
        }
    }

    pub fn settle_race(&mut self, now: Timestamp, who: Who, submissions: [Submission; 2], answers: Vec<Answer>) {
        let shop = who.0;
        let before = (self.shops[shop].accounts.clone(), self.shops[shop].orders.clone());
        let desks = self.shops[shop].desks.clone();
        let told: Vec<usize> = (0..before.0.len()).map(|member| self.told.get(&(shop, member)).map_or(0, Vec::len)).collect();
        let mut faults = Vec::new();
        for order in [[0, 1], [1, 0]] {
            (self.shops[shop].accounts, self.shops[shop].orders) = before.clone();
            self.shops[shop].desks = desks.clone();
            for (member, told) in told.iter().enumerate() {
                self.told.entry((shop, member)).or_default().truncate(*told);
            }
            let mut asked: Vec<Asked> = Vec::new();
            let mut fault = None;
            for place in order {
                let submission = submissions[place].clone();
                let first = asked.first().filter(|first| first.submission.request == submission.request);
                let is_done = first.is_some_and(|first| matches!(first.foretold, Foretold::Done { done_before: None, .. }));
                let foretold = match is_done {
                    true => again(&submission, &answers[order[0]]),
                    false => self.foretell(now, who, &submission),
                };
                fault = fault.or(verify(&foretold, &answers[place]).err());
                asked.push(Asked { who, submission, foretold });
            }
            match fault {
                None => {
                    asked.iter().zip(order).for_each(|(asked, place)| self.note(asked, &answers[place]));
                    return self.compare();
                }
                Some(fault) => faults.push(fault),
            }
        }
        self.fail(who, &faults.join("\nor, in the other order, "));
    }

    /// What the ledger shows of the members that were asked something.
    pub fn compare(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        self.ledger_now();
        let mut changes = Vec::new();
        for who in &touched {
            match self.entries_are_as_told(*who) {
                Ok(found) => changes.extend(found.into_iter().map(|changed| (*who, changed))),
                Err(fault) => self.fail(*who, &fault),
            }
        }
        // What a merged card got may go from the card that stayed, before anybody has looked at either.
        changes.sort_by_key(|(_, changed)| !matches!(changed.change, VoucherChange::Issued { .. }));
        for (who, changed) in &changes {
            self.shops[who.0].learn(changed).unwrap_or_else(|fault| self.fail(*who, &fault));
        }
        let shops: BTreeSet<usize> = touched.iter().map(|(shop, _)| *shop).collect();
        for shop in shops {
            self.segments_are_as_large(shop).unwrap_or_else(|fault| self.fail((shop, 0), &fault));
        }
        for who in touched {
            self.is_shown_as_told(who).unwrap_or_else(|fault| self.fail(who, &fault));
        }
    }

    fn key(&self, (shop, member): Who) -> MemberKey {
        MemberKey { program: self.shops[shop].id.clone(), member: self.shops[shop].ids[member] }
    }

    fn entries_are_as_told(&mut self, who: Who) -> Result<Vec<VoucherChanged>, String> {
        let told = self.told.get(&who).map_or(&[][..], Vec::as_slice);
        let from = self.compared.get(&who).copied().unwrap_or(0);
        let (mut next, mut all) = (told.len(), Vec::new());
        while next > from {
            let count = (next - from).min(500);
            let page = self.ledger().entries(&self.key(who), Some(next as u64 + 1), count).map_err(|error| error.to_string())?;
            ensure(page.len() == count, || format!("{} entries and not {count}", page.len()))?;
            ensure(page.iter().all(|listed| listed.is_recorded), || "an entry is not recorded".to_owned())?;
            all.extend(page.into_iter().map(|listed| listed.entry));
            next -= count;
        }
        all.reverse();
        let found = facts::in_order(all.iter().map(facts::said).collect());
        let expected = facts::in_order(told[from..].to_vec());
        let is_erased = self.shops[who.0].is_erased(who.1);
        let [found, expected] = [found, expected].map(|said| if is_erased { facts::without_plans(said) } else { said });
        for (found, expected) in found.iter().zip(&expected) {
            ensure(found == expected, || differ(expected, found))?;
        }
        let told = told.len();
        all.iter().for_each(|entry| self.is_written(entry.record_time));
        self.compared.insert(who, told);
        Ok(all.iter().filter_map(Entry::voucher_change).cloned().collect())
    }

    fn is_shown_as_told(&self, who: Who) -> Result<(), String> {
        let (shop, key) = (&self.shops[who.0], self.key(who));
        let now = self.last_now.expect("something was read");
        let account = auditor::shown(&shop.accounts[who.1], &shop.books, now);
        let member = self.ledger().member(&key).map_err(|error| error.to_string())?;
        let header = &member.header;
        let balance = &header.balance;
        let shown = (balance.available.0, balance.pending.0, balance.held.0, balance.debt.0, header.last_sequence);
        let purse = account.purse();
        let expected = (purse.available, purse.pending, purse.held, purse.debt, account.sequence);
        ensure(shown == expected, || differ(&expected, &shown))?;
        let lifetime = &header.lifetime;
        let money = Decimal::from_i128_with_scale(account.spend, shop.books.newest().digits);
        let shown = (lifetime.qualifying_points, lifetime.spend, lifetime.visits);
        let expected = (Points(account.qualifying), money, account.visits);
        ensure(shown == expected, || differ(&expected, &shown))?;
        self.is_known_as_told(who, &account, &member)?;
        let held: BTreeMap<String, Timestamp> = header.segments.held.iter().map(|held| (held.segment.to_string(), held.since)).collect();
        ensure(held == account.segments.held, || format!("of the segments: {}", differ(&account.segments.held, &held)))?;
        let referral = (referrals::shown(header.referral.as_ref()), referrals::known(&account));
        ensure(referral.0 == referral.1, || format!("of the referral: {}", differ(&referral.1, &referral.0)))?;
        let idle = account.lots.iter().filter(|lot| lot.lapse == Lapse::Inactive).map(|lot| lot.points).sum::<i64>();
        let shown = (header.inactivity.lapse_time, header.inactivity.points.0);
        ensure(shown == (account.idle_until, idle), || differ(&(account.idle_until, idle), &shown))?;
        let months = &header.inactive_months;
        let shown = (months::found(&months.record), months.points.iter().map(|(month, points)| (month.0, points.0)).collect());
        let mut by_month: BTreeMap<months::Month, i64> = BTreeMap::new();
        for lot in &account.lots {
            if let Lapse::Month(earned) = lot.lapse {
                *by_month.entry(earned).or_default() += lot.points;
            }
        }
        let expected = (account.months.told.clone(), by_month);
        ensure(shown == expected, || format!("of the months: {}", differ(&expected, &shown)))?;
        let tier = header.tier.current().map(|held| (held.tier.to_string(), held.start_time));
        ensure(tier == account.tiers.last().cloned(), || differ(&account.tiers.last(), &tier))?;
        if let Some(expected) = standing::standing(&account, &shop.books, now) {
            let programs = self.ledger().program(&shop.id).map_err(|error| error.to_string())?;
            let progress = tier_progress(programs.newest(), header, now).map_err(|error| format!("{error:?}"))?;
            let found = progress.map(|progress| standing::found(&progress, shop.books.newest().digits));
            ensure(found.as_ref() == Some(&expected), || format!("of the standing: {}", differ(&Some(&expected), &found)))?;
        }
        let lots = self.ledger().lots(&key, None, 10_000).map_err(|error| error.to_string())?;
        let lots: Vec<_> = lots.iter().map(|lot| (lot.id.0, lot.remaining.0, facts::lapse(lot.expiry))).collect();
        let expected: Vec<_> = account.lots.iter().map(|lot| (lot.id, lot.points, lot.lapse)).collect();
        ensure(lots == expected, || format!("of the lots: {}", differ(&expected, &lots)))?;
        let holds = self.ledger().holds(&key).map_err(|error| error.to_string())?;
        let holds: Vec<_> = holds.iter().map(|hold| (hold.id.0, hold.points.0, hold.expire_time)).collect();
        let expected: Vec<_> = account.holds.iter().map(|(id, hold)| (*id, hold.points, hold.until)).collect();
        ensure(holds == expected, || format!("of the holds: {}", differ(&expected, &holds)))?;
        let shown = self.ledger().vouchers(&key).map_err(|error| error.to_string())?;
        let vouchers = shown.vouchers.values().map(|one| (one.issued, one.expire_time, one.hold.as_ref().map(|hold| hold.expire_time)));
        let vouchers: BTreeSet<_> = vouchers.collect();
        let expected = account.live_vouchers().map(|(issued, one)| (*issued, one.terms.until, one.hold.as_ref().map(|(_, until)| *until)));
        let expected: BTreeSet<_> = expected.collect();
        ensure(vouchers == expected, || format!("of the vouchers: {}", differ(&expected, &vouchers)))?;
        self.catalogue_is_as_told(shop, &key, &account)?;
        self.offers_are_as_told(shop, &key, &account)?;
        let live = usize::try_from(shown.header.vouchers.live).expect("it fits");
        ensure(live == expected.len(), || format!("{live} vouchers and not {}", expected.len()))
    }

    /// Who it is: by the member's state, by what is personal, and by the card.
    fn is_known_as_told(&self, who: Who, account: &Account, member: &Member) -> Result<(), String> {
        let (shop, header) = (&self.shops[who.0], &member.header);
        let state = match (account.merged_into, account.erased, account.suspended) {
            (Some(into), _, _) => MemberState::Merged { into },
            (None, true, _) => MemberState::Erased,
            (None, false, true) => MemberState::Suspended,
            (None, false, false) => MemberState::Active,
        };
        ensure(member.header.state == state, || differ(&state, &member.header.state))?;
        let birthday = &header.birthday;
        let shown = (birthday.next.map(facts::plan), birthday.last_year, birthday.changes, birthday.known_since);
        let expected = &account.birthdays;
        let expected = (expected.plan, expected.last_year, expected.changes, expected.known);
        ensure(shown == expected, || format!("of birthdays: {}", differ(&expected, &shown)))?;
        let date = member.person.as_ref().and_then(Sealed::open).and_then(|person| person.profile.birth_date);
        ensure(date == account.birthdays.date, || "another birth date".to_owned())?;
        let card = &shop.cards[who.1];
        let person = match &member.person {
            Some(Sealed::Open(person)) => Some(person.identifiers.iter().cloned().collect::<BTreeSet<_>>()),
            Some(Sealed::Erased) | None => None,
        };
        let cards = || (0..shop.ids.len()).filter(|place| shop.now(*place) == who.1).map(|place| shop.cards[place].clone()).collect();
        let expected: Option<BTreeSet<_>> = (!account.erased && account.merged_into.is_none()).then(cards);
        ensure(person == expected, || differ(&expected, &person))?;
        let first = self.ledger().recorded(&self.key(who), 1, 1).map_err(|error| error.to_string())?;
        let is_open = first.iter().any(|entry| matches!(&entry.kind, EntryKind::MemberEnrolled { person: Sealed::Open(_) }));
        ensure(is_open != shop.is_erased(who.1), || "the ledger's first entry tells who it is, or does not".to_owned())?;
        // A card that became free may be somebody else's.
        let holder = (0..shop.ids.len()).find(|place| shop.cards[*place] == *card && !shop.is_erased(*place));
        let found = self.ledger().find(&shop.id, &MemberTarget::Identifier(card.clone())).ok().map(|key| key.member);
        ensure(found == holder.map(|place| shop.ids[shop.now(place)]), || differ(&holder, &found))
    }

    pub fn fail(&self, who: Who, fault: &str) -> ! {
        let (shop, member) = who;
        let steps = self.steps.get(&who).map_or(&[][..], Vec::as_slice);
        println!("seed {}, after {} commands, member {member} of programme {}", self.seed, self.done, self.shops[shop].frame.id);
        for book in &self.shops[shop].books.0 {
            println!("rule book {} since {}: {:?}", book.version, book.since, book.document);
        }
        println!("caps: {:?}", self.shops[shop].accounts[member].given);
        for (now, submission) in &steps[steps.len().saturating_sub(TOLD_STEPS)..] {
            println!("at {now} {:?}: {:?}", submission.request.id, submission.command);
        }
        for said in self.told.get(&who).map_or(&[][..], Vec::as_slice).iter().rev().take(TOLD_STEPS).rev() {
            println!("{said:?}");
        }
        let found = self.ledger().entries(&self.key(who), None, FOUND_ENTRIES).unwrap_or_default();
        for listed in found.iter().rev() {
            println!("found {:?}", facts::said(&listed.entry));
        }
        panic!("{fault}");
    }
}

fn answered(submission: &Submission, outcome: &Outcome) -> Answered {
    let sequence_shown = outcome.member.as_ref().map(|member| member.header.last_sequence);
    Answered { submission: submission.clone(), entries: outcome.entries.clone(), sequence_shown }
}

/// A repeated request gets the first answer, whatever that was.
fn again(submission: &Submission, first: &Answer) -> Foretold {
    match first {
        Ok(outcome) => Foretold::Again(Box::new(answered(submission, outcome))),
        Err(LedgerError::Rejected(rejection)) => Foretold::Refused(rejection.clone()),
        Err(error) => panic!("{error:?}"),
    }
}

/// But for what was personal of a member who was erased since.
fn are_the_same(first: &[Entry], again: &[Entry]) -> bool {
    let without = |entry: &Entry| match &entry.kind {
        EntryKind::MemberEnrolled { .. } => Entry { kind: EntryKind::MemberEnrolled { person: Sealed::Erased }, ..entry.clone() },
        EntryKind::MergedFrom(got) => {
            let got = MergedFrom { person: Sealed::Erased, ..MergedFrom::clone(got) };
            Entry { kind: EntryKind::MergedFrom(Arc::new(got)), ..entry.clone() }
        }
        EntryKind::ProfileUpdated { .. } => Entry { kind: EntryKind::ProfileUpdated { profile: Sealed::Erased }, ..entry.clone() },
        EntryKind::BirthdayChanged(changed) => {
            let changed = BirthdayChanged { plan: Sealed::Erased, ..BirthdayChanged::clone(changed) };
            Entry { kind: EntryKind::BirthdayChanged(Box::new(changed)), ..entry.clone() }
        }
        _ => entry.clone(),
    };
    let same = |(first, again): (&Entry, &Entry)| first == again || without(first) == *again;
    first.len() == again.len() && first.iter().zip(again).all(same)
}

fn verify(foretold: &Foretold, answer: &Answer) -> Result<(), String> {
    match (foretold, answer) {
        (Foretold::Done { done_before: Some(sequence), .. }, Ok(outcome)) => {
            let found: Vec<u64> = outcome.entries.iter().map(|entry| entry.sequence).collect();
            ensure(found == [*sequence], || differ(sequence, &found))
        }
        (Foretold::Done { said, .. }, Ok(outcome)) => {
            let expected: Vec<_> = said.iter().filter(|said| !said.by_time).cloned().collect();
            let found: Vec<_> = outcome.entries.iter().map(facts::said).collect();
            let place = expected.iter().zip(&found).position(|(expected, found)| expected != found);
            let place = place.unwrap_or(expected.len().min(found.len()));
            ensure(found == expected, || differ(&expected.get(place), &found.get(place)))
        }
        (Foretold::Again(first), Ok(outcome)) => {
            let shown = outcome.member.as_ref().map(|member| member.header.last_sequence);
            ensure(are_the_same(&first.entries, &outcome.entries), || differ(&first.entries, &outcome.entries))?;
            ensure(first.sequence_shown == shown, || differ(&first.sequence_shown, &shown))
        }
        (Foretold::Refused(expected), Err(LedgerError::Rejected(found))) => ensure(expected == found, || differ(expected, found)),
        (Foretold::Done { said, .. }, Err(error)) => Err(format!("foretold {said:?}\nbut it is refused: {error:?}")),
        (Foretold::Again(first), Err(error)) => Err(format!("first {:?}\nthen {error:?}", first.entries)),
        (Foretold::Refused(rejection), answer) => Err(format!("foretold {rejection:?}\nbut found {answer:?}")),
        (Foretold::Twice(_), _) => unreachable!("it is compared with the first"),
    }
}

fn differ(expected: &impl std::fmt::Debug, found: &impl std::fmt::Debug) -> String {
    format!("foretold {expected:?}\nbut found {found:?}")
}

pub fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}
