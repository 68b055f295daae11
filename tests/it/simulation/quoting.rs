//! Quotes: asked for between other things, compared with what they must say, and kept for a purchase that names them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use loyaltyd::{
    domain::{Command, Entry, Purchase, QuoteId, Rejection},
    ledger::{LedgerError, MemberTarget, Submission},
};

use super::{
    auditor::{self, Named, facts, prices::Promise},
    life::{Life, Shop, Who},
};

/// More are not remembered.
const MANY_QUOTES: usize = 40;

/// What quotes have said.
#[derive(Default)]
pub struct Quotes {
    /// By their ids as they are written.
    promises: BTreeMap<String, Promise>,
    /// Those that nobody has asked to keep yet, the latest last.
    open: Vec<(Who, Arc<Purchase>)>,
    /// How many were kept, and how many were not, since they would have led to something else.
    pub kept: u64,
    pub changed: u64,
}

impl Quotes {
    /// Of another encoding nothing is known: what leads to nothing differs in everything.
    pub fn promise(&self, purchase: &Purchase) -> Option<Promise> {
        let quote = purchase.quote.as_ref()?;
        Some(self.promises.get(&quote.to_string()).cloned().unwrap_or_else(Promise::of_nothing))
    }

    pub fn note(&mut self, submission: &Submission, is_refused: Option<&Rejection>) {
        let Command::RecordPurchase(purchase) = &submission.command else { return };
        match is_refused {
            None if purchase.quote.is_some() => self.kept += 1,
            Some(Rejection::QuoteChanged { .. }) => self.changed += 1,
            Some(_) | None => {}
        }
    }
}

impl Life {
    /// Nothing is asked for that has not been answered: the ledger stands where the accounts do.
    pub fn quote(&mut self, now: Timestamp, who: Who) {
        let (shop, member) = who;
        let purchase = Arc::new(self.asker(now, who, |asker| {
            let order = asker.order();
            asker.purchase(order)
        }));
        let target = MemberTarget::Id(self.shops[shop].ids[member]);
        let found = self.ledger().quote(&self.shops[shop].id, &target, Arc::clone(&purchase));
        let expected = self.foretell_quote(now, who, &purchase);
        let found = match found {
            Ok(quote) => Ok((quote.id, quote.decision.entries.iter().map(as_asked).collect::<Vec<_>>())),
            Err(LedgerError::Rejected(rejection)) => Err(rejection),
            Err(error) => panic!("{error:?}"),
        };
        match (found, expected) {
            (Ok((id, found)), Ok((promise, expected))) if found == expected => self.keep_quote(who, id, promise, &purchase),
            (Err(found), Err(expected)) if found == expected => {}
            (found, expected) => {
                self.fail(who, &format!("of a quote of {purchase:?}\nforetold {expected:#?}\nbut found {found:#?}"));
            }
        }
    }

    fn foretell_quote(
        &mut self,
        now: Timestamp,
        (shop, named): Who,
        purchase: &Arc<Purchase>,
    ) -> Result<(Promise, Vec<facts::Said>), Rejection> {
        let place = &self.shops[shop];
        place.known_order(purchase.order.as_ref())?;
        let (member, command) = (place.now(named), Command::RecordPurchase(Arc::clone(purchase)));
        let account = &place.accounts[member];
        let beside = place.beside(&command, None);
        let expected = auditor::expect(account, &place.books, now, &command, Named::Id(place.ids[named]), None, beside)?;
        let own: Vec<facts::Said> = expected.said.into_iter().filter(|said| !said.by_time).collect();
        Ok((Promise::of(place.ids[member], &own), own))
    }

    fn keep_quote(&mut self, who: Who, id: QuoteId, promise: Promise, purchase: &Arc<Purchase>) {
        self.quotes.promises.insert(id.to_string(), promise);
        // One of another encoding now and then.
        let id = if self.random.percent(2) { "q9-other".parse().expect("an id") } else { id };
        self.quotes.open.push((who, Arc::new(Purchase { quote: Some(id), ..Purchase::clone(purchase) })));
        if self.quotes.open.len() > MANY_QUOTES {
            self.quotes.open.remove(0);
        }
    }

    /// One of those who were given a quote buys, soon as a rule; what it is, or how it is paid, may be another thing by then.
    pub fn quoted(&mut self) -> Option<(Who, Command)> {
        let count = self.quotes.open.len();
        if count == 0 {
            return None;
        }
        let from = if self.random.percent(75) { count.saturating_sub(3) } else { 0 };
        let (who, purchase) = self.quotes.open.remove(self.random.within(from as u64..=count as u64 - 1) as usize);
        let mut purchase = Purchase::clone(&purchase);
        match self.random.below(10) {
            0 => drop(purchase.vouchers.pop()),
            1 => purchase.codes.clear(),
            2 => purchase.channel = "web".to_owned(),
            _ => {}
        }
        Some((who, Command::RecordPurchase(Arc::new(purchase))))
    }
}

impl Shop {
    pub fn known_order(&self, order: Option<&loyaltyd::domain::OrderKey>) -> Result<(), Rejection> {
        match order.and_then(|order| Some((order, self.orders.get(order)?))) {
            Some((order, (buyer, entry_sequence))) => {
                let (order, member) = (order.clone(), self.ids[*buyer]);
                Err(Rejection::PurchaseExists { order, member, entry_sequence: *entry_sequence })
            }
            None => Ok(()),
        }
    }
}

/// Entries of a quote have no request.
fn as_asked(entry: &Entry) -> facts::Said {
    facts::Said { by_time: false, ..facts::said(entry) }
}
