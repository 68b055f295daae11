//! Requests that are no message of their method, or are compressed. They are found before any of our code sees them, and answered there with
//! INTERNAL and nothing else, as if the service had failed, or with what the caller wrote; it is told instead what is wrong with the request. So
//! is who sends one that would take too much memory, or of which something would be left out.

use http::{HeaderMap, Response};
use tonic::{Code, Status, body::Body};

use super::Refusal;
use crate::contract::{
    Violation,
    codec::{TOO_HEAVY, UNKNOWN_FIELD},
};

/// How prost's words begin.
const UNDECODED: &str = "failed to decode Protobuf message: ";
/// How tonic's words begin; the name that the caller gives follows.
const COMPRESSED: &str = "Content is compressed with ";
const GRPC_STATUS: &str = "grpc-status";
/// How requests may be compressed.
const ACCEPTED: &str = "grpc-accept-encoding";
const UNIMPLEMENTED: &str = "12";
const INTERNAL: &str = "13";

/// The status that a caller gets in place of one that says that its request cannot be read; all others are as they were.
pub fn explained(status: Status) -> Status {
    explanation(&status).map_or(status, Status::from)
}

fn explanation(status: &Status) -> Option<Refusal> {
    if status.code() == Code::Unimplemented && status.message().starts_with(COMPRESSED) {
        return Some(Refusal::compressed());
    }
    if status.code() != Code::Internal {
        return None;
    }
    if status.message() == TOO_HEAVY {
        return Some(Refusal::too_many_elements());
    }
    if let Some(place) = status.message().strip_prefix(UNKNOWN_FIELD) {
        return Some(Refusal::unknown_field(place));
    }
    Some(Refusal::malformed(status.message().strip_prefix(UNDECODED)?))
}

/// The same of a whole answer. Only one that failed before it began says so in its headers.
pub fn explain(mut response: Response<Body>) -> Response<Body> {
    if let Some(headers) = explained_headers(response.headers()) {
        *response.headers_mut() = headers;
    }
    response
}

fn explained_headers(headers: &HeaderMap) -> Option<HeaderMap> {
    let code = headers.get(GRPC_STATUS)?;
    if code != INTERNAL && code != UNIMPLEMENTED {
        return None;
    }
    let refusal = explanation(&Status::from_header_map(headers)?)?;
    let mut explained = Status::from(refusal).into_http::<Body>().headers().clone();
    if let Some(accepted) = headers.get(ACCEPTED) {
        explained.insert(ACCEPTED, accepted.clone());
    }
    Some(explained)
}

impl Refusal {
    /// `why` names fields of the contract and no values.
    fn malformed(why: &str) -> Self {
        let message = format!(
            "the request is no message of this method ({why}): send what the contract says, which reflection shows, and make the client's \
             code from the contract of this version"
        );
        Self::new(Code::InvalidArgument, "MALFORMED_REQUEST", message)
    }

    /// Before it is decoded; how many there are of what is not known then.
    fn too_many_elements() -> Self {
        let message = "the lists of the request have so many elements, several times as many as may be in any request, that it is not read: \
                       send no more of each than the contract says, and what is more in several requests";
        Self::new(Code::InvalidArgument, "TOO_MANY_ELEMENTS", message)
    }

    /// A newer client's. `place` names fields of the contract, and the number of the one that is not known.
    fn unknown_field(place: &str) -> Self {
        let message = "has a number that no field of this version's contract has: what it says would be left out, so nothing is published; make \
                       the server a newer version, or leave the field out";
        let violation = Violation { path: place.to_owned(), message: message.to_owned() };
        Self::mistaken("UNKNOWN_FIELD", "a field is not known", vec![violation], 0)
    }

    /// By whatever is said to be a way to do so.
    fn compressed() -> Self {
        let message = "the request is compressed, which is not taken here: send its messages as they are";
        Self::new(Code::Unimplemented, "REQUEST_COMPRESSED", message)
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn a_request_that_cannot_be_read_is_the_callers_fault_and_nothing_else_is() {
        let undecoded = <() as prost::Message>::decode(&[7_u8][..]).expect_err("a wire type that there is not");
        let status = explained(Status::internal(undecoded.to_string()));
        assert_eq!(status.code(), Code::InvalidArgument, "{undecoded}");
        assert_eq!(status.get_details_error_info().map(|info| info.reason).as_deref(), Some("MALFORMED_REQUEST"));
        // Of one that is compressed the way is the caller's word, which is not repeated.
        let compressed = explained(Status::unimplemented("Content is compressed with `+84987654321` which isn't supported"));
        assert_eq!(compressed.get_details_error_info().map(|info| info.reason).as_deref(), Some("REQUEST_COMPRESSED"));
        assert!(compressed.code() == Code::Unimplemented && !compressed.message().contains("987"), "{compressed:?}");
        for other in [Status::unimplemented(""), Status::internal("the disk is gone"), Status::not_found(undecoded.to_string())] {
            assert_eq!(explained(other.clone()).code(), other.code());
        }
        let heavy = explained(Status::internal(TOO_HEAVY));
        assert_eq!(heavy.get_details_error_info().map(|info| info.reason).as_deref(), Some("TOO_MANY_ELEMENTS"));
        assert_eq!(heavy.code(), Code::InvalidArgument);
        let response = explain(Status::internal(undecoded.to_string()).into_http::<Body>());
        assert_eq!(Status::from_header_map(response.headers()).map(|status| status.code()), Some(Code::InvalidArgument));
    }
}
