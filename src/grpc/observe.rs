//! One span a request: method, programme, outcome, duration, and of many purchases how many were recorded and refused; nothing personal. A
//! stream is told of at its end. Where nobody listens it costs one comparison.

use std::{future::Future, time::Instant};

use tonic::{Response, Status};
use tracing::{Instrument, Level, Span, field::Empty};

use super::status::Refusal;
use crate::{
    contract::v1::{self, purchase_result::Result as Judged},
    domain::ProgramId,
};

/// A request that is being answered.
pub struct Observed(Option<Listening>);

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
    if !is_observed() {
        return Observed(None);
    }
    let span = tracing::debug_span!("request", method, program = Empty, recorded = Empty, refused = Empty);
    match ProgramId::new(program) {
        Ok(program) => span.record("program", program.as_str()),
        Err(_) if program.is_empty() => &span,
        // Whatever a caller wrote is not for the log.
        Err(_) => span.record("program", "invalid"),
    };
    Observed(Some(Listening { span, start: Instant::now() }))
}

impl Observed {
    pub async fn run<T>(self, work: impl Future<Output = Result<T, Refusal>>) -> Result<Response<T>, Status> {
        let result = match self.0 {
            None => work.await,
            Some(Listening { span, start }) => {
                let result = work.instrument(span.clone()).await;
                span.in_scope(|| report(result.as_ref().err().map(Refusal::reason), start));
                result
            }
        };
        Ok(Response::new(result?))
    }

    /// Of a stream: how it ended; `None` as the caller wished.
    pub fn ended(self, tally: Tally, reason: Option<&'static str>) {
        if let Some(Listening { span, start }) = self.0 {
            span.in_scope(|| {
                tally.note();
                report(reason, start);
            });
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

fn report(reason: Option<&'static str>, start: Instant) {
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    match reason {
        None => tracing::debug!(outcome = "OK", micros, "answered"),
        Some(reason) => tracing::debug!(outcome = reason, micros, "refused"),
    }
}
