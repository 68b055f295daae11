//! MemberService.

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    Gate, Named, Refusal, access, aside,
    convert::{self, Mistakes, Mutation, Path},
    export, named,
    observe::observe,
    page::{Filling, List, Page},
    program_named,
};
use crate::{
    contract::v1::{self, member_service_server::MemberService},
    domain::{ActorId, Command, Entry, EntryKind, MemberId, MemberKey, MergeRequest, ProgramHistory, ProgramId, SegmentId, TierId},
    ledger::{Ledger, MemberTarget, Outcome, Submission},
};

pub struct Members(pub Arc<Gate>);

#[tonic::async_trait]
impl MemberService for Members {
    async fn enroll_member(&self, request: Request<v1::EnrollMemberRequest>) -> Result<Response<v1::EnrollMemberResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/EnrollMember", &request.program_id);
        observed.run(async { Ok(v1::EnrollMemberResponse { member: Some(self.change(request, enroll).await?.0) }) }).await
    }

    async fn update_member(&self, request: Request<v1::UpdateMemberRequest>) -> Result<Response<v1::UpdateMemberResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/UpdateMember", &request.program_id);
        observed.run(async { Ok(v1::UpdateMemberResponse { member: Some(self.change(request, update).await?.0) }) }).await
    }

    async fn add_identifier(&self, request: Request<v1::AddIdentifierRequest>) -> Result<Response<v1::AddIdentifierResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/AddIdentifier", &request.program_id);
        observed.run(async { Ok(v1::AddIdentifierResponse { member: Some(self.change(request, add).await?.0) }) }).await
    }

    async fn remove_identifier(
        &self,
        request: Request<v1::RemoveIdentifierRequest>,
    ) -> Result<Response<v1::RemoveIdentifierResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/RemoveIdentifier", &request.program_id);
        observed.run(async { Ok(v1::RemoveIdentifierResponse { member: Some(self.change(request, remove).await?.0) }) }).await
    }

    async fn suspend_member(&self, request: Request<v1::SuspendMemberRequest>) -> Result<Response<v1::SuspendMemberResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/SuspendMember", &request.program_id);
        observed.run(async { Ok(v1::SuspendMemberResponse { member: Some(self.change(request, suspend).await?.0) }) }).await
    }

    async fn reactivate_member(
        &self,
        request: Request<v1::ReactivateMemberRequest>,
    ) -> Result<Response<v1::ReactivateMemberResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/ReactivateMember", &request.program_id);
        observed.run(async { Ok(v1::ReactivateMemberResponse { member: Some(self.change(request, reactivate).await?.0) }) }).await
    }

    async fn merge_members(&self, request: Request<v1::MergeMembersRequest>) -> Result<Response<v1::MergeMembersResponse>, Status> {
        let request = request.into_inner();
        let program = request.program_id.clone();
        observe("MemberService/MergeMembers", &program).run(async { self.merge(request).await }).await
    }

    async fn erase_member(&self, request: Request<v1::EraseMemberRequest>) -> Result<Response<v1::EraseMemberResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/EraseMember", &request.program_id);
        let work = async {
            let (member, entry) = self.change(request, erase).await?;
            Ok(v1::EraseMemberResponse { member: Some(member), entry: Some(entry) })
        };
        observed.run(work).await
    }

    async fn set_member_tier(&self, request: Request<v1::SetMemberTierRequest>) -> Result<Response<v1::SetMemberTierResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/SetMemberTier", &request.program_id);
        let work = async {
            let (member, entry) = self.change(request, set_tier).await?;
            Ok(v1::SetMemberTierResponse { member: Some(member), entry: Some(entry) })
        };
        observed.run(work).await
    }

    type ExportMemberStream = ReceiverStream<export::Answer>;

    async fn export_member(&self, request: Request<v1::ExportMemberRequest>) -> Result<Response<Self::ExportMemberStream>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/ExportMember", &request.program_id);
        match export::begin(self.0.ledger().cloned(), request).await {
            Ok(export) => Ok(Response::new(export::stream(Arc::clone(&self.0), export, observed))),
            Err(refusal) => observed.run(async { Err(refusal) }).await,
        }
    }

    async fn get_member(&self, request: Request<v1::GetMemberRequest>) -> Result<Response<v1::GetMemberResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/GetMember", &request.program_id);
        let is_short = request.as_of.is_none() && request.view != i32::from(v1::MemberView::Full);
        let work = async {
            match is_short {
                true => get(self.0.ledger()?, &request),
                false => aside(self.0.ledger().cloned(), move |ledger| get(ledger, &request)).await,
            }
        };
        observed.run(work).await
    }

    async fn lookup_member(&self, request: Request<v1::LookupMemberRequest>) -> Result<Response<v1::LookupMemberResponse>, Status> {
        let request = request.into_inner();
        observe("MemberService/LookupMember", &request.program_id).run(async { self.look_up(&request) }).await
    }

    async fn list_segments(&self, request: Request<v1::ListSegmentsRequest>) -> Result<Response<v1::ListSegmentsResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("MemberService/ListSegments", &request.program_id);
        let work = async { aside(self.0.ledger().cloned(), move |ledger| list_segments(ledger, &request)).await };
        observed.run(work).await
    }

    async fn list_members(&self, request: Request<v1::ListMembersRequest>) -> Result<Response<v1::ListMembersResponse>, Status> {
        let request = request.into_inner();
        observe("MemberService/ListMembers", &request.program_id).run(async { self.list(&request) }).await
    }
}

