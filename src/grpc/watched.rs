//! Watches calls from the outside of all services, where each of them passes, also those that `access` refuses: counts them, and begins and ends their traces. Where nobody asked
//! for that it costs a comparison.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use opentelemetry::Context;
use opentelemetry_sdk::trace::SdkTracer;
use tonic::{Code, body::Body, codegen::BoxFuture};

use super::{
    Gate,
    calls::{Call, Calls, Place},
    front::Deadline,
    observe::{is_observed, with_gate},
    request_memory::Held,
    status::explain,
    traced,
};

/// Who watches. By default nobody.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    pub calls: Option<Arc<Calls>>,
    pub tracer: Option<SdkTracer>,
}

impl Watch {
    /// `None`: nobody wants to know of it.
    pub(super) fn begin(&self, request: &Request<Body>) -> Option<Watching> {
        if self.calls.is_none() && self.tracer.is_none() {
            return None;
        }
        let place = Place::of(request.uri().path());
        let deadline = request.extensions().get::<Deadline>().copied();
        let call = self.calls.as_ref().map(|calls| calls.begin(place, deadline));
        Some(Watching { place, call, trace: None })
    }

    /// Traces a call of somebody who is let in: who is not could fill the queue of spans.
    pub(super) fn trace(&self, watching: &mut Option<Watching>, request: &Request<Body>) {
        if let (Some(watching), Some(tracer)) = (watching, &self.tracer) {
            watching.trace = traced::begin(tracer, watching.place.method(), request.headers());
        }
    }
}

/// A call that is watched, until it has ended or is dropped.
pub(super) struct Watching {
    place: Place,
    call: Option<Call>,
    trace: Option<Context>,
}

impl Watching {
    /// An answer with its code is at its end, and so is one without a stream, whose code can only be that all is well.
    fn answered(mut self, response: Response<Body>) -> Response<Body> {
        match code_of(response.headers()) {
            Some(code) => self.end(code),
            None if !self.place.answers_stream() => self.end(Code::Ok),
            None => {
                if let Some(call) = &mut self.call {
                    call.answer_began();
                }
                return response.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        if let Some(code) = frame.trailers_ref().and_then(code_of) {
                            self.end(code);
                        }
                        frame
                    }))
                });
            }
        }
        response
    }

    fn end(&mut self, code: Code) {
        if let Some(mut call) = self.call.take() {
            call.end(code);
        }
        if let Some(trace) = self.trace.take() {
            traced::end(&trace, code);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // The call itself is counted when it is dropped.
        if let Some(trace) = self.trace.take() {
            traced::end(&trace, self.call.as_ref().map_or(Code::Cancelled, Call::code_if_dropped));
        }
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// The answer to a call, watched or not.
pub struct Watched {
    answer: BoxFuture<Response<Body>, Infallible>,
    watching: Option<Watching>,
    /// If a log or a trace tells of the call.
    gate: Option<Arc<Gate>>,
    /// What the request has in memory, until it is answered.
    _held: Option<Arc<Held>>,
}

impl Watched {
    pub(super) fn new(answer: BoxFuture<Response<Body>, Infallible>, watching: Option<Watching>, gate: &Arc<Gate>) -> Self {
        let is_traced = watching.as_ref().is_some_and(|watching| watching.trace.is_some());
        let gate = (is_traced || is_observed()).then(|| Arc::clone(gate));
        Self { answer, watching, gate, _held: None }
    }

    /// The answer to a request that is counted.
    pub(super) fn holding(self, held: Option<Arc<Held>>) -> Self {
        Self { _held: held, ..self }
    }
}

impl Future for Watched {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let Self { answer, watching, gate, _held: _ } = &mut *self;
        // Whoever works for a call that is traced finds its trace here.
        let trace = watching.as_ref().and_then(|watching| watching.trace.clone());
        let _attached = trace.map(Context::attach);
        let polled = match gate {
            Some(gate) => with_gate(gate, || answer.as_mut().poll(cx)),
            None => answer.as_mut().poll(cx),
        };
        let Ok(response) = ready!(polled);
        // With words for a request that is no message.
        let response = explain(response);
        Poll::Ready(Ok(match watching.take() {
            Some(watching) => watching.answered(response),
            None => response,
        }))
    }
}
