//! Values of rows that are not messages.

use std::cell::RefCell;

use super::{decode::Malformed, journal::Position, wire::Writer};

pub(super) fn position_bytes(position: &Position) -> Box<[u8]> {
    value(|w| {
        w.bytes.extend_from_slice(&position.crc.to_le_bytes());
        w.varint(position.segment);
        w.varint(position.offset);
        w.varint(u64::from(position.length));
    })
}

/// The sequence in a row of an activity.
pub(super) fn read_sequence(mut bytes: &[u8]) -> Result<u64, Malformed> {
    prost::encoding::decode_varint(&mut bytes).map_err(|_| Malformed("a row with a sequence"))
}

/// A row's value, which takes no more memory than it has bytes.
pub(super) fn value(write: impl FnOnce(&mut Writer)) -> Box<[u8]> {
    thread_local! {
        static SCRATCH: RefCell<Writer> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(|w| {
        w.bytes.clear();
        write(w);
        w.bytes.as_slice().into()
    })
}

pub(super) fn read_position(bytes: &[u8]) -> Result<Position, Malformed> {
    let fault = Malformed("a position");
    let (crc, mut rest) = bytes.split_first_chunk::<4>().ok_or(fault)?;
    let mut number = || prost::encoding::decode_varint(&mut rest).map_err(|_| fault);
    let (segment, offset, length) = (number()?, number()?, number()?);
    Ok(Position { segment, offset, length: u32::try_from(length).map_err(|_| fault)?, crc: u32::from_le_bytes(*crc) })
}