/// What a change asks for, parsed.
struct Change {
    program: Arc<ProgramHistory>,
    target: Option<MemberTarget>,
    command: Option<Command>,
    actor: Option<ActorId>,
}

impl Members {
    async fn change<M: Mutation>(
        &self,
        mut message: M,
        parse: fn(&Ledger, M, &mut Mistakes) -> Result<Change, Refusal>,
    ) -> Result<(v1::Member, v1::Entry), Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let request = convert::request(&mut message, &mut mistakes);
        let Change { program, target, command, actor } = parse(ledger, message, &mut mistakes)?;
        let parsed = request.zip(target).zip(command);
        let ((request, member), command) = mistakes.settle(parsed)?;
        changed(&ledger.submit(Submission { program, member, request, actor, principal: access::principal(), command }).await?)
    }

    async fn merge(&self, mut message: v1::MergeMembersRequest) -> Result<v1::MergeMembersResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let request = convert::request(&mut message, &mut mistakes);
        let Named { program, history, target } = named(ledger, &message.program_id, message.member.as_ref(), &mut mistakes)?;
        let into = convert::recipient(Path::Root.field("into"), message.into.as_ref(), &mut mistakes);
        let reason = convert::reason(message.reason, &mut mistakes);
        let actor = convert::actor(message.actor, &mut mistakes);
        let parsed = request.zip(target).zip(into.zip(reason)).zip(actor);
        let (((request, member), (into, reason)), actor) = mistakes.settle(parsed)?;
        let command = Command::MergeMembers(MergeRequest { into, reason });
        let submission = Submission { program: history, member, request, actor: Some(actor), principal: access::principal(), command };
        let outcome = ledger.submit(submission).await?;
        let merged =
            outcome.entries.iter().find_map(|entry| if let EntryKind::MergedFrom(got) = &entry.kind { Some((entry, got)) } else { None });
        let (entry, got) = merged.ok_or_else(|| Refusal::internal(&"a merge was answered without its entry"))?;
        let gone = ledger.recorded(&MemberKey { program, member: got.from }, got.sequence, got.sequence)?;
        Ok(v1::MergeMembersResponse {
            member: Some(changed(&outcome)?.0),
            merged_from: Some(convert::entry(entry, &outcome.programs)),
            merged_into: gone.first().map(|entry| convert::entry(entry, &outcome.programs)),
            tier_change: convert::tier_change(&outcome.programs, &outcome.entries),
        })
    }

    fn look_up(&self, request: &v1::LookupMemberRequest) -> Result<v1::LookupMemberResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let (program, _) = program_named(ledger, &request.program_id, &mut mistakes)?;
        let identifier = identifier(request.identifier.as_ref(), &mut mistakes);
        let identifier = mistakes.settle(identifier)?;
        let key = ledger.find(&program, &MemberTarget::Identifier(identifier))?;
        Ok(v1::LookupMemberResponse { member_id: key.member.to_string() })
    }

    fn list(&self, request: &v1::ListMembersRequest) -> Result<v1::ListMembersResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let (program, history) = program_named(ledger, &request.program_id, &mut mistakes)?;
        let list = List { method: "ListMembers", filter: &[program.as_str().as_bytes(), request.segment_id.as_bytes()] };
        let page = list.page::<MemberId>(request.page_size, &request.page_token, &mut mistakes);
        if !request.segment_id.is_empty() {
            let segment = mistakes.take(Path::Root.field("segment_id"), SegmentId::new(&request.segment_id));
            let (page, segment) = mistakes.settle(page.zip(segment))?;
            return in_segment(ledger, (&program, &segment), &list, &page);
        }
        let page = mistakes.settle(page)?;
        // One more than asked for shows whether there is a next page.
        let mut members = ledger.members(&program, page.after, page.size + 1)?;
        let found = members.len();
        members.truncate(page.size);
        let (mut filling, now) = (Filling::new(), ledger.now());
        let fitting = members.iter().take_while(|member| filling.add(convert::member_read(member, history.newest(), now))).count();
        members.truncate(fitting);
        let more = found > members.len();
        let next_page_token = members.last().filter(|_| more).map_or_else(String::new, |last| list.token(&last.key.member));
        Ok(v1::ListMembersResponse { members: filling.items, next_page_token })
    }
}

