//! Members: who is meant, what is personal, and how a member is shown.

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Mistakes, Path,
    amount::money,
    entry::{balance, lot},
    goal::goal_progress,
    redemption::hold,
    referral::waiting_referral,
    returned::pending_lot,
    reward::redeemed_rewards,
    segment::member_segments,
    text,
    tier::tier_standing,
    time,
};
use crate::{
    contract::v1,
    domain::{
        self, Currency, Identifier, IdentifierKind, LifetimeTotals, MAX_IDENTIFIERS, MemberId, MemberState, Person, Points, Profile,
        ProfileUpdate, Program, Recipient, Sealed,
    },
    ledger::{DATES, MemberTarget},
};

/// Lots, pending lots and holds of a member that are shown with it.
pub const MAX_SHOWN: usize = 1_000;

/// The other member of a transfer or merge.
pub fn recipient(path: Path<'_>, value: Option<&v1::MemberRef>, mistakes: &mut Mistakes) -> Option<Recipient> {
    use v1::member_ref::Ref;
    match value.and_then(|member| member.r#ref.as_ref()) {
        None => {
            mistakes.add(path, "is required: a member_id or an identifier");
            None
        }
        Some(Ref::MemberId(text)) => member_id(path, text, mistakes).map(Recipient::Id),
        Some(Ref::Identifier(value)) => identifier(path.field("identifier"), value, mistakes).map(Recipient::Identifier),
    }
}

fn member_id(path: Path<'_>, text: &str, mistakes: &mut Mistakes) -> Option<MemberId> {
    let id = MemberId::parse(text);
    if id.is_none() {
        mistakes.add(path.field("member_id"), "is not the id of a member, which is a UUID as EnrollMember returns it");
    }
    id
}

/// Empty: not said.
pub fn optional_member_id(path: Path<'_>, text: &str, mistakes: &mut Mistakes) -> Option<Option<MemberId>> {
    if text.is_empty() {
        return Some(None);
    }
    let id = MemberId::parse(text);
    if id.is_none() {
        mistakes.add(path, "is not the id of a member, which is a UUID as EnrollMember returns it");
    }
    id.map(Some)
}

pub fn member_target(value: Option<&v1::MemberRef>, mistakes: &mut Mistakes) -> Option<MemberTarget> {
    use v1::member_ref::Ref;
    let path = Path::Root.field("member");
    match value.and_then(|member| member.r#ref.as_ref()) {
        None => {
            mistakes.add(path, "is required: a member_id or an identifier");
            None
        }
        Some(Ref::MemberId(text)) => member_id(path, text, mistakes).map(MemberTarget::Id),
        Some(Ref::Identifier(value)) => identifier(path.field("identifier"), value, mistakes).map(MemberTarget::Identifier),
    }
}

pub fn identifier(path: Path<'_>, value: &v1::Identifier, mistakes: &mut Mistakes) -> Option<Identifier> {
    use v1::identifier::Kind;
    let kind = match Kind::try_from(value.kind) {
        Ok(Kind::Card) => IdentifierKind::Card,
        Ok(Kind::Phone) => IdentifierKind::Phone,
        Ok(Kind::Email) => IdentifierKind::Email,
        Ok(Kind::ExternalId) => IdentifierKind::ExternalId,
        Ok(Kind::Unspecified) => {
            mistakes.add(path.field("kind"), "is required");
            return None;
        }
        Err(_) => {
            mistakes.add(path.field("kind"), format!("has no value {}", value.kind));
            return None;
        }
    };
    mistakes.take(path.field("value"), Identifier::new(kind, &value.value))
}

/// The person of an enrolment.
pub fn enrolment(
    profile: Option<v1::Profile>,
    identifiers: &[v1::Identifier],
    program: &Program,
    now: Timestamp,
    mistakes: &mut Mistakes,
) -> Option<Person> {
    if identifiers.len() > MAX_IDENTIFIERS {
        mistakes.add(Path::Root.field("identifiers"), format!("has {} of at most {MAX_IDENTIFIERS}", identifiers.len()));
        return None;
    }
    let mut held: Vec<Identifier> = Vec::with_capacity(identifiers.len());
    for (index, value) in identifiers.iter().enumerate() {
        let path = Path::Root.item("identifiers", index);
        match identifier(path, value, mistakes) {
            Some(identifier) if held.contains(&identifier) => mistakes.add(path, "is given twice"),
            Some(identifier) => held.push(identifier),
            None => {}
        }
    }
    let profile = parse_profile(profile.unwrap_or_default(), &program.time_zone, now, mistakes)?;
    Some(Person { profile, identifiers: held })
}

