//! The way of one command through the queue and the writer, for the trace of its call. Only of calls that are traced: of all others nothing
//! is kept.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use opentelemetry::{
    Context,
    trace::{Span as _, SpanBuilder, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;

/// In the context of a call that is traced: what makes spans.
#[derive(Debug, Clone)]
pub struct Tracing(pub SdkTracer);

#[derive(Debug)]
pub(super) struct Journey {
    call: Context,
    sent: SystemTime,
    reached: Mutex<Reached>,
}

/// When the command came where. One that finds no room in a commit is decided again for the next.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    taken: Option<SystemTime>,
    decided: Option<SystemTime>,
    committed: Option<SystemTime>,
}

impl Journey {
    /// `None`: the call is not traced.
    pub fn begin() -> Option<Arc<Self>> {
        let call = Context::map_current(|call| call.get::<Tracing>().map(|_| call.clone()))?;
        Some(Arc::new(Self { call, sent: SystemTime::now(), reached: Mutex::default() }))
    }

    pub fn is_taken(&self) {
        self.reach(|reached, now| reached.taken = Some(now));
    }

    pub fn is_decided(&self) {
        self.reach(|reached, now| reached.decided = Some(now));
    }

    pub fn is_committed(&self) {
        self.reach(|reached, now| reached.committed = Some(now));
    }

    fn reach(&self, note: impl FnOnce(&mut Reached, SystemTime)) {
        note(&mut self.reached.lock().unwrap_or_else(PoisonError::into_inner), SystemTime::now());
    }

    /// Tells of it: a span for each part of the way.
    pub fn end(&self) {
        let Some(Tracing(tracer)) = self.call.get() else { return };
        let Reached { taken, decided, committed } = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = [("queue", Some(self.sent), taken), ("decide", taken, decided), ("commit", decided, committed)];
        for (name, from, to) in parts {
            if let Some((from, to)) = from.zip(to) {
                let part = SpanBuilder::from_name(name).with_start_time(from);
                tracer.build_with_context(part, &self.call).end_with_timestamp(to);
            }
        }
    }
}
