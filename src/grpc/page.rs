//! Pages of lists: their size, and opaque tokens that belong to one list.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use prost::Message;

use super::convert::{Mistakes, Path};
use crate::{
    domain::{LotExpiry, LotId, LotKey, MemberId, Month, ProgramId, RewardId, VoucherCode},
    store::{ActPlace, CommitSeq},
};

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 500;
/// Longest that a token can be: the position is an id of 64 bytes at most.
const MAX_TOKEN_CHARS: usize = 256;
const FORMAT: u8 = 1;
const TAG_BYTES: usize = 8;

/// Encoded items of one page, unless a single one has more: stock clients take messages of 4 MiB.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// Puts the items of a page together until it is full.
pub struct Filling<T> {
    pub items: Vec<T>,
    bytes: usize,
}

impl<T: Message> Filling<T> {
    pub fn new() -> Self {
        Self { items: Vec::new(), bytes: 0 }
    }

    /// False, and nothing is added, if the page is full; it takes at least one.
    pub fn add(&mut self, item: T) -> bool {
        let size = item.encoded_len();
        if !self.items.is_empty() && self.bytes + size > MAX_PAGE_BYTES {
            return false;
        }
        self.bytes += size;
        self.items.push(item);
        true
    }
}

/// Where a page ended.
pub trait Position: Sized {
    fn write(&self, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// What a token belongs to: the method, and the fields of its request that say what is listed.
pub struct List<'a> {
    pub method: &'static str,
    pub filter: &'a [&'a [u8]],
}

/// A page that was asked for.
pub struct Page<P> {
    pub size: usize,
    /// Where the page before ended.
    pub after: Option<P>,
}

impl List<'_> {
    pub fn page<P: Position>(&self, size: i32, token: &str, mistakes: &mut Mistakes) -> Option<Page<P>> {
        let size = match usize::try_from(size) {
            Ok(0) => Some(DEFAULT_SIZE),
            Ok(size) => Some(size.min(MAX_SIZE)),
            Err(_) => {
                mistakes.add(Path::Root.field("page_size"), "is negative");
                None
            }
        };
        let after = match token {
            "" => Some(None),
            token => {
                let position = self.read(token);
                if position.is_none() {
                    mistakes.add(Path::Root.field("page_token"), "is not a token of this list; begin again without one");
                }
                position.map(Some)
            }
        };
        Some(Page { size: size?, after: after? })
    }

    /// The token of the page behind `position`.
    pub fn token<P: Position>(&self, position: &P) -> String {
        let mut bytes = vec![FORMAT];
        position.write(&mut bytes);
        let tag = self.tag(&bytes);
        bytes.extend_from_slice(&tag);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read<P: Position>(&self, token: &str) -> Option<P> {
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (content, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        let (format, position) = content.split_first()?;
        if *format != FORMAT || tag != self.tag(content) {
            return None;
        }
        P::read(position)
    }

    /// Binds a position to its list. It keeps honest callers from mixing lists up; it is no secret and needs none.
    fn tag(&self, content: &[u8]) -> [u8; TAG_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.method.as_bytes()].iter().chain(self.filter).chain([&content]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_BYTES]);
        tag
    }
}

impl Position for MemberId {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(MemberId)
    }
}

impl Position for ProgramId {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        ProgramId::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

impl Position for RewardId {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        RewardId::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

/// The sequence of an entry.
impl Position for u64 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

impl Position for ActPlace {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.record_time.as_microsecond().to_le_bytes());
        self.commit.0.write(bytes);
        bytes.extend_from_slice(&self.place.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (commit, place) = rest.split_at_checked(8)?;
        Some(Self {
            record_time: Timestamp::from_microsecond(i64::from_le_bytes(*time)).ok()?,
            commit: CommitSeq(u64::read(commit)?),
            place: u32::from_le_bytes(place.try_into().ok()?),
        })
    }
}

impl Position for VoucherCode {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(VoucherCode::from_bytes)
    }
}

impl Position for LotKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.id().0.write(bytes);
        match self.expiry() {
            LotExpiry::At(time) => bytes.extend_from_slice(&time.as_microsecond().to_le_bytes()),
            LotExpiry::InactiveMonths(earned) => bytes.extend_from_slice(&earned.0.to_le_bytes()),
            LotExpiry::Inactivity => bytes.push(0),
            LotExpiry::Never => {}
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, time) = bytes.split_at_checked(8)?;
        let expiry = match time {
            [] => LotExpiry::Never,
            [0] => LotExpiry::Inactivity,
            month if month.len() == 4 => LotExpiry::InactiveMonths(Month(i32::from_le_bytes(month.try_into().ok()?)).in_calendar()?),
            time => LotExpiry::At(Timestamp::from_microsecond(i64::from_le_bytes(time.try_into().ok()?)).ok()?),
        };
        Some(LotKey::new(expiry, LotId(u64::read(id)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_from_their_own_list_alone() {
        let list = List { method: "ListLots", filter: &[b"program", b"member"] };
        let expiries =
            [LotExpiry::Never, LotExpiry::Inactivity, LotExpiry::InactiveMonths(Month(24_312)), LotExpiry::At(Timestamp::UNIX_EPOCH)];
        for key in expiries.map(|expiry| LotKey::new(expiry, LotId(u64::MAX))) {
            let token = list.token(&key);
            assert_eq!(list.read::<LotKey>(&token), Some(key));
            let others = [
                List { method: "ListEntries", filter: list.filter },
                List { method: "ListLots", filter: &[b"program", b"other"] },
                // The parts of a filter are not just strung together.
                List { method: "ListLots", filter: &[b"programm", b"ember"] },
            ];
            assert!(others.iter().all(|other| other.read::<LotKey>(&token).is_none()));
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        let list = List { method: "ListMembers", filter: &[] };
        let size = |size| list.page::<MemberId>(size, "", &mut Mistakes::default()).map(|page| page.size);
        assert_eq!([size(0), size(1), size(500), size(501), size(i32::MAX)], [50, 1, 500, 500, 500].map(Some));
        assert_eq!(size(-1), None);
    }
}
