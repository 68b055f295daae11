//! Vouchers: something that a member may ask for once, under a code that nobody can guess. What a voucher gives is resolved when it is
//! issued, so that it stays what it was promised to be, whatever becomes of the rule book.

mod benefit;

use std::fmt;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Entry, EntryKind, EntryRef, GoalPaid, GoalRefund, LineKind, Member, MemberKey, OfferId, OrderKey, Overflow, Program, Purchase,
    RewardFreed, RewardPaid, RuleId, VoucherKindId, VoucherRejection, calendar, fold::sooner, reward,
};

pub(super) use benefit::FreeUnits;
pub use benefit::VoucherBenefit;

/// Live vouchers that a member can be issued at most. What a return gives back, or a birthday brings, may come on top.
pub const MAX_VOUCHERS: usize = 1_000;

/// Vouchers of one purchase.
pub const MAX_PURCHASE_VOUCHERS: usize = 10;

/// What a rule book offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoucherKind {
    pub id: VoucherKindId,
    pub display_name: String,
    pub benefit: VoucherBenefit,
    /// What the goods must come to; 0: anything.
    pub minimum_order: Decimal,
    /// Valid from the start of the local day so many days after that of issue.
    pub after_days: u32,
    pub validity: VoucherValidity,
}

/// Through which day a voucher is valid, counted from the day of issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoucherValidity {
    Days(u32),
    Months(u32),
}

/// A live voucher: it has not been used, cancelled, or lapsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    pub code: VoucherCode,
    /// The entry that issued it.
    pub issued: EntryRef,
    pub kind: VoucherKindId,
    pub display_name: String,
    pub benefit: VoucherBenefit,
    pub minimum_order: Decimal,
    pub issue_time: Timestamp,
    pub valid_from_time: Timestamp,
    /// Valid until this instant, exclusive.
    pub expire_time: Timestamp,
    pub cause: VoucherCause,
    pub program_version: u32,
    pub hold: Option<VoucherHold>,
    /// The purchase that it came with lost, while it was held, what its promotion asks for: it goes when the hold ends.
    pub is_lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoucherCause {
    Manual,
    Birthday,
    Tier,
    Goal,
    Reward,
    Promotion,
    Offer,
}

/// A voucher is set aside for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoucherHold {
    pub order: OrderKey,
    pub hold_time: Timestamp,
    /// Held until this instant, exclusive.
    pub expire_time: Timestamp,
}

/// What becomes of a voucher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoucherChanged {
    pub code: VoucherCode,
    /// The entry that issued it: of [`VoucherChange::Issued`] the entry itself.
    pub issued: EntryRef,
    pub change: VoucherChange,
    /// When time alone changes the next of the member's vouchers, after it.
    pub next_due_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoucherChange {
    Issued {
        voucher: Box<Voucher>,
        /// Empty unless by hand.
        reason: String,
        /// Points turned into it.
        goal: Option<Box<GoalPaid>>,
        /// It was issued for a reward.
        reward: Option<Box<RewardPaid>>,
        /// It came with a purchase: of the entries right behind that one as many as its promotions gave vouchers.
        promotion: Option<RuleId>,
        /// Its member asked for it: the entry right before says so.
        offer: Option<OfferId>,
    },
    Held(VoucherHold),
    Released {
        cause: VoucherRelease,
        reason: String,
    },
    Used {
        order: Option<OrderKey>,
        /// The discount that it gave; `None`: nobody said.
        value: Option<Decimal>,
    },
    Cancelled {
        reason: String,
        /// Of one that a goal or a reward took points for.
        refund: Option<Box<GoalRefund>>,
        /// Of one that was issued for a reward.
        freed: Option<Box<RewardFreed>>,
    },
    Expired,
    /// All goods of the purchase that it was used for came back, and with them the voucher.
    Reinstated {
        voucher: Box<Voucher>,
        order: OrderKey,
    },
}

/// Why a hold ended without a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoucherRelease {
    Request,
    /// Its time was over.
    Expired,
}

