//! Data folders of every release, opened by this build: all that the release answered about them is answered the same, as they are, with
//! tables made anew, and from a backup; and they can be gone on with. `tests/released/README.md` says how they come about.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    config::Config,
    ledger::ManualClock,
    store::{
        Store as _,
        backup::Held,
        embedded::{Backup, BackupPlace, EmbeddedStore, Until, check, restore, verify},
    },
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{TestServer, config, copy_folder, histories::World, options, raw, segments};

fn releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let items = fs::read_dir(folder).expect("the folder is there").map(|item| item.expect("a folder is listed").path());
    let mut releases: Vec<PathBuf> = items.filter(|path| path.is_dir()).collect();
    let version = |path: &PathBuf| -> Vec<u32> {
        let name = path.file_name().expect("a name").to_str().expect("a version");
        name.split('.').map(|part| part.parse().expect("a version")).collect()
    };
    releases.sort_by_key(version);
    assert!(!releases.is_empty(), "there is no release: run tests/released/make.py");
    releases
}

/// A folder that a release left, and what it said of it.
struct Left {
    folder: TempDir,
    is_sandbox: bool,
    asked_time: Timestamp,
    answers: Vec<Value>,
    contract: DescriptorPool,
}

impl Left {
    fn unpack(release: &Path, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = release.join(name).with_extension("tar.gz");
        let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().expect("there is tar");
        assert!(done.success(), "{} cannot be unpacked", archive.display());
        let text = fs::read_to_string(folder.path().join(name).join("answers.json")).expect("the answers are there");
        let said: Value = serde_json::from_str(&text).expect("JSON");
        let asked_time: Timestamp = said["asked_time"].as_str().and_then(|text| text.parse().ok()).expect("an instant");
        let contract = fs::read(release.join("contract.binpb")).expect("the contract is there");
        Self {
            is_sandbox: name == "sandbox",
            // It was cut to seconds.
            asked_time: asked_time + 1.second(),
            answers: said["answers"].as_array().expect("a list").clone(),
            contract: DescriptorPool::decode(&*contract).expect("descriptors"),
            folder,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join(if self.is_sandbox { "sandbox" } else { "ledger" }).join("data")
    }

    /// A server over a copy.
    async fn serve(&self, data: &Path) -> TestServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy_folder(data, &folder.path().join("data"));
        self.serve_in(folder).await
    }

    async fn serve_in(&self, folder: TempDir) -> TestServer {
        let config = Config { sandbox: self.is_sandbox, ..config(folder.path(), Vec::new()) };
        TestServer::start_with(folder, Arc::new(ManualClock::new(self.asked_time)), config).await
    }

    /// Every field that the release knew says what it said then.
    async fn compare(&self, server: &TestServer, how: &str) {
        for said in &self.answers {
            let path = said["method"].as_str().expect("a path");
            let method = raw::method(&self.contract, path).expect("the release has the method");
            let request = from_json(&method.input(), &said["request"]).encode_to_vec();
            let answer = raw::unary(&server.channel, path, request).await;
            let answer = answer.unwrap_or_else(|status| panic!("{how}: {path} {}: {status}", said["request"]));
            let found = to_json(&DynamicMessage::decode(method.output(), &*answer).expect("an answer"));
            let expected = to_json(&from_json(&method.output(), &said["response"]));
            assert_eq!(found, expected, "{how}: {path} {}", said["request"]);
        }
    }

    fn member(&self) -> &str {
        let is_sale = |said: &&Value| said["method"] == "/loyalty.v1.PurchaseService/GetPurchase";
        self.answers.iter().find(is_sale).and_then(|said| said["response"]["member_id"].as_str()).expect("somebody has bought")
    }

    async fn call(&self, server: &TestServer, path: &str, request: Value) -> Value {
        let method = raw::method(&self.contract, path).expect("the release has the method");
        let answer = raw::unary(&server.channel, path, from_json(&method.input(), &request).encode_to_vec()).await;
        let answer = answer.unwrap_or_else(|status| panic!("{path}: {status}"));
        to_json(&DynamicMessage::decode(method.output(), &*answer).expect("an answer"))
    }
}

