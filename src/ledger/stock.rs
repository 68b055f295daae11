//! What has been taken of rewards, on top of what is stored. It is counted over all members, so that of several commands of one group each sees
//! what those before it took: nobody gets the last one twice.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::{
    domain::{Command, Entry, History, ProgramId, RewardId, RewardStock, VoucherRequest},
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
