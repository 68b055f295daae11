//! What a new version of a rule book would do to the tiers of all members, before it is published.

use std::collections::BTreeMap;

use crate::{
    contract::v1,
    domain::{self, Header, MemberKey, ProgramHistory, TierId},
    store::MemberDemand,
};

use super::{Ledger, LedgerError, Published, programs::Draft, query::all_due};

/// Members that are read at a time.
const PAGE: usize = 500;

/// So many members would go from one tier to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierMove {
    pub from: TierId,
    pub to: TierId,
    pub members: u64,
}

impl Ledger {
    /// As [`Ledger::publish_next`], but that nothing is published; with what it would do to the tiers of members when it takes effect, as far as
    /// that is known now. Reads all of them, page by page.
    pub fn dry_run(&self, document: &v1::Program, replace: bool) -> Result<(Published, Vec<TierMove>), LedgerError> {
        let now = self.now();
        let draft = self.0.programs.draft(document, now, replace)?;
        let moves = match &draft {
            Draft::Next { parsed, .. } => match self.0.programs.history(&parsed.id, now) {
                Some(history) => {
                    let then = history.with((**parsed).clone().into()).in_effect_at(parsed.takes_effect());
                    self.tier_moves(&then.before_newest(), &then)?
                }
                None => Vec::new(),
            },
            Draft::Unchanged { .. } => Vec::new(),
        };
        Ok((draft.published(), moves))
    }

    fn tier_moves(&self, before: &ProgramHistory, then: &ProgramHistory) -> Result<Vec<TierMove>, LedgerError> {
        let newest = then.newest();
        let (program, instant) = (newest.id.clone(), newest.takes_effect());
        let mut moves: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.0.store.members(&program, after, PAGE)?;
            for member in &page {
                let key = MemberKey { program: program.clone(), member: *member };
                let Some(stored) = self.0.store.member(&key, MemberDemand::read(instant).under(before))? else { continue };
                let header: Header = all_due(before, instant, stored)?.member.header;
                if let Some(moved) = domain::tier_move(then, &header).map_err(domain::Rejection::from)? {
                    *moves.entry(moved).or_default() += 1;
                }
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after = Some(*last),
                None => break,
            }
        }
        let tier = |rank: usize| newest.tiers.get(rank).map(|tier| tier.id.clone());
        let moves = moves.into_iter().filter_map(|((from, to), members)| Some(TierMove { from: tier(from)?, to: tier(to)?, members }));
        Ok(moves.collect())
    }
}
