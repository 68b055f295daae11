//! JSON Web Tokens of an OIDC issuer. What a token says is believed only after its signature, issuer, audience and times are; the issuer
//! that it names before that only picks whose keys and algorithms are asked.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{issuer_keys::IssuerKeys, principal::Principal};
use crate::grpc::status::Refusal;

/// Of a token, in bytes; the header lists of HTTP/2 are not much longer.
pub const MAX_BYTES: usize = 8_192;
/// After a refusal for keys that are being read.
const COME_BACK: std::time::Duration = std::time::Duration::from_secs(1);

type Claims = Map<String, Value>;

/// An issuer of the access file, and whom its tokens stand for.
pub struct Issuer {
    /// Compared letter by letter: with and without a slash at the end are two issuers.
    pub name: String,
    pub audience: String,
    pub algorithms: Vec<Algorithm>,
    pub leeway: SignedDuration,
    pub keys: Arc<IssuerKeys>,
    pub subjects: HashMap<String, Arc<Principal>>,
    /// By name and value.
    pub claims: HashMap<String, HashMap<String, Arc<Principal>>>,
}

/// A token that holds.
#[derive(Clone)]
pub struct Verified {
    pub principal: Arc<Principal>,
    /// From when on it does not; the leeway is in it.
    pub end: Timestamp,
    /// Before it, it does not yet.
    pub start: Timestamp,
}

pub fn verify(issuers: &HashMap<String, Issuer>, token: &str, now: Timestamp) -> Result<Verified, Refusal> {
    if token.len() > MAX_BYTES {
        return Err(Refusal::credential_invalid("it is longer than the 8,192 bytes that are read of a token"));
    }
    // Unknown algorithms, and `none`, are no headers that can be read.
    let header = decode_header(token).map_err(|_| {
        Refusal::credential_invalid("it is neither an API key, which begins with `ldk_`, nor a token signed with RS256, ES256 or EdDSA")
    })?;
    if header.crit.is_some() {
        return Err(Refusal::credential_invalid("its header has `crit`, and no extension is understood"));
    }
    let issuer = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(token).ok();
    let issuer = issuer.as_ref().and_then(|claims| claims.get("iss")?.as_str()).and_then(|name| issuers.get(name));
    let issuer = issuer.ok_or_else(|| Refusal::credential_invalid("its issuer is none of the access file's"))?;
    if !issuer.algorithms.contains(&header.alg) {
        return Err(Refusal::credential_invalid("it is signed with an algorithm that is not taken from its issuer"));
    }
    let claims = issuer.signed_claims(token, header.kid.as_deref(), header.alg)?;
    let verified = issuer.times(&claims)?;
    let principal = issuer.principal(&claims)?;
    let verified = Verified { principal, start: verified.0, end: verified.1 };
    verified.check(now)?;
    Ok(verified)
}

impl Verified {
    pub fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        if now >= self.end {
            Err(Refusal::credential_expired("token"))
        } else if now < self.start {
            Err(Refusal::credential_invalid("it is not valid yet, as its `nbf` says; are the clocks right?"))
        } else {
            Ok(())
        }
    }
}

impl Issuer {
    fn signed_claims(&self, token: &str, id: Option<&str>, algorithm: Algorithm) -> Result<Claims, Refusal> {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Judged below, by the clock of this service and to the second.
        validation.validate_exp = false;
        let set = self.keys.current();
        let keys = set.fitting(id, algorithm);
        if keys.is_empty() {
            return Err(if self.keys.want() {
                Refusal::issuer_keys_awaited(COME_BACK)
            } else {
                Refusal::credential_invalid("no key of its issuer is the one that it is signed with")
            });
        }
        // Keys that share an id are all the issuer's.
        let mut refusal = Refusal::credential_invalid("its signature is wrong");
        for key in keys {
            match decode::<Claims>(token, key, &validation) {
                Ok(verified) => return Ok(verified.claims),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::InvalidAudience => {
                        refusal = Refusal::credential_invalid("it is for another audience than the access file names for its issuer");
                    }
                    ErrorKind::MissingRequiredClaim(_) => refusal = Refusal::credential_invalid("it needs `exp`, `iss` and `aud`"),
                    _ => refusal = Refusal::credential_invalid("it cannot be read as a signed token"),
                },
            }
        }
        Err(refusal)
    }

    /// From when on and until when it holds.
    fn times(&self, claims: &Claims) -> Result<(Timestamp, Timestamp), Refusal> {
        let malformed = || Refusal::credential_invalid("its `exp` or `nbf` is no number of seconds");
        let end = claims.get("exp").and_then(instant).ok_or_else(malformed)?;
        let start = match claims.get("nbf") {
            None | Some(Value::Null) => Timestamp::MIN,
            Some(value) => {
                let start = instant(value).ok_or_else(malformed)?;
                start.saturating_sub(self.leeway).unwrap_or(Timestamp::MIN)
            }
        };
        Ok((start, end.saturating_add(self.leeway).unwrap_or(Timestamp::MAX)))
    }

    /// Its subject's, or else the one of all its claims that the access file names.
    fn principal(&self, claims: &Claims) -> Result<Arc<Principal>, Refusal> {
        if let Some(found) = claims.get("sub").and_then(Value::as_str).and_then(|subject| self.subjects.get(subject)) {
            return Ok(Arc::clone(found));
        }
        let mut found: Option<&Arc<Principal>> = None;
        for (name, values) in &self.claims {
            let said = claims.get(name).map_or(&[][..], |value| match value {
                Value::Array(items) => items,
                one => std::slice::from_ref(one),
            });
            for principal in said.iter().filter_map(Value::as_str).filter_map(|value| values.get(value)) {
                if found.is_some_and(|found| found.id != principal.id) {
                    return Err(Refusal::credential_invalid("its claims stand for more than one principal of the access file"));
                }
                found = Some(principal);
            }
        }
        found.map(Arc::clone).ok_or_else(|| {
            Refusal::credential_invalid("it is good, but no principal of the access file has its subject or a claim of it under `tokens`")
        })
    }
}

/// Seconds since 1970, whole or not.
fn instant(value: &Value) -> Option<Timestamp> {
    if let Some(seconds) = value.as_i64() {
        // Far away is as good as never.
        return Some(Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX }));
    }
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    Some(Timestamp::from_microsecond((seconds.min(1e11) * 1e6) as i64).unwrap_or(Timestamp::MAX))
}