fn parse_profile(profile: v1::Profile, zone: &TimeZone, now: Timestamp, mistakes: &mut Mistakes) -> Option<Profile> {
    let path = Path::Root.field("profile");
    let display_name = text(path.field("display_name"), profile.display_name, 200, mistakes);
    let birth_date = match &profile.birth_date {
        None => Some(None),
        Some(date) => time::parse_birth_date(path.field("birth_date"), date, zone, now, mistakes).map(Some),
    };
    let language_code = language(path.field("language_code"), profile.language_code, mistakes);
    Some(Profile { display_name: display_name?, birth_date: birth_date?, language_code: language_code? })
}

/// The shape of a BCP 47 tag; whether such a language exists is not ours to know.
fn language(path: Path<'_>, value: String, mistakes: &mut Mistakes) -> Option<String> {
    let value = text(path, value, 35, mistakes)?;
    let subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if value.is_empty() || value.split('-').all(subtag) {
        return Some(value);
    }
    mistakes.add(path, "is not a BCP 47 language tag, such as vi-VN");
    None
}

/// The named fields of the profile with their new values; unnamed ones are left out unread.
pub fn profile_update(
    profile: Option<v1::Profile>,
    mask: Option<&prost_types::FieldMask>,
    program: &Program,
    now: Timestamp,
    mistakes: &mut Mistakes,
) -> Option<ProfileUpdate> {
    let mask_path = Path::Root.field("update_mask");
    let paths = mask.map_or(&[][..], |mask| &mask.paths);
    if paths.is_empty() {
        mistakes.add(mask_path, "is required: display_name, birth_date, language_code, or some of them");
        return None;
    }
    let profile = profile.unwrap_or_default();
    let mut named = v1::Profile::default();
    let (mut with_name, mut with_date, mut with_language) = (false, false, false);
    for (index, path) in paths.iter().enumerate() {
        match path.as_str() {
            "display_name" => (named.display_name, with_name) = (profile.display_name.clone(), true),
            "birth_date" => (named.birth_date, with_date) = (profile.birth_date, true),
            "language_code" => (named.language_code, with_language) = (profile.language_code.clone(), true),
            _ => mistakes.add(mask_path.item("paths", index), "is not one of display_name, birth_date, language_code"),
        }
    }
    let parsed = parse_profile(named, &program.time_zone, now, mistakes)?;
    Some(ProfileUpdate {
        display_name: with_name.then_some(parsed.display_name),
        birth_date: with_date.then_some(parsed.birth_date),
        language_code: with_language.then_some(parsed.language_code),
    })
}

/// How a member stands under a version of the rule book, right after its newest entry. What is personal is shown if it was loaded and not
/// erased.
pub fn member(member: &domain::Member, program: &Program) -> v1::Member {
    member_at(member, program, member.header.update_time)
}

fn member_at(member: &domain::Member, program: &Program, now: Timestamp) -> v1::Member {
    let header = &member.header;
    let person = member.person.as_ref().and_then(Sealed::open);
    let state = match header.state {
        MemberState::Active => v1::member::State::Active,
        MemberState::Suspended => v1::member::State::Suspended,
        MemberState::Merged { .. } => v1::member::State::Merged,
        MemberState::Erased => v1::member::State::Erased,
    };
    v1::Member {
        program_id: member.key.program.to_string(),
        member_id: member.key.member.to_string(),
        state: state.into(),
        create_time: Some(time::timestamp(header.create_time)),
        update_time: Some(time::timestamp(header.update_time)),
        profile: person.map(|person| profile(&person.profile)),
        identifiers: person.map_or_else(Vec::new, |person| person.identifiers.iter().map(identifier_out).collect()),
        balance: Some(balance(&header.balance)),
        tier: Some(tier_standing(program, header, now)),
        lifetime: Some(lifetime(&header.lifetime, &program.currency)),
        last_sequence: count(header.last_sequence),
        expiring: Vec::new(),
        lots: Vec::new(),
        pending_lots: Vec::new(),
        holds: Vec::new(),
        redeemed_rewards: Vec::new(),
        goal: goal_progress(program, header),
        segments: member_segments(header),
        waiting_referral: header.referral.as_ref().and_then(|held| held.waiting_at(now)).map(|it| waiting_referral(it, &program.currency)),
        live_vouchers: i32::try_from(header.vouchers.live).unwrap_or(i32::MAX),
        merged_into_member_id: header.state.merged_into().map_or_else(String::new, |into| into.to_string()),
        merged_member_ids: header.merged.iter().map(|merged| merged.member.to_string()).collect(),
    }
}

