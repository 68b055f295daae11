//! The part of PointsService that lists and explains entries.

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Named, Refusal,
    convert::{self, Mistakes, Path},
    explain, named,
    page::{Filling, List},
};
use crate::{
    contract::v1,
    domain::{Entry, Lot, LotId, MemberKey, OrderKey},
    ledger::{Ledger, LedgerError},
};

/// Entries that are read together: one can have 10,000 lines, and a page ends when it is full.
const AT_ONCE: usize = 16;
/// Entries that are looked through for a page of a filtered list, and for what has used a lot.
const MAX_SEARCHED: usize = 10_000;
const MAX_USES: usize = 1_000;
/// More than there are.
const MAX_KINDS: usize = 100;

/// What is listed; empty means all.
struct Filter {
    kinds: Vec<v1::EntryKind>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    order: Option<OrderKey>,
    flagged: bool,
    /// What a page token belongs to, beside the member.
    bytes: Vec<u8>,
}

impl Filter {
    fn parse(request: &v1::ListEntriesRequest, mistakes: &mut Mistakes) -> Option<Self> {
        if request.kinds.len() > MAX_KINDS {
            mistakes.add(Path::Root.field("kinds"), format!("has {} kinds; at most {MAX_KINDS} are allowed", request.kinds.len()));
            return None;
        }
        let mut kinds = Vec::with_capacity(request.kinds.len());
        for (index, number) in request.kinds.iter().enumerate() {
            match v1::EntryKind::try_from(*number) {
                Ok(v1::EntryKind::Unspecified) | Err(_) => mistakes.add(Path::Root.item("kinds", index), "is not a kind of entries"),
                Ok(kind) => kinds.push(kind),
            }
        }
        let mut instant = |name, value: &Option<prost_types::Timestamp>| match value {
            None => Some(None),
            Some(value) => convert::parse_timestamp(Path::Root.field(name), value, mistakes).map(Some),
        };
        let (start, end) = (instant("start_time", &request.start_time), instant("end_time", &request.end_time));
        let order = convert::optional_order(Path::Root, &request.store_id, &request.order_id, mistakes);
        let (start, end, order) = (start?, end?, order?);
        let mut bytes: Vec<u8> = kinds.iter().flat_map(|kind| i32::from(*kind).to_le_bytes()).collect();
        for time in [start, end] {
            bytes.extend(time.map_or(i64::MIN, Timestamp::as_microsecond).to_le_bytes());
        }
        bytes.push(u8::from(request.flagged));
        bytes.extend(format!("{} {}", request.store_id, request.order_id).into_bytes());
        Some(Self { kinds, start, end, order, flagged: request.flagged, bytes })
    }

    fn takes(&self, entry: &Entry) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&convert::entry_kind(&entry.kind)))
            && self.start.is_none_or(|start| entry.record_time >= start)
            && self.end.is_none_or(|end| entry.record_time < end)
            && (self.order.is_none() || entry.order() == self.order.as_ref())
            && (!self.flagged || !entry.flags().is_empty())
    }
}

pub fn list(ledger: &Ledger, request: &v1::ListEntriesRequest) -> Result<v1::ListEntriesResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let filter = Filter::parse(request, &mut mistakes);
    // Whose list is asked for must be known before its token can be judged.
    let (target, filter) = std::mem::take(&mut mistakes).settle(target.zip(filter))?;
    let key = ledger.find_ledger(&program, &target)?;
    let list = List { method: "ListEntries", filter: &[program.as_str().as_bytes(), &key.member.0, &filter.bytes] };
    let page = list.page::<u64>(request.page_size, &request.page_token, &mut mistakes);
    let page = mistakes.settle(page)?;
    let (mut filling, mut last, mut searched) = (Filling::new(), page.after, 0);
    'page: while filling.items.len() < page.size && searched < MAX_SEARCHED {
        let entries = ledger.entries(&key, last, AT_ONCE)?;
        if entries.is_empty() {
            break;
        }
        for listed in &entries {
            // Newest first: what is older was recorded before, too.
            if filter.start.is_some_and(|start| listed.entry.record_time < start) {
                last = Some(1);
                break 'page;
            }
            if filter.takes(&listed.entry) && (filling.items.len() == page.size || !filling.add(convert::listed(listed, &history))) {
                break 'page;
            }
            searched += 1;
            last = Some(listed.entry.sequence);
        }
    }
    // Entries are numbered from 1 without gaps: the page that has come to the first one is the last page.
    let last = last.filter(|sequence| *sequence > 1 && (searched > 0 || !filling.items.is_empty()));
    let next_page_token = last.map_or_else(String::new, |sequence| list.token(&sequence));
    Ok(v1::ListEntriesResponse { entries: filling.items, next_page_token })
}

