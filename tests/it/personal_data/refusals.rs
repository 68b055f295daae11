//! Refusals, logs, metrics and traces repeat nothing personal, whatever is sent in whichever field of whichever call.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    io::{BufRead, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use loyaltyd::contract::v1::{
    self, identifier::Kind, member_service_client::MemberServiceClient, program_service_client::ProgramServiceClient,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::calls::{Filling, call, methods, name, plant, ways};
use crate::support::{PROGRAM, actor, adjustment, by_id, card, enrolment, identifier, loyaltyd, rule_book, sale, scrape::scrape, wait};
use crate::traces::Taken;

/// The fields whose text a refusal may repeat: names that rule books and other systems give to things, and texts of a rule book, of which a
/// retailer is told what is wrong. All others are a caller's, or somebody's.
const NAMES_OF_THINGS: [&str; 10] =
    ["program_id", "tier_id", "voucher_kind_id", "reward_id", "offer_id", "segment_id", "activity", "store_id", "order_id", "request_id"];

/// A server of its own process that logs all it has to say, and what it logged.
pub(super) struct Server {
    child: Child,
    pub address: String,
    /// Where metrics are, if they are.
    pub metrics: Option<SocketAddr>,
    log: JoinHandle<String>,
}

impl Server {
    pub fn start(data: &std::path::Path, format: &str, more: &[&str]) -> Self {
        let mut child = loyaltyd()
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "info,loyaltyd=trace", "--log-format", format, "--data"])
            .arg(data)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("the log is read") > 0, "it ended: {seen}");
            seen.push_str(&line);
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.chars().take_while(|one| one.is_ascii_digit() || ".:".contains(*one)).collect::<String>();
            }
        };
        let metrics = seen.split_once("metrics are at http://").and_then(|(_, rest)| rest.split_once("/metrics")?.0.parse().ok());
        let log = std::thread::spawn(move || {
            // What is not text is to be found as well.
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).expect("the log is read");
            seen + &String::from_utf8_lossy(&bytes)
        });
        Self { child, address, metrics, log }
    }

    async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        // Until the ledger is read, calls are told to come back.
        let mut programs = ProgramServiceClient::new(channel.clone());
        while let Err(status) = programs.list_programs(v1::ListProgramsRequest::default()).await {
            assert_eq!(status.code(), tonic::Code::Unavailable);
            tokio::task::yield_now().await;
        }
        channel
    }

    /// Stops it in order; what it logged.
    pub fn stop(mut self) -> String {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
        let ended = wait(&mut self.child, std::time::Duration::from_secs(60)).expect("it stops");
        let log = self.log.join().expect("the log is read");
        assert!(ended.success(), "{log}");
        log
    }
}

/// All that a caller is told.
pub(super) fn told(status: &Status) -> String {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    let mut metadata = String::new();
    for pair in status.metadata().iter() {
        let _ = write!(metadata, "{pair:?} ");
    }
    format!("{} {details} {metadata}", status.message())
}

/// Somebody with a phone, a name and points.
async fn somebody(channel: &Channel) -> String {
    let mut programs = ProgramServiceClient::new(channel.clone());
    let publish = v1::PublishProgramRequest { request_id: "p-1".into(), program: Some(rule_book()), ..Default::default() };
    programs.publish_program(publish).await.expect("it is published");
    let mut desk = MemberServiceClient::new(channel.clone());
    let profile = v1::Profile {
        display_name: "Tran Thi Planted".into(),
        birth_date: Some(v1::Date { year: 1987, month: 11, day: 23 }),
        language_code: "vi".into(),
    };
    let identifiers = vec![card("planted-card"), identifier(Kind::Phone, "+84987654321"), identifier(Kind::Email, "planted@example.com")];
    let enrol = v1::EnrollMemberRequest { profile: Some(profile), identifiers, ..enrolment("p") };
    desk.enroll_member(enrol).await.expect("they enrol").into_inner().member.expect("a member").member_id
}

