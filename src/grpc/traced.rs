//! The trace of a call: one span of the server's, under the caller's span if it names one as W3C writes it. Who calls decides by its flag
//! whether the call is traced; of calls without one, a share of them is. Nothing personal is in a span, nor what a caller wrote, but for the
//! ids and the state of its trace.

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracer};
use tonic::Code;

use super::calls::Method;
use crate::ledger::Tracing;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// A state that is longer is left out; W3C asks for as many.
const MAX_STATE_BYTES: usize = 512;
/// Of the version that we know: two digits, 32, 16, and two, with dashes between them.
const PARENT_BYTES: usize = 55;

/// Begins the span of a call; `None`: it is not traced.
pub(super) fn begin(tracer: &SdkTracer, method: &'static Method, headers: &HeaderMap) -> Option<Context> {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Caller::new(headers));
    let builder = SpanBuilder::from_name(method.full_name.as_str()).with_kind(SpanKind::Server);
    let mut span = tracer.build_with_context(builder, &parent);
    if !span.is_recording() {
        return None;
    }
    span.set_attribute(KeyValue::new("rpc.system", "grpc"));
    span.set_attribute(KeyValue::new("rpc.service", method.service.as_str()));
    span.set_attribute(KeyValue::new("rpc.method", method.name.as_str()));
    Some(parent.with_span(span).with_value(Tracing(tracer.clone())))
}

/// The context of the call that is being answered, if it is traced.
pub(super) fn current() -> Option<Context> {
    Context::map_current(|call| call.get::<Tracing>().map(|_| call.clone()))
}

/// What became of the call, as far as its handler knows.
pub(super) fn note(call: &Context, program: &str, outcome: &'static str) {
    let span = call.span();
    if !program.is_empty() {
        span.set_attribute(KeyValue::new("loyaltyd.program", program.to_owned()));
    }
    span.set_attribute(KeyValue::new("loyaltyd.outcome", outcome));
}

pub(super) fn end(call: &Context, code: Code) {
    let span = call.span();
    span.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
    if is_ours(code) {
        span.set_status(Status::error(""));
    }
    span.end();
}

/// The server failed, as the conventions for traces of gRPC have it; others are the caller's.
fn is_ours(code: Code) -> bool {
    match code {
        Code::Unknown | Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// What a caller says of its trace. What is not as it has to be is as if it were not there.
struct Caller<'h> {
    headers: &'h HeaderMap,
    state: Option<String>,
}

impl<'h> Caller<'h> {
    fn new(headers: &'h HeaderMap) -> Self {
        Self { headers, state: state(headers) }
    }
}

impl Caller<'_> {
    /// Said twice is said wrong.
    fn parent(&self) -> Option<&str> {
        let mut values = self.headers.get_all(PARENT).iter();
        let value = values.next()?.to_str().ok()?;
        (values.next().is_none() && is_parent(value)).then_some(value)
    }
}

/// A list may come in several headers, which are one in their order.
fn state(headers: &HeaderMap) -> Option<String> {
    let mut state = String::new();
    for value in headers.get_all(STATE) {
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(value.to_str().ok()?);
        if state.len() > MAX_STATE_BYTES {
            return None;
        }
    }
    is_state(&state).then_some(state)
}

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            PARENT => self.parent(),
            STATE => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}

/// Names and values, as W3C has them; the library takes more than that.
fn is_state(text: &str) -> bool {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte));
    let is_value = |value: &str| value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    let is_member = |member: &str| {
        let parts = member.trim().split_once('=');
        parts.is_some_and(|(name, value)| !name.is_empty() && is_name(name) && !value.is_empty() && is_value(value))
    };
    text.len() <= MAX_STATE_BYTES && text.split(',').all(is_member)
}

/// Later versions may have more behind a dash.
fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let is_shaped = |(place, byte): (usize, &u8)| if matches!(place, 2 | 35 | 52) { *byte == b'-' } else { is_digit(byte) };
    bytes.len() >= PARENT_BYTES
        && bytes.iter().enumerate().take(PARENT_BYTES).all(is_shaped)
        && (bytes.len() == PARENT_BYTES || (!text.starts_with("00") && bytes[PARENT_BYTES] == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[(&'static str, &[u8])]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a header's value"));
        }
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Caller::new(&headers));
        let span = context.span();
        let parent = span.span_context();
        parent.is_valid().then(|| (parent.trace_id().to_string(), parent.trace_state().header()))
    }

    #[test]
    fn a_caller_is_believed_if_it_writes_as_w3c_does() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736".to_owned();
        assert_eq!(read(&[(PARENT, GOOD.as_bytes())]), Some((trace.clone(), String::new())));
        assert_eq!(read(&[(PARENT, GOOD.as_bytes()), (STATE, b"shop=1,till=2")]), Some((trace.clone(), "shop=1,till=2".to_owned())));
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(read(&[(PARENT, later.as_bytes())]), Some((trace, String::new())));
    }

    #[test]
    fn a_state_in_several_headers_is_one_list() {
        let kept = |states: &[&'static [u8]]| {
            let values: Vec<_> = [(PARENT, GOOD.as_bytes())].into_iter().chain(states.iter().map(|state| (STATE, *state))).collect();
            read(&values).expect("the parent is good").1
        };
        assert_eq!(kept(&[b"shop=1", b"till=2,desk=3"]), "shop=1,till=2,desk=3");
        // What is bounded and judged is the whole list.
        let long: &'static [u8] = format!("a={}", "x".repeat(254)).leak().as_bytes();
        let other: &'static [u8] = format!("b={}", "x".repeat(254)).leak().as_bytes();
        assert_eq!(kept(&[long]).len(), 256);
        assert_eq!(kept(&[long, other]), "");
        assert_eq!(kept(&[b"shop=1", b"="]), "");
        assert_eq!(kept(&[b"shop=1", b"\xff=1"]), "");
    }

    #[test]
    fn what_is_written_otherwise_is_as_if_it_were_not_there() {
        let zeros = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let no_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let long = "a".repeat(8_000);
        let more = format!("{GOOD}-more");
        let capitals = GOOD.to_uppercase();
        let signed = GOOD.replace("-01", "-+1");
        for bad in ["", "00", "-", "---", &zeros, &no_span, &long, &more, &capitals, &signed, &GOOD.replacen("00", "ff", 1), &GOOD[..54]] {
            assert_eq!(read(&[(PARENT, bad.as_bytes())]), None, "{bad}");
        }
        assert_eq!(read(&[(PARENT, GOOD.as_bytes()), (PARENT, GOOD.as_bytes())]), None, "said twice");
        assert_eq!(read(&[(PARENT, b"\xff\xfe")]), None);
        let states: [&[u8]; 4] = [&[b'a'; 600], b"=", b"a=1,,,=,", b"\xff=1"];
        for state in states {
            let (_, kept) = read(&[(PARENT, GOOD.as_bytes()), (STATE, state)]).expect("the parent is good");
            assert_eq!(kept, "", "{state:?}");
        }
    }
}
