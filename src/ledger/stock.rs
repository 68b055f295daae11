//! What has been taken of rewards, what promotions have given, and how large segments are, on top of what is stored. It is counted over all
//! members, so that of several commands of one group each sees what those before it took: nobody gets the last one twice.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::{
    domain::{
        Command, Entry, EntryKind, Header, History, ProgramHistory, ProgramId, PromotionTally, RewardId, RewardStock, SegmentId,
        SegmentSize, Tallies, TallyKey, VoucherRequest, tally_keys,
    },
    store::{Read, StoreError},
};

/// What the commands of a group have left of it.
#[derive(Default)]
pub(super) struct Stocks(HashMap<(ProgramId, RewardId), RewardStock, RandomState>);

impl Stocks {
    /// Of the rewards that a command takes or may free.
    pub fn of_command(
        &self,
        store: &(impl Read + ?Sized),
        program: &ProgramId,
        command: &Command,
        history: &History,
    ) -> Result<BTreeMap<RewardId, RewardStock>, StoreError> {
        let Command::Voucher(request) = command else { return Ok(BTreeMap::new()) };
        let rewards: Vec<&RewardId> = match request {
            VoucherRequest::Redeem { reward, .. } => vec![reward],
            VoucherRequest::Cancel { .. } => {
                let issued = history.threads.values().filter_map(|thread| thread.origin.voucher_change()?.reward_paid());
                issued.map(|paid| &paid.reward).collect()
            }
            VoucherRequest::Issue { .. } | VoucherRequest::Hold { .. } | VoucherRequest::Release { .. } | VoucherRequest::Use { .. } => {
                Vec::new()
            }
        };
        let mut stocks = BTreeMap::new();
        for reward in rewards {
            let staged = self.0.get(&(program.clone(), reward.clone())).copied();
            let stock = match staged {
                Some(stock) => Some(stock),
                None => store.reward_stock(program, reward)?,
            };
            stocks.extend(stock.map(|stock| (reward.clone(), stock)));
        }
        Ok(stocks)
    }

    /// What an entry has changed.
    pub fn keep(&mut self, entry: &Entry) {
        if let Some((reward, stock)) = entry.voucher_change().and_then(|changed| changed.reward_stock()) {
            self.0.insert((entry.key.program.clone(), reward.clone()), stock);
        }
    }
}

/// What the commands of a group have left of budgets and daily caps of promotions.
#[derive(Default)]
pub(super) struct StagedTallies(HashMap<(ProgramId, TallyKey), PromotionTally, RandomState>);

impl StagedTallies {
    /// Those that a command may change.
    pub fn of_command(
        &self,
        store: &(impl Read + ?Sized),
        programs: &ProgramHistory,
        (header, command): (&Header, &Command),
        history: &History,
        now: Timestamp,
    ) -> Result<Tallies, StoreError> {
        self.of_keys(store, &programs.newest().id, tally_keys(programs, header, command, history, now))
    }

    pub fn of_keys(&self, store: &(impl Read + ?Sized), program: &ProgramId, keys: Vec<TallyKey>) -> Result<Tallies, StoreError> {
        let mut tallies = Tallies::new();
        for key in keys {
            let staged = if self.0.is_empty() { None } else { self.0.get(&(program.clone(), key.clone())).copied() };
            let tally = match staged {
                Some(tally) => Some(tally),
                None => store.promotion_tally(program, &key)?,
            };
            tallies.extend(tally.map(|tally| (key, tally)));
        }
        Ok(tallies)
    }

    /// What an entry has changed.
    pub fn keep(&mut self, entry: &Entry) {
        for (key, tally) in entry.promotion_counts().iter().flat_map(|counts| &counts.tallies) {
            self.0.insert((entry.key.program.clone(), key.clone()), *tally);
        }
    }
}

/// How large the commands of a group have left segments. Nothing is decided by it: it is written on the entries that change it.
#[derive(Default)]
pub(super) struct Sizes(HashMap<(ProgramId, SegmentId), SegmentSize, RandomState>);

impl Sizes {
    /// Completes new entries, in their order.
    pub fn complete(&mut self, store: &(impl Read + ?Sized), entries: &mut [Entry]) -> Result<(), StoreError> {
        for entry in entries {
            let EntryKind::SegmentsChanged(changed) = &mut entry.kind else { continue };
            let mut sizes = Vec::with_capacity(changed.entered.len() + changed.left.len());
            for (segment, is_entered) in changed.turned() {
                let key = (entry.key.program.clone(), segment.clone());
                let before = match self.0.get(&key) {
                    Some(staged) => *staged,
                    None => store.segment_size(&key.0, segment)?.unwrap_or_default(),
                };
                let after = if is_entered { before.with_one() } else { before.without_one() };
                let after = after.expect("a segment has the members that leave it, and less than 2^64");
                self.0.insert(key, after);
                sizes.push(after);
            }
            changed.sizes = sizes;
        }
        Ok(())
    }
}
