//! The part of MemberService that exports a member: in parts, which are made as fast as they are taken.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::Duration,
};

use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Gate, Named, Refusal,
    access::{self, Caller},
    aside,
    convert::{self, Mistakes},
    explain, named,
    observe::{Observed, Tally},
    page::Filling,
    shares::{Share, Shares},
};
use crate::{
    contract::v1::{self, export_member_response::Part},
    domain::{Entry, EntryKind, MemberKey, MemberState, Points, PrincipalId, ProgramHistory},
    ledger::{Ledger, Listed, Snapshot},
};

/// Members that are exported at a time.
const MAX_EXPORTS: usize = 16;
/// Of them for one principal.
const MAX_EXPORTS_OF_ONE: usize = 2;
static ROOM: LazyLock<Arc<Shares<PrincipalId>>> = LazyLock::new(|| Shares::new(MAX_EXPORTS, MAX_EXPORTS_OF_ONE));
/// Parts that wait for the connection.
const PARTS: usize = 2;
/// How long the reason for an early end waits for a connection that is behind; less than a stop waits for calls under way.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Entries that are read together: one can have 10,000 lines.
const AT_ONCE: u64 = 16;

pub type Answer = Result<v1::ExportMemberResponse, Status>;

/// A member that is being exported.
pub struct Export {
    ledger: Ledger,
    programs: Arc<ProgramHistory>,
    /// Of the snapshot.
    ready: VecDeque<Part>,
    /// What is read from the journal: the members that were merged into this one, then this one, each up to an entry.
    ledgers: Vec<(MemberKey, u64)>,
    due: VecDeque<Entry>,
    next: Next,
    purchases: i64,
    entries: i64,
    /// Who gets it.
    caller: Caller,
    _permit: Share<PrincipalId>,
}

/// Where the rest goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Purchases(Place),
    Entries(Place),
    Due,
    End,
    Nothing,
}

/// Of an entry: whose ledger, and its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    ledger: usize,
    sequence: u64,
}

const FIRST: Place = Place { ledger: 0, sequence: 1 };