/// What a header knows of the member's vouchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VoucherSummary {
    pub live: u32,
    /// When time alone changes the next of them; not later than that.
    pub next_due_time: Option<Timestamp>,
}

impl Voucher {
    /// When time alone changes it.
    pub fn due_time(&self) -> Timestamp {
        self.hold.as_ref().map_or(self.expire_time, |hold| hold.expire_time)
    }

    /// Whether it may be used at an instant for an order; why not.
    pub fn check(&self, order: Option<&OrderKey>, instant: Timestamp) -> Result<(), VoucherRejection> {
        let is_kept = match &self.hold {
            Some(hold) if Some(&hold.order) != order => return Err(VoucherRejection::Held { until: hold.expire_time }),
            held => held.is_some(),
        };
        if instant < self.valid_from_time {
            return Err(VoucherRejection::NotYetValid { valid_from_time: self.valid_from_time });
        }
        // One that lapses while it is held is good until the hold ends.
        if instant >= self.expire_time && !is_kept {
            return Err(VoucherRejection::Expired { expire_time: self.expire_time });
        }
        Ok(())
    }
}

/// What the goods of a purchase come to: lines less their own discounts, without gift cards, which are money.
pub(super) fn goods(purchase: &Purchase) -> Result<Decimal, Overflow> {
    let goods = purchase.lines.iter().filter(|line| line.kind == LineKind::Goods);
    goods.map(super::Line::net).try_fold(Decimal::ZERO, |sum, net| sum.checked_add(net?).ok_or(Overflow))
}

/// The terms of a voucher that is issued at an instant.
pub(super) fn issue(
    program: &Program,
    kind: &VoucherKind,
    (code, issued): (VoucherCode, EntryRef),
    cause: VoucherCause,
    instant: Timestamp,
) -> Result<Voucher, Overflow> {
    let day = calendar::local_date(&program.time_zone, instant);
    let last = match kind.validity {
        VoucherValidity::Days(days) => calendar::add_days(day, days)?,
        VoucherValidity::Months(months) => calendar::add_months(day, months)?,
    };
    Ok(Voucher {
        code,
        issued,
        kind: kind.id.clone(),
        display_name: kind.display_name.clone(),
        benefit: kind.benefit.clone(),
        minimum_order: kind.minimum_order,
        issue_time: instant,
        valid_from_time: calendar::start_of_day(&program.time_zone, calendar::add_days(day, kind.after_days)?)?,
        expire_time: calendar::start_of_day(&program.time_zone, calendar::add_days(last, 1)?)?,
        cause,
        program_version: program.version,
        hold: None,
        is_lost: false,
    })
}

impl Member {
    /// All live vouchers are loaded.
    pub fn has_all_vouchers(&self) -> bool {
        u32::try_from(self.vouchers.len()).is_ok_and(|loaded| loaded == self.header.vouchers.live)
    }
}

/// The voucher that time changes next, if that is due and all of them are loaded: without the others nobody could say what is due after it.
pub(super) fn next_due(member: &Member, now: Timestamp) -> Option<(&Voucher, Timestamp)> {
    let due = member.vouchers.values().map(|voucher| (voucher, voucher.due_time())).filter(|(_, time)| *time <= now);
    due.min_by_key(|(voucher, time)| (*time, voucher.issued)).filter(|_| member.has_all_vouchers())
}

/// When time changes the next voucher once this change is made.
pub(super) fn next_due_after(member: &Member, code: VoucherCode, change: &VoucherChange) -> Option<Timestamp> {
    let own = match change {
        VoucherChange::Issued { voucher, .. } | VoucherChange::Reinstated { voucher, .. } => Some(voucher.due_time()),
        VoucherChange::Held(hold) => Some(hold.expire_time),
        VoucherChange::Released { .. } => member.vouchers.get(&code).map(|voucher| voucher.expire_time),
        VoucherChange::Used { .. } | VoucherChange::Cancelled { .. } | VoucherChange::Expired => None,
    };
    if !member.has_all_vouchers() {
        return sooner(member.header.vouchers.next_due_time, own);
    }
    let others = member.vouchers.values().filter(|voucher| voucher.code != code);
    others.map(|voucher| Some(voucher.due_time())).fold(own, sooner)
}

