//! Requests of any kind to a service in this process, through gRPC: every method of the contract, bytes that are no message, messages that
//! are nearly right. Each is answered, in time, within bounds, and a refusal says what was wrong.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use loyaltyd::{
    app::{self, RunningServer},
    config::{Config, ServeArgs},
    contract::{rule_book, v1},
    ledger::ManualClock,
    store::embedded::{Options, Report, check},
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{
    entropy::Entropy,
    messages::{Words, change, made},
    raw,
};

/// What stock clients read.
const MAX_ANSWER: usize = 4 << 20;
/// However loaded the machine is: whoever waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers of one stream that are looked at.
const MAX_ANSWERS: usize = 10_000;
/// The rule books, so that there is a little of all.
const PROGRAMS: [&str; 6] = ["vietnam", "offers-bookshop", "promotions-fashion", "stamp-card", "sephora", "segments-boutique"];

pub struct Shop {
    runtime: Runtime,
    server: RunningServer,
    channel: Channel,
    methods: Vec<MethodDescriptor>,
    /// Requests that are right, by their method.
    seeds: Vec<(MethodDescriptor, DynamicMessage)>,
    words: Words,
    programs: Vec<DynamicMessage>,
    folder: TempDir,
}

/// What became of the calls.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub answered: u64,
    pub refused: u64,
}

impl Shop {
    /// `contract`: the descriptors of this build. A sandbox has another service than a ledger.
    pub fn open(contract: &[u8], is_sandbox: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let pool = DescriptorPool::decode(contract).expect("descriptors");
        let folder = super::scratch();
        let books: Vec<v1::Program> = PROGRAMS.iter().map(|name| book(name)).collect();
        let clock = Arc::new(ManualClock::new("2026-03-10T05:00:00Z".parse::<Timestamp>().expect("an instant")));
        let config = Config { programs: books.clone(), ..config(&folder.path().join("data"), is_sandbox) };
        let (server, channel) = runtime.block_on(async {
            let mut server = app::start(config, clock).await.expect("it starts");
            server.ready().await.expect("it reads its ledger");
            let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("an address");
            let channel = endpoint.connect().await.expect("the server listens");
            (server, channel)
        });
        let of_contract = pool.services().filter(|service| service.package_name() == "loyalty.v1");
        let methods: Vec<MethodDescriptor> = of_contract
            .filter(|service| service.name() != if is_sandbox { "AdminService" } else { "SandboxService" })
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        assert!(methods.len() > 40, "{} methods", methods.len());
        let program = pool.get_message_by_name("loyalty.v1.Program").expect("the message is there");
        let programs =
            books.iter().map(|book| DynamicMessage::decode(program.clone(), &*book.encode_to_vec()).expect("a rule book")).collect();
        let mut shop = Self { runtime, server, channel, seeds: seeds(&methods), methods, words: Words(Vec::new()), programs, folder };
        shop.fill();
        shop
    }

    /// So that there are members, purchases, codes and page tokens to speak of.
    fn fill(&mut self) {
        let mut member_ids = Vec::new();
        let mut tokens = Vec::new();
        let mut codes = Vec::new();
        for (method, request) in self.seeds.clone() {
            let answer = self.runtime.block_on(self.send(&method, request.encode_to_vec())).unwrap_or_else(|status| {
                panic!("the seed {} is refused: {status}", method.full_name());
            });
            for answer in answer {
                let answer = DynamicMessage::decode(method.output(), &*answer).expect("an answer");
                let answer = serde_json::to_value(&answer).expect("an answer has a JSON form");
                said(&answer, "memberId", &mut member_ids);
                said(&answer, "nextPageToken", &mut tokens);
                said(&answer, "code", &mut codes);
            }
        }
        for list in [&mut member_ids, &mut tokens, &mut codes] {
            list.sort();
            list.dedup();
        }
        assert!(member_ids.len() >= 4 && !tokens.is_empty() && !codes.is_empty(), "{member_ids:?} {tokens:?} {codes:?}");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let many = |prefix: &str, count: u32| (0..count).map(|number| format!("{prefix}{number}")).collect::<Vec<String>>();
        self.words = Words(vec![
            ("request_id", many("request-", 4_000)),
            ("program_id", words(&["boutique", "offers-bookshop", "promotions-fashion", "sephora", "stamp-card", "vietnam"])),
            ("member_id", member_ids),
            ("page_token", tokens),
            ("code", codes),
            ("value", words(&["card-anna", "card-binh", "card-carla", "+84901234567", "anna@example.com"])),
            ("currency_code", words(&["VND", "EUR", "USD"])),
            ("amount", words(&["1", "9.99", "10000", "150000", "0"])),
            ("quantity", words(&["1", "2", "0.5"])),
            ("store_id", words(&["store-1", "store-2"])),
            ("order_id", many("order-", 40)),
            ("hold_id", words(&["3", "4", "5", "6", "7"])),
            ("tier_id", words(&["silver", "gold", "reader", "vib"])),
            ("offer_id", words(&["sorry", "welcome", "gold-week"])),
            ("reward_id", words(&["coffee", "shipping", "tasting"])),
            ("voucher_kind_id", words(&["sorry", "coffee", "five-off", "free-coffee"])),
            ("activity", words(&["review", "referral", "sign_up"])),
            ("actor_id", words(&["support-1", "support-2"])),
            ("segment_id", words(&["at-risk", "regulars"])),
            ("paths", words(&["display_name", "birth_date", "language_code"])),
            ("reason", words(&["goodwill"])),
            ("reference", words(&["ref-1", "ref-2"])),
        ]);
    }

