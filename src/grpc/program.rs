//! ProgramService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Gate, Refusal, aside,
    convert::{self, Mistakes, Path},
    observe::observe,
    page::{Filling, List},
};
use crate::{
    contract::v1::{self, program_service_server::ProgramService},
    domain::ProgramId,
    ledger::TierMove,
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
        let mut mistakes = Mistakes::default();
        let (published, moves) = if request.validate_only {
            let document = mistakes.require(Path::Root.field("program"), request.program);
            let document = mistakes.settle(document)?;
            aside(Ok(ledger.clone()), move |ledger| Ok(ledger.dry_run(&document)?)).await?
        } else {
            let id = convert::request(&mut request, &mut mistakes);
            let document = mistakes.require(Path::Root.field("program"), request.program);
            let (id, document) = mistakes.settle(id.zip(document))?;
            (ledger.publish(id, document).await?, Vec::new())
        };
        let shown = |moved: TierMove| v1::TierMove {
            from_tier_id: moved.from.to_string(),
            to_tier_id: moved.to.to_string(),
            members: convert::count(moved.members),
        };
        let tier_moves = moves.into_iter().map(shown).collect();
        Ok(v1::PublishProgramResponse { program: Some(published.document), changed: published.changed, tier_moves })
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
        Ok(v1::GetProgramResponse { program: Some(ledger.document(&program, version)?) })
    }

    fn list(&self, request: &v1::ListProgramsRequest) -> Result<v1::ListProgramsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let list = List { method: "ListPrograms", filter: &[] };
        let page = list.page::<ProgramId>(request.page_size, &request.page_token, &mut mistakes);
        let page = mistakes.settle(page)?;
        let mut ids = ledger.programs();
        ids.retain(|id| page.after.as_ref().is_none_or(|after| id > after));
        let found = ids.len();
        let mut filling = Filling::new();
        let mut fitting = 0;
        for id in ids.iter().take(page.size) {
            if !filling.add(ledger.document(id, None)?) {
                break;
            }
            fitting += 1;
        }
        ids.truncate(fitting);
        let next_page_token = ids.last().filter(|_| found > fitting).map_or_else(String::new, |last| list.token(last));
        Ok(v1::ListProgramsResponse { programs: filling.items, next_page_token })
    }
}
