//! Refusals, and the only place that names [`tonic::Code`]. One table says which code, reason and numbers a rejection of the ledger has;
//! a refused call and a refused item of a batch read the same.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

mod access;
mod deadline;
mod malformed;
mod offers;
mod rewards;
mod vouchers;

pub use malformed::{explain, explained};

use super::convert::Mistakes;
use crate::{
    contract::{Violation, v1},
    domain::{
        ActivityId, ActivityRejection, FraudFlag, HoldId, IdentifierKind, MemberId, OrderKey, Points, QuotePart, Rejection, TooComplex,
    },
    ledger::{LedgerError, RETRY_DELAY},
    store::StoreError,
};

/// No programme has the id that a request names.
pub const PROGRAM_NOT_FOUND: &str = "PROGRAM_NOT_FOUND";
pub use access::{CREDENTIAL_MISSING, RATE_LIMITED};
pub const PROGRAM_NOT_ALLOWED: &str = "PROGRAM_NOT_ALLOWED";

/// The `domain` of every ErrorInfo.
const DOMAIN: &str = "loyaltyd";

/// When a caller that met a service that is starting or stopping may come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// Details of an error travel in HTTP/2 headers, of which clients take 8 kB in all, and base64 adds a third.
const MAX_VIOLATION_BYTES: usize = 4_000;

/// Why a call changed and answered nothing.
#[derive(Debug)]
pub struct Refusal {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: Vec<(&'static str, String)>,
    violations: Vec<Violation>,
    retry_delay: Option<Duration>,
}

impl Refusal {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), metadata: Vec::new(), violations: Vec::new(), retry_delay: None }
    }

    /// The store is not open yet.
    pub fn starting() -> Self {
        let refusal = Self::new(Code::Unavailable, "STARTING", "the service is starting and reads its ledger; try again in a moment");
        Self { retry_delay: Some(COME_BACK), ..refusal }
    }

    pub fn stopping() -> Self {
        let refusal = Self::new(Code::Unavailable, "STOPPING", "the service is stopping; try again with the same request_id");
        Self { retry_delay: Some(COME_BACK), ..refusal }
    }

    pub fn too_many_backups() -> Self {
        let refusal =
            Self::new(Code::ResourceExhausted, "TOO_MANY_BACKUPS", "as many backups are streamed as may be; try again when one has ended");
        Self { retry_delay: Some(COME_BACK), ..refusal }
    }

    pub fn too_many_exports() -> Self {
        let message = "as many members are being exported as may be at a time; try again when one has ended";
        Self { retry_delay: Some(COME_BACK), ..Self::new(Code::ResourceExhausted, "TOO_MANY_EXPORTS", message) }
    }

    /// AdminService was called from elsewhere.
    pub fn admin_from_loopback_only() -> Self {
        let message = "AdminService answers callers on the service's own machine alone, for what it gives away holds the members' keys: run \
                       `loyaltyd backup` there, or start the service with --admin-from-anywhere where only those who may have it reach it";
        Self::new(Code::PermissionDenied, "ADMIN_FROM_LOOPBACK_ONLY", message)
    }

    /// The queue is full.
    pub fn full() -> Self {
        Self::from(LedgerError::QueueFull { retry_delay: RETRY_DELAY })
    }

    /// A fault of the service. What it was goes to the log, under an id that the text repeats.
    pub fn internal(detail: &dyn std::fmt::Display) -> Self {
        let mut bytes = [0; 6];
        // Without randomness the id is 0, and the time in the log finds the line.
        let _ = getrandom::fill(&mut bytes);
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        tracing::error!(error_id = id, "{detail}");
        let message = format!("the service failed; its log says why, under the id {id}");
        let refusal = Self::new(Code::Internal, "INTERNAL", message);
        Self { metadata: vec![("error_id", id)], ..refusal }
    }

    fn mistaken(reason: &'static str, what: &str, violations: Vec<Violation>, more: usize) -> Self {
        let count = violations.len() + more;
        let (kept, left_out) = within_bounds(violations);
        let mut message = kept.first().map_or_else(|| what.to_owned(), |first| format!("{}: {}", first.path, first.message));
        if count > 1 {
            message.push_str(&format!(" (and {} more mistakes)", count - 1));
        }
        let mut refusal = Self::new(Code::InvalidArgument, reason, message);
        refusal.violations = kept;
        refusal.metadata.push(("mistakes", count.to_string()));
        if left_out + more > 0 {
            refusal.metadata.push(("mistakes_left_out", (left_out + more).to_string()));
        }
        refusal
    }

    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Of a request in which a message has another name than where it stands most often.
    pub fn renamed(mut self, usual: &str, name: &str) -> Self {
        for violation in &mut self.violations {
            if let Some(rest) = violation.path.strip_prefix(usual) {
                violation.path = format!("{name}{rest}");
            }
        }
        self
    }
}

