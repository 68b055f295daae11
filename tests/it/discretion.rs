//! What is printed for debugging names nobody and opens nothing (invariant 10).

use std::{fmt::Debug, sync::Arc};

use loyaltyd::{
    config::Config,
    domain::{BirthDate, Command, EntryKind, Header, Identifier, IdentifierKind, Member, Person, Profile, ProfileUpdate, Sealed},
    ledger::{MemberTarget, Outcome},
};

use crate::{
    accrual::{Shop, rule_book_with},
    support,
};

fn person() -> Person {
    let identifier = |kind, value| Identifier::new(kind, value).expect("an identifier");
    Person {
        profile: Profile {
            display_name: "Nguyen Lan".into(),
            birth_date: Some(BirthDate { year: Some(1987), month: 11, day: 23 }),
            language_code: "vi-VN".into(),
        },
        identifiers: vec![
            identifier(IdentifierKind::Phone, "+84901234567"),
            identifier(IdentifierKind::Email, "lan@example.com"),
            identifier(IdentifierKind::Card, "card-4711"),
            identifier(IdentifierKind::ExternalId, "crm-0815"),
        ],
    }
}

#[track_caller]
fn tells_nothing(value: &impl Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        for secret in ["Nguyen", "Lan", "1987", "11", "23", "8490", "lan@", "example", "4711", "0815", "vi-VN"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn personal_data_is_not_printed() {
    let person = person();
    tells_nothing(&person);
    for identifier in &person.identifiers {
        tells_nothing(identifier);
        tells_nothing(&MemberTarget::Identifier(identifier.clone()));
        tells_nothing(&Command::AddIdentifier { identifier: identifier.clone() });
        tells_nothing(&EntryKind::IdentifierRemoved { identifier: Sealed::Open(identifier.clone()) });
    }
    let profile = &person.profile;
    tells_nothing(profile);
    tells_nothing(&profile.birth_date);
    let update = ProfileUpdate {
        display_name: Some(profile.display_name.clone()),
        birth_date: Some(profile.birth_date),
        language_code: Some(profile.language_code.clone()),
    };
    tells_nothing(&update);
    tells_nothing(&Command::UpdateProfile(update));

    tells_nothing(&Command::Enroll { person: person.clone() });
    let shop = Shop::open(rule_book_with("accrual_rules: [{ rule_id: r, per_order: { points: 5 } }]"));
    let header = Header::new(jiff::Timestamp::UNIX_EPOCH);
    let member = Member { header, person: Some(Sealed::Open(person.clone())), ..shop.member.clone() };
    let mut entry = shop.entries[0].clone();
    entry.record_time = jiff::Timestamp::UNIX_EPOCH;
    entry.occurred_time = jiff::Timestamp::UNIX_EPOCH;
    entry.kind = EntryKind::MemberEnrolled { person: Sealed::Open(person) };
    let key = member.key.clone();
    tells_nothing(&Outcome { programs: Arc::new(shop.programs), key, entries: vec![entry], member: Some(Box::new(member)) });
}

#[test]
fn the_operators_key_is_not_printed() {
    let config = Config { operator_key: Some([201; 32]), ..support::config(std::path::Path::new("data"), Vec::new()) };
    let text = format!("{config:?} {config:#?}");
    assert!(!text.contains("201") && text.contains("operator_key"), "{text}");
}
