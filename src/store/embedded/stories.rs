//! Stories: what becomes of a purchase, a redemption or a hold after the entry that began it. A row names the newest entry that goes on
//! with it; where the member was merged into another since, that is an entry of the other one.

use super::{
    decode::Malformed,
    rows::{Change, ProgramNumber, RowKey, value},
};
use crate::domain::{Entry, EntryRef, MemberId};

/// The row of the story that an entry goes on with.
pub(super) fn look_up(number: ProgramNumber, entry: &Entry) -> Option<Change> {
    let origin = entry.continues()?;
    let row = value(|w| {
        w.varint(entry.sequence);
        if origin.member != entry.key.member {
            w.bytes.extend_from_slice(&entry.key.member.0);
        }
    });
    Some((RowKey::story(number, &origin.member, origin.sequence), Some(row)))
}

/// The entry that the row of a story of a member's names.
pub(super) fn read(own: MemberId, mut bytes: &[u8]) -> Result<EntryRef, Malformed> {
    let fault = Malformed("a story's row");
    let sequence = prost::encoding::decode_varint(&mut bytes).map_err(|_| fault)?;
    let member = if bytes.is_empty() { own } else { MemberId(bytes.try_into().map_err(|_| fault)?) };
    Ok(EntryRef { member, sequence })
}