/// Keeps the first violations that fit into an error.
fn within_bounds(violations: Vec<Violation>) -> (Vec<Violation>, usize) {
    let mut budget = MAX_VIOLATION_BYTES;
    let mut kept = Vec::new();
    let total = violations.len();
    for mut violation in violations {
        shorten(&mut violation.path, 300);
        shorten(&mut violation.message, 700);
        let size = violation.path.len() + violation.message.len() + 8;
        if size > budget {
            break;
        }
        budget -= size;
        kept.push(violation);
    }
    let left_out = total - kept.len();
    (kept, left_out)
}

fn shorten(text: &mut String, bound: usize) {
    if text.len() > bound {
        text.truncate(text.floor_char_boundary(bound));
        text.push_str("...");
    }
}

impl From<Mistakes> for Refusal {
    fn from(mistakes: Mistakes) -> Self {
        Self::mistaken("INVALID_FIELD", "a field is wrong", mistakes.found, mistakes.uncounted)
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        let message = error.to_string();
        match error {
            LedgerError::ProgramNotFound { program } => {
                let refusal = Self::new(Code::NotFound, PROGRAM_NOT_FOUND, message);
                Self { metadata: vec![("program_id", program.to_string())], ..refusal }
            }
            LedgerError::VersionNotFound { version } => {
                let refusal = Self::new(Code::NotFound, "VERSION_NOT_FOUND", message);
                Self { metadata: vec![("version", version.to_string())], ..refusal }
            }
            LedgerError::ProgramInvalid(violations) => {
                let within = |violation: Violation| Violation { path: format!("program.{}", violation.path), ..violation };
                Self::mistaken("PROGRAM_INVALID", &message, violations.into_iter().map(within).collect(), 0)
            }
            LedgerError::VersionWaiting { version, effective_time } => {
                let refusal = Self::new(Code::FailedPrecondition, "VERSION_WAITING", message);
                Self { metadata: vec![("version", version.to_string()), ("effective_time", effective_time.to_string())], ..refusal }
            }
            LedgerError::Rejected(rejection) => Self::from(rejection),
            LedgerError::EntryNotFound { sequence } => {
                let refusal = Self::new(Code::NotFound, "ENTRY_NOT_FOUND", message);
                Self { metadata: vec![("sequence", sequence.to_string())], ..refusal }
            }
            LedgerError::PurchaseNotFound { order } => {
                let refusal = Self::new(Code::NotFound, "PURCHASE_NOT_FOUND", message);
                Self { metadata: vec![("store_id", order.store.to_string()), ("order_id", order.order.to_string())], ..refusal }
            }
            LedgerError::QueueFull { retry_delay } => {
                let refusal = Self::new(Code::ResourceExhausted, "QUEUE_FULL", message);
                Self { retry_delay: Some(retry_delay), ..refusal }
            }
            LedgerError::NoSpace { retry_delay } => {
                let refusal = Self::new(Code::ResourceExhausted, "DISK_FULL", message);
                Self { retry_delay: Some(retry_delay), ..refusal }
            }
            LedgerError::Closing => Self::stopping(),
            LedgerError::Store(StoreError::OtherStore) => Self::new(Code::FailedPrecondition, "BACKUP_OF_OTHER_STORE", message),
            LedgerError::Store(StoreError::OtherHistory { commit }) => {
                let refusal = Self::new(Code::FailedPrecondition, "BACKUP_OF_OTHER_HISTORY", message);
                Self { metadata: vec![("commit", commit.0.to_string())], ..refusal }
            }
            LedgerError::Store(
                error @ (StoreError::Damaged(_)
                | StoreError::Io { .. }
                | StoreError::NoSpace { .. }
                | StoreError::InUse(_)
                | StoreError::Fold(_)
                | StoreError::Tables(_)
                | StoreError::Newer(_)
                | StoreError::Refused(_)),
            ) => Self::internal(&error),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let row = row(&rejection);
        let message = rejection.to_string();
        let field = |path: &str| Violation { path: path.to_owned(), message: message.clone() };
        let violations = row.field.iter().map(|path| field(path)).collect();
        Self { code: row.code, reason: row.reason, metadata: row.metadata, violations, message, retry_delay: None }
    }
}

struct Row {
    code: Code,
    reason: &'static str,
    /// The field that is to blame, if it is one field alone.
    field: Option<&'static str>,
    metadata: Vec<(&'static str, String)>,
}

/// The table of rejections.
fn row(rejection: &Rejection) -> Row {
    match rejection {
        Rejection::RequestIdReused => plain(Code::AlreadyExists, "REQUEST_ID_REUSED", vec![]),
        Rejection::MemberNotFound => plain(Code::NotFound, "MEMBER_NOT_FOUND", vec![]),
        Rejection::PurchaseExists { order, member, entry_sequence } => purchase_exists(order, member, *entry_sequence),
        Rejection::Activity(rejection) => activity_row(rejection),
        Rejection::Reward(rejection) => rewards::row(rejection),
        Rejection::Offer(rejection) => offers::row(rejection),
        Rejection::Voucher(rejection) => vouchers::row(rejection),
        Rejection::IdentifierTaken { kind, member } => identifier_taken(*kind, member),
        Rejection::IdentifierHeld { kind } => refused("IDENTIFIER_HELD", vec![("kind", kind_name(*kind))]),
        Rejection::IdentifierNotHeld { kind } => refused("IDENTIFIER_NOT_HELD", vec![("kind", kind_name(*kind))]),
        Rejection::TooManyIdentifiers { limit } => refused("TOO_MANY_IDENTIFIERS", vec![("limit", limit.to_string())]),
        Rejection::MergeTargetNotFound => plain(Code::NotFound, "MERGE_TARGET_NOT_FOUND", vec![]),
        Rejection::MergeWithSelf => blamed(Code::InvalidArgument, "MERGE_WITH_SELF", "into", vec![]),
        Rejection::MemberMerged { into } => refused("MEMBER_MERGED", vec![("member_id", into.to_string())]),
        Rejection::HoldsOpen { holds } => refused("HOLDS_OPEN", vec![("holds", holds.to_string())]),
        Rejection::TooManyMerged { limit } => refused("TOO_MANY_MERGED", vec![("limit", limit.to_string())]),
        Rejection::MergeTooLarge { lots, limit } => numbers("MERGE_TOO_LARGE", ("lots", lots), ("limit", limit)),
        Rejection::EntryAmbiguous { sequence, members } => ambiguous(*sequence, members),
        Rejection::MemberErased => refused("MEMBER_ERASED", vec![]),
        Rejection::BirthDateChangesUsedUp { maximum } => refused("BIRTH_DATE_CHANGES_USED_UP", vec![("maximum", maximum.to_string())]),
        Rejection::MemberSuspended => refused("MEMBER_SUSPENDED", vec![]),
        Rejection::MemberNotSuspended => refused("MEMBER_NOT_SUSPENDED", vec![]),
        Rejection::PurchaseTooOld { occurred_time: time, max_age_days } => sale("PURCHASE_TOO_OLD", time, ("max_age_days", *max_age_days)),
        Rejection::PurchaseInFuture { occurred_time, max_ahead_seconds } => sale_ahead(occurred_time, *max_ahead_seconds),
        Rejection::PurchaseTooComplex(what) => too_complex(what),
        Rejection::TierNotFound { tier } => blamed(Code::InvalidArgument, "TIER_NOT_FOUND", "tier_id", vec![("tier_id", tier.to_string())]),
        Rejection::TierEndPast => blamed(Code::InvalidArgument, "TIER_END_PAST", "last_date", vec![]),
        Rejection::TierHeld { tier } => refused("TIER_HELD", vec![("tier_id", tier.to_string())]),
        Rejection::AdjustmentTooLarge { limit, requested } => refused_points("ADJUSTMENT_TOO_LARGE", ("limit", limit), requested),
        Rejection::RedemptionNotFound { redemption } => of_redemption(Code::NotFound, "REDEMPTION_NOT_FOUND", *redemption),
        Rejection::RedemptionOfReward { redemption } => of_redemption(Code::FailedPrecondition, "REDEMPTION_OF_REWARD", *redemption),
        Rejection::HoldNotFound { hold } => plain(Code::NotFound, "HOLD_NOT_FOUND", vec![("hold_id", hold.to_string())]),
        Rejection::HoldEnded { hold, captured, entry_sequence } => hold_ended(*hold, *captured, *entry_sequence),
        Rejection::RedemptionNotOffered => refused("REDEMPTION_NOT_OFFERED", vec![]),
        Rejection::OrderTotalRequired => blamed(Code::InvalidArgument, "ORDER_TOTAL_REQUIRED", "order_total", vec![]),
        Rejection::HoldTooLong { seconds, maximum_seconds } => hold_too_long(*seconds, *maximum_seconds),
        Rejection::TooManyHolds { limit } => refused("TOO_MANY_HOLDS", vec![("limit", limit.to_string())]),
        Rejection::InDebt { debt } => refused("IN_DEBT", vec![("debt", debt.to_string())]),
        Rejection::BelowMinimum { minimum, requested } => refused_points("BELOW_MINIMUM", ("minimum", minimum), requested),
        Rejection::NotInSteps { step, requested } => refused_points("NOT_IN_STEPS", ("step", step), requested),
        Rejection::WorthNothing { requested } => refused("WORTH_NOTHING", vec![("requested", requested.to_string())]),
        Rejection::OverOrder { limit, requested } => refused_points("OVER_ORDER", ("limit", limit), requested),
        Rejection::MoreThanHeld { held, requested } => refused_points("MORE_THAN_HELD", ("held", held), requested),
        Rejection::MoreThanRedeemed { left, requested } => refused_points("MORE_THAN_REDEEMED", ("left", left), requested),
        Rejection::PaymentMismatch { tendered, paid } => numbers("PAYMENT_MISMATCH", ("tendered", tendered), ("paid", paid)),
        Rejection::RedemptionUnusable { redemption } => of_redemption(Code::FailedPrecondition, "REDEMPTION_UNUSABLE", *redemption),
        Rejection::InsufficientPoints { available, requested } => missing(*available, *requested),
        Rejection::TooManyLots { limit, most, requested } => too_many_lots(*limit, most, requested),
        Rejection::TransfersNotOffered => refused("TRANSFERS_NOT_OFFERED", vec![]),
        Rejection::RecipientNotFound => plain(Code::NotFound, "RECIPIENT_NOT_FOUND", vec![]),
        Rejection::TransferToSelf => blamed(Code::InvalidArgument, "TRANSFER_TO_SELF", "recipient", vec![]),
        of @ (Rejection::RecipientSuspended | Rejection::ReferrerSuspended) => other_suspended(*of == Rejection::RecipientSuspended),
        of @ (Rejection::RecipientErased | Rejection::ReferrerErased) => other_erased(*of == Rejection::RecipientErased),
        Rejection::TransferTooLarge { limit, requested } => refused_points("TRANSFER_TOO_LARGE", ("limit", limit), requested),
        Rejection::ReturnLineNotFound { line } => line_not_found(*line),
        Rejection::PurchaseReturned => refused("PURCHASE_RETURNED", vec![]),
        Rejection::TooManyReturns { limit } => refused("TOO_MANY_RETURNS", vec![("limit", limit.to_string())]),
        Rejection::NothingReturned => refused("NOTHING_RETURNED", vec![]),
        Rejection::ReturnTooLarge { line, left, requested } => return_too_large(*line, left, requested),
        Rejection::NothingPending => refused("NOTHING_PENDING", vec![]),
        Rejection::ReturnShortfall { shortfall, requested } => refused_points("RETURN_SHORTFALL", ("shortfall", shortfall), requested),
        Rejection::OverFloorLimit { limit, requested } => refused_points("OVER_FLOOR_LIMIT", ("limit", limit), requested),
        Rejection::FraudLimit(flag) => fraud_limit(flag),
        Rejection::TendersMismatch { total, tendered } => numbers("TENDERS_MISMATCH", ("total", total), ("tendered", tendered)),
        Rejection::QuoteChanged { parts } => refused("QUOTE_CHANGED", vec![("changed", changed(parts))]),
        Rejection::Overflow => plain(Code::OutOfRange, "NUMBER_TOO_LARGE", vec![]),
    }
}

/// The one of a transfer, or of a referral, who did not ask for it.
fn other_suspended(is_recipient: bool) -> Row {
    refused(if is_recipient { "RECIPIENT_SUSPENDED" } else { "REFERRER_SUSPENDED" }, vec![])
}

fn other_erased(is_recipient: bool) -> Row {
    refused(if is_recipient { "RECIPIENT_ERASED" } else { "REFERRER_ERASED" }, vec![])
}

fn plain(code: Code, reason: &'static str, metadata: Vec<(&'static str, String)>) -> Row {
    Row { code, reason, field: None, metadata }
}

fn refused(reason: &'static str, metadata: Vec<(&'static str, String)>) -> Row {
    Row { code: Code::FailedPrecondition, reason, field: None, metadata }
}