fn from_json(message: &MessageDescriptor, value: &Value) -> DynamicMessage {
    DynamicMessage::deserialize(message.clone(), value.clone()).expect("it is of the contract")
}

/// But for sentences, which may be put better.
fn to_json(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut value = message.serialize_with_options(serde_json::value::Serializer, &options).expect("a message has a JSON form");
    leave_out_sentences(&mut value);
    value
}

fn leave_out_sentences(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, said)| match name.as_str() {
            "explanation" | "unusable_reason" => {
                assert!(*said != json!([]) && *said != json!(""), "nothing is explained");
                *said = Value::Null;
            }
            _ => leave_out_sentences(said),
        }),
        Value::Array(items) => items.iter_mut().for_each(leave_out_sentences),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_sound(data: &Path, how: &str) {
    let report = check(data, &options()).unwrap_or_else(|error| panic!("{how}: {error}"));
    assert!(report.is_sound() && report.entries > 250, "{how}: {report:?}");
}

async fn opens(release: &Path, name: &str) {
    let left = Left::unpack(release, name);
    let how = |what: &str| format!("{} {name}, {what}", release.file_name().expect("a version").display());
    assert!(segments::paths(&left.data()).len() >= 3, "there are several segments");

    let server = left.serve(&left.data()).await;
    left.compare(&server, &how("as it was left")).await;
    let (folder, _) = server.end().await;

    fs::remove_dir_all(folder.path().join("data/tables")).expect("there are tables");
    let server = left.serve_in(folder).await;
    left.compare(&server, &how("with tables made anew")).await;
    let (folder, _) = server.end().await;
    is_sound(&folder.path().join("data"), &how("checked"));

    let (folder, backup) = (folder, tempfile::tempdir().expect("a temporary folder"));
    let backup = backup.path().join("backup");
    back_up(&folder.path().join("data"), &backup);
    let place = BackupPlace { folder: &backup, keys: None, operator_key: None };
    verify(&place).unwrap_or_else(|error| panic!("{}: {error}", how("backed up")));
    let restored = tempfile::tempdir().expect("a temporary folder");
    let target = restored.path().join("data");
    restore(&place, &target, Until::End).unwrap_or_else(|error| panic!("{}: {error}", how("restored")));
    if left.is_sandbox {
        // A sandbox has no backups: what was restored would be served as a real ledger.
        fs::copy(left.data().join("SANDBOX"), target.join("SANDBOX")).expect("the clock is kept");
    }
    let server = left.serve_in(restored).await;
    left.compare(&server, &how("restored")).await;
    server.stop().await;
    goes_on(&left, folder, &how("gone on with")).await;
}

/// A purchase on top of what is there, which is still there after the next start.
async fn goes_on(left: &Left, folder: TempDir, how: &str) {
    let server = left.serve_in(folder).await;
    let money = json!({"currency_code": "USD", "amount": "100"});
    let purchase =
        json!({"store_id": "store-9", "order_id": "on-top", "channel": "pos", "lines": [{"sku": "x", "amount": money}], "total": money});
    let member = json!({"member_id": left.member()});
    let sale = json!({"request_id": "on-top", "program_id": "story", "member": member, "purchase": purchase});
    let recorded = left.call(&server, "/loyalty.v1.PurchaseService/RecordPurchase", sale.clone()).await;
    assert_ne!(recorded["accrual"]["points"], Value::Null, "{how}: {recorded}");
    let (folder, _) = server.end().await;
    let server = left.serve_in(folder).await;
    let again = left.call(&server, "/loyalty.v1.PurchaseService/RecordPurchase", sale).await;
    assert_eq!(again, recorded, "{how}: the same request");
    let of_order = json!({"program_id": "story", "store_id": "store-9", "order_id": "on-top"});
    let found = left.call(&server, "/loyalty.v1.PurchaseService/GetPurchase", of_order).await;
    assert_eq!(found["entry_sequence"], recorded["entry_sequence"], "{how}");
    let (folder, _) = server.end().await;
    is_sound(&folder.path().join("data"), how);
}

