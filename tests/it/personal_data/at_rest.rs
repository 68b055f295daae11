//! Personal data at rest: sealed, or found by a keyed hash; never in clear, in whatever file, also where it is compressed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use loyaltyd::{
    contract::v1::{self, identifier::Kind},
    store::embedded::EmbeddedStore,
};

use crate::{
    backup,
    redemption::spending,
    support::{self, PROGRAM, TestServer, adjustment, card, config, enrolment, files, identifier, noon, sale},
};

const PHONE: &str = "+84987654321";
const EMAIL: &str = "planted@example.com";
const CARD: &str = "planted-card-7";
const EXTERNAL: &str = "planted-crm-9";

/// As it is given, and as it is compared.
const PLANTED: [&str; 9] =
    ["Tran Thi Planted", "Planted", "planted", PHONE, "987654321", "987 654 321", EMAIL, "Planted@Example.com", "vi-PLANTD"];

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// In hexadecimal digits and in base64, too: nobody has the idea that this hides anything.
fn forms(text: &str) -> Vec<Vec<u8>> {
    use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // Of base64 the last letter depends on what follows.
    let mut encoded = BASE64_STANDARD_NO_PAD.encode(text);
    encoded.pop();
    vec![text.as_bytes().to_vec(), hex(text.as_bytes()).into_bytes(), encoded.into_bytes()]
}

/// What a compressed segment holds, unpacked as the layout in the store's documentation says; `None`: it is none.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize, length: usize| bytes[at..at + length].iter().rev().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    if !bytes.starts_with(b"LOYLJNZ\n") {
        return None;
    }
    let (plain, frame) = (number(80, 8), number(88, 4));
    let frames = plain.div_ceil(frame);
    let mut at = 128 + 8 * frames;
    let mut all = Vec::with_capacity(plain);
    for place in 0..frames {
        let length = number(128 + 8 * place, 4);
        all.extend(zstd::decode_all(&bytes[at..at + length]).expect("a frame of Zstandard"));
        at += length;
    }
    assert_eq!(all.len(), plain, "the whole segment is unpacked");
    Some(all)
}

/// The content of every file below a folder, and of compressed ones what is in them.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths = Vec::new();
    files(folder, &mut paths);
    let mut all = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).expect("a file is read");
        all.extend(unpacked(&bytes).map(|plain| (path.with_extension("unpacked"), plain)));
        all.push((path, bytes));
    }
    all
}

/// The keyed hash that finds an identifier, as the README says what it is; and what it would be without the key.
fn hashes(data: &Path, kind: u8, value: &str) -> (Vec<u8>, Vec<u8>) {
    let keys = fs::read(data.join("keys")).expect("the key file is read");
    // Slot 1, which is not wrapped.
    let index_key: [u8; 32] = keys[64 + 8..64 + 40].try_into().expect("a key");
    let said = [b"i", PROGRAM.as_bytes(), &[0, kind], value.as_bytes()].concat();
    (blake3::keyed_hash(&index_key, &said).as_bytes().to_vec(), blake3::hash(&said).as_bytes().to_vec())
}

#[tokio::test]
async fn no_file_has_anything_personal_in_clear_compressed_or_in_a_backup() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(folder.path(), vec![spending()]);
    config.limits.segment_bytes = 64 << 10;
    let clock = std::sync::Arc::new(loyaltyd::ledger::ManualClock::new(noon()));
    let server = TestServer::start_with(folder, clock, config).await;
    let profile = v1::Profile {
        display_name: "Tran Thi Planted".into(),
        birth_date: Some(v1::Date { year: 1987, month: 11, day: 23 }),
        language_code: "vi-PLANTD".into(),
    };
    let identifiers = vec![
        identifier(Kind::Phone, "+84 987 654 321"),
        identifier(Kind::Email, "Planted@Example.com"),
        card(CARD),
        identifier(Kind::ExternalId, EXTERNAL),
    ];
    let enrol = v1::EnrollMemberRequest { profile: Some(profile), identifiers, ..enrolment("p") };
    let id = server.members().enroll_member(enrol).await.unwrap().into_inner().member.unwrap().member_id;
    // So much that segments are closed.
    for n in 0..200 {
        let mut buy = sale(&id, &format!("seen-order-{n}"), "20000");
        buy.purchase.as_mut().unwrap().lines[0].sku = format!("{n}-{}", "s".repeat(50));
        server.purchases().record_purchase(buy).await.unwrap();
    }
    server.points().adjust_points(adjustment(&id, "seen-request", 5)).await.unwrap();
    let data = server.data();
    let (folder, _) = server.end().await;
    let taken = tempfile::tempdir().expect("a temporary folder");
    {
        let store = EmbeddedStore::open(&data, support::options()).expect("the store opens");
        store.compress_closed();
        backup::take(&store, taken.path());
    }
    for place in [&data, taken.path()] {
        let contents = contents(place);
        // The search finds what is there in clear, in what was unpacked as well.
        let finds = |what: &str, is_unpacked: bool| {
            contents
                .iter()
                .any(|(path, bytes)| path.extension().is_some_and(|it| it == "unpacked") == is_unpacked && contains(bytes, what.as_bytes()))
        };
        assert!(finds("seen-order-1", true), "segments are compressed");
        assert!(finds("seen-request", false), "the last segment is not");
        for planted in PLANTED.iter().chain(&[CARD, EXTERNAL]) {
            for form in forms(planted) {
                let shows = contents.iter().find(|(_, bytes)| contains(bytes, &form));
                assert!(shows.is_none(), "{planted} is in {}", shows.unwrap().0.display());
            }
        }
    }
    // Identifiers are looked up by a hash that nobody can make without the key, in the tables alone; each finds its own.
    let tables = contents(&data.join("tables"));
    let all = contents(&data);
    for (kind, value) in [(1, CARD), (2, PHONE), (3, EMAIL), (4, EXTERNAL)] {
        let (keyed, plain) = hashes(&data, kind - 1, value);
        let is_there = |contents: &[(PathBuf, Vec<u8>)], hash: &[u8]| contents.iter().any(|(_, bytes)| contains(bytes, &hash[16..]));
        assert!(is_there(&tables, &keyed), "kind {kind}: the row of the identifier is found by the keyed hash");
        assert!(!is_there(&all, &plain), "kind {kind}");
    }
    drop(folder);
}
