//! The table of who may call what. An RPC without a row is not served where callers are authenticated.

use std::{collections::HashMap, fmt, sync::LazyLock};

use Role::{Manager, Operator, Pos, Storefront, Support};

/// What a principal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A till: sells, and spends and uses for the member at the counter.
    Pos,
    /// An app or web shop: a till, and what members do for themselves.
    Storefront,
    /// People who help members: read everything of them, and correct it.
    Support,
    /// Who runs the programmes: publishes rule books, and reads what they lead to.
    Manager,
    /// Who runs the service: backups; nothing of members.
    Operator,
}

pub const ROLES: [Role; 5] = [Pos, Storefront, Support, Manager, Operator];

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Pos => "pos",
            Storefront => "storefront",
            Support => "support",
            Manager => "manager",
            Operator => "operator",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        ROLES.into_iter().find(|role| role.name() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a call is about, as far as programmes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Programmes that its message names, or each of its messages: judged when that is parsed.
    Named,
    /// All that there is: for principals of all programmes alone.
    Everything,
    /// Nothing of a programme, or what the caller may see of each.
    NoProgram,
}

/// An RPC, and who may call it.
#[derive(Debug)]
pub struct Row {
    /// As in a path, without the first slash.
    pub method: &'static str,
    pub about: About,
    pub roles: &'static [Role],
}

const fn row(method: &'static str, roles: &'static [Role]) -> Row {
    Row { method, about: About::Named, roles }
}

const fn of(about: About, method: &'static str, roles: &'static [Role]) -> Row {
    Row { method, about, roles }
}

/// Who stands before the member, in a shop or on a screen.
const TILLS: &[Role] = &[Pos, Storefront];
/// The same, and who helps afterwards.
const DESKS: &[Role] = &[Pos, Storefront, Support];
/// What members do for themselves, or have done for them.
const SELF: &[Role] = &[Storefront, Support];
/// Reads of what a member has.
const READERS: &[Role] = &[Pos, Storefront, Support, Manager];
/// The same, where tills have no business.
const SELF_READERS: &[Role] = &[Storefront, Support, Manager];
const OFFICE: &[Role] = &[Support, Manager];
const SUPPORT: &[Role] = &[Support];
const MANAGERS: &[Role] = &[Manager];
const AUDITORS: &[Role] = &[Support, Manager, Operator];
const OPERATORS: &[Role] = &[Operator];

#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    row("loyalty.v1.PurchaseService/QuotePurchase",          DESKS),
    row("loyalty.v1.PurchaseService/RecordPurchase",         TILLS),
    row("loyalty.v1.PurchaseService/BatchRecordPurchases",   TILLS),
    row("loyalty.v1.PurchaseService/StreamPurchases",        TILLS),
    row("loyalty.v1.PurchaseService/ConfirmPurchase",        TILLS),
    row("loyalty.v1.PurchaseService/ReturnPurchase",         DESKS),
    row("loyalty.v1.PurchaseService/GetPurchase",            READERS),

    row("loyalty.v1.MemberService/EnrollMember",             DESKS),
    row("loyalty.v1.MemberService/GetMember",                READERS),
    row("loyalty.v1.MemberService/LookupMember",             READERS),
    row("loyalty.v1.MemberService/UpdateMember",             SELF),
    row("loyalty.v1.MemberService/ListMembers",              OFFICE),
    row("loyalty.v1.MemberService/ListSegments",             OFFICE),
    row("loyalty.v1.MemberService/AddIdentifier",            DESKS),
    row("loyalty.v1.MemberService/RemoveIdentifier",         SELF),
    row("loyalty.v1.MemberService/SetMemberTier",            SUPPORT),
    row("loyalty.v1.MemberService/SuspendMember",            SUPPORT),
    row("loyalty.v1.MemberService/ReactivateMember",         SUPPORT),
    row("loyalty.v1.MemberService/MergeMembers",             SUPPORT),
    row("loyalty.v1.MemberService/EraseMember",              SUPPORT),
    row("loyalty.v1.MemberService/ExportMember",             SUPPORT),

    row("loyalty.v1.PointsService/RedeemPoints",             DESKS),
    row("loyalty.v1.PointsService/ReverseRedemption",        DESKS),
    row("loyalty.v1.PointsService/HoldPoints",               DESKS),
    row("loyalty.v1.PointsService/CaptureHold",              DESKS),
    row("loyalty.v1.PointsService/ReleaseHold",              DESKS),
    row("loyalty.v1.PointsService/ListHolds",                READERS),
    row("loyalty.v1.PointsService/AdjustPoints",             SUPPORT),
    row("loyalty.v1.PointsService/TransferPoints",           SELF),
    row("loyalty.v1.PointsService/RecordActivity",           SELF),
    row("loyalty.v1.PointsService/ListEntries",              SELF_READERS),
    row("loyalty.v1.PointsService/ExplainEntry",             SELF_READERS),
    row("loyalty.v1.PointsService/ListLots",                 SELF_READERS),

    row("loyalty.v1.RewardService/ListRewards",              READERS),
    row("loyalty.v1.RewardService/RedeemReward",             DESKS),
    row("loyalty.v1.RewardService/IssueVoucher",             SUPPORT),
    row("loyalty.v1.RewardService/ListVouchers",             READERS),
    row("loyalty.v1.RewardService/GetVoucher",               READERS),
    row("loyalty.v1.RewardService/HoldVoucher",              DESKS),
    row("loyalty.v1.RewardService/ReleaseVoucher",           DESKS),
    row("loyalty.v1.RewardService/UseVoucher",               DESKS),
    row("loyalty.v1.RewardService/CancelVoucher",            SUPPORT),

    row("loyalty.v1.OfferService/ListOffers",                READERS),
    row("loyalty.v1.OfferService/ActivateOffer",             DESKS),
    row("loyalty.v1.OfferService/AssignOffer",               SUPPORT),
    row("loyalty.v1.OfferService/WithdrawOffer",             SUPPORT),

    row("loyalty.v1.ProgramService/PublishProgram",          MANAGERS),
    row("loyalty.v1.ProgramService/GetProgram",              READERS),
    of(About::NoProgram, "loyalty.v1.ProgramService/ListPrograms", &ROLES),

    row("loyalty.v1.AuditService/ListAuditEntries",          AUDITORS),

    of(About::NoProgram,  "loyalty.v1.ServerService/GetServerInfo", &ROLES),
    of(About::Everything, "loyalty.v1.AdminService/StreamBackup",   OPERATORS),
    of(About::Everything, "loyalty.v1.SandboxService/GetClock",     OPERATORS),
    of(About::Everything, "loyalty.v1.SandboxService/AdvanceClock", OPERATORS),
];

static BY_METHOD: LazyLock<HashMap<&'static str, &'static Row, foldhash::fast::RandomState>> =
    LazyLock::new(|| TABLE.iter().map(|row| (row.method, row)).collect());

/// Of a call's path.
pub fn row_of(path: &str) -> Option<&'static Row> {
    BY_METHOD.get(path.strip_prefix('/')?).copied()
}

impl Row {
    /// The roles that may call it, as an error names them.
    pub fn names(&self) -> String {
        self.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
    }
}
