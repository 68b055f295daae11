//! PointsService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Gate, Named, Refusal,
    convert::{self, Mistakes, Path},
    explain, named,
    observe::observe,
    page::{Filling, List},
};
use crate::{
    contract::v1::{self, points_service_server::PointsService},
    domain::{Adjustment, Command, LotKey, Points},
    ledger::{Ledger, Submission},
};

/// Entries that are read together: one can have 10,000 lines, and a page ends when it is full.
const ENTRIES_AT_ONCE: usize = 16;

pub struct PointsRoom(pub Arc<Gate>);

#[tonic::async_trait]
impl PointsService for PointsRoom {
    async fn adjust_points(&self, request: Request<v1::AdjustPointsRequest>) -> Result<Response<v1::AdjustPointsResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/AdjustPoints", &request.program_id.clone()).run(self.adjust(request)).await
    }

    async fn list_entries(&self, request: Request<v1::ListEntriesRequest>) -> Result<Response<v1::ListEntriesResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ListEntries", &request.program_id).run(async { self.entries(&request) }).await
    }

    async fn explain_entry(&self, request: Request<v1::ExplainEntryRequest>) -> Result<Response<v1::ExplainEntryResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ExplainEntry", &request.program_id).run(async { self.explain(&request) }).await
    }

    async fn list_lots(&self, request: Request<v1::ListLotsRequest>) -> Result<Response<v1::ListLotsResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ListLots", &request.program_id).run(async { self.lots(&request) }).await
    }
}

impl PointsRoom {
    async fn adjust(&self, request: v1::AdjustPointsRequest) -> Result<v1::AdjustPointsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let submission = adjustment(ledger, request)?;
        let outcome = ledger.submit(submission).await?;
        let entry = outcome.entries.first().map(|entry| convert::entry(entry, &outcome.programs));
        Ok(v1::AdjustPointsResponse { entry, tier_change: convert::tier_change(&outcome.entries) })
    }

    fn entries(&self, request: &v1::ListEntriesRequest) -> Result<v1::ListEntriesResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let key = ledger.find(&program, &settle_target(target, &mut mistakes)?)?;
        let list = List { method: "ListEntries", filter: &[program.as_str().as_bytes(), &key.member.0] };
        let page = list.page::<u64>(request.page_size, &request.page_token, &mut mistakes);
        let page = mistakes.settle(page)?;
        let mut filling = Filling::new();
        let mut last = page.after;
        'page: while filling.items.len() < page.size {
            let entries = ledger.entries(&key, last, ENTRIES_AT_ONCE.min(page.size - filling.items.len()))?;
            if entries.is_empty() {
                break;
            }
            for listed in &entries {
                if !filling.add(convert::listed(listed, &history)) {
                    break 'page;
                }
                last = Some(listed.entry.sequence);
            }
        }
        // Entries are numbered from 1 without gaps: the page that has the first one is the last page.
        let last = last.filter(|sequence| *sequence > 1 && !filling.items.is_empty());
        let next_page_token = last.map_or_else(String::new, |sequence| list.token(&sequence));
        Ok(v1::ListEntriesResponse { entries: filling.items, next_page_token })
    }

    fn explain(&self, request: &v1::ExplainEntryRequest) -> Result<v1::ExplainEntryResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let sequence = u64::try_from(request.sequence).ok().filter(|sequence| *sequence > 0);
        if sequence.is_none() {
            mistakes.add(Path::Root.field("sequence"), "is required: 1 or more");
        }
        let (target, sequence) = mistakes.settle(target.zip(sequence))?;
        let key = ledger.find(&program, &target)?;
        let found = ledger.entry(&key, sequence)?;
        let lots = explain::live_lots(ledger, &key, &found.entry)?;
        Ok(v1::ExplainEntryResponse {
            entry: Some(convert::listed(&found, &history)),
            explanation: explain::sentences(&found.entry, &history),
            lots: lots.iter().map(convert::lot).collect(),
        })
    }

    fn lots(&self, request: &v1::ListLotsRequest) -> Result<v1::ListLotsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let Named { program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let key = ledger.find(&program, &settle_target(target, &mut mistakes)?)?;
        let list = List { method: "ListLots", filter: &[program.as_str().as_bytes(), &key.member.0] };
        let page = list.page::<LotKey>(request.page_size, &request.page_token, &mut mistakes);
        let page = mistakes.settle(page)?;
        // One more than asked for shows whether there is a next page.
        let mut lots = ledger.lots(&key, page.after, page.size + 1)?;
        let more = lots.len() > page.size;
        lots.truncate(page.size);
        let next_page_token = lots.last().filter(|_| more).map_or_else(String::new, |last| list.token(&last.key()));
        Ok(v1::ListLotsResponse { lots: lots.iter().map(convert::lot).collect(), next_page_token })
    }
}

/// Whose list is asked for must be known before its token can be judged.
fn settle_target<T>(target: Option<T>, mistakes: &mut Mistakes) -> Result<T, Refusal> {
    Ok(std::mem::take(mistakes).settle(target)?)
}

fn adjustment(ledger: &Ledger, mut request: v1::AdjustPointsRequest) -> Result<Submission, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let reason = convert::reason(request.reason, &mut mistakes);
    let reference = convert::text(Path::Root.field("reference"), request.reference, 120, &mut mistakes);
    let actor = convert::actor(request.actor, &mut mistakes);
    if request.points == 0 {
        mistakes.add(Path::Root.field("points"), "is required: positive to add, negative to take");
    }
    let parsed = id.zip(target).zip(reason.zip(reference));
    let ((id, member), (reason, reference)) = mistakes.settle(parsed)?;
    let command = Command::AdjustPoints(Adjustment { points: Points(request.points), qualifying: request.qualifying, reason, reference });
    Ok(Submission { program, member, request: id, actor, command })
}
