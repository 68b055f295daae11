//! Vouchers: how entries of them are stored, and the rows that hold the live ones and that find each by its code.

use super::{
    audit,
    decode::{Decoded, Malformed, decimal, member_id, message, optional_time, order, rule_id, time},
    encode, goals,
    index::Index,
    offers, promotions, rewards,
    rows::{Change, ProgramNumber, RowKey, owner, value},
    segments, stored, totals,
    wire::Writer,
};
use crate::domain::{
    Entry, EntryRef, MemberId, OfferId, RuleId, Voucher, VoucherBenefit, VoucherCause, VoucherChange, VoucherChanged, VoucherCode,
    VoucherHold, VoucherKindId, VoucherRelease,
};

/// Of a member's rows: a live voucher.
pub(super) const VOUCHER: u8 = 7;
/// By itself: what finds a voucher by its code.
const CODE: u8 = b'k';
/// Length of what all rows of a member have in common.
const MEMBER_PREFIX: usize = 21;

pub(super) fn row(number: ProgramNumber, member: &MemberId, code: &VoucherCode) -> RowKey {
    let mut own = [VOUCHER; 11];
    own[1..].copy_from_slice(code.as_bytes());
    RowKey::of_member(&owner(number, member), &own)
}

/// Of all live vouchers of a member: the range from the first to the second.
pub(super) fn rows(number: ProgramNumber, member: &MemberId) -> (RowKey, RowKey) {
    let kind = |kind: u8| RowKey::of_member(&owner(number, member), &[kind]);
    (kind(VOUCHER), kind(VOUCHER + 1))
}

/// The code of the voucher in a member's row.
pub(super) fn code_of(key: &RowKey) -> Option<VoucherCode> {
    let own = key.as_bytes().get(MEMBER_PREFIX..)?.strip_prefix(&[VOUCHER])?;
    Some(VoucherCode::from_bytes(own.try_into().ok()?))
}

/// What a key's kind is called in messages, if it is one of vouchers.
pub(super) fn describe(kind: u8, own: Option<&u8>) -> Option<&'static str> {
    match (kind, own) {
        (audit::ACT, _) => Some("administrative act"),
        (segments::MEMBER_OF, _) => Some("member of a segment"),
        (segments::SIZE, _) => Some("size of a segment"),
        (CODE, _) => Some("code of a voucher"),
        (totals::TOTALS, _) => Some("totals of a programme"),
        (rewards::STOCK, _) => Some("stock of a reward"),
        (promotions::TALLY, _) => Some("what a promotion has given"),
        (b'm', Some(&VOUCHER)) => Some("voucher"),
        _ => None,
    }
}

pub(super) fn code_row(index: &Index, number: ProgramNumber, code: &VoucherCode) -> RowKey {
    RowKey::new(&[&[CODE], &number.to_be_bytes(), &index.voucher(code)[..16]])
}

/// The row that finds a voucher by its code. It stays when the voucher is gone, and when its member is merged into another.
pub(super) fn look_up(index: &Index, number: ProgramNumber, entry: &Entry, changed: &VoucherChanged) -> Option<Change> {
    let VoucherChange::Issued { .. } = changed.change else { return None };
    let row = value(|w| {
        w.bytes.extend_from_slice(&entry.key.member.0);
        w.varint(entry.sequence);
    });
    Some((code_row(index, number, &changed.code), Some(row)))
}

/// The entry that issued the voucher.
pub(super) fn read_code_row(bytes: &[u8]) -> Result<EntryRef, Malformed> {
    let fault = Malformed("the row of a voucher's code");
    let (member, mut rest) = bytes.split_first_chunk().ok_or(fault)?;
    let sequence = prost::encoding::decode_varint(&mut rest).map_err(|_| fault)?;
    Ok(EntryRef { member: MemberId(*member), sequence })
}

pub(super) fn row_bytes(voucher: &Voucher) -> Box<[u8]> {
    value(|w| self::voucher(w, voucher))
}

pub(super) fn read_row(bytes: &[u8]) -> Decoded<Voucher> {
    read_voucher(message(bytes)?)
}