    /// Makes a request out of bytes, sends it, and looks at the answer.
    pub fn run(&self, data: &[u8], tally: &mut Tally) {
        let mut entropy = Entropy::new(data);
        let mode = entropy.below(8);
        let (method, bytes) = match mode {
            // Bytes of any kind.
            0 => (entropy.pick(&self.methods).clone(), entropy.rest().to_vec()),
            // A message of any kind.
            1 | 2 => {
                let method = entropy.pick(&self.methods).clone();
                let mut message = made(&method.input(), &self.words, &mut entropy, 0);
                self.with_program(&mut message, &mut entropy);
                (method, message.encode_to_vec())
            }
            // One that is right but for some fields.
            _ => {
                let (method, seed) = entropy.pick(&self.seeds).clone();
                let mut message = seed;
                self.with_program(&mut message, &mut entropy);
                renew(&mut message, &mut entropy);
                for _ in 0..entropy.below(5) {
                    change(&mut message, &self.words, &mut entropy, 0);
                }
                let mut bytes = message.encode_to_vec();
                if mode == 7 {
                    entropy.spoil(&mut bytes);
                }
                (method, bytes)
            }
        };
        let sent = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.send(&method, bytes.clone())).await });
        let sent_was = || format!("{} {}", method.full_name(), shown(&method, &bytes));
        match sent.unwrap_or_else(|_| panic!("no answer: {}", sent_was())) {
            Ok(answers) => {
                tally.answered += 1;
                for answer in answers {
                    assert!(answer.len() <= 2 * MAX_ANSWER, "{} bytes: {}", answer.len(), sent_was());
                    DynamicMessage::decode(method.output(), &*answer).expect("the answer is one of the method's");
                }
            }
            Err(status) => {
                tally.refused += 1;
                is_clear(&status).unwrap_or_else(|why| panic!("{why}: {status:?}: {}", sent_was()));
            }
        }
    }

    fn with_program(&self, message: &mut DynamicMessage, entropy: &mut Entropy<'_>) {
        if let Some(field) = message.descriptor().get_field_by_name("program")
            && field.kind().as_message().is_some_and(|kind| kind.full_name() == "loyalty.v1.Program")
            && !entropy.one_in(4)
        {
            message.set_field(&field, Value::Message(entropy.pick(&self.programs).clone()));
        }
    }

    async fn send(&self, method: &MethodDescriptor, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, Status> {
        let client = Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let path = raw::path(method);
        if !method.is_client_streaming() && !method.is_server_streaming() {
            return Ok(vec![raw::unary(client, &path, Request::new(bytes)).await?]);
        }
        let requests = tokio_stream::iter(vec![bytes; 1 + 2 * usize::from(method.is_client_streaming())]);
        let mut answers = raw::streaming(client, &path, Request::new(requests)).await?;
        let mut found = Vec::new();
        while let Some(answer) = answers.message().await? {
            found.push(answer);
            assert!(found.len() < MAX_ANSWERS, "the stream does not end");
        }
        Ok(found)
    }

    /// Stops the service in order, and checks what it left.
    pub fn close(self) -> Report {
        let Self { runtime, server, channel, folder, .. } = self;
        drop(channel);
        runtime.block_on(server.shutdown()).expect("it stops in order");
        drop(runtime);
        let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::default() };
        let report = check(&folder.path().join("data"), &options).expect("it can be checked");
        assert!(report.is_sound(), "{report:?}");
        report
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

const SEGMENT_BYTES: u64 = 4 << 20;

#[derive(clap::Parser)]
struct Serve {
    #[command(flatten)]
    args: ServeArgs,
}

/// The usual one, but for small files.
fn config(data: &Path, is_sandbox: bool) -> Config {
    let (data, segment_bytes) = (data.display().to_string(), SEGMENT_BYTES.to_string());
    let mut words = vec!["serve", "--listen", "127.0.0.1:0", "--data", &data, "--segment-bytes", &segment_bytes, "--drain-seconds", "5"];
    if is_sandbox {
        words.push("--sandbox");
    }
    let serve = <Serve as clap::Parser>::try_parse_from(words).expect("the flags are right");
    serve.args.config().expect("the flags are right")
}

fn book(name: &str) -> v1::Program {
    let path = super::root().join("examples/programs").join(name).with_extension("yaml");
    rule_book::read(&std::fs::read_to_string(path).expect("an example is read")).expect("a rule book")
}

/// Mostly under ids that were not there before: otherwise it would be a repeat, and be answered as the first time.
fn renew(message: &mut DynamicMessage, entropy: &mut Entropy<'_>) {
    let is_purchase = message.descriptor().name() == "Purchase";
    let is_renewed = |name: &str| matches!(name, "request_id" | "purchase" | "purchases") || (is_purchase && name == "order_id");
    for field in message.descriptor().fields().filter(|field| is_renewed(field.name())) {
        if !message.has_field(&field) || entropy.one_in(6) {
            continue;
        }
        match message.get_field_mut(&field) {
            Value::String(id) => *id = format!("{id}-{:x}", entropy.number()),
            Value::Message(inner) => renew(inner, entropy),
            Value::List(items) => items.iter_mut().filter_map(Value::as_message_mut).for_each(|item| renew(item, entropy)),
            _ => {}
        }
    }
}

/// The strings of a field, wherever it is.
fn said(value: &serde_json::Value, field: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == field && !text.is_empty() => found.push(text.to_owned()),
                    _ => said(value, field, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| said(item, field, found)),
        _ => {}
    }
}