/// `None`: the voucher is not in the state that the change begins with, or not loaded.
pub(super) fn fold(member: &mut Member, changed: &VoucherChanged) -> Option<()> {
    let VoucherChanged { code, change, next_due_time, .. } = changed;
    let live = &mut member.header.vouchers.live;
    match change {
        VoucherChange::Issued { voucher, .. } | VoucherChange::Reinstated { voucher, .. } => {
            *live = live.checked_add(1)?;
            member.vouchers.insert(*code, Voucher::clone(voucher)).is_none().then_some(())?;
        }
        VoucherChange::Held(hold) => {
            let voucher = member.vouchers.get_mut(code)?;
            voucher.hold.replace(hold.clone()).is_none().then_some(())?;
        }
        VoucherChange::Released { .. } => {
            member.vouchers.get_mut(code)?.hold.take()?;
        }
        VoucherChange::Used { .. } | VoucherChange::Cancelled { .. } | VoucherChange::Expired => {
            *live = live.checked_sub(1)?;
            member.vouchers.remove(code)?;
        }
    }
    member.header.vouchers.next_due_time = *next_due_time;
    reward::fold(&mut member.header, changed);
    Some(())
}

/// What they came with has come back while they were held.
pub(super) fn lose(member: &mut Member, codes: &[VoucherCode]) -> Option<()> {
    codes.iter().try_for_each(|code| member.vouchers.get_mut(code).map(|voucher| voucher.is_lost = true))
}

/// All that the member has become another's.
pub(super) fn leave(member: &mut Member, codes: &[VoucherCode]) -> Option<()> {
    codes.iter().try_for_each(|code| member.vouchers.remove(code).map(drop))
}

/// Those of another member have become this one's.
pub(super) fn join(member: &mut Member, vouchers: &[Voucher], next_due_time: Option<Timestamp>) -> Option<()> {
    let live = &mut member.header.vouchers.live;
    *live = live.checked_add(u32::try_from(vouchers.len()).ok()?)?;
    member.vouchers.extend(vouchers.iter().map(|voucher| (voucher.code, voucher.clone())));
    member.header.vouchers.next_due_time = next_due_time;
    Some(())
}

impl VoucherChanged {
    /// The entry that issued it, of all that comes after that one.
    pub(super) fn continues(&self) -> Option<EntryRef> {
        match &self.change {
            VoucherChange::Issued { .. } => None,
            VoucherChange::Held(_)
            | VoucherChange::Released { .. }
            | VoucherChange::Used { .. }
            | VoucherChange::Cancelled { .. }
            | VoucherChange::Expired
            | VoucherChange::Reinstated { .. } => Some(self.issued),
        }
    }

    pub(super) fn order(&self) -> Option<&OrderKey> {
        match &self.change {
            VoucherChange::Held(hold) => Some(&hold.order),
            VoucherChange::Used { order, .. } => order.as_ref(),
            VoucherChange::Reinstated { order, .. } => Some(order),
            VoucherChange::Issued { .. } | VoucherChange::Released { .. } | VoucherChange::Cancelled { .. } | VoucherChange::Expired => {
                None
            }
        }
    }
}

impl Entry {
    /// What becomes of a voucher, if the entry says so.
    pub fn voucher_change(&self) -> Option<&VoucherChanged> {
        if let EntryKind::VoucherChanged(changed) = &self.kind { Some(changed) } else { None }
    }

    /// Why the voucher that this entry is about is not live any more; `None`: it is, as far as this says.
    pub fn why_voucher_ended(&self) -> Option<VoucherRejection> {
        match &self.voucher_change()?.change {
            VoucherChange::Used { order, .. } => {
                let (member, entry_sequence) = (self.key.member, self.sequence);
                Some(VoucherRejection::Used { order: order.clone(), member, entry_sequence })
            }
            VoucherChange::Cancelled { .. } => Some(VoucherRejection::Cancelled { entry_sequence: self.sequence }),
            VoucherChange::Expired => Some(VoucherRejection::Expired { expire_time: self.occurred_time }),
            VoucherChange::Issued { .. } | VoucherChange::Held(_) | VoucherChange::Released { .. } | VoucherChange::Reinstated { .. } => {
                None
            }
        }
    }

