//! Refusals for who calls: no credential or a bad one, a role or programme that is not theirs, too much.

use std::{fmt::Display, time::Duration};

use tonic::Code;

use super::Refusal;

pub const CREDENTIAL_MISSING: &str = "CREDENTIAL_MISSING";
pub const RATE_LIMITED: &str = "RATE_LIMITED";

impl Refusal {
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Nobody knows who calls; not for want of an issuer's keys.
    pub fn is_of_credential(&self) -> bool {
        self.code == Code::Unauthenticated
    }

    /// AdminService or SandboxService, called as browsers call.
    pub fn not_by_grpc_web() -> Self {
        let message = "AdminService and SandboxService are not answered over gRPC-Web, nor to what may be a browser: call them by gRPC over \
                       HTTP/2, as `loyaltyd` does";
        Self::new(Code::PermissionDenied, "NOT_BY_GRPC_WEB", message)
    }

    /// Health or reflection, which answer whoever asks.
    pub fn too_many_open_calls() -> Self {
        let message = "as many calls of this service are open as may be at a time, in all or from one address; try again after the delay \
                       that is given, or end those that are open";
        Self { retry_delay: Some(super::COME_BACK), ..Self::new(Code::ResourceExhausted, "TOO_MANY_OPEN_CALLS", message) }
    }

    /// As much is held of messages of requests as may be.
    pub fn request_memory_full() -> Self {
        let message = "messages of requests take as much memory as they may, in all or of this caller; try again after the delay that is given, \
                       send fewer large requests at a time, or start the service with a higher --request-memory-bytes";
        Self { retry_delay: Some(super::COME_BACK), ..Self::new(Code::ResourceExhausted, "REQUEST_MEMORY_FULL", message) }
    }

    /// The call came without a credential.
    pub fn credential_missing() -> Self {
        let message = "the call has no credential: send the metadata `authorization: Bearer <API key or token>`, or connect with a client \
                       certificate";
        Self::new(Code::Unauthenticated, CREDENTIAL_MISSING, message)
    }

    /// `why` says nothing of the credential itself, and nothing that a guess could be judged by.
    pub fn credential_invalid(why: &str) -> Self {
        Self::new(Code::Unauthenticated, "CREDENTIAL_INVALID", format!("the credential is not valid: {why}"))
    }

    pub fn credential_expired(what: &str) -> Self {
        Self::new(Code::Unauthenticated, "CREDENTIAL_EXPIRED", format!("the {what} has expired: call with a new one"))
    }

    /// A token may well be good, as soon as its issuer's keys are there.
    pub fn issuer_keys_awaited(delay: Duration) -> Self {
        let message = "the token is signed with a key that its issuer may have published just now: its keys are being read again; try again \
                       in a moment";
        Self { retry_delay: Some(delay), ..Self::new(Code::Unavailable, "ISSUER_KEYS_AWAITED", message) }
    }

    pub fn role_missing(method: &str, principal: &dyn Display, roles: String) -> Self {
        let message = format!("{principal} has no role that may call {method}: one of {roles} is needed");
        let metadata = vec![("method", method.to_owned()), ("principal_id", principal.to_string()), ("roles", roles)];
        Self { metadata, ..Self::new(Code::PermissionDenied, "ROLE_MISSING", message) }
    }

    /// `None`: it needs all programmes.
    pub fn program_not_allowed(principal: &dyn Display, program: Option<&str>) -> Self {
        let message = match program {
            Some(program) => format!("{principal} may not act in programme {program}: it is not among its `programs` in the access file"),
            None => format!("this is about all programmes: {principal} needs `programs: [\"*\"]` in the access file"),
        };
        let metadata = vec![("program_id", program.unwrap_or("*").to_owned()), ("principal_id", principal.to_string())];
        Self { metadata, ..Self::new(Code::PermissionDenied, super::PROGRAM_NOT_ALLOWED, message) }
    }

    pub fn adjustment_above_limit(principal: &dyn Display, limit: u64, requested: i64) -> Self {
        let message = format!("{principal} may adjust by at most {limit} points at a time, and {requested} are asked for");
        let metadata = vec![("limit", limit.to_string()), ("requested", requested.to_string()), ("principal_id", principal.to_string())];
        Self { metadata, ..Self::new(Code::PermissionDenied, "ADJUSTMENT_ABOVE_LIMIT", message) }
    }

    /// Callers who are not authenticated, all together.
    pub fn everybody_rate_limited(per_second: u32, delay: Duration) -> Self {
        let message = format!(
            "callers who are not authenticated call more often than {per_second} times a second, all together; try again after the delay that \
             is given, or start the service with a higher --requests-per-second"
        );
        let metadata = vec![("requests_per_second", per_second.to_string())];
        Self { metadata, retry_delay: Some(delay), ..Self::new(Code::ResourceExhausted, RATE_LIMITED, message) }
    }

    pub fn rate_limited(principal: &dyn Display, per_second: u32, delay: Duration) -> Self {
        let message = format!("{principal} calls more often than {per_second} times a second; try again after the delay that is given");
        let metadata = vec![("requests_per_second", per_second.to_string()), ("principal_id", principal.to_string())];
        Self { metadata, retry_delay: Some(delay), ..Self::new(Code::ResourceExhausted, RATE_LIMITED, message) }
    }

    /// As tonic says it of what no service has.
    pub fn unknown_method() -> Self {
        Self::new(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method here; the reflection service lists what there is")
    }
}
