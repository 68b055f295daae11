//! Administrative acts, as they are shown.

use super::{
    entry::{listed, version},
    time::timestamp,
};
use crate::{
    contract::v1::{self, audit_entry::Recorded},
    domain::{ActKind, Program, ProgramHistory, RequestId},
    ledger::Listed,
    store::FoundAct,
};

pub fn act_kind(kind: ActKind) -> v1::AuditKind {
    match kind {
        ActKind::PointsAdjusted => v1::AuditKind::PointsAdjusted,
        ActKind::PointsTransferred => v1::AuditKind::PointsTransferred,
        ActKind::RedemptionReversed => v1::AuditKind::RedemptionReversed,
        ActKind::PurchaseReturned => v1::AuditKind::PurchaseReturned,
        ActKind::ActivityRecorded => v1::AuditKind::ActivityRecorded,
        ActKind::MemberSuspended => v1::AuditKind::MemberSuspended,
        ActKind::MemberReactivated => v1::AuditKind::MemberReactivated,
        ActKind::MemberErased => v1::AuditKind::MemberErased,
        ActKind::MembersMerged => v1::AuditKind::MembersMerged,
        ActKind::TierSet => v1::AuditKind::TierSet,
        ActKind::VoucherIssued => v1::AuditKind::VoucherIssued,
        ActKind::VoucherCancelled => v1::AuditKind::VoucherCancelled,
        ActKind::OfferAssigned => v1::AuditKind::OfferAssigned,
        ActKind::OfferWithdrawn => v1::AuditKind::OfferWithdrawn,
        ActKind::ProgramPublished => v1::AuditKind::ProgramPublished,
        ActKind::PointsRedeemed => v1::AuditKind::PointsRedeemed,
        ActKind::PointsHeld => v1::AuditKind::PointsHeld,
        ActKind::HoldReleased => v1::AuditKind::HoldReleased,
        ActKind::RewardRedeemed => v1::AuditKind::RewardRedeemed,
        ActKind::VoucherHeld => v1::AuditKind::VoucherHeld,
        ActKind::VoucherReleased => v1::AuditKind::VoucherReleased,
        ActKind::VoucherUsed => v1::AuditKind::VoucherUsed,
        ActKind::OfferActivated => v1::AuditKind::OfferActivated,
    }
}

pub fn parse_act_kind(kind: v1::AuditKind) -> Option<ActKind> {
    Some(match kind {
        v1::AuditKind::Unspecified => return None,
        v1::AuditKind::PointsAdjusted => ActKind::PointsAdjusted,
        v1::AuditKind::PointsTransferred => ActKind::PointsTransferred,
        v1::AuditKind::RedemptionReversed => ActKind::RedemptionReversed,
        v1::AuditKind::PurchaseReturned => ActKind::PurchaseReturned,
        v1::AuditKind::ActivityRecorded => ActKind::ActivityRecorded,
        v1::AuditKind::MemberSuspended => ActKind::MemberSuspended,
        v1::AuditKind::MemberReactivated => ActKind::MemberReactivated,
        v1::AuditKind::MemberErased => ActKind::MemberErased,
        v1::AuditKind::MembersMerged => ActKind::MembersMerged,
        v1::AuditKind::TierSet => ActKind::TierSet,
        v1::AuditKind::VoucherIssued => ActKind::VoucherIssued,
        v1::AuditKind::VoucherCancelled => ActKind::VoucherCancelled,
        v1::AuditKind::OfferAssigned => ActKind::OfferAssigned,
        v1::AuditKind::OfferWithdrawn => ActKind::OfferWithdrawn,
        v1::AuditKind::ProgramPublished => ActKind::ProgramPublished,
        v1::AuditKind::PointsRedeemed => ActKind::PointsRedeemed,
        v1::AuditKind::PointsHeld => ActKind::PointsHeld,
        v1::AuditKind::HoldReleased => ActKind::HoldReleased,
        v1::AuditKind::RewardRedeemed => ActKind::RewardRedeemed,
        v1::AuditKind::VoucherHeld => ActKind::VoucherHeld,
        v1::AuditKind::VoucherReleased => ActKind::VoucherReleased,
        v1::AuditKind::VoucherUsed => ActKind::VoucherUsed,
        v1::AuditKind::OfferActivated => ActKind::OfferActivated,
    })
}

pub fn audit_entry(act: &FoundAct, of: &Listed, history: &ProgramHistory, explanation: String) -> v1::AuditEntry {
    let said = of.entry.act();
    let mut entry = listed(of, history);
    // Whoever audits asks what was done, and not who the member is.
    if let Some(v1::entry::Kind::MergedFrom(got)) = &mut entry.kind {
        (got.identifiers, got.profile) = (Vec::new(), None);
    }
    v1::AuditEntry {
        record_time: Some(timestamp(act.place.record_time)),
        kind: act_kind(act.kind).into(),
        actor: entry.actor.clone(),
        member_id: of.entry.key.member.to_string(),
        other_member_id: said.and_then(|said| said.other).map_or_else(String::new, |other| other.to_string()),
        reason: said.map_or_else(String::new, |said| said.reason.to_owned()),
        principal_id: principal_id(act),
        explanation,
        recorded: Some(Recorded::Entry(entry)),
    }
}

fn principal_id(act: &FoundAct) -> String {
    act.principal.as_ref().map_or_else(String::new, ToString::to_string)
}

pub fn audit_publication(
    act: &FoundAct,
    program: &Program,
    (request, replaced): (&RequestId, &[u32]),
    explanation: String,
) -> v1::AuditEntry {
    let publication = v1::ProgramPublication {
        version: version(program.version),
        effective_time: Some(timestamp(program.takes_effect())),
        replaced_versions: replaced.iter().copied().map(version).collect(),
        request_id: request.to_string(),
    };
    v1::AuditEntry {
        record_time: Some(timestamp(act.place.record_time)),
        kind: act_kind(act.kind).into(),
        actor: act.actor.as_ref().map(|actor| v1::Actor { actor_id: actor.to_string() }),
        principal_id: principal_id(act),
        explanation,
        recorded: Some(Recorded::Publication(publication)),
        ..Default::default()
    }
}