fn blamed(code: Code, reason: &'static str, field: &'static str, metadata: Vec<(&'static str, String)>) -> Row {
    Row { code, reason, field: Some(field), metadata }
}

/// What is refused for two numbers that do not go together.
fn numbers(reason: &'static str, (one, first): (&'static str, &dyn ToString), (other, second): (&'static str, &dyn ToString)) -> Row {
    let metadata = vec![(one, first.to_string()), (other, second.to_string())];
    Row { code: Code::FailedPrecondition, reason, field: None, metadata }
}

fn sale(reason: &'static str, occurred_time: &Timestamp, bound: (&'static str, u32)) -> Row {
    misdated(reason, "purchase.occurred_time", occurred_time, bound)
}

fn sale_ahead(occurred_time: &Timestamp, max_ahead_seconds: u32) -> Row {
    sale("PURCHASE_IN_FUTURE", occurred_time, ("max_ahead_seconds", max_ahead_seconds))
}

/// The part of the table that is about activities.
fn activity_row(rejection: &ActivityRejection) -> Row {
    let row = |code, reason, field, metadata| Row { code, reason, field, metadata };
    let named = |activity: &ActivityId| ("activity", activity.to_string());
    match rejection {
        ActivityRejection::Exists { activity, member, entry_sequence, referred } => {
            let metadata = vec![
                named(activity),
                ("member_id", member.to_string()),
                ("entry_sequence", entry_sequence.to_string()),
                ("referred", referred.to_string()),
            ];
            row(Code::AlreadyExists, "ACTIVITY_EXISTS", None, metadata)
        }
        ActivityRejection::ReferrerNotFound => row(Code::NotFound, "REFERRER_NOT_FOUND", None, vec![]),
        ActivityRejection::ReferralToSelf => row(Code::InvalidArgument, "REFERRAL_TO_SELF", Some("referrer"), vec![]),
        ActivityRejection::TooOld { occurred_time, max_age_days } => {
            misdated("ACTIVITY_TOO_OLD", "occurred_time", occurred_time, ("max_age_days", *max_age_days))
        }
        ActivityRejection::InFuture { occurred_time, max_ahead_seconds } => {
            misdated("ACTIVITY_IN_FUTURE", "occurred_time", occurred_time, ("max_ahead_seconds", *max_ahead_seconds))
        }
        ActivityRejection::NotOffered { activity } => row(Code::FailedPrecondition, "ACTIVITY_NOT_OFFERED", None, vec![named(activity)]),
        ActivityRejection::ReferrerRequired { activity } => {
            row(Code::InvalidArgument, "REFERRER_REQUIRED", Some("referrer"), vec![named(activity)])
        }
        ActivityRejection::ReferralTooLate { purchases } => {
            row(Code::FailedPrecondition, "REFERRAL_TOO_LATE", None, vec![("purchases", purchases.to_string())])
        }
        ActivityRejection::ReferralRing { referrer } => {
            row(Code::FailedPrecondition, "REFERRAL_RING", None, vec![("referrer_member_id", referrer.to_string())])
        }
    }
}