pub(super) fn voucher(w: &mut Writer, voucher: &Voucher) {
    w.bytes(1, voucher.code.as_bytes());
    w.uint(2, voucher.issued.sequence);
    w.bytes(3, &voucher.issued.member.0);
    w.text(4, voucher.kind.as_str());
    w.text(5, &voucher.display_name);
    w.message(6, |w| benefit(w, &voucher.benefit));
    w.decimal(7, voucher.minimum_order);
    w.time(8, voucher.issue_time);
    w.time(9, voucher.valid_from_time);
    w.time(10, voucher.expire_time);
    let cause = match voucher.cause {
        VoucherCause::Manual => 0,
        VoucherCause::Birthday => 1,
        VoucherCause::Tier => 2,
        VoucherCause::Promotion => 3,
        VoucherCause::Reward => 4,
        VoucherCause::Goal => 5,
        VoucherCause::Offer => 6,
    };
    w.uint(11, cause);
    w.uint(12, u64::from(voucher.program_version));
    if let Some(one) = &voucher.hold {
        w.message(13, |w| hold(w, one));
    }
    w.uint(14, u64::from(voucher.is_lost));
}

fn benefit(w: &mut Writer, benefit: &VoucherBenefit) {
    match benefit {
        VoucherBenefit::AmountOff { amount } => w.decimal(2, *amount),
        VoucherBenefit::PercentOff { percent, maximum } => {
            w.uint(1, 1);
            w.decimal(2, *percent);
            if let Some(maximum) = maximum {
                w.present_decimal(3, *maximum);
            }
        }
        VoucherBenefit::FreeItem { sku } => {
            w.uint(1, 2);
            w.text(4, sku);
        }
        VoucherBenefit::FreeItemOf { category, maximum } => {
            w.uint(1, 5);
            if let Some(maximum) = maximum {
                w.present_decimal(3, *maximum);
            }
            w.text(4, category);
        }
        VoucherBenefit::FreeShipping => w.uint(1, 3),
        VoucherBenefit::Custom { key, text } => {
            w.uint(1, 4);
            w.text(4, key);
            w.text(5, text);
        }
    }
}

fn hold(w: &mut Writer, hold: &VoucherHold) {
    encode::order(w, 1, Some(&hold.order));
    w.time(3, hold.hold_time);
    w.time(4, hold.expire_time);
}

pub(super) fn changed(w: &mut Writer, changed: &VoucherChanged) {
    w.bytes(1, changed.code.as_bytes());
    w.uint(2, changed.issued.sequence);
    w.bytes(3, &changed.issued.member.0);
    w.optional_time(4, changed.next_due_time);
    match &changed.change {
        VoucherChange::Issued { voucher: issued, reason, goal, reward, promotion, offer } => w.message(5, |w| {
            w.message(1, |w| voucher(w, issued));
            w.text(2, reason);
            if let Some(paid) = goal {
                w.message(3, |w| goals::paid(w, paid));
            }
            if let Some(paid) = reward {
                w.message(4, |w| rewards::paid(w, paid));
            }
            w.text(5, promotion.as_ref().map_or("", RuleId::as_str));
            w.text(6, offer.as_ref().map_or("", OfferId::as_str));
        }),
        VoucherChange::Held(one) => w.message(6, |w| hold(w, one)),
        VoucherChange::Released { cause, reason } => w.message(7, |w| {
            let cause = match cause {
                VoucherRelease::Request => 0,
                VoucherRelease::Expired => 1,
            };
            w.uint(1, cause);
            w.text(2, reason);
        }),
        VoucherChange::Used { order, value } => w.message(8, |w| {
            encode::order(w, 1, order.as_ref());
            if let Some(value) = value {
                w.present_decimal(3, *value);
            }
        }),
        VoucherChange::Cancelled { reason, refund, freed } => w.message(9, |w| {
            w.text(1, reason);
            if let Some(refund) = refund {
                w.message(2, |w| goals::refund(w, refund));
            }
            if let Some(freed) = freed {
                w.message(3, |w| rewards::freed(w, freed));
            }
        }),
        VoucherChange::Expired => w.message(10, |_| {}),
        VoucherChange::Reinstated { voucher: back, order } => w.message(11, |w| {
            w.message(1, |w| voucher(w, back));
            encode::order(w, 2, Some(order));
        }),
    };
}

