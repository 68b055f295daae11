//! What is personal, read from its opened bytes.

use super::{
    decode::{Decoded, Malformed},
    known, stored,
};
use crate::domain::{BirthDate, Identifier, IdentifierKind, Person, Profile};

pub(super) fn person(bytes: &[u8]) -> Decoded<Person> {
    let person: stored::Person = known::sealed(&known::PERSON, bytes)?;
    Ok(Person {
        profile: profile(person.profile.unwrap_or_default())?,
        identifiers: person.identifiers.iter().map(identifier).collect::<Decoded<_>>()?,
    })
}

pub(super) fn profile_bytes(bytes: &[u8]) -> Decoded<Profile> {
    profile(known::sealed(&known::PROFILE, bytes)?)
}

fn profile(profile: stored::Profile) -> Decoded<Profile> {
    let date = profile.birth_date;
    let birth_date = if date == 0 {
        None
    } else {
        let part = |part: u32| i8::try_from(part).map_err(|_| Malformed("birth_date"));
        let year = i16::try_from(date / 10_000).map_err(|_| Malformed("birth_date"))?;
        Some(BirthDate { year: (year != 0).then_some(year), month: part(date / 100 % 100)?, day: part(date % 100)? })
    };
    Ok(Profile { display_name: profile.display_name, birth_date, language_code: profile.language_code })
}

pub(super) fn identifier_bytes(bytes: &[u8]) -> Decoded<Identifier> {
    identifier(&known::sealed(&known::IDENTIFIER, bytes)?)
}

fn identifier(identifier: &stored::Identifier) -> Decoded<Identifier> {
    let kind = match identifier.kind {
        0 => IdentifierKind::Card,
        1 => IdentifierKind::Phone,
        2 => IdentifierKind::Email,
        3 => IdentifierKind::ExternalId,
        _ => return Err(Malformed("identifier.kind")),
    };
    Ok(Identifier::from_stored(kind, identifier.value.clone()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::embedded::{encode, wire::Writer};

    fn read_back(written: &Person) -> Decoded<Person> {
        let mut writer = Writer::default();
        encode::person(&mut writer, written);
        person(&writer.bytes)
    }

    fn kinds() -> impl Strategy<Value = IdentifierKind> {
        proptest::sample::select(vec![IdentifierKind::Card, IdentifierKind::Phone, IdentifierKind::Email, IdentifierKind::ExternalId])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Otherwise the ledger could not be read again.
        #[test]
        fn what_the_edge_accepts_is_read_back(
            kind in kinds(),
            value in prop_oneof![".{0,300}", "İ{1,250}@[aİ]{1,4}", "[İıẞǅ\\PC]{1,200}@[İ\\PC]{1,100}", "\\+[0-9 ]{6,20}"],
            display_name in any::<String>(),
            language_code in any::<String>(),
            birth_date in proptest::option::of((proptest::option::of(1..=9_999i16), 1..=12i8, 1..=31i8)),
        ) {
            let birth_date = birth_date.map(|(year, month, day)| BirthDate { year, month, day });
            let identifiers = Identifier::new(kind, &value).into_iter().collect();
            let person = Person { profile: Profile { display_name, birth_date, language_code }, identifiers };
            prop_assert_eq!(read_back(&person), Ok(person));
        }
    }

    /// "İ" is two characters in lower case: the longest address has 254 in its normal form.
    #[test]
    fn an_identifier_that_grows_is_measured_as_it_is_kept() {
        let email =
            |grows: usize, stays: usize| Identifier::new(IdentifierKind::Email, &format!("{}{}@a.b", "İ".repeat(grows), "x".repeat(stays)));
        for (grows, stays) in [(125, 0), (100, 50)] {
            let person = Person { identifiers: email(grows, stays).into_iter().collect(), ..Person::default() };
            assert_eq!((read_back(&person), person.identifiers.len()), (Ok(person.clone()), 1));
        }
        assert_eq!(email(125, 1).map(|_| ()), Err(crate::domain::IdentifierError::TooLong));
        assert_eq!(email(2, 246).map(|_| ()), email(0, 250).map(|_| ()));
        assert_eq!(email(2, 247).map(|_| ()), Err(crate::domain::IdentifierError::TooLong));
    }
}
