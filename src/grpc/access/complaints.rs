//! Lines in the log about calls that were refused: who called what from where, and why it was refused; never with what, nor what the caller
//! wrote. Strangers have lines of their own, so that a flood of theirs hides nothing of those who are known, and so has who calls too often.
//! Who shows nothing and asks only which server it is, is a probe as a rule, and nobody to be warned of.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{DefaultDirectRateLimiter, Quota};
use tracing::field::display;

use crate::{
    domain::PrincipalId,
    grpc::status::{CREDENTIAL_MISSING, PROGRAM_NOT_ALLOWED, RATE_LIMITED, Refusal},
};

/// Of each kind: a flood of them is not to fill the disk.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("it is not 0");

/// What `loyaltyd status` asks after health, also where it has no credential and health is open: every few seconds, from each probe.
const ASKED_BY_PROBES: &str = "loyalty.v1.ServerService/GetServerInfo";

pub struct Complaints {
    probes: Lines,
    strangers: Lines,
    known: Lines,
    rates: Lines,
}

struct Lines {
    limiter: DefaultDirectRateLimiter,
    /// Those that were left out.
    unsaid: AtomicU64,
}

/// The call that was refused.
pub struct Refused<'c> {
    /// `None`: a stranger.
    pub principal: Option<&'c PrincipalId>,
    /// As the contract names it.
    pub method: &'static str,
    pub from: Option<SocketAddr>,
}

impl Default for Complaints {
    fn default() -> Self {
        Self { probes: Lines::new(), strangers: Lines::new(), known: Lines::new(), rates: Lines::new() }
    }
}

impl Lines {
    fn new() -> Self {
        Self { limiter: DefaultDirectRateLimiter::direct(Quota::per_second(LINES_PER_SECOND)), unsaid: AtomicU64::new(0) }
    }

    /// How many were left out before this one; `None`: it is one of them.
    fn next(&self) -> Option<u64> {
        if self.limiter.check().is_ok() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Complaints {
    pub fn say(&self, refusal: &Refusal, call: &Refused<'_>) {
        let reason = refusal.reason();
        let is_probe = call.principal.is_none() && reason == CREDENTIAL_MISSING && call.method == ASKED_BY_PROBES;
        let lines = match call.principal {
            None if is_probe => &self.probes,
            Some(_) | None if reason == RATE_LIMITED => &self.rates,
            None => &self.strangers,
            Some(_) => &self.known,
        };
        let Some(unsaid) = lines.next() else { return };
        // Anything can stand where the id of a programme is to be.
        let why = if reason == PROGRAM_NOT_ALLOWED { "the programme is not among the principal's" } else { refusal.message() };
        let (principal, from) = (call.principal.map(display), call.from.map(|from| display(from.ip())));
        if is_probe {
            tracing::debug!(reason, method = call.method, from, unsaid, "a probe without a credential was refused: {why}");
        } else {
            tracing::warn!(reason, principal, method = call.method, from, unsaid, "a caller was refused: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn strangers_and_the_hasty_leave_lines_to_those_who_are_known() {
        let complaints = Complaints::default();
        let id = PrincipalId::new("tills").expect("an id");
        let (stranger, known) =
            (Refused { principal: None, method: "", from: None }, Refused { principal: Some(&id), method: "", from: None });
        (0..1_000).for_each(|_| complaints.say(&Refusal::credential_missing(), &stranger));
        (0..1_000).for_each(|_| complaints.say(&Refusal::rate_limited(&id, 1, std::time::Duration::ZERO), &known));
        assert!(complaints.strangers.unsaid.load(Ordering::Relaxed) > 900 && complaints.rates.unsaid.load(Ordering::Relaxed) > 900);
        assert_eq!(complaints.known.next(), Some(0));
    }

    /// What the log gets.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody failed with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is said from a level on.
    fn logged(from: tracing::Level, said: impl FnOnce(&Complaints)) -> String {
        let log = Log::default();
        let to = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(from).without_time().with_ansi(false).with_writer(move || to.clone()).finish();
        tracing::subscriber::with_default(subscriber, || said(&Complaints::default()));
        String::from_utf8(log.0.lock().expect("nobody failed with it").clone()).expect("text")
    }

    #[test]
    fn a_probe_that_shows_nothing_leaves_no_warning_and_hides_no_stranger() {
        let probe = Refused { principal: None, method: ASKED_BY_PROBES, from: None };
        let stranger = Refused { method: "loyalty.v1.MemberService/GetMember", ..probe };
        let say = |complaints: &Complaints| {
            (0..1_000).for_each(|_| complaints.say(&Refusal::credential_missing(), &probe));
            complaints.say(&Refusal::credential_invalid("there is no such API key"), &probe);
            complaints.say(&Refusal::credential_missing(), &stranger);
        };
        let text = logged(tracing::Level::INFO, say);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("CREDENTIAL_INVALID") && lines[1].contains("MemberService/GetMember"), "{text}");
        assert!(lines.iter().all(|line| line.contains("WARN") && line.contains("unsaid=0")), "{text}");
        assert!(logged(tracing::Level::DEBUG, say).contains("a probe without a credential was refused"));
    }

    #[test]
    fn a_line_says_who_called_what_from_where_and_nothing_that_the_caller_wrote() {
        let (id, from) = (PrincipalId::new("tills").expect("an id"), "192.0.2.7:4711".parse().ok());
        let call = Refused { principal: Some(&id), method: "loyalty.v1.MemberService/GetMember", from };
        let text = logged(tracing::Level::INFO, |complaints| {
            complaints.say(&Refusal::program_not_allowed(&id, Some("0901234567")), &call);
            complaints.say(&Refusal::adjustment_above_limit(&id, 500, 501), &call);
            complaints.say(&Refusal::rate_limited(&id, 3, std::time::Duration::ZERO), &call);
            complaints.say(&Refusal::credential_missing(), &Refused { principal: None, ..call });
        });
        let lines: Vec<&str> = text.lines().collect();
        let reasons = ["PROGRAM_NOT_ALLOWED", "ADJUSTMENT_ABOVE_LIMIT", "RATE_LIMITED", "CREDENTIAL_MISSING"];
        assert_eq!(lines.len(), reasons.len(), "{text}");
        for (line, reason) in lines.iter().zip(reasons) {
            for said in [reason, "loyalty.v1.MemberService/GetMember", "192.0.2.7"] {
                assert!(line.contains(said), "{said}: {line}");
            }
            assert_eq!(line.contains("tills"), reason != "CREDENTIAL_MISSING", "{line}");
        }
        assert!(!text.contains("0901234567") && !text.contains("4711"), "{text}");
    }
}
