//! The part of the table of rejections that is about vouchers.

use tonic::Code;

use super::{Row, numbers};
use crate::domain::VoucherRejection;

pub(super) fn row(rejection: &VoucherRejection) -> Row {
    let row = |code, reason, field, metadata| Row { code, reason, field, metadata };
    let refused = |reason, metadata| row(Code::FailedPrecondition, reason, None, metadata);
    match rejection {
        VoucherRejection::KindNotFound { kind } => {
            row(Code::NotFound, "VOUCHER_KIND_NOT_FOUND", None, vec![("voucher_kind_id", kind.to_string())])
        }
        VoucherRejection::TooMany { limit } => refused("VOUCHER_TOO_MANY", vec![("limit", limit.to_string())]),
        VoucherRejection::NotFound => row(Code::NotFound, "VOUCHER_NOT_FOUND", None, vec![]),
        VoucherRejection::OfOtherMember => refused("VOUCHER_OF_OTHER_MEMBER", vec![]),
        VoucherRejection::Used { order, member, entry_sequence } => {
            let mut metadata = vec![("member_id", member.to_string()), ("entry_sequence", entry_sequence.to_string())];
            if let Some(order) = order {
                metadata.extend([("store_id", order.store.to_string()), ("order_id", order.order.to_string())]);
            }
            refused("VOUCHER_USED", metadata)
        }
        VoucherRejection::Cancelled { entry_sequence } => {
            refused("VOUCHER_CANCELLED", vec![("entry_sequence", entry_sequence.to_string())])
        }
        VoucherRejection::Held { until } => refused("VOUCHER_HELD", vec![("until", until.to_string())]),
        VoucherRejection::NotHeld => refused("VOUCHER_NOT_HELD", vec![]),
        VoucherRejection::NotYetValid { valid_from_time } => {
            refused("VOUCHER_NOT_YET_VALID", vec![("valid_from_time", valid_from_time.to_string())])
        }
        VoucherRejection::Expired { expire_time } => refused("VOUCHER_EXPIRED", vec![("expire_time", expire_time.to_string())]),
        VoucherRejection::OrderTotalRequired => row(Code::InvalidArgument, "VOUCHER_ORDER_TOTAL_REQUIRED", Some("order_total"), vec![]),
        VoucherRejection::BelowMinimumOrder { minimum, goods } => {
            numbers("VOUCHER_BELOW_MINIMUM_ORDER", ("minimum", minimum), ("goods", goods))
        }
        VoucherRejection::ItemMissing { sku } => refused("VOUCHER_ITEM_MISSING", vec![("sku", sku.clone())]),
        VoucherRejection::CategoryMissing { category } => refused("VOUCHER_CATEGORY_MISSING", vec![("category", category.clone())]),
    }
}
