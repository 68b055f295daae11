//! The rows of a publication.

use prost::Message as _;

use super::{
    index::Index,
    journal::Position,
    rows::{Change, Generation, ProgramNumber, RowKey, looked_up_request, position_bytes},
    stored,
};
use crate::store::Publication;

/// A publication's own row, and the one of its request.
pub(super) fn publication(
    index: &Index,
    generation: Generation,
    number: ProgramNumber,
    (commit, place): (u64, u32),
    publication: &Publication,
    position: &Position,
    changes: &mut Vec<Change>,
) {
    changes.push((RowKey::publication(commit, place), Some(position_bytes(position))));
    let row = stored::RequestRow { published_version: publication.version, commit_seq: commit, place, ..Default::default() };
    let key = looked_up_request(number, &index.request(&publication.request.id));
    changes.push((RowKey::looked_up(generation, &key), Some(row.encode_to_vec().into())));
}
