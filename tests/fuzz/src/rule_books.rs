//! Rule books: texts of any kind, messages of any kind, and conditions. What is read is written and read again, and is the same.

use jiff::Timestamp;
use loyaltyd::{
    contract::{program, rule_book, v1},
    domain::{Condition, Digits, Scope},
};
use prost::Message as _;

use super::entropy::Entropy;

/// Bytes as they may come: the first one says what of.
pub fn run(data: &[u8]) {
    let mut entropy = Entropy::new(data);
    match entropy.below(4) {
        0 => text(&String::from_utf8_lossy(entropy.rest())),
        1 => message(entropy.rest()),
        2 => condition(&String::from_utf8_lossy(entropy.rest())),
        // An example, spoilt by what follows.
        _ => {
            let examples = super::examples();
            let mut book = entropy.pick(&examples).clone().into_bytes();
            while !entropy.is_empty() {
                entropy.spoil(&mut book);
            }
            text(&String::from_utf8_lossy(&book));
        }
    }
}

fn text(text: &str) {
    if let Ok(read) = rule_book::read(text) {
        judge(&read);
        for written in [rule_book::to_yaml(&read), rule_book::to_json(&read)] {
            // What is written may be longer than what was read.
            if written.len() <= rule_book::MAX_BYTES {
                let again = rule_book::read(&written).unwrap_or_else(|error| panic!("what was written cannot be read: {error}\n{written}"));
                assert_eq!(again, read, "what was written is not what was read:\n{written}");
            }
        }
    }
}

fn message(bytes: &[u8]) {
    let strict = rule_book::decode(bytes);
    match v1::Program::decode(bytes) {
        Ok(read) => {
            judge(&read);
            // A field that is not known is the only thing that makes the difference.
            assert!(strict.is_err() || strict.is_ok_and(|strict| strict == read));
            assert_eq!(rule_book::decode(&read.encode_to_vec()), Ok(read));
        }
        Err(_) => assert!(strict.is_err()),
    }
}

/// Whether it makes sense is told, and the same each time.
fn judge(read: &v1::Program) {
    let time = Timestamp::UNIX_EPOCH;
    match (program::parse(read, 1, time), program::parse(read, 1, time)) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(mistakes), Err(again)) => {
            assert!(!mistakes.is_empty() && mistakes == again);
            assert!(mistakes.iter().all(|mistake| !mistake.message.is_empty()), "{mistakes:?}");
        }
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

fn condition(text: &str) {
    let digits = Digits { points: 0, money: 2 };
    for scope in [Scope::Purchase, Scope::Line, Scope::Segment] {
        match Condition::compile(text, scope, digits) {
            Ok(condition) => assert!(Condition::compile(condition.text(), scope, digits).is_ok_and(|again| again == condition)),
            Err(mistake) => assert!(mistake.line >= 1 && mistake.column >= 1 && !mistake.text.is_empty(), "{mistake:?}"),
        }
    }
}
