//! SandboxService.

use std::sync::Arc;

use jiff::SignedDuration;
use tonic::{Request, Response, Status};

use super::{
    Gate, Refusal, access,
    convert::{self, Mistakes, Path},
    observe::observe,
};
use crate::{
    contract::v1::{self, advance_clock_request as asked, sandbox_service_server::SandboxService},
    domain::PrincipalId,
    ledger::{Advance, AdvanceError, Clock as _, SandboxClock},
};

pub struct Sandbox {
    pub gate: Arc<Gate>,
    pub clock: Arc<SandboxClock>,
}

#[tonic::async_trait]
impl SandboxService for Sandbox {
    async fn get_clock(&self, _: Request<v1::GetClockRequest>) -> Result<Response<v1::GetClockResponse>, Status> {
        let answer = || Ok(v1::GetClockResponse { time: Some(convert::timestamp(self.clock.now())) });
        observe("SandboxService/GetClock", "").run(async { answer() }).await
    }

    async fn advance_clock(&self, request: Request<v1::AdvanceClockRequest>) -> Result<Response<v1::AdvanceClockResponse>, Status> {
        observe("SandboxService/AdvanceClock", "").run(self.advance(request.into_inner())).await
    }
}

impl Sandbox {
    async fn advance(&self, mut request: v1::AdvanceClockRequest) -> Result<v1::AdvanceClockResponse, Refusal> {
        let ledger = self.gate.ledger()?;
        let mut mistakes = Mistakes::default();
        let id = convert::request(&mut request, &mut mistakes);
        let (field, advance) = match request.advance {
            Some(asked::Advance::Duration(by)) => {
                let path = Path::Root.field("duration");
                let is_sound = (0..1_000_000_000).contains(&by.nanos) && by.seconds >= 0;
                let by = is_sound.then(|| SignedDuration::new(by.seconds, by.nanos)).filter(SignedDuration::is_positive);
                if by.is_none() {
                    mistakes.add(path, "is not more than 0, or its nanos are not 0 to 999999999");
                }
                ("duration", by.map(Advance::By))
            }
            Some(asked::Advance::Time(time)) => {
                ("time", convert::parse_timestamp(Path::Root.field("time"), &time, &mut mistakes).map(Advance::To))
            }
            None => {
                mistakes.add(Path::Root.field("duration"), "is required, or `time`");
                ("duration", None)
            }
        };
        let (id, advance) = mistakes.settle(id.zip(advance))?;
        let (time, advanced) = match ledger.advance_clock(&self.clock, &id, advance).await {
            Ok(done) => done,
            Err(AdvanceError::Ledger(error)) => return Err(error.into()),
            Err(AdvanceError::Sandbox(error)) => return Err(Refusal::internal(&error)),
            Err(error @ (AdvanceError::Back { .. } | AdvanceError::TooFar)) => {
                let mut mistakes = Mistakes::default();
                mistakes.add(Path::Root.field(field), error.to_string());
                return Err(mistakes.into());
            }
        };
        let by = access::principal();
        tracing::info!(time = %time, principal = by.as_ref().map_or("", PrincipalId::as_str), "the sandbox's clock is set");
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(v1::AdvanceClockResponse {
            time: Some(convert::timestamp(time)),
            members: count(advanced.members),
            entries: count(advanced.entries),
        })
    }
}