fn fraud_limit(flag: &FraudFlag) -> Row {
    let metadata = vec![
        ("limit", flag.limit.name().to_owned()),
        ("maximum", flag.maximum.to_string()),
        ("count", flag.count.to_string()),
        ("period_start", flag.period_start.to_string()),
    ];
    Row { code: Code::FailedPrecondition, reason: "FRAUD_LIMIT", field: None, metadata }
}

fn purchase_exists(order: &OrderKey, member: &MemberId, entry_sequence: u64) -> Row {
    let metadata = vec![
        ("store_id", order.store.to_string()),
        ("order_id", order.order.to_string()),
        ("member_id", member.to_string()),
        ("entry_sequence", entry_sequence.to_string()),
    ];
    Row { code: Code::AlreadyExists, reason: "PURCHASE_EXISTS", field: None, metadata }
}

fn identifier_taken(kind: IdentifierKind, member: &MemberId) -> Row {
    let metadata = vec![("kind", kind_name(kind)), ("member_id", member.to_string())];
    Row { code: Code::AlreadyExists, reason: "IDENTIFIER_TAKEN", field: None, metadata }
}

fn misdated(reason: &'static str, field: &'static str, occurred_time: &Timestamp, (name, bound): (&'static str, u32)) -> Row {
    let metadata = vec![("occurred_time", occurred_time.to_string()), (name, bound.to_string())];
    Row { code: Code::OutOfRange, reason, field: Some(field), metadata }
}

fn of_redemption(code: Code, reason: &'static str, redemption: u64) -> Row {
    Row { code, reason, field: None, metadata: vec![("redemption_sequence", redemption.to_string())] }
}

fn hold_ended(hold: HoldId, captured: bool, entry_sequence: u64) -> Row {
    let end = if captured { "captured" } else { "released" };
    let metadata = vec![("hold_id", hold.to_string()), ("end", end.to_owned()), ("entry_sequence", entry_sequence.to_string())];
    Row { code: Code::FailedPrecondition, reason: "HOLD_ENDED", field: None, metadata }
}

/// More, or fewer, than a bound allows.
fn refused_points(reason: &'static str, bound: (&'static str, &dyn ToString), requested: &dyn ToString) -> Row {
    numbers(reason, bound, ("requested", requested))
}

