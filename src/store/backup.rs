//! What a store hands out for a backup: parts in an order in which storing them durably, one after the other, may stop at any point.

use super::{CommitSeq, StoreError};

/// A backup's copy of the key file is compared by blocks of so many bytes.
pub const KEY_BLOCK: usize = 1 << 20;
/// Blocks of the largest key file: a store has less than 2^31 members.
pub const MAX_KEY_BLOCKS: usize = 131_072;

/// What a backup has already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Of the store that it is of; `None`: it is new.
    pub store_id: Option<[u8; 16]>,
    pub last: CommitSeq,
    /// Of the record of commit `last`; zeros if there is none.
    pub hash: [u8; 32],
    /// [`key_block_hash`] of each block of the key file.
    pub key_blocks: Vec<[u8; 16]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Start {
        store_id: [u8; 16],
        /// The commit that it is going to end with.
        last: CommitSeq,
        /// Of the whole key file.
        key_bytes: u64,
        /// Of the journal, that are going to be sent.
        journal_bytes: u64,
    },
    /// All before the journal, which names keys.
    KeyBlock {
        offset: u64,
        content: Vec<u8>,
    },
    Journal {
        /// The segment's first commit.
        segment: u64,
        offset: u64,
        content: Vec<u8>,
    },
    End {
        last: CommitSeq,
        hash: [u8; 32],
    },
}

/// A backup on its way: reads when it is asked for the next part.
pub trait Source: Send {
    /// `None`: that was all.
    fn next(&mut self) -> Result<Option<Part>, StoreError>;
}

pub fn key_block_hash(block: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(block).as_bytes()[..16]);
    hash
}
