//! Proto <-> domain. What comes in is parsed once, here, into types that cannot be wrong; every mistake of a request is named with the
//! path of its field, in the names of the proto. What goes out is built from what the ledger holds, so that the same entry always reads the
//! same.

mod activity;
mod amount;
mod audit;
mod birthday;
mod effects;
mod entry;
mod goal;
mod member;
mod merge;
mod offer;
mod promotion;
mod purchase;
mod redemption;
mod referral;
mod request;
mod returned;
mod reward;
mod segment;
mod tier;
mod time;
mod voucher;

use std::fmt;

use crate::{
    contract::{Violation, v1},
    domain::ActorId,
};

pub use activity::activity;
pub use amount::{decimal, money, parse_money, parse_optional_money, parse_points, points_text, whole_points};
pub use audit::{act_kind, audit_entry, audit_publication, parse_act_kind};
pub use effects::hint;
pub use entry::{balance, entry, entry_kind, last_balance, listed, lot, program_of, purchase_recorded, purchase_shown, rate, tier_change};
pub use member::{
    MAX_SHOWN, count, enrolment, identifier, member, member_read, member_target, optional_member_id, profile_update, recipient,
    whole_member,
};
pub use offer::listed_offer;
pub use promotion::effect;
pub use purchase::{Order, hold_id, optional_order, order_key, purchase, purchase_at, quote_id, sequence};
pub use redemption::{hold, hold_seconds, redeemed, usable};
pub use referral::referrals_taken_back;
pub use request::{Mutation, request};
pub use returned::pending_lot;
pub use reward::{listed_reward, next_reward};
pub use segment::segment;
pub use time::{parse_date, parse_timestamp, past, timestamp};
pub use voucher::{ended_voucher, voucher, voucher_code, voucher_issued};

/// Mistakes of one request that are kept; the rest is counted.
const MAX_MISTAKES: usize = 40;

/// Where a field is, as `purchase.lines[3].amount.amount`. Costs nothing until it is written out.
#[derive(Clone, Copy)]
pub enum Path<'a> {
    Root,
    Field { of: &'a Path<'a>, name: &'static str },
    Item { of: &'a Path<'a>, name: &'static str, index: usize },
}

impl<'a> Path<'a> {
    pub fn field(&'a self, name: &'static str) -> Path<'a> {
        Path::Field { of: self, name }
    }

    pub fn item(&'a self, name: &'static str, index: usize) -> Path<'a> {
        Path::Item { of: self, name, index }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of, name, index) = match self {
            Path::Root => return Ok(()),
            Path::Field { of, name } => (of, name, None),
            Path::Item { of, name, index } => (of, name, Some(index)),
        };
        if !matches!(of, Path::Root) {
            write!(f, "{of}.")?;
        }
        match index {
            None => f.write_str(name),
            Some(index) => write!(f, "{name}[{index}]"),
        }
    }
}

/// The mistakes of a request, collected while it is parsed. A parser that answers `None` has added one.
#[derive(Debug, Default)]
pub struct Mistakes {
    pub found: Vec<Violation>,
    /// Those beyond [`MAX_MISTAKES`].
    pub uncounted: usize,
}

impl Mistakes {
    pub fn add(&mut self, path: Path<'_>, message: impl Into<String>) {
        if self.found.len() < MAX_MISTAKES {
            self.found.push(Violation { path: path.to_string(), message: message.into() });
        } else {
            self.uncounted += 1;
        }
    }

    pub fn extend(&mut self, violations: Vec<Violation>) {
        let room = MAX_MISTAKES.saturating_sub(self.found.len());
        self.uncounted += violations.len().saturating_sub(room);
        self.found.extend(violations.into_iter().take(room));
    }

    pub fn take<T, E: fmt::Display>(&mut self, path: Path<'_>, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(path, error.to_string());
                None
            }
        }
    }

    pub fn require<T>(&mut self, path: Path<'_>, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(path, "is required");
        }
        value
    }

    /// The value, if nothing at all was wrong.
    pub fn settle<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            Some(_) | None => Err(self),
        }
    }
}

/// Free text: at most so many characters, none of them for control.
pub fn text(path: Path<'_>, value: String, bound: usize, mistakes: &mut Mistakes) -> Option<String> {
    let length = value.chars().count();
    if length > bound {
        mistakes.add(path, format!("has {length} characters; at most {bound} are allowed"));
        return None;
    }
    if value.chars().any(char::is_control) {
        mistakes.add(path, "has a control character");
        return None;
    }
    Some(value)
}

/// As [`text`], at least one character.
pub fn required_text(path: Path<'_>, value: String, bound: usize, mistakes: &mut Mistakes) -> Option<String> {
    if value.is_empty() {
        mistakes.add(path, "is required");
        return None;
    }
    text(path, value, bound, mistakes)
}

/// Why a thing was done by hand: kept for ever.
pub fn reason(value: String, mistakes: &mut Mistakes) -> Option<String> {
    required_text(Path::Root.field("reason"), value, 500, mistakes)
}

/// The same where nobody need do it by hand: what a till or a member does names nobody. If `is_required`, somebody does.
pub fn actor_if_any(value: Option<v1::Actor>, is_required: bool, mistakes: &mut Mistakes) -> Option<Option<ActorId>> {
    if value.is_none() && is_required {
        let what = "is required of a caller that is neither `pos` nor `storefront`: name the person who does it, such as \
                    {\"actor_id\": \"staff-7\"}, for the audit log";
        mistakes.add(Path::Root.field("actor"), what);
        return None;
    }
    match value {
        None => Some(None),
        actor => self::actor(actor, mistakes).map(Some),
    }
}

/// Who does a thing by hand.
pub fn actor(value: Option<v1::Actor>, mistakes: &mut Mistakes) -> Option<ActorId> {
    let path = Path::Root.field("actor");
    let actor = mistakes.require(path, value)?;
    mistakes.take(path.field("actor_id"), ActorId::new(&actor.actor_id))
}