/// The members of a segment. Whoever has left it by now, though that is not entered yet, is passed over.
fn in_segment(
    ledger: &Ledger,
    (program, segment): (&ProgramId, &SegmentId),
    list: &List<'_>,
    page: &Page<MemberId>,
) -> Result<v1::ListMembersResponse, Refusal> {
    let history = ledger.program(program)?;
    // One more than asked for shows whether there is a next page.
    let ids = ledger.segment_members(program, segment, page.after, page.size + 1)?;
    let (mut filling, mut last, now) = (Filling::new(), None, ledger.now());
    for id in ids.iter().take(page.size) {
        let member = ledger.member(&MemberKey { program: program.clone(), member: *id })?;
        let is_in = member.header.segments.is_in(segment);
        if is_in && !filling.add(convert::member_read(&member, history.newest(), now)) {
            break;
        }
        last = Some(id);
    }
    let more = last != ids.last();
    Ok(v1::ListMembersResponse {
        members: filling.items,
        next_page_token: last.filter(|_| more).map_or_else(String::new, |last| list.token(last)),
    })
}

fn list_segments(ledger: &Ledger, request: &v1::ListSegmentsRequest) -> Result<v1::ListSegmentsResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let (program, history) = program_named(ledger, &request.program_id, &mut mistakes)?;
    mistakes.settle(Some(()))?;
    let listed = history.newest().segments.iter().map(|segment| {
        let members = ledger.segment_size(&program, &segment.id)?;
        Ok::<_, Refusal>(convert::segment(segment, members))
    });
    Ok(v1::ListSegmentsResponse { segments: listed.collect::<Result<_, _>>()? })
}

fn get(ledger: &Ledger, request: &v1::GetMemberRequest) -> Result<v1::GetMemberResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let view = v1::MemberView::try_from(request.view).ok();
    if view.is_none() {
        mistakes.add(Path::Root.field("view"), format!("has no value {}", request.view));
    }
    let as_of = match &request.as_of {
        None => Some(None),
        Some(instant) => convert::past(Path::Root.field("as_of"), instant, ledger.now(), &mut mistakes).map(Some),
    };
    let (target, (view, as_of)) = mistakes.settle(target.zip(view.zip(as_of)))?;
    let find = || ledger.find(&program, &target);
    let member = match as_of {
        Some(instant) => convert::whole_member(
            &ledger.member_as_of(&ledger.find_ledger(&program, &target)?, instant)?,
            history.as_of(instant).newest(),
            instant,
        ),
        None if view == v1::MemberView::Full => {
            convert::whole_member(&ledger.whole_member(&find()?, convert::MAX_SHOWN)?, history.newest(), ledger.now())
        }
        None => convert::member_read(&ledger.member(&find()?)?, history.newest(), ledger.now()),
    };
    Ok(v1::GetMemberResponse { member: Some(member) })
}

