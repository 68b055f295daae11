//! One span a request: method, programme, outcome, duration, and of many purchases how many were recorded and refused; nothing personal. A
//! stream is told of at its end. The trace of the call, if it has one, is told its programme and outcome. Where nobody listens it costs two
//! comparisons.

use std::{future::Future, sync::Arc, time::Instant};

use opentelemetry::{Context, trace::TraceContextExt as _};
use tonic::{Response, Status};
use tracing::{Instrument, Level, Span, field::Empty};

use super::{Gate, access, status::Refusal, traced};
use crate::{
    contract::v1::{self, purchase_result::Result as Judged},
    domain::ProgramId,
};

/// The outcome of what is not refused.
const OK: &str = "OK";

/// A request that is being answered.
pub struct Observed {
    named: Named,
    listening: Option<Listening>,
    traced: Option<Context>,
}

/// The programme of a request, as it names it.
enum Named {
    Nothing,
    /// What cannot be one.
    NoProgram,
    /// What can be one, and who knows those that there are.
    Program(ProgramId, Option<Arc<Gate>>),
}

tokio::task_local! {
    /// Behind which is the ledger.
    static GATE: Arc<Gate>;
}

/// Goes on with a call that is told of in a log or a trace.
pub fn with_gate<T>(gate: &Arc<Gate>, work: impl FnOnce() -> T) -> T {
    GATE.sync_scope(Arc::clone(gate), work)
}

struct Listening {
    span: Span,
    start: Instant,
}

/// What became of many purchases.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    recorded: u64,
    refused: u64,
}

/// Somebody listens.
pub fn is_observed() -> bool {
    tracing::enabled!(Level::DEBUG)
}

/// The programme is the one that the request names; empty if the method knows none.
pub fn observe(method: &'static str, program: &str) -> Observed {
    let traced = traced::current();
    let is_logged = is_observed();
    if traced.is_none() && !is_logged {
        return Observed { named: Named::Nothing, listening: None, traced: None };
    }
    let named = Named::of(program);
    let listening = is_logged.then(|| {
        let span = tracing::debug_span!(
            "request",
            method,
            program = Empty,
            principal = Empty,
            recorded = Empty,
            refused = Empty,
            trace_id = Empty
        );
        if let Some(principal) = access::principal() {
            span.record("principal", principal.as_str());
        }
        if let Some(call) = &traced {
            span.record("trace_id", tracing::field::display(call.span().span_context().trace_id()));
        }
        Listening { span, start: Instant::now() }
    });
    Observed { named, listening, traced }
}

impl Observed {
    pub async fn run<T>(self, work: impl Future<Output = Result<T, Refusal>>) -> Result<Response<T>, Status> {
        let Self { named, listening, traced } = self;
        let result = match listening {
            None => work.await,
            Some(listening) => {
                let result = work.instrument(listening.span.clone()).await;
                let reason = result.as_ref().err().map(Refusal::reason);
                listening.report(named.shown(), reason, None);
                result
            }
        };
        if let Some(call) = traced {
            let reason = result.as_ref().err().map(Refusal::reason);
            traced::note(&call, named.shown(), reason.unwrap_or(OK));
        }
        Ok(Response::new(result?))
    }

    /// Of a stream: how it ended; `None` as the caller wished.
    pub fn ended(self, tally: Tally, reason: Option<&'static str>) {
        if let Some(listening) = self.listening {
            listening.report(self.named.shown(), reason, Some(tally));
        }
        if let Some(call) = self.traced {
            traced::note(&call, self.named.shown(), reason.unwrap_or(OK));
        }
    }
}

impl Tally {
    pub fn add(&mut self, result: &v1::PurchaseResult) {
        match result.result {
            Some(Judged::Recorded(_)) => self.recorded += 1,
            Some(Judged::Error(_)) | None => self.refused += 1,
        }
    }

    /// Adds it to the span of the request that is being answered.
    pub fn note(self) {
        Span::current().record("recorded", self.recorded).record("refused", self.refused);
    }
}

impl Named {
    fn of(program: &str) -> Self {
        match ProgramId::new(program) {
            Ok(program) => Self::Program(program, GATE.try_with(Arc::clone).ok()),
            Err(_) if program.is_empty() => Self::Nothing,
            Err(_) => Self::NoProgram,
        }
    }

    /// Whatever a caller wrote is not for logs and traces: also what has the form of an id can be a name or a number that came into the wrong
    /// field. So it is shown if there is such a programme.
    fn shown(&self) -> &str {
        match self {
            Self::Nothing => "",
            Self::NoProgram => "invalid",
            Self::Program(program, gate) => {
                let ledger = gate.as_ref().and_then(|gate| gate.opened());
                if ledger.is_some_and(|ledger| ledger.has_program(program)) { program.as_str() } else { "unknown" }
            }
        }
    }
}

impl Listening {
    fn report(self, program: &str, reason: Option<&'static str>, tally: Option<Tally>) {
        let Self { span, start } = self;
        if !program.is_empty() {
            span.record("program", program);
        }
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        span.in_scope(|| {
            if let Some(tally) = tally {
                tally.note();
            }
            match reason {
                None => tracing::debug!(outcome = OK, micros, "answered"),
                Some(reason) => tracing::debug!(outcome = reason, micros, "refused"),
            }
        });
    }
}
