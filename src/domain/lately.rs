//! What a member did lately: when it last bought through each channel, and when it last did each activity. That is enough to say of any number
//! of days whether it did so in them, and does not grow with what it does.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Channels that are kept, and activities, at most. Of more those are let go that are longest ago.
pub const MAX_LATELY: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatelyKind {
    /// Of a purchase.
    Channel,
    /// That the member did itself; not what another one did whom it had referred.
    Activity,
}

/// When each was last, by when it occurred.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lately(BTreeMap<(LatelyKind, Box<str>), Timestamp>);

impl Lately {
    pub fn iter(&self) -> impl Iterator<Item = (LatelyKind, &str, Timestamp)> {
        self.0.iter().map(|((kind, id), time)| (*kind, &**id, *time))
    }

    /// When one was last, if that is kept.
    pub fn last(&self, kind: LatelyKind, id: &str) -> Option<Timestamp> {
        self.iter().find(|(own_kind, own, _)| *own_kind == kind && *own == id).map(|(.., time)| time)
    }

    /// It occurred at an instant, which may be before others.
    pub fn note(&mut self, kind: LatelyKind, id: &str, time: Timestamp) {
        if id.is_empty() {
            return;
        }
        let latest = self.0.entry((kind, id.into())).or_insert(time);
        *latest = time.max(*latest);
        let of_kind = || self.0.iter().filter(|((own, _), _)| *own == kind);
        if of_kind().count() > MAX_LATELY
            && let Some(oldest) = of_kind().min_by_key(|(key, time)| (**time, *key)).map(|(key, _)| key.clone())
        {
            self.0.remove(&oldest);
        }
    }

    /// Of another member who is the same.
    pub(super) fn join(&mut self, other: &Self) {
        other.iter().for_each(|(kind, id, time)| self.note(kind, id, time));
    }
}
