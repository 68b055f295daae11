//! A clock that is set forward on purpose, so that a year passes in a minute. The file `SANDBOX` in the data folder makes a folder a
//! sandbox and says how far the clock is ahead: entries of the future are in its ledger, so that the clock must not go back with a restart,
//! and such a folder must never be served as a real one, nor a real one as a sandbox.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};

use super::{Advanced, Clock, Ledger, LedgerError};
use crate::domain::{Fingerprint, Rejection, Request, RequestId};

/// In the data folder.
const MARK: &str = "SANDBOX";

/// What a new volume has of its own, and what a start leaves that was killed while it wrote the mark.
const NOTHING: [&str; 2] = ["lost+found", "SANDBOX.new"];

/// How far the clock may be set forward at a time.
pub const MAX_ADVANCE: SignedDuration = SignedDuration::from_hours(3_660 * 24);

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("{} was not made with --sandbox: a sandbox's clock would falsify what is in it. Give --sandbox another folder", .0.display())]
    NotASandbox(PathBuf),
    #[error("{} was made with --sandbox, and its ledger may be ahead of the time: serve it with --sandbox, or take another folder", .0.display())]
    IsASandbox(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not the file of a sandbox: restore it, or make another sandbox", .0.display())]
    Malformed(PathBuf),
}

/// How the clock is to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    By(SignedDuration),
    To(Timestamp),
}

/// Why the clock was not set.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    #[error("lies before {now}, which is what the clock says, and it never goes back")]
    Back { now: Timestamp },
    #[error("is more than 3,660 days ahead; go there in several steps")]
    TooFar,
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Another clock, and so much later.
pub struct SandboxClock {
    base: Arc<dyn Clock>,
    /// Microseconds.
    ahead: AtomicI64,
    path: PathBuf,
    /// The request that set it last, and to what time. Held while it is set.
    last: Mutex<Option<(Request, Timestamp)>>,
}

impl Clock for SandboxClock {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_micros(self.ahead.load(Ordering::SeqCst));
        self.base.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

/// A folder whose clock is the real one must not be a sandbox.
pub fn refuse_sandbox(folder: &Path) -> Result<(), SandboxError> {
    if folder.join(MARK).exists() { Err(SandboxError::IsASandbox(folder.to_owned())) } else { Ok(()) }
}

impl SandboxClock {
    /// Of a folder that was made as a sandbox; one that is missing or empty becomes one.
    pub fn open(base: Arc<dyn Clock>, folder: &Path) -> Result<Self, SandboxError> {
        let path = folder.join(MARK);
        let (ahead, last) = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).ok_or_else(|| SandboxError::Malformed(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_new = match fs::read_dir(folder) {
                    Ok(items) => items.filter_map(Result::ok).all(|item| NOTHING.iter().any(|name| item.file_name() == *name)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                    Err(source) => return Err(SandboxError::Io { path: folder.to_owned(), source }),
                };
                if !is_new {
                    return Err(SandboxError::NotASandbox(folder.to_owned()));
                }
                write(folder, &path, 0, None)?;
                (0, None)
            }
            Err(source) => return Err(SandboxError::Io { path, source }),
        };
        Ok(Self { base, ahead: AtomicI64::new(ahead), path, last: Mutex::new(last) })
    }

    /// To what time it was set; the same again for the request that set it last.
    fn advance(&self, request: &Request, advance: Advance) -> Result<Timestamp, AdvanceError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, time)) = last.as_ref().filter(|(before, _)| before.id == request.id) {
            let is_same = before.fingerprint == request.fingerprint;
            return if is_same { Ok(*time) } else { Err(LedgerError::from(Rejection::RequestIdReused).into()) };
        }
        let now = self.now();
        let step = match advance {
            Advance::By(step) => step,
            Advance::To(time) => time.duration_since(now),
        };
        if step < SignedDuration::ZERO {
            return Err(AdvanceError::Back { now });
        }
        if step > MAX_ADVANCE {
            return Err(AdvanceError::TooFar);
        }
        let time = now.checked_add(step).map_err(|_| AdvanceError::TooFar)?;
        let micros = i64::try_from(step.as_micros()).map_err(|_| AdvanceError::TooFar)?;
        let ahead = self.ahead.load(Ordering::SeqCst).checked_add(micros).ok_or(AdvanceError::TooFar)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Durable before it is the time: entries of that time must not be there without it.
        write(folder, &self.path, ahead, Some((request, time)))?;
        self.ahead.store(ahead, Ordering::SeqCst);
        *last = Some((request.clone(), time));
        Ok(time)
    }
}

impl Ledger {
    /// Sets the clock forward and enters all that is due by then, and what rule books bring that took effect meanwhile.
    pub async fn advance_clock(
        &self,
        clock: &SandboxClock,
        request: &Request,
        advance: Advance,
    ) -> Result<(Timestamp, Advanced), AdvanceError> {
        let time = clock.advance(request, advance)?;
        let mut sum = self.enter_all_due().await?;
        while let Some(planned) = self.plan_some().await? {
            let planned = planned.advanced;
            // All members are looked at for it. What it brings can be due by now.
            sum += Advanced { members: planned.entered, ..planned };
            sum += self.enter_all_due().await?;
        }
        Ok((time, sum))
    }