    /// The vouchers that folding this entry changes or makes.
    pub fn touched_vouchers(&self) -> Vec<VoucherCode> {
        if let EntryKind::MergedInto(gone) = &self.kind {
            return gone.vouchers.clone();
        }
        if let EntryKind::MergedFrom(got) = &self.kind {
            return got.vouchers.iter().map(|voucher| voucher.code).collect();
        }
        if let EntryKind::PurchaseReturned(returned) = &self.kind {
            return returned.lost_vouchers.clone();
        }
        self.voucher_change().map(|changed| changed.code).into_iter().collect()
    }
}

/// What finds a voucher: 80 bits that nobody can guess. People read and type it as 17 characters, the last of which checks the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoucherCode([u8; CODE_BYTES]);

const CODE_BYTES: usize = 10;
/// Characters with the check character.
const SYMBOLS: usize = CODE_BYTES * 8 / 5 + 1;
/// Crockford's base 32: without I, L, O, which look like digits, and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Where a dash stands when a code is printed: before these places.
const GROUPS: [usize; 3] = [4, 8, 12];
/// Of a code with whatever stands between its characters.
const MAX_CODE_TEXT: usize = 64;

/// Why a text is no code. It does not repeat what was typed: a code is as good as what it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoucherCodeError {
    #[error("is required")]
    Missing,
    #[error("has not the {SYMBOLS} letters and digits of a voucher code")]
    Length,
    #[error("has a character that no voucher code has: they have digits and the letters but for I, L, O and U")]
    Character,
    #[error("is mistyped: a character is wrong, or two stand in each other's place")]
    Check,
}

impl VoucherCode {
    pub fn from_bytes(bytes: [u8; CODE_BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; CODE_BYTES] {
        &self.0
    }

    /// As people type it: in capitals or not, with spaces and dashes or without; O is taken for 0, I and L for 1.
    pub fn parse(text: &str) -> Result<Self, VoucherCodeError> {
        if text.len() > MAX_CODE_TEXT {
            return Err(VoucherCodeError::Length);
        }
        let mut symbols = Vec::with_capacity(SYMBOLS);
        for character in text.chars().filter(|character| !matches!(character, ' ' | '-')) {
            symbols.push(symbol(character).ok_or(VoucherCodeError::Character)?);
        }
        match symbols.len() {
            0 => return Err(VoucherCodeError::Missing),
            SYMBOLS => {}
            _ => return Err(VoucherCodeError::Length),
        }
        if checksum(&symbols) != 0 {
            return Err(VoucherCodeError::Check);
        }
        let mut bits: u128 = 0;
        for symbol in &symbols[..SYMBOLS - 1] {
            bits = bits << 5 | u128::from(*symbol);
        }
        let mut bytes = [0; CODE_BYTES];
        bytes.copy_from_slice(&bits.to_be_bytes()[16 - CODE_BYTES..]);
        Ok(Self(bytes))
    }

    fn symbols(&self) -> [u8; SYMBOLS] {
        let bits = self.0.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut symbols = [0; SYMBOLS];
        for (place, symbol) in symbols[..SYMBOLS - 1].iter_mut().rev().enumerate() {
            *symbol = (bits >> (5 * place)) as u8 & 31;
        }
        // What makes the sum of all nothing.
        symbols[SYMBOLS - 1] = times_alpha(checksum(&symbols[..SYMBOLS - 1]));
        symbols
    }
}

/// The characters are numbers of the field of 32 elements, and the sum of each times its own power of a generator is 0. Any wrong character
/// changes the sum, and so do any two that are swapped, since no two of fewer than 32 places have the same power.
fn checksum(symbols: &[u8]) -> u8 {
    symbols.iter().fold(0, |sum, symbol| times_alpha(sum) ^ symbol)
}

/// In the field of 32 elements, modulo x^5 + x^2 + 1.
fn times_alpha(element: u8) -> u8 {
    let doubled = element << 1;
    if doubled & 32 == 0 { doubled } else { doubled ^ 0b10_0101 }
}

fn symbol(character: char) -> Option<u8> {
    let wanted = match character.to_ascii_uppercase() {
        'O' => b'0',
        'I' | 'L' => b'1',
        other => u8::try_from(other).ok()?,
    };
    ALPHABET.iter().position(|letter| *letter == wanted).and_then(|place| u8::try_from(place).ok())
}

/// In groups, as it is printed.
impl fmt::Display for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, symbol) in self.symbols().into_iter().enumerate() {
            if GROUPS.contains(&place) {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(ALPHABET[usize::from(symbol)]))?;
        }
        Ok(())
    }
}