/// With two numbers.
fn hold_too_long(seconds: u32, maximum_seconds: u32) -> Row {
    numbers("HOLD_TOO_LONG", ("seconds", &seconds), ("maximum_seconds", &maximum_seconds))
}

fn changed(parts: &[QuotePart]) -> String {
    parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(",")
}

fn too_complex(what: &TooComplex) -> Row {
    match what {
        TooComplex::AwardLines { award_lines, limit } => numbers("PURCHASE_TOO_COMPLEX", ("award_lines", award_lines), ("limit", limit)),
        TooComplex::EffectLines { effect_lines, limit } => {
            numbers("PURCHASE_TOO_COMPLEX", ("effect_lines", effect_lines), ("limit", limit))
        }
        TooComplex::Steps { steps, limit } => numbers("PURCHASE_TOO_COMPLEX", ("steps", steps), ("limit", limit)),
    }
}

fn missing(available: Points, requested: Points) -> Row {
    let mut row = refused_points("INSUFFICIENT_POINTS", ("available", &available), &requested);
    // Out of the range of numbers is far away.
    row.metadata.extend(requested.minus(available).ok().map(|missing| ("missing", missing.to_string())));
    row
}

fn too_many_lots(limit: usize, most: &dyn ToString, requested: &dyn ToString) -> Row {
    let mut row = refused_points("TOO_MANY_LOTS", ("most", most), requested);
    row.metadata.push(("limit", limit.to_string()));
    row
}