/// `corpus/requests.json`: each is answered, if they come in their order.
fn seeds(methods: &[MethodDescriptor]) -> Vec<(MethodDescriptor, DynamicMessage)> {
    let text = std::fs::read_to_string(super::root().join("tests/fuzz/corpus/requests.json")).expect("the corpus is there");
    let seeds: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let seeds = seeds.into_iter().filter_map(|seed| {
        let name = seed["method"].as_str().expect("a method");
        // A sandbox has no AdminService.
        let method = methods.iter().find(|method| method.full_name() == format!("loyalty.v1.{name}"))?;
        let request = DynamicMessage::deserialize(method.input(), seed["request"].clone()).expect("a request");
        Some((method.clone(), request))
    });
    seeds.collect()
}

/// The code is one that callers are told of, and the details say why.
fn is_clear(status: &Status) -> Result<(), &'static str> {
    match status.code() {
        Code::Internal
        | Code::Unknown
        | Code::DataLoss
        | Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Unimplemented => {
            return Err("the service failed");
        }
        // Of more bytes than are read: from where the details cannot be made.
        Code::OutOfRange if status.message().contains("message length") => return Ok(()),
        _ => {}
    }
    let details = status.get_error_details();
    let info = details.error_info().ok_or("it has no details")?;
    if info.domain != "loyaltyd" || info.reason.is_empty() || status.message().is_empty() {
        return Err("its details say nothing");
    }
    if status.code() == Code::InvalidArgument && info.reason == "INVALID_FIELD" && details.bad_request().is_none() {
        return Err("it names no field");
    }
    if status.details().len() > 6_500 {
        return Err("its details are too long");
    }
    Ok(())
}

fn shown(method: &MethodDescriptor, bytes: &[u8]) -> String {
    let read = DynamicMessage::decode(method.input(), bytes).ok().and_then(|message| serde_json::to_string(&message).ok());
    let text = read.unwrap_or_else(|| format!("{bytes:02x?}"));
    text.chars().take(4_000).collect()
}