pub fn lifetime(totals: &LifetimeTotals, currency: &Currency) -> v1::LifetimeTotals {
    v1::LifetimeTotals {
        qualifying_points: totals.qualifying_points.0,
        spend: Some(money(totals.spend, currency)),
        visits: count(totals.visits),
    }
}

/// With what lapses next: what reads show. The answer of a change must be the same again when it is repeated later, and has less.
pub fn member_read(read: &domain::Member, program: &Program, now: Timestamp) -> v1::Member {
    v1::Member { expiring: expiring(read, program), ..member_at(read, program, now) }
}

/// With all that it has, as far as that is loaded.
pub fn whole_member(whole: &domain::Member, program: &Program, now: Timestamp) -> v1::Member {
    let live = whole.lots.values().filter(|lot| lot.remaining > Points::ZERO);
    v1::Member {
        lots: live
            .take(MAX_SHOWN)
            .map(|live| lot(live, (&whole.header.inactivity, &whole.header.inactive_months), &program.time_zone))
            .collect(),
        pending_lots: whole.pending.values().take(MAX_SHOWN).map(pending_lot).collect(),
        holds: whole.holds.values().take(MAX_SHOWN).map(|held| hold(held, &program.currency)).collect(),
        redeemed_rewards: redeemed_rewards(&whole.header),
        ..member_read(whole, program, now)
    }
}

/// What lapses at the next instants; the lots of those with a date are loaded.
fn expiring(member: &domain::Member, program: &Program) -> Vec<v1::ExpiringPoints> {
    let mut dates: Vec<(Timestamp, bool, i64)> = Vec::with_capacity(DATES + 1);
    for (time, points) in member.lots.values().filter_map(|lot| Some((lot.expiry.time()?, lot.remaining.0))) {
        let is_full = dates.len() == DATES;
        match dates.last_mut() {
            Some((last, _, sum)) if *last == time => *sum += points,
            Some(_) if is_full => break,
            Some(_) | None => dates.push((time, false, points)),
        }
    }
    let inactivity = &member.header.inactivity;
    dates.extend(inactivity.due_time().map(|time| (time, true, inactivity.points.0)));
    let months = &member.header.inactive_months;
    let by_month = months.points.iter().filter_map(|(earned, points)| Some((months.lapse_time(*earned, &program.time_zone)?, points.0)));
    let first = dates.len();
    for (time, points) in by_month {
        match dates[first..].last_mut() {
            Some((last, _, sum)) if *last == time => *sum += points,
            Some(_) | None => dates.push((time, true, points)),
        }
    }
    dates.sort_unstable();
    dates.truncate(DATES);
    let shown = |(time, lapses_with_inactivity, points)| {
        let expire_time = Some(time::timestamp(time));
        v1::ExpiringPoints { points, expire_time, lapses_with_inactivity }
    };
    dates.into_iter().map(shown).collect()
}

/// Counters of the ledger go up by one at a time and never come near the bound of the wire's type.
pub fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn profile(profile: &Profile) -> v1::Profile {
    v1::Profile {
        display_name: profile.display_name.clone(),
        birth_date: profile.birth_date.map(time::birth_date),
        language_code: profile.language_code.clone(),
    }
}

pub fn identifier_out(identifier: &Identifier) -> v1::Identifier {
    use v1::identifier::Kind;
    let kind = match identifier.kind {
        IdentifierKind::Card => Kind::Card,
        IdentifierKind::Phone => Kind::Phone,
        IdentifierKind::Email => Kind::Email,
        IdentifierKind::ExternalId => Kind::ExternalId,
    };
    v1::Identifier { kind: kind.into(), value: identifier.value().to_owned() }
}