fn ambiguous(sequence: u64, members: &[MemberId]) -> Row {
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    let metadata = vec![("sequence", sequence.to_string()), ("member_ids", members.join(","))];
    Row { code: Code::FailedPrecondition, reason: "ENTRY_AMBIGUOUS", field: None, metadata }
}

fn line_not_found(line: usize) -> Row {
    let metadata = vec![("line_index", line.to_string())];
    Row { code: Code::InvalidArgument, reason: "RETURN_LINE_NOT_FOUND", field: Some("lines"), metadata }
}

fn return_too_large(line: Option<usize>, left: &dyn ToString, requested: &dyn ToString) -> Row {
    let mut row = refused_points("RETURN_TOO_LARGE", ("left", left), requested);
    row.metadata.extend(line.map(|line| ("line_index", line.to_string())));
    row
}

/// Whose state or bound stands against it.
fn subject(reason: &str) -> &'static str {
    match reason {
        "ACTIVITY_NOT_OFFERED"
        | "ADJUSTMENT_TOO_LARGE"
        | "PURCHASE_TOO_COMPLEX"
        | "REDEMPTION_NOT_OFFERED"
        | "HOLD_TOO_LONG"
        | "BELOW_MINIMUM"
        | "NOT_IN_STEPS"
        | "OVER_FLOOR_LIMIT"
        | "WORTH_NOTHING"
        | "OVER_ORDER"
        | "VERSION_WAITING" => "program",
        "PAYMENT_MISMATCH" => "purchase",
        "BACKUP_OF_OTHER_STORE" | "BACKUP_OF_OTHER_HISTORY" => "backup",
        "PURCHASE_RETURNED" | "NOTHING_RETURNED" | "RETURN_TOO_LARGE" | "RETURN_SHORTFALL" | "NOTHING_PENDING" => "purchase",
        _ if reason.starts_with("OFFER_") => "offer",
        _ if reason.starts_with("REWARD_") => "reward",
        _ if reason.starts_with("VOUCHER_") => "voucher",
        _ => "member",
    }
}