    async fn enter_all_due(&self) -> Result<Advanced, LedgerError> {
        let mut sum = Advanced::default();
        loop {
            let step = self.step().await?;
            sum += step.advanced;
            // What is due and does not come off is told in the log by the schedule, which tries again.
            if step.advanced.members == 0 || step.is_stuck() {
                return Ok(sum);
            }
        }
    }
}

/// Microseconds ahead on the first line; on the second, if it was ever set, the time it was set to in microseconds, and the request's
/// fingerprint and id.
fn parse(text: &str) -> Option<(i64, Option<(Request, Timestamp)>)> {
    let mut lines = text.lines();
    let ahead = lines.next()?.parse().ok().filter(|ahead| *ahead >= 0)?;
    let Some(line) = lines.next() else { return Some((ahead, None)) };
    let (time, request) = line.split_once(' ')?;
    let (fingerprint, id) = request.split_once(' ')?;
    let time = Timestamp::from_microsecond(time.parse().ok()?).ok()?;
    let fingerprint = Fingerprint(u128::from_str_radix(fingerprint, 16).ok()?.to_be_bytes());
    Some((ahead, Some((Request { id: RequestId::new(id).ok()?, fingerprint }, time))))
}

fn write(folder: &Path, path: &Path, ahead: i64, last: Option<(&Request, Timestamp)>) -> Result<(), SandboxError> {
    let line = |(Request { id, fingerprint }, time): (&Request, Timestamp)| {
        format!("{} {:032x} {id}\n", time.as_microsecond(), u128::from_be_bytes(fingerprint.0))
    };
    let last = last.map_or_else(String::new, line);
    let unfinished = path.with_extension("new");
    let written = || {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&unfinished)?;
        file.write_all(format!("{ahead}\n{last}").as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|source| SandboxError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ManualClock;

    fn id(id: &str) -> Request {
        Request { id: RequestId::new(id).expect("an id"), fingerprint: Fingerprint([7; 16]) }
    }

    fn hours(hours: i64) -> Advance {
        Advance::By(SignedDuration::from_hours(hours))
    }

    #[test]
    fn the_clock_goes_forward_once_for_a_request_and_not_back_with_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = Arc::new(ManualClock::new("2026-03-01T00:00:00Z".parse().expect("an instant")));
        let open = || SandboxClock::open(Arc::clone(&base) as Arc<dyn Clock>, folder.path()).expect("a sandbox");
        let time = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let clock = open();
        assert_eq!(clock.now(), base.now());
        assert_eq!(clock.advance(&id("a"), hours(24)).expect("forward"), time("2026-03-02T00:00:00Z"));
        assert_eq!(clock.advance(&id("a"), hours(24)).expect("again"), time("2026-03-02T00:00:00Z"));
        let other = Request { fingerprint: Fingerprint([8; 16]), ..id("a") };
        let reused = clock.advance(&other, hours(25));
        assert!(matches!(reused, Err(AdvanceError::Ledger(LedgerError::Rejected(Rejection::RequestIdReused)))), "{reused:?}");
        base.set(time("2026-03-01T01:00:00Z"));
        assert_eq!(clock.now(), time("2026-03-02T01:00:00Z"));
        let back = clock.advance(&id("b"), Advance::To(time("2026-03-02T00:59:00Z")));
        assert!(matches!(back, Err(AdvanceError::Back { .. })), "{back:?}");
        assert!(matches!(clock.advance(&id("b"), hours(3_660 * 24 + 1)), Err(AdvanceError::TooFar)));
        drop(clock);
        let clock = open();
        assert_eq!(clock.now(), time("2026-03-02T01:00:00Z"));
        assert_eq!(clock.advance(&id("a"), hours(24)).expect("again"), time("2026-03-02T00:00:00Z"));
        assert_eq!(clock.advance(&id("b"), Advance::To(time("2027-01-01T00:00:00Z"))).expect("forward"), time("2027-01-01T00:00:00Z"));
        assert_eq!(clock.now(), time("2027-01-01T00:00:00Z"));
        assert!(matches!(refuse_sandbox(folder.path()), Err(SandboxError::IsASandbox(_))));
    }

    #[test]
    fn a_folder_with_something_in_it_does_not_become_a_sandbox() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("LOCK"), "").expect("a file");
        let base: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        assert!(matches!(SandboxClock::open(Arc::clone(&base), folder.path()), Err(SandboxError::NotASandbox(_))));
        fs::remove_file(folder.path().join("LOCK")).expect("it goes");
        fs::write(folder.path().join("SANDBOX.new"), "0").expect("a start that was killed leaves it");
        assert!(SandboxClock::open(Arc::clone(&base), folder.path()).is_ok());
        fs::write(folder.path().join(MARK), "soon\n").expect("a file");
        assert!(matches!(SandboxClock::open(base, folder.path()), Err(SandboxError::Malformed(_))));
    }
}
