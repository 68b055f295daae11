//! AuditService.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::{
    Gate, Refusal, aside,
    convert::{self, Mistakes, Path},
    explain,
    observe::observe,
    page::{Filling, List},
    program_named,
};
use crate::{
    contract::v1::{self, audit_service_server::AuditService},
    domain::{ActKind, ActorId, MemberId, PrincipalId, ProgramHistory, ProgramId},
    ledger::{Ledger, RecordedAct},
    store::{ActOf, ActPlace, FoundAct, RecordedIn},
};

/// Acts that are looked at together, and at most for one page.
const AT_ONCE: usize = 500;
const MAX_SEARCHED: usize = 10_000;
/// More than there are.
const MAX_KINDS: usize = 100;

pub struct Audit(pub Arc<Gate>);

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("AuditService/ListAuditEntries", &request.program_id);
        observed.run(aside(self.0.ledger().cloned(), move |ledger| list(ledger, &request))).await
    }
}

/// What is listed; `None` and empty mean all.
struct Filter {
    actor: Option<ActorId>,
    principal: Option<PrincipalId>,
    kinds: Vec<ActKind>,
    recorded: RecordedIn,
}

impl Filter {
    fn parse(request: &v1::ListAuditEntriesRequest, mistakes: &mut Mistakes) -> Option<Self> {
        let actor = match request.actor_id.as_str() {
            "" => Some(None),
            actor => mistakes.take(Path::Root.field("actor_id"), ActorId::new(actor)).map(Some),
        };
        let principal = match request.principal_id.as_str() {
            "" => Some(None),
            principal => mistakes.take(Path::Root.field("principal_id"), PrincipalId::new(principal)).map(Some),
        };
        if request.kinds.len() > MAX_KINDS {
            mistakes.add(Path::Root.field("kinds"), format!("has {} kinds; at most {MAX_KINDS} are allowed", request.kinds.len()));
            return None;
        }
        let mut kinds = Vec::with_capacity(request.kinds.len());
        for (index, number) in request.kinds.iter().enumerate() {
            match v1::AuditKind::try_from(*number).ok().and_then(convert::parse_act_kind) {
                None => mistakes.add(Path::Root.item("kinds", index), "is not a kind of administrative acts"),
                Some(kind) => kinds.push(kind),
            }
        }
        let mut instant = |name, value: &Option<prost_types::Timestamp>| match value {
            None => Some(None),
            Some(value) => convert::parse_timestamp(Path::Root.field(name), value, mistakes).map(Some),
        };
        let (start, end) = (instant("start_time", &request.start_time), instant("end_time", &request.end_time));
        Some(Self { actor: actor?, principal: principal?, kinds, recorded: RecordedIn { start: start?, end: end? } })
    }

    fn takes(&self, member: Option<MemberId>, act: &FoundAct) -> bool {
        let concerns = |member: MemberId| match &act.of {
            ActOf::Entry { entry, other } => entry.member == member || *other == Some(member),
            ActOf::Publication { .. } => false,
        };
        (self.actor.is_none() || act.actor == self.actor)
            && (self.principal.is_none() || act.principal == self.principal)
            && (self.kinds.is_empty() || self.kinds.contains(&act.kind))
            && member.is_none_or(concerns)
    }

    /// What a page token belongs to, beside programme and member.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.kinds.iter().flat_map(|kind| i32::from(convert::act_kind(*kind)).to_le_bytes()).collect();
        for time in [self.recorded.start, self.recorded.end] {
            bytes.extend(time.map_or(i64::MIN, Timestamp::as_microsecond).to_le_bytes());
        }
        bytes.extend_from_slice(self.actor.as_ref().map_or("", ActorId::as_str).as_bytes());
        // No id has such a byte, so that none can be taken for the end of another.
        bytes.push(0);
        bytes.extend_from_slice(self.principal.as_ref().map_or("", PrincipalId::as_str).as_bytes());
        bytes
    }
}

fn list(ledger: &Ledger, request: &v1::ListAuditEntriesRequest) -> Result<v1::ListAuditEntriesResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let target = match &request.member {
        None => Some(None),
        member => convert::member_target(member.as_ref(), &mut mistakes).map(Some),
    };
    let (program, history) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let filter = Filter::parse(request, &mut mistakes);
    // Whose acts are asked for must be known before the token can be judged.
    let (target, filter) = std::mem::take(&mut mistakes).settle(target.zip(filter))?;
    let member = target.map(|target| ledger.find_ledger(&program, &target)).transpose()?.map(|key| key.member);
    let of_member = member.as_ref().map_or(&[][..], |member| &member.0);
    let list = List { method: "ListAuditEntries", filter: &[program.as_str().as_bytes(), of_member, &filter.bytes()] };
    let page = list.page::<ActPlace>(request.page_size, &request.page_token, &mut mistakes);
    let page = mistakes.settle(page)?;
    let (mut filling, mut last, mut searched) = (Filling::new(), page.after, 0);
    let next_page_token = 'page: loop {
        let acts = ledger.acts(&program, filter.recorded, last, AT_ONCE)?;
        for act in &acts {
            if filter.takes(member, act) && (filling.items.len() == page.size || !filling.add(shown(ledger, (&program, &history), act)?)) {
                break 'page last.map_or_else(String::new, |last| list.token(&last));
            }
            last = Some(act.place);
        }
        searched += acts.len();
        if acts.len() < AT_ONCE {
            break String::new();
        }
        if searched >= MAX_SEARCHED {
            break last.map_or_else(String::new, |last| list.token(&last));
        }
    };
    Ok(v1::ListAuditEntriesResponse { entries: filling.items, next_page_token })
}

fn shown(ledger: &Ledger, (id, history): (&ProgramId, &ProgramHistory), act: &FoundAct) -> Result<v1::AuditEntry, Refusal> {
    Ok(match ledger.act(id, history, act)? {
        RecordedAct::Entry(listed) => {
            let explanation = explain::act(&listed.entry, history);
            convert::audit_entry(act, &listed, history, explanation)
        }
        RecordedAct::Publication { program, request, replaced } => {
            let explanation = explain::published(&program, &replaced, (act.actor.as_ref(), act.principal.as_ref()));
            convert::audit_publication(act, &program, (&request, &replaced), explanation)
        }
    })
}
