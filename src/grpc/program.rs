//! ProgramService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Gate, Refusal, access, aside,
    convert::{self, Mistakes, Path},
    observe::observe,
    page::{Filling, List},
};
use crate::{
    contract::v1::{self, program_service_server::ProgramService},
    domain::{Program, ProgramId},
    ledger::{Publisher, TierMove},
};

pub struct Programs(pub Arc<Gate>);

#[tonic::async_trait]
impl ProgramService for Programs {
    async fn publish_program(&self, request: Request<v1::PublishProgramRequest>) -> Result<Response<v1::PublishProgramResponse>, Status> {
        let request = request.into_inner();
        let program = request.program.as_ref().map_or("", |program| &program.program_id);
        observe("ProgramService/PublishProgram", program).run(self.publish(request)).await
    }

    async fn get_program(&self, request: Request<v1::GetProgramRequest>) -> Result<Response<v1::GetProgramResponse>, Status> {
        let request = request.into_inner();
        observe("ProgramService/GetProgram", &request.program_id).run(async { self.get(&request) }).await
    }

    async fn list_programs(&self, request: Request<v1::ListProgramsRequest>) -> Result<Response<v1::ListProgramsResponse>, Status> {
        let request = request.into_inner();
        observe("ProgramService/ListPrograms", "").run(async { self.list(&request) }).await
    }
}

impl Programs {
    async fn publish(&self, mut request: v1::PublishProgramRequest) -> Result<v1::PublishProgramResponse, Refusal> {
        let ledger = self.0.ledger()?;
        // What is no id is no programme, and is said with what else is wrong.
        if let Some(Ok(id)) = request.program.as_ref().map(|program| ProgramId::new(&program.program_id)) {
            access::check_program(id.as_str())?;
        }
        let mut mistakes = Mistakes::default();
        let must_name = access::must_name_actor() && !request.validate_only;
        let (published, moves) = if request.validate_only {
            let actor = convert::actor_if_any(request.actor, must_name, &mut mistakes);
            let document = mistakes.require(Path::Root.field("program"), request.program);
            let (_, document) = mistakes.settle(actor.zip(document))?;
            aside(Ok(ledger.clone()), move |ledger| Ok(ledger.dry_run(&document, request.replace_waiting)?)).await?
        } else {
            let id = convert::request(&mut request, &mut mistakes);
            let document = mistakes.require(Path::Root.field("program"), request.program);
            let actor = convert::actor_if_any(request.actor, must_name, &mut mistakes);
            let ((id, actor), document) = mistakes.settle(id.zip(actor).zip(document))?;
            let by = Publisher { actor, principal: access::principal() };
            (ledger.publish_by(id, by, document, request.replace_waiting).await?, Vec::new())
        };
        let shown = |moved: TierMove| v1::TierMove {
            from_tier_id: moved.from.to_string(),
            to_tier_id: moved.to.to_string(),
            members: convert::count(moved.members),
        };
        let tier_moves = moves.into_iter().map(shown).collect();
        let replaced_versions = published.replaced.into_iter().map(version_number).collect();
        Ok(v1::PublishProgramResponse { program: Some(published.document), changed: published.changed, tier_moves, replaced_versions })
    }

    fn get(&self, request: &v1::GetProgramRequest) -> Result<v1::GetProgramResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let program = mistakes.take(Path::Root.field("program_id"), ProgramId::new(&request.program_id));
        let version = match u32::try_from(request.version) {
            Ok(0) => Some(None),
            Ok(version) => Some(Some(version)),
            Err(_) => {
                mistakes.add(Path::Root.field("version"), "is negative");
                None
            }
        };
        let (program, version) = mistakes.settle(program.zip(version))?;
        access::check_program(program.as_str())?;
        let (document, waiting) = ledger.document(&program, version)?;
        Ok(v1::GetProgramResponse { program: Some(document), waiting_versions: shown(&waiting) })
    }

    fn list(&self, request: &v1::ListProgramsRequest) -> Result<v1::ListProgramsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let list = List { method: "ListPrograms", filter: &[] };
        let page = list.page::<ProgramId>(request.page_size, &request.page_token, &mut mistakes);
        let page = mistakes.settle(page)?;
        let mut ids = ledger.programs();
        ids.retain(|id| access::allows(id.as_str()) && page.after.as_ref().is_none_or(|after| id > after));
        let found = ids.len();
        let mut filling = Filling::new();
        let (mut fitting, mut waiting_versions) = (0, Vec::new());
        for id in ids.iter().take(page.size) {
            let (document, mut waiting) = ledger.document(id, None).map(|(document, waiting)| (document, shown(&waiting)))?;
            if !filling.add(document) {
                break;
            }
            waiting_versions.append(&mut waiting);
            fitting += 1;
        }
        ids.truncate(fitting);
        let next_page_token = ids.last().filter(|_| found > fitting).map_or_else(String::new, |last| list.token(last));
        Ok(v1::ListProgramsResponse { programs: filling.items, next_page_token, waiting_versions })
    }
}

/// The versions that will take effect, the next one first.
fn shown(waiting: &[Arc<Program>]) -> Vec<v1::WaitingVersion> {
    let shown = |version: &Arc<Program>| v1::WaitingVersion {
        program_id: version.id.to_string(),
        version: version_number(version.version),
        publish_time: Some(convert::timestamp(version.publish_time)),
        effective_time: Some(convert::timestamp(version.takes_effect())),
    };
    waiting.iter().map(shown).collect()
}

fn version_number(version: u32) -> i32 {
    i32::try_from(version).expect("versions are counted one by one")
}