/// The member right after the change, under the rule book that the change was decided by, so that a repeated request reads the same.
fn changed(outcome: &Outcome) -> Result<(v1::Member, v1::Entry), Refusal> {
    let program = &outcome.programs;
    let answer = outcome.member.as_deref().zip(outcome.entries.last());
    let (member, entry): (_, &Entry) = answer.ok_or_else(|| Refusal::internal(&"a change of a member was answered without the member"))?;
    let decided_by = program.version(entry.program_version).unwrap_or_else(|| program.newest());
    Ok((convert::member(member, decided_by), convert::entry(entry, program)))
}

fn identifier(value: Option<&v1::Identifier>, mistakes: &mut Mistakes) -> Option<crate::domain::Identifier> {
    let path = Path::Root.field("identifier");
    let value = mistakes.require(path, value)?;
    convert::identifier(path, value, mistakes)
}

/// Of an enrolment or a change to a profile or identifiers nobody need be named: members make them too, and callers did before they could name
/// somebody.
fn if_any(actor: Option<v1::Actor>, mistakes: &mut Mistakes) -> Option<ActorId> {
    convert::actor_if_any(actor, false, mistakes).flatten()
}

fn enroll(ledger: &Ledger, message: v1::EnrollMemberRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let (_, program) = program_named(ledger, &message.program_id, mistakes)?;
    let person = convert::enrolment(message.profile, &message.identifiers, program.newest(), ledger.now(), mistakes);
    let command = person.map(|person| Command::Enroll { person });
    Ok(Change { program, target: Some(MemberTarget::New), command, actor: if_any(message.actor, mistakes) })
}

fn update(ledger: &Ledger, message: v1::UpdateMemberRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let update = convert::profile_update(message.profile, message.update_mask.as_ref(), program.newest(), ledger.now(), mistakes);
    Ok(Change { program, target, command: update.map(Command::UpdateProfile), actor: if_any(message.actor, mistakes) })
}

fn add(ledger: &Ledger, message: v1::AddIdentifierRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let identifier = identifier(message.identifier.as_ref(), mistakes);
    let command = identifier.map(|identifier| Command::AddIdentifier { identifier });
    Ok(Change { program, target, command, actor: if_any(message.actor, mistakes) })
}

fn remove(ledger: &Ledger, message: v1::RemoveIdentifierRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let identifier = identifier(message.identifier.as_ref(), mistakes);
    let command = identifier.map(|identifier| Command::RemoveIdentifier { identifier });
    Ok(Change { program, target, command, actor: if_any(message.actor, mistakes) })
}

fn set_tier(ledger: &Ledger, message: v1::SetMemberTierRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let tier = mistakes.take(Path::Root.field("tier_id"), TierId::new(&message.tier_id));
    let reason = convert::reason(message.reason, mistakes);
    let actor = convert::actor(message.actor, mistakes);
    let last_date = match &message.last_date {
        Some(date) => convert::parse_date(Path::Root.field("last_date"), date, mistakes).map(Some),
        None => Some(None),
    };
    let parsed = tier.zip(reason).zip(last_date);
    let command = parsed.map(|((tier, reason), last_date)| Command::SetTier { tier, reason, last_date });
    Ok(Change { program, target, command, actor })
}

fn suspend(ledger: &Ledger, message: v1::SuspendMemberRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let command = convert::reason(message.reason, mistakes).map(|reason| Command::Suspend { reason });
    Ok(Change { program, target, command, actor: convert::actor(message.actor, mistakes) })
}

fn reactivate(ledger: &Ledger, message: v1::ReactivateMemberRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let command = convert::reason(message.reason, mistakes).map(|reason| Command::Reactivate { reason });
    Ok(Change { program, target, command, actor: convert::actor(message.actor, mistakes) })
}

fn erase(ledger: &Ledger, message: v1::EraseMemberRequest, mistakes: &mut Mistakes) -> Result<Change, Refusal> {
    let Named { history: program, target, .. } = named(ledger, &message.program_id, message.member.as_ref(), mistakes)?;
    let command = convert::reason(message.reason, mistakes).map(|reason| Command::Erase { reason });
    Ok(Change { program, target, command, actor: convert::actor(message.actor, mistakes) })
}
