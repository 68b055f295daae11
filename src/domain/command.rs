//! What can be asked of a member.

use std::{fmt, sync::Arc};

use super::{BirthDate, Identifier, Person, Points, Purchase, TierId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Enroll { person: Person },
    UpdateProfile(ProfileUpdate),
    AddIdentifier { identifier: Identifier },
    RemoveIdentifier { identifier: Identifier },
    SetTier { tier: TierId, reason: String },
    Suspend { reason: String },
    Reactivate { reason: String },
    RecordPurchase(Arc<Purchase>),
    AdjustPoints(Adjustment),
}

/// The fields that are to change, each with its new value; an empty one is cleared.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ProfileUpdate {
    pub display_name: Option<String>,
    pub birth_date: Option<Option<BirthDate>>,
    pub language_code: Option<String>,
}

/// Says which fields change, and nothing personal.
impl fmt::Debug for ProfileUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileUpdate")
            .field("display_name", &self.display_name.is_some())
            .field("birth_date", &self.birth_date.is_some())
            .field("language_code", &self.language_code.is_some())
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Positive or negative, not 0.
    pub points: Points,
    pub qualifying: bool,
    pub reason: String,
    /// Empty: none.
    pub reference: String,
}

impl Command {
    /// Whether the decision reads what is personal.
    pub fn reads_person(&self) -> bool {
        match self {
            Command::UpdateProfile(_) | Command::AddIdentifier { .. } | Command::RemoveIdentifier { .. } => true,
            Command::Enroll { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::RecordPurchase(_)
            | Command::AdjustPoints(_) => false,
        }
    }

    /// Whether the answer shows the member; the answers to the others are in their entries.
    pub fn answers_with_member(&self) -> bool {
        match self {
            Command::Enroll { .. }
            | Command::UpdateProfile(_)
            | Command::AddIdentifier { .. }
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. } => true,
            Command::RecordPurchase(_) | Command::AdjustPoints(_) => false,
        }
    }

    /// How many points the decision takes from lots; `None`: it reads no lots beside those that are due.
    pub fn takes_points(&self) -> Option<Points> {
        match self {
            Command::AdjustPoints(adjustment) if adjustment.points < Points::ZERO => {
                // The lowest number has no positive counterpart; it is more than any balance anyway.
                Some(adjustment.points.negated().unwrap_or(Points(i64::MAX)))
            }
            Command::AdjustPoints(_)
            | Command::Enroll { .. }
            | Command::UpdateProfile(_)
            | Command::AddIdentifier { .. }
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::RecordPurchase(_) => None,
        }
    }
}