fn back_up(data: &Path, target: &Path) {
    let store = EmbeddedStore::open(data, options()).expect("the store opens");
    let mut source = store.backup(Held::default()).expect("a backup begins");
    let mut backup = Backup::open(target, None, true).expect("a backup is made");
    while let Some(part) = source.next().expect("a part") {
        backup.store(part).expect("a part is stored");
    }
    assert!(backup.is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledgers_of_every_release_open_and_say_what_they_said() {
    for release in releases() {
        opens(&release, "ledger").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_of_every_release_open_and_say_what_they_said() {
    for release in releases() {
        opens(&release, "sandbox").await;
    }
}

/// Messages that the journal holds, also sealed.
const JOURNAL: [&str; 5] = ["Commit", "Person", "Profile", "Identifier", "SealedBirthday"];

/// Every field that can be in these messages.
fn fields(waiting: impl Iterator<Item = MessageDescriptor>) -> BTreeSet<String> {
    let mut waiting: Vec<MessageDescriptor> = waiting.collect();
    let (mut seen, mut fields) = (BTreeSet::new(), BTreeSet::new());
    while let Some(message) = waiting.pop() {
        if !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            fields.insert(format!("{} {} = {}", message.full_name(), field.name(), field.number()));
            if let Kind::Message(inner) = field.kind() {
                waiting.push(inner);
            }
        }
    }
    fields
}

fn journal_fields(pool: &DescriptorPool) -> BTreeSet<String> {
    let message = |name: &&str| pool.get_message_by_name(&format!("loyalty.storage.v1.{name}")).expect("the message is there");
    fields(JOURNAL.iter().map(message))
}

fn row_fields(pool: &DescriptorPool) -> BTreeSet<String> {
    fields(pool.all_messages().filter(|message| message.parent_file().name().ends_with("storage/v1/tables.proto")))
}

/// Of the segments in a folder, and of its tables.
fn formats(data: &Path, pool: &DescriptorPool) -> (u16, u64) {
    let header = fs::read(segments::paths(data).pop().expect("a segment")).expect("a segment is read");
    let db = sled::open(data.join("tables/sled")).expect("sled opens");
    let row = db.get("a").expect("a row is read").expect("the tables know how far they are");
    let row = DynamicMessage::decode(pool.get_message_by_name("loyalty.storage.v1.AppliedRow").expect("the message is there"), &*row);
    let format = row.expect("a row").get_field_by_name("format").and_then(|format| format.as_u32()).expect("a format");
    (u16::from_le_bytes([header[8], header[9]]), u64::from(format))
}

/// An older version refuses what it does not know: so that it does this before anything else, the formats say so.
#[test]
fn what_is_stored_says_no_more_than_the_last_release_knows_unless_its_format_is_another() {
    let release = releases().pop().expect("a release");
    let stored = fs::read(release.join("storage.binpb")).expect("the storage format is there");
    let (released, now) = (DescriptorPool::decode(&*stored).expect("descriptors"), raw::storage());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(folder.path(), options()).expect("a store is made");
    let mut world = World::new();
    world.publish(&store, 1);
    store.flush().expect("rows are written out");
    drop(store);
    let before = formats(&Left::unpack(&release, "ledger").data(), &released);
    let after = formats(folder.path(), &now);
    let again = format!("or, as long as {} is not out, make its folder again", release.display());
    let (old, new) = (journal_fields(&released), journal_fields(&now));
    assert!(old.len() > 300 && new.is_superset(&old), "gone: {:?}", old.difference(&new).collect::<Vec<_>>());
    let more: Vec<_> = new.difference(&old).collect();
    assert!(
        more.is_empty() || after.0 > before.0,
        "raise FORMAT in src/store/embedded/segment.rs, and begin a new segment before the first record of it; {again}. New: {more:?}"
    );
    let (old, new) = (row_fields(&released), row_fields(&now));
    assert!(old == new || after.1 > before.1, "raise FORMAT in src/store/embedded/rows.rs; {again}. Was: {old:?}, is: {new:?}");
}