pub async fn begin(ledger: Result<Ledger, Refusal>, request: v1::ExportMemberRequest) -> Result<Export, Refusal> {
    let (ledger, caller) = (ledger?, access::current()?);
    let mut mistakes = Mistakes::default();
    let Named { program, target, .. } = named(&ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let target = mistakes.settle(target)?;
    let permit = ROOM.take(access::principal()).ok_or_else(Refusal::too_many_exports)?;
    let (asked, key) = (ledger.find_ledger(&program, &target)?, ledger.find(&program, &target)?);
    let by = access::principal();
    // Nothing of it is written down, so that the log alone has that somebody got all of a person's data.
    tracing::info!(program = %key.program, member = %key.member, principal = by.as_ref().map_or("", PrincipalId::as_str), "a member is exported");
    // The code of a voucher that is shown can be used.
    ledger.vouchers_to_show(&key).await?;
    aside(Ok(ledger), move |ledger| Export::new(ledger, &asked, ledger.snapshot(&key)?, (caller, permit))).await
}

/// Until all is sent, nobody listens, or the service stops.
pub fn stream(gate: Arc<Gate>, export: Export, observed: Observed) -> ReceiverStream<Answer> {
    let (answer, answers) = mpsc::channel(PARTS);
    tokio::spawn(async move {
        let end = tokio::select! {
            end = send_all(&gate, export, &answer) => end,
            () = gate.closed() => Err(Refusal::stopping()),
        };
        let reason = end.as_ref().err().map(Refusal::reason);
        if let Err(refusal) = end {
            // If nobody listens any more, nobody misses it.
            let _ = tokio::time::timeout(LAST_WORD, answer.send(Err(refusal.into()))).await;
        }
        observed.ended(Tally::default(), reason);
    });
    ReceiverStream::new(answers)
}

async fn send_all(gate: &Gate, mut export: Export, answer: &mpsc::Sender<Answer>) -> Result<(), Refusal> {
    loop {
        export.check_caller()?;
        // It is cut short only when the runtime ends.
        let next = tokio::task::spawn_blocking(move || export.next().map(|part| (export, part))).await;
        let (back, part) = next.unwrap_or_else(|_| Err(Refusal::stopping()))?;
        let Some(part) = part else { return Ok(()) };
        if !gate.send(answer, Ok(v1::ExportMemberResponse { part: Some(part) })).await? {
            return Ok(());
        }
        export = back;
    }
}

impl Export {
    fn new(ledger: &Ledger, asked: &MemberKey, snapshot: Snapshot, of: (Caller, Share<PrincipalId>)) -> Result<Self, Refusal> {
        let ready = snapshot_parts(asked, &snapshot)?;
        let last_recorded = snapshot.last_recorded();
        let Snapshot { programs, member, due, .. } = snapshot;
        let merged = member.header.merged.iter().map(|merged| (MemberKey { member: merged.member, ..member.key.clone() }, u64::MAX));
        let ledgers = merged.chain([(member.key.clone(), last_recorded)]).collect();
        let (due, next) = (due.into(), Next::Purchases(FIRST));
        let (ledger, (caller, permit)) = (ledger.clone(), of);
        Ok(Self { ledger, programs, ready, ledgers, due, next, purchases: 0, entries: 0, caller, _permit: permit })
    }

    /// Before each part: whoever may not see the member any more gets no more of it.
    fn check_caller(&mut self) -> Result<(), Refusal> {
        self.caller.renew()?;
        let program = self.programs.newest().id.as_str();
        self.caller.run(|| access::check_program(program))
    }

    /// `None`: that was all.
    fn next(&mut self) -> Result<Option<Part>, Refusal> {
        if let Some(part) = self.ready.pop_front() {
            return Ok(Some(part));
        }
        loop {
            let part = match self.next {
                Next::Purchases(from) => {
                    let (purchases, next) = self.fill(from, |ledger, entry, programs| purchase(ledger, &self.ledgers, entry, programs))?;
                    self.next = next.map_or(Next::Entries(FIRST), Next::Purchases);
                    self.purchases += counted(&purchases);
                    (!purchases.is_empty()).then_some(Part::Purchases(v1::ExportedPurchases { purchases }))
                }
                Next::Entries(from) => {
                    let (entries, next) = self.fill(from, |_, entry, programs| Ok(Some(shown(entry, true, programs))))?;
                    self.next = next.map_or(Next::Due, Next::Entries);
                    self.entries += counted(&entries);
                    (!entries.is_empty()).then_some(Part::Entries(v1::ExportedEntries { entries }))
                }
                Next::Due => {
                    let mut filling = Filling::new();
                    while let Some(entry) = self.due.front()
                        && filling.add(shown(entry.clone(), false, &self.programs))
                    {
                        self.due.pop_front();
                    }
                    self.entries += counted(&filling.items);
                    if filling.items.is_empty() {
                        self.next = Next::End;
                    }
                    (!filling.items.is_empty()).then_some(Part::Entries(v1::ExportedEntries { entries: filling.items }))
                }
                Next::End => {
                    self.next = Next::Nothing;
                    Some(Part::End(v1::ExportEnd { purchases: self.purchases, entries: self.entries }))
                }
                Next::Nothing => return Ok(None),
            };
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    /// Items from an entry on until a part is full; and where the next one goes on, if there is more.
    fn fill<T: Message>(
        &self,
        from: Place,
        item: impl Fn(&Ledger, Entry, &ProgramHistory) -> Result<Option<T>, Refusal>,
    ) -> Result<(Vec<T>, Option<Place>), Refusal> {
        let (mut filling, mut at) = (Filling::new(), from);
        while let Some((key, last)) = self.ledgers.get(at.ledger) {
            let entries = match at.sequence <= *last {
                true => self.ledger.recorded(key, at.sequence, at.sequence.saturating_add(AT_ONCE - 1).min(*last))?,
                false => Vec::new(),
            };
            if entries.is_empty() {
                at = Place { ledger: at.ledger + 1, sequence: 1 };
                continue;
            }
            for entry in entries {
                let sequence = entry.sequence;
                if let Some(item) = item(&self.ledger, entry, &self.programs)?
                    && !filling.add(item)
                {
                    return Ok((filling.items, Some(at)));
                }
                at.sequence = sequence + 1;
            }
        }
        Ok((filling.items, None))
    }
}

fn counted<T>(items: &[T]) -> i64 {
    convert::count(items.len() as u64)
}

fn shown(entry: Entry, is_recorded: bool, programs: &ProgramHistory) -> v1::ExportedEntry {
    let (member_id, explanation) = (entry.key.member.to_string(), explain::sentences(&entry, programs));
    v1::ExportedEntry { member_id, entry: Some(convert::listed(&Listed { entry, is_recorded }, programs)), explanation }
}

fn purchase(
    ledger: &Ledger,
    ledgers: &[(MemberKey, u64)],
    entry: Entry,
    programs: &ProgramHistory,
) -> Result<Option<v1::ExportedPurchase>, Refusal> {
    if !matches!(entry.kind, EntryKind::PurchaseAccrued(_)) {
        return Ok(None);
    }
    let latest = ledger.latest(&entry, ledgers)?;
    let shown = convert::purchase_shown(programs, &entry, latest.as_ref(), &[]);
    Ok(shown.map(|shown| v1::ExportedPurchase {
        member_id: shown.member_id,
        entry_sequence: shown.entry_sequence,
        record_time: shown.record_time,
        purchase: shown.purchase,
        returns: shown.returns,
    }))
}

/// What is of one instant.
fn snapshot_parts(asked: &MemberKey, snapshot: &Snapshot) -> Result<VecDeque<Part>, Refusal> {
    let Snapshot { time, programs, member, .. } = snapshot;
    let (header, program, id) = (&member.header, programs.newest(), member.key.member.to_string());
    let start = v1::ExportStart {
        program_id: member.key.program.to_string(),
        member_id: id.clone(),
        requested_member_id: if *asked == member.key { String::new() } else { asked.member.to_string() },
        export_time: Some(convert::timestamp(*time)),
        last_sequence: convert::count(snapshot.last_recorded()),
        erased: header.state == MemberState::Erased,
    };
    let basics = v1::Member { lots: vec![], pending_lots: vec![], holds: vec![], ..convert::whole_member(member, program, *time) };
    let lots = member
        .lots
        .values()
        .filter(|lot| lot.remaining > Points::ZERO)
        .map(|lot| convert::lot(lot, (&header.inactivity, &header.inactive_months), &program.time_zone));
    let pending = member.pending.values().map(convert::pending_lot);
    let holds = member.holds.values().map(|held| convert::hold(held, &program.currency));
    let vouchers = member.vouchers.values().map(|voucher| convert::voucher(voucher, id.clone(), *time, &program.currency));
    let offers = snapshot.offers()?;
    let offers = offers.program.offers.iter().zip(&offers.standings).map(|(offer, standing)| convert::listed_offer(offer, standing));
    let mut parts = VecDeque::from([Part::Start(start), Part::Member(basics)]);
    parts.extend(pages(lots).map(|lots| Part::Lots(v1::ExportedLots { lots })));
    parts.extend(pages(pending).map(|pending_lots| Part::PendingLots(v1::ExportedPendingLots { pending_lots })));
    parts.extend(pages(holds).map(|holds| Part::Holds(v1::ExportedHolds { holds })));
    parts.extend(pages(vouchers).map(|vouchers| Part::Vouchers(v1::ExportedVouchers { vouchers })));
    parts.extend(pages(offers).map(|offers| Part::Offers(v1::ExportedOffers { offers })));
    Ok(parts)
}

/// Full parts of items.
fn pages<T: Message + Clone>(items: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.peekable();
    std::iter::from_fn(move || {
        let mut filling = Filling::new();
        while let Some(item) = items.peek()
            && filling.add(item.clone())
        {
            items.next();
        }
        (!filling.items.is_empty()).then_some(filling.items)
    })
}