/// Whatever holds a code may be printed, and says it to nobody.
impl fmt::Debug for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoucherCode(not shown)")
    }
}

/// What codes are made with: a secret of the store's.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct VoucherCodeKey([u8; 32]);

impl fmt::Debug for VoucherCodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoucherCodeKey(not shown)")
    }
}

impl VoucherCodeKey {
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Of the voucher that an entry is about to issue: whoever decides the same again gets the same code, and nobody else can tell it.
    pub(super) fn code(&self, key: &MemberKey, sequence: u64, instant: Timestamp) -> VoucherCode {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // Ids of programmes have no zero in them, and what follows has a fixed length: the parts cannot run into each other.
        hasher.update(key.program.as_str().as_bytes()).update(&[0]).update(&key.member.0);
        hasher.update(&sequence.to_le_bytes()).update(&instant.as_microsecond().to_le_bytes());
        let mut bytes = [0; CODE_BYTES];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..CODE_BYTES]);
        VoucherCode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(symbols: &[u8]) -> String {
        symbols.iter().map(|symbol| char::from(ALPHABET[usize::from(*symbol)])).collect()
    }

    proptest! {
        #[test]
        fn a_code_is_read_however_it_is_typed(bytes: [u8; CODE_BYTES]) {
            let code = VoucherCode(bytes);
            let text = code.to_string();
            prop_assert_eq!(text.len(), SYMBOLS + GROUPS.len());
            let spoken = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            for typed in [text.clone(), text.replace('-', ""), spoken, text.replace('1', "I").replace('0', "O")] {
                prop_assert_eq!(VoucherCode::parse(&typed), Ok(code));
            }
            let logged = format!("{code:?}");
            prop_assert!(!logged.contains(&text[..4]));
        }

        #[test]
        fn one_wrong_character_and_two_swapped_are_noticed(bytes: [u8; CODE_BYTES]) {
            let symbols = VoucherCode(bytes).symbols();
            for place in 0..SYMBOLS {
                for wrong in (0..32).filter(|wrong| *wrong != symbols[place]) {
                    let mut typed = symbols;
                    typed[place] = wrong;
                    prop_assert_eq!(VoucherCode::parse(&text_of(&typed)), Err(VoucherCodeError::Check));
                }
                for other in (0..place).filter(|other| symbols[*other] != symbols[place]) {
                    let mut typed = symbols;
                    typed.swap(other, place);
                    prop_assert_eq!(VoucherCode::parse(&text_of(&typed)), Err(VoucherCodeError::Check));
                }
            }
        }
    }

    #[test]
    fn what_is_no_code_is_told_so() {
        let right = VoucherCode([0xA5; CODE_BYTES]).to_string();
        for (text, error) in [
            ("", VoucherCodeError::Missing),
            (" - ", VoucherCodeError::Missing),
            (&right[1..], VoucherCodeError::Length),
            (&format!("{right}0"), VoucherCodeError::Length),
            (&" ".repeat(65), VoucherCodeError::Length),
            (&right.replacen(&right[..1], "U", 1), VoucherCodeError::Character),
            (&right.replacen(&right[..1], "é", 1), VoucherCodeError::Character),
        ] {
            assert_eq!(VoucherCode::parse(text), Err(error), "{text:?}");
        }
    }
}