fn filling(member: &str) -> Filling {
    let texts = [
        ("program_id", PROGRAM),
        ("member_id", member),
        ("reason", "a reason"),
        ("actor_id", "staff-7"),
        ("store_id", "hcm-1"),
        ("order_id", "o-1"),
        ("activity", "review"),
        ("reference", "r-1"),
        ("tier_id", "gold"),
        ("voucher_kind_id", "tea"),
        ("reward_id", "cup"),
        ("offer_id", "sorry"),
        ("hold_id", "1"),
        ("sku", "rice"),
        ("code", "7Q4C-8K2M-P9RT-X3VW-Z"),
    ];
    Filling { texts: texts.into_iter().map(|(field, text)| (field, text.to_owned())).collect::<HashMap<_, _>>() }
}

/// A phone as it is typed, the same where an id is asked for, an address, and a name.
const FORMS: [&str; 4] = ["+#", "a#", "who-#@example.com", "Tran Thi #"];

/// How each marker begins, and how many digits it has.
const MARKED: (&str, usize) = ("8498", 11);

/// The fields of which what was sent is in a text. A marker stands alone: more digits are another number.
fn found_in<'s>(text: &str, sent: &'s BTreeMap<String, String>) -> Vec<&'s String> {
    let is_alone = |at: usize| !text[..at].ends_with(|before: char| before.is_ascii_digit());
    let markers = text.match_indices(MARKED.0).filter(|(at, _)| is_alone(*at)).filter_map(|(at, _)| {
        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        (digits == MARKED.1).then(|| &text[at..at + digits])
    });
    markers.filter_map(|marker| sent.get(marker)).collect()
}

#[test]
fn a_marker_is_found_wherever_it_stands_alone() {
    let sent = BTreeMap::from([("84980000017".to_owned(), "GetMember.program_id".to_owned())]);
    for text in ["84980000017", "phone=\"+84980000017\"", "a84980000017 and more", "Tran Thi 84980000017"] {
        assert_eq!(found_in(text, &sent), ["GetMember.program_id"], "{text}");
    }
    for text in ["0.000184980000017", "849800000171", "84980000018", ""] {
        assert!(found_in(text, &sent).is_empty(), "{text}");
    }
}

#[test]
fn nothing_that_is_sent_in_any_field_of_any_call_is_watched_and_no_refusal_repeats_what_is_somebodys() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // A sandbox has SandboxService, all others AdminService.
    for (format, more) in [("json", &[][..]), ("human", &["--sandbox"])] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let taken = Taken::default();
        let (collector, collecting) = runtime.block_on(taken.listen());
        let collector = format!("http://{collector}");
        let watching = ["--metrics-listen", "127.0.0.1:0", "--otlp-endpoint", &collector, "--otlp-sample-ratio", "1"];
        let server = Server::start(&folder.path().join("data"), format, &[&watching, more].concat());
        let (sent, refusals, repeated) = runtime.block_on(send_everything(&server));
        let metrics = runtime.block_on(scrape(server.metrics.expect("metrics are served"))).text;
        // What waits to be sent to the collector is sent before it ends.
        let log = server.stop();
        collecting.abort();
        let traces = taken.text();
        for (place, text) in [("the metrics", &metrics), ("the traces", &traces)] {
            assert_eq!(found_in(text, &sent), Vec::<&String>::new(), "what was sent in these fields is in {place}");
            for somebodys in ["987654321", "Planted", "planted"] {
                assert!(!text.contains(somebodys), "{somebodys} is in {place}");
            }
        }
        let spans = taken.spans();
        assert!(spans.len() > 2_000 && spans.iter().any(|span| span.name.ends_with("/SetMemberTier")), "{} spans", spans.len());
        assert!(metrics.contains("method=\"SetMemberTier\"") && metrics.contains("code=\"INVALID_ARGUMENT\""), "all is counted");
        let fields: Vec<&String> = sent.iter().filter(|(marker, _)| log.contains(marker.as_str())).map(|(_, field)| field).collect();
        assert!(fields.is_empty(), "what was sent in these fields is in the log: {fields:?}");
        for somebodys in ["987654321", "Planted", "planted"] {
            assert!(!log.contains(somebodys), "{somebodys} is in the log");
        }
        assert!(log.contains("SetMemberTier") && log.contains("INVALID_FIELD"), "all is logged");
        assert!(repeated.is_empty(), "refusals repeat what was sent: {repeated:#?}");
        assert!(sent.len() > 2_000 && refusals > 1_000, "{} calls, {refusals} of them refused", sent.len());
    }
}

