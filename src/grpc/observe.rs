//! One span a request: method, programme, outcome and duration, nothing personal. Where nobody listens it costs one comparison.

use std::{future::Future, time::Instant};

use tonic::{Response, Status};
use tracing::{Instrument, Level, Span};

use super::status::Refusal;

/// A request that is being answered.
pub struct Observed(Option<Listening>);

struct Listening {
    span: Span,
    start: Instant,
}

/// Texts of callers are cut at this many bytes.
const MAX_TEXT: usize = 64;

pub fn observe(method: &'static str, program: &str) -> Observed {
    if !tracing::enabled!(Level::DEBUG) {
        return Observed(None);
    }
    let program = &program[..program.floor_char_boundary(MAX_TEXT)];
    let span = tracing::debug_span!("request", method, program = ?program);
    Observed(Some(Listening { span, start: Instant::now() }))
}

impl Observed {
    pub async fn run<T>(self, work: impl Future<Output = Result<T, Refusal>>) -> Result<Response<T>, Status> {
        let result = match self.0 {
            None => work.await,
            Some(Listening { span, start }) => {
                let result = work.instrument(span.clone()).await;
                span.in_scope(|| report(result.as_ref().err(), start));
                result
            }
        };
        Ok(Response::new(result?))
    }
}

fn report(refusal: Option<&Refusal>, start: Instant) {
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    match refusal {
        None => tracing::debug!(outcome = "OK", micros, "answered"),
        Some(refusal) => tracing::debug!(outcome = refusal.reason(), micros, "refused"),
    }
}
