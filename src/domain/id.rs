//! Names of things, as types that cannot be mixed up. Each is checked once, where it enters the service.

use std::{fmt, sync::Arc};

/// Bound of every id that a caller chooses, in characters.
pub const MAX_ID_CHARS: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("is required")]
    Missing,
    #[error("has {0} characters; at most {MAX_ID_CHARS} are allowed")]
    TooLong(usize),
    #[error("has a character that is not allowed: use {0}")]
    Character(&'static str),
}

/// Lower-case letters, digits, `-` and `_`, beginning with a letter: what a rule book names.
fn check_slug(text: &str) -> Result<(), IdError> {
    check_length(text)?;
    let mut bytes = text.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    if starts && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_') {
        Ok(())
    } else {
        Err(IdError::Character("lower-case letters, digits, '-' and '_', beginning with a letter"))
    }
}

/// Lower-case letters, digits and `_`.
fn check_word(text: &str) -> Result<(), IdError> {
    check_length(text)?;
    if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Ok(())
    } else {
        Err(IdError::Character("lower-case letters, digits and '_'"))
    }
}

/// Printable ASCII without spaces: what identifies a request.
fn check_token(text: &str) -> Result<(), IdError> {
    check_length(text)?;
    if text.bytes().all(|b| b.is_ascii_graphic()) { Ok(()) } else { Err(IdError::Character("printable ASCII characters without spaces")) }
}

/// Any text without control characters: what other systems name.
fn check_text(text: &str) -> Result<(), IdError> {
    check_length(text)?;
    if text.chars().any(char::is_control) { Err(IdError::Character("no control characters")) } else { Ok(()) }
}

fn check_length(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Missing);
    }
    // No text has more characters than bytes, and ids are read from every row.
    if text.len() <= MAX_ID_CHARS {
        return Ok(());
    }
    match text.chars().count() {
        n if n > MAX_ID_CHARS => Err(IdError::TooLong(n)),
        _ => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: &str) -> Result<Self, IdError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(/** Of a programme. */ ProgramId, check_slug);
id!(/** Of an accrual rule or an activity rule. */ RuleId, check_slug);
id!(/** Of an arm of a promotion's trial. */ ArmId, check_slug);
id!(/** Of a tier. */ TierId, check_slug);
id!(/** Of a kind of vouchers. */ VoucherKindId, check_slug);
id!(/** Of a goal. */ GoalId, check_slug);
id!(/** Of a reward. */ RewardId, check_slug);
id!(/** Of an offer. */ OfferId, check_slug);
id!(/** Of a segment. */ SegmentId, check_slug);
id!(/** A kind of activity, such as `review` or `sign_up`. */ ActivityId, check_word);
id!(/** Chosen by the caller for each new intention and kept for its retries. */ RequestId, check_token);
id!(/** Of a shop of the retailer's. */ StoreId, check_text);
id!(/** The till's number of a sale, unique in its store. */ OrderId, check_text);
id!(/** Of a member of staff. */ ActorId, check_text);
id!(/** Of who calls, as the access file names it. */ PrincipalId, check_token);

impl OrderId {
    /// Of a sale that has no number yet, in a quote. No sale can be recorded under it.
    pub fn unnumbered() -> Self {
        Self("".into())
    }
}

/// Of a member: a UUID that the service gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

impl MemberId {
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member in its programme: the unit of consistency.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey {
    pub program: ProgramId,
    pub member: MemberId,
}

/// An entry of a member of the programme that is spoken of. After a merge it may be another member's than the one that speaks of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryRef {
    pub member: MemberId,
    pub sequence: u64,
}

/// Of a lot, unique for its member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LotId(pub u64);

impl fmt::Display for LotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Of a hold, unique for its member: the sequence of the entry that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HoldId(pub u64);

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