/// Each text in each field by itself. Gives what was sent where, by what finds it; how many were refused; and what was repeated.
async fn send_everything(server: &Server) -> (BTreeMap<String, String>, usize, BTreeMap<String, String>) {
    let channel = server.connect().await;
    let member = somebody(&channel).await;
    known_people_are_not_repeated(&channel, &member).await;
    let filling = filling(&member);
    let (mut sent, mut refusals, mut repeated) = (BTreeMap::new(), 0, BTreeMap::new());
    let mut number = 0;
    for method in methods() {
        for way in ways(&method.input()) {
            let place = format!("{}.{}", method.name(), name(&way));
            let is_of_program = way.iter().any(|field| field.name() == "program") && method.name() == "PublishProgram";
            let is_name = way.last().is_some_and(|field| NAMES_OF_THINGS.contains(&field.name()));
            for form in FORMS {
                let marker = format!("8498{number:07}");
                let text = form.replace('#', &marker);
                number += 1;
                let mut request = filling.message(&method.input(), 0);
                plant(&mut request, &way, &text, &filling);
                sent.insert(marker.clone(), place.clone());
                let told = match call(&channel, &method, &request).await {
                    Err(status) => {
                        refusals += 1;
                        Some(told(&status))
                    }
                    // Their answers have the refusals in them.
                    Ok(answers) if ["BatchRecordPurchases", "StreamPurchases"].contains(&method.name()) => Some(format!("{answers:?}")),
                    Ok(_) => None,
                };
                if let Some(told) = told
                    && told.contains(&marker)
                    && !is_of_program
                    && !is_name
                {
                    repeated.insert(place.clone(), told);
                }
            }
        }
    }
    (sent, refusals, repeated)
}

/// Refusals that are about somebody who is there: the phone is taken, is held already, was asked for and is not there.
async fn known_people_are_not_repeated(channel: &Channel, member: &str) {
    let mut desk = MemberServiceClient::new(channel.clone());
    let phone = || identifier(Kind::Phone, "+84987654321");
    let by_phone = || Some(v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(phone())) });
    let enrol = v1::EnrollMemberRequest { request_id: "taken".into(), identifiers: vec![phone()], ..enrolment("q") };
    let add = v1::AddIdentifierRequest {
        request_id: "held".into(),
        program_id: PROGRAM.into(),
        member: by_phone(),
        identifier: Some(phone()),
        ..Default::default()
    };
    let remove = v1::RemoveIdentifierRequest {
        request_id: "other".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        identifier: Some(identifier(Kind::Phone, "+84987654329")),
        ..Default::default()
    };
    let mut points = v1::points_service_client::PointsServiceClient::new(channel.clone());
    let mut tills = v1::purchase_service_client::PurchaseServiceClient::new(channel.clone());
    let adjust = v1::AdjustPointsRequest { member: by_phone(), actor: actor(), ..adjustment(member, "too-much", 99_999_999) };
    let sell = v1::RecordPurchaseRequest { member: by_phone(), ..sale(member, "o-77", "0.5") };
    let refusals = [
        desk.enroll_member(enrol).await.map(drop).expect_err("the phone is taken"),
        desk.add_identifier(add).await.map(drop).expect_err("the phone is held"),
        desk.remove_identifier(remove).await.map(drop).expect_err("it is another"),
        points.adjust_points(adjust).await.map(drop).expect_err("it is too much"),
        tills.record_purchase(sell).await.map(drop).expect_err("there is no half"),
    ];
    for status in refusals {
        let told = told(&status);
        assert!(!told.contains("98765432") && !told.to_lowercase().contains("planted"), "{told}");
    }
}
