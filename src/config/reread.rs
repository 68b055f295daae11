//! Files that are taken anew when somebody changes them: certificates and credentials are replaced without a restart.

use std::{path::PathBuf, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

/// How often files are looked at. A rotation has minutes; who is locked out waits no longer than this.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What is read of a file to see whether it changed; nothing that is reread may be larger.
pub const MAX_BYTES: u64 = 4 << 20;

/// Calls `changed` whenever the content of one of the files is another than it was, or can be read again; for as long as it is polled.
/// Contents are compared and not times, for a mounted secret changes by a link that points elsewhere. It looks for the first time before it
/// returns: who reads the files after that misses nothing. A content counts when two looks in a row find it: one that is written in place is not
/// taken half.
pub fn whenever_changed(paths: Vec<PathBuf>, every: Duration, mut changed: impl FnMut()) -> impl Future<Output = ()> {
    let mut seen = Seen { known: look(&paths), changing: None };
    async move {
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if seen.settles(contents(&paths).await) {
                changed();
            }
        }
    }
}

/// Of each file what tells its content; `None` where it cannot be read just now.
type Contents = Vec<Option<blake3::Hash>>;

struct Seen {
    known: Contents,
    /// Another one that the last look found.
    changing: Option<Contents>,
}

impl Seen {
    /// The content is another one than it was, and stays so.
    fn settles(&mut self, now: Contents) -> bool {
        if now == self.known {
            self.changing = None;
        } else if self.changing.as_ref() == Some(&now) {
            (self.known, self.changing) = (now, None);
            return true;
        } else {
            self.changing = Some(now);
        }
        false
    }
}

fn look(paths: &[PathBuf]) -> Contents {
    paths.iter().map(|path| super::read_bounded(path, MAX_BYTES).ok().map(|bytes| blake3::hash(&bytes))).collect()
}

async fn contents(paths: &[PathBuf]) -> Contents {
    let paths = paths.to_vec();
    // It is cut short only when the runtime ends.
    tokio::task::spawn_blocking(move || look(&paths)).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_written_is_not_taken() {
        let content = |text: &str| vec![Some(blake3::hash(text.as_bytes()))];
        let mut seen = Seen { known: content("old"), changing: None };
        for (now, settles) in [
            ("old", false),
            ("ne", false),
            ("new", false),
            ("new", true),
            ("new", false),
            ("old", false),
            ("new", false),
            ("old", false),
            ("old", true),
        ] {
            assert_eq!(seen.settles(content(now)), settles, "{now}");
        }
        assert!(!seen.settles(vec![None]) && seen.settles(vec![None]), "a file that is gone is a change too");
    }
}