fn kind_name(kind: IdentifierKind) -> String {
    let name = match kind {
        IdentifierKind::Card => "KIND_CARD",
        IdentifierKind::Phone => "KIND_PHONE",
        IdentifierKind::Email => "KIND_EMAIL",
        IdentifierKind::ExternalId => "KIND_EXTERNAL_ID",
    };
    name.to_owned()
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let metadata: HashMap<String, String> = refusal.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(refusal.reason, DOMAIN, metadata);
        for violation in refusal.violations {
            details.add_bad_request_violation(violation.path, violation.message);
        }
        if refusal.code == Code::FailedPrecondition {
            details.add_precondition_failure_violation(refusal.reason, subject(refusal.reason), refusal.message.clone());
        }
        if let Some(delay) = refusal.retry_delay {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(refusal.code, refusal.message, details)
    }
}

impl From<Refusal> for v1::PurchaseError {
    fn from(refusal: Refusal) -> Self {
        let violations = refusal.violations.into_iter();
        Self {
            code: i32::from(refusal.code),
            reason: refusal.reason.to_owned(),
            message: refusal.message,
            metadata: refusal.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            field_violations: violations.map(|it| v1::FieldViolation { field: it.path, description: it.message }).collect(),
            // Those that are said are short.
            retry_delay: refusal.retry_delay.and_then(|delay| prost_types::Duration::try_from(delay).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let retry_delay = Duration::from_millis(250);
        let status = Status::from(Refusal::from(LedgerError::QueueFull { retry_delay }));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_retry_info().and_then(|info| info.retry_delay), Some(retry_delay));
        let closing = Status::from(Refusal::from(LedgerError::Closing));
        assert_eq!(closing.code(), Code::Unavailable);
        assert!(closing.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    }

    #[test]
    fn a_fault_of_the_service_stays_in_its_log() {
        let fault = LedgerError::Store(StoreError::Damaged("/var/lib/secret/segment-7 at 4096".to_owned()));
        let status = Status::from(Refusal::from(fault));
        assert_eq!(status.code(), Code::Internal);
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert!(status.message().contains(&info.metadata["error_id"]), "{status:?}");
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
    }

    #[test]
    fn an_item_of_a_batch_reads_as_the_call_would() {
        let rejection = || Rejection::PurchaseTooOld { occurred_time: jiff::Timestamp::UNIX_EPOCH, max_age_days: 30 };
        let status = Status::from(Refusal::from(rejection()));
        let error = v1::PurchaseError::from(Refusal::from(rejection()));
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((error.code, error.message.as_str()), (i32::from(status.code()), status.message()));
        assert_eq!((error.reason, error.metadata), (info.reason, info.metadata));
        let fields = status.get_details_bad_request().expect("a BadRequest").field_violations;
        assert_eq!((error.field_violations[0].field.as_str(), error.retry_delay), (fields[0].field.as_str(), None));
    }

    #[test]
    fn an_item_of_a_batch_says_when_to_come_back_as_the_call_would() {
        let no_space = || Refusal::from(LedgerError::NoSpace { retry_delay: Duration::from_millis(5_250) });
        for refusal in [no_space, Refusal::stopping, Refusal::starting] {
            let told = Status::from(refusal()).get_details_retry_info().and_then(|info| info.retry_delay).expect("a delay");
            let item = v1::PurchaseError::from(refusal()).retry_delay.expect("a delay");
            assert_eq!(Duration::try_from(item).expect("it is not negative"), told);
        }
    }

    #[test]
    fn violations_are_bounded_in_number_and_length() {
        let violation = |path: &str, length| Violation { path: path.to_owned(), message: "é".repeat(length) };
        let (kept, left_out) = within_bounds((0..100).map(|_| violation("a", 10_000)).collect());
        assert_eq!(kept.len() + left_out, 100);
        let bytes: usize = kept.iter().map(|violation| violation.message.len()).sum();
        assert!((1_000..=MAX_VIOLATION_BYTES).contains(&bytes), "{bytes}");
    }
}