pub(super) fn read_changed(changed: stored::VoucherChanged) -> Decoded<VoucherChanged> {
    use stored::voucher_changed::Change as Stored;
    let voucher = |voucher: Option<stored::Voucher>| Ok(Box::new(read_voucher(voucher.ok_or(Malformed("voucher"))?)?));
    let change = match changed.change.ok_or(Malformed("voucher_changed.change"))? {
        Stored::Issued(one) => VoucherChange::Issued {
            voucher: voucher(one.voucher)?,
            reason: one.reason,
            goal: one.goal.as_ref().map(goals::read_paid).transpose()?.map(Box::new),
            reward: one.reward.as_ref().map(rewards::read_paid).transpose()?.map(Box::new),
            promotion: (!one.promotion_id.is_empty()).then(|| rule_id(&one.promotion_id)).transpose()?,
            offer: (!one.offer_id.is_empty()).then(|| offers::offer_id(&one.offer_id)).transpose()?,
        },
        Stored::Held(one) => VoucherChange::Held(read_hold(&one)?),
        Stored::Released(one) => VoucherChange::Released {
            cause: match one.cause {
                0 => VoucherRelease::Request,
                1 => VoucherRelease::Expired,
                _ => return Err(Malformed("voucher_released.cause")),
            },
            reason: one.reason,
        },
        Stored::Used(one) => {
            VoucherChange::Used { order: order(&one.store_id, &one.order_id)?, value: one.value.as_deref().map(decimal).transpose()? }
        }
        Stored::Cancelled(one) => VoucherChange::Cancelled {
            reason: one.reason,
            refund: one.refund.as_ref().map(goals::read_refund).transpose()?.map(Box::new),
            freed: one.freed.as_ref().map(rewards::read_freed).transpose()?.map(Box::new),
        },
        Stored::Expired(_) => VoucherChange::Expired,
        Stored::Reinstated(one) => VoucherChange::Reinstated {
            voucher: voucher(one.voucher)?,
            order: order(&one.store_id, &one.order_id)?.ok_or(Malformed("voucher_reinstated.order_id"))?,
        },
    };
    Ok(VoucherChanged {
        code: read_code(&changed.code)?,
        issued: EntryRef { member: member_id(&changed.issued_member_id)?, sequence: changed.issued_sequence },
        change,
        next_due_time: optional_time(changed.next_due_time)?,
    })
}

pub(super) fn read_code(bytes: &[u8]) -> Decoded<VoucherCode> {
    Ok(VoucherCode::from_bytes(bytes.try_into().map_err(|_| Malformed("a voucher's code"))?))
}

pub(super) fn read_voucher(voucher: stored::Voucher) -> Decoded<Voucher> {
    Ok(Voucher {
        code: read_code(&voucher.code)?,
        issued: EntryRef { member: member_id(&voucher.issued_member_id)?, sequence: voucher.issued_sequence },
        kind: VoucherKindId::new(&voucher.voucher_kind_id).map_err(|_| Malformed("voucher_kind_id"))?,
        display_name: voucher.display_name,
        benefit: read_benefit(voucher.benefit.unwrap_or_default())?,
        minimum_order: decimal(&voucher.minimum_order)?,
        issue_time: time(voucher.issue_time)?,
        valid_from_time: time(voucher.valid_from_time)?,
        expire_time: time(voucher.expire_time)?,
        cause: match voucher.cause {
            0 => VoucherCause::Manual,
            1 => VoucherCause::Birthday,
            2 => VoucherCause::Tier,
            3 => VoucherCause::Promotion,
            4 => VoucherCause::Reward,
            5 => VoucherCause::Goal,
            6 => VoucherCause::Offer,
            _ => return Err(Malformed("voucher.cause")),
        },
        program_version: voucher.program_version,
        hold: voucher.hold.as_ref().map(read_hold).transpose()?,
        is_lost: voucher.is_lost,
    })
}

fn read_benefit(benefit: stored::VoucherBenefit) -> Decoded<VoucherBenefit> {
    let stored::VoucherBenefit { kind, number, maximum, key, text } = benefit;
    Ok(match kind {
        0 => VoucherBenefit::AmountOff { amount: decimal(&number)? },
        1 => VoucherBenefit::PercentOff { percent: decimal(&number)?, maximum: maximum.as_deref().map(decimal).transpose()? },
        2 => VoucherBenefit::FreeItem { sku: key },
        3 => VoucherBenefit::FreeShipping,
        4 => VoucherBenefit::Custom { key, text },
        5 => VoucherBenefit::FreeItemOf { category: key, maximum: maximum.as_deref().map(decimal).transpose()? },
        _ => return Err(Malformed("voucher_benefit.kind")),
    })
}

fn read_hold(hold: &stored::VoucherHold) -> Decoded<VoucherHold> {
    Ok(VoucherHold {
        order: order(&hold.store_id, &hold.order_id)?.ok_or(Malformed("voucher_hold.order_id"))?,
        hold_time: time(hold.hold_time)?,
        expire_time: time(hold.expire_time)?,
    })
}