pub fn explain(ledger: &Ledger, request: &v1::ExplainEntryRequest) -> Result<v1::ExplainEntryResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let sequence = u64::try_from(request.sequence).ok().filter(|sequence| *sequence > 0);
    if sequence.is_none() {
        mistakes.add(Path::Root.field("sequence"), "is required: 1 or more");
    }
    let (target, sequence) = mistakes.settle(target.zip(sequence))?;
    let key = ledger.find_ledger(&program, &target)?;
    let found = ledger.entry(&key, sequence)?;
    let lots = explain::live_lots(ledger, &key, &found.entry)?;
    let (uses, uses_incomplete) = uses(ledger, &key, &found.entry)?;
    Ok(v1::ExplainEntryResponse {
        entry: Some(convert::listed(&found, &history)),
        explanation: explain::sentences(&found.entry, &history),
        lots: shown_lots(ledger, &key, (&lots, &history.newest().time_zone))?,
        uses,
        uses_incomplete,
    })
}

/// With the instant at which those lapse, as things are, that do so with inactivity.
pub fn shown_lots(ledger: &Ledger, key: &MemberKey, (lots, zone): (&[Lot], &TimeZone)) -> Result<Vec<v1::Lot>, LedgerError> {
    let moves = lots.iter().any(|lot| lot.expiry.is_with_inactivity());
    let (inactivity, months) = if moves { ledger.inactivity(key)? } else { <_>::default() };
    Ok(lots.iter().map(|lot| convert::lot(lot, (&inactivity, &months), zone)).collect())
}

/// The later entries that touched the lots that an entry made, and whether there may be more.
fn uses(ledger: &Ledger, key: &MemberKey, entry: &Entry) -> Result<(Vec<v1::LotUse>, bool), LedgerError> {
    let (made, mut uses) = (entry.made_lots(), Vec::new());
    if made.is_empty() {
        return Ok((uses, false));
    }
    let last = entry.sequence.saturating_add(MAX_SEARCHED as u64);
    let mut next = entry.sequence + 1;
    while next <= last {
        let page = ledger.recorded(key, next, last.min(next + AT_ONCE as u64 - 1))?;
        let Some(newest) = page.last() else { return Ok((uses, false)) };
        next = newest.sequence + 1;
        for later in &page {
            // Pending lots get their expiry when they become active, and go on under their number.
            let lots = later.touched_lots().into_iter().map(|lot| lot.id());
            let pending = later.touched_pending().into_iter().map(|lot| lot.id());
            let mut touched: Vec<LotId> = lots.chain(pending).chain(later.captured_lots()).filter(|lot| made.contains(lot)).collect();
            touched.sort_unstable();
            touched.dedup();
            for lot in touched {
                if uses.len() == MAX_USES {
                    return Ok((uses, true));
                }
                uses.push(v1::LotUse {
                    lot_id: lot.to_string(),
                    entry_sequence: i64::try_from(later.sequence).unwrap_or(i64::MAX),
                    kind: convert::entry_kind(&later.kind).into(),
                    record_time: Some(convert::timestamp(later.record_time)),
                });
            }
        }
    }
    Ok((uses, true))
}
