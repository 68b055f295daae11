//! A retailer brings its history: `loyaltyd import` and `loyaltyd program`, as processes, against a running server.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    app::{self, RunningServer},
    contract::v1::{self, identifier::Kind, member_service_client::MemberServiceClient},
    ledger::SystemClock,
};
use tempfile::TempDir;

use crate::support::{PROGRAM, config, connect, identifier, rule_book};

struct Shop {
    server: RunningServer,
    folder: TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut server = app::start(config(folder.path(), vec![rule_book()]), Arc::new(SystemClock)).await.expect("it starts");
        server.ready().await.expect("it reads its ledger");
        Self { server, folder }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("the folder can be written");
        path.to_str().expect("the path is text").to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the binary in the folder against the server.
    async fn loyaltyd(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
        command.args(words).current_dir(self.folder.path()).env("LOYALTYD_SERVER", self.server.address.to_string());
        tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect("the binary runs")
    }

    /// Available points and visits of a member, by the id that the file has.
    async fn member(&self, external_id: &str) -> (i64, i64) {
        let member = identifier(Kind::ExternalId, external_id);
        let member = Some(v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(member)) });
        let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member, ..Default::default() };
        let answer = MemberServiceClient::new(connect(&self.server).await).get_member(request).await.expect("the member is there");
        let member = answer.into_inner().member.expect("a member");
        (member.balance.expect("a balance").available, member.lifetime.expect("totals").visits)
    }

    async fn close(self) {
        self.server.shutdown().await.expect("it stops in order");
    }
}

/// The numbers of a summary, without the words.
fn numbers(output: &Output) -> Vec<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split_whitespace().last().expect("a number").parse().expect("a number")).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Line, id and reason of each refused row.
fn refused_rows(shop: &Shop, name: &str) -> Vec<String> {
    let text = fs::read_to_string(shop.path(name)).expect("the file is there");
    let delimiter = if text.starts_with("refused_line;") { b';' } else { b',' };
    let mut rows = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    rows.records().map(|row| row.expect("it is CSV").iter().take(3).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn rows_that_cannot_be_are_refused_and_the_others_count_once() {
    let shop = Shop::open().await;
    let time = Timestamp::now().checked_sub(1.hour()).expect("within the calendar");
    let rows = [
        "order_id,customer,when,price,sku".to_owned(),
        format!("A-1,lan,{time},150000,tea"),
        format!("A-1,lan,{time},50000.00,cup"),
        format!("A-2,lan,{time},half,tea"),
        format!("A-3,,{time},10000,tea"),
        format!("A-4,lan,{time},10000"),
        format!("A-5,minh,{time},25000,tea"),
        "A-6,minh,1997-01-01,10000,tea".to_owned(),
        format!("A-1,lan,{time},50000,cup"),
        format!("A-7,minh,{time},12.5,tea"),
        format!("A-8,minh,{time},10000,tea"),
        format!("A-8,lan,{time},10000,tea"),
        format!("A-5,minh,{time},25000,tea"),
    ];
    let file = shop.file("sales.csv", &rows.join("\n"));
    let mut words = vec!["import", "purchases", &file, "--program", PROGRAM, "--store", "s1", "--enroll"];
    words.extend(["--map", "order=order_id", "--map", "member=customer", "--map", "time=when", "--map", "amount=price"]);
    words.extend(["--acknowledged", "acknowledged"]);
    let refused = [
        "4 A-2 INVALID_ROW",
        "5 A-3 INVALID_ROW",
        "6 A-4 INVALID_ROW",
        "8 A-6 PURCHASE_TOO_OLD",
        "9 A-1 REQUEST_ID_REUSED",
        "10 A-7 INVALID_FIELD",
        "11 A-8 INVALID_ROW",
        "12 A-8 INVALID_ROW",
    ];
    // Rows, purchases, recorded, already there, repeated, refused, enrolled.
    for summary in [[12, 10, 2, 0, 1, 7, 2], [12, 10, 0, 2, 1, 7, 0]] {
        let output = shop.loyaltyd(&words).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(numbers(&output), summary, "{}", stderr(&output));
        assert_eq!(refused_rows(&shop, "sales.rejects.csv"), refused);
        assert_eq!(shop.member("lan").await, (20, 1));
        assert_eq!(shop.member("minh").await, (2, 1));
    }
    assert_eq!(fs::read_to_string(shop.path("acknowledged")).expect("it is there"), "A-1\nA-5\nA-5\nA-1\nA-5\nA-5\n");
    shop.close().await;
}

#[tokio::test]
async fn members_come_with_their_identifiers() {
    let shop = Shop::open().await;
    let content = "id;mobile;name;born\n1;+84 90 000 00 01;Lan;1990-05-20\n2;+84 90 000 00 02;Minh;1990-02-30\n3;+84 90 000 00 01;Hoa;\n";
    let file = shop.file("customers.csv", content);
    let mut words = vec!["import", "members", &file, "--program", PROGRAM, "--delimiter", ";", "--map", "member=id"];
    words.extend(["--map", "phone=mobile", "--map", "birth_date=born", "--rejects", "refused"]);
    // Read, enrolled, already there, refused.
    for summary in [[3, 1, 0, 2], [3, 0, 1, 2]] {
        let output = shop.loyaltyd(&words).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(numbers(&output), summary);
        assert_eq!(refused_rows(&shop, "refused"), ["3 2 INVALID_ROW", "4 3 IDENTIFIER_TAKEN"]);
    }
    // What is personal is in the rows alone, as they were, not in what is said of them.
    let rows = fs::read_to_string(shop.path("refused")).expect("it is there");
    assert!(rows.contains(";3;+84 90 000 00 01;Hoa;"), "{rows}");
    let mode = fs::metadata(shop.path("refused")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "only for the user");
    let told: String = rows.lines().map(|row| row.splitn(5, ';').take(4).collect::<String>()).collect();
    assert!(!told.contains("1990") && !told.contains("+84") && !told.contains("Minh"), "nothing personal: {told}");
    let request = v1::GetMemberRequest {
        program_id: PROGRAM.into(),
        member: Some(v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(identifier(Kind::Phone, "+84900000001"))) }),
        ..Default::default()
    };
    let answer = MemberServiceClient::new(connect(&shop.server).await).get_member(request).await.expect("found by phone");
    let profile = answer.into_inner().member.and_then(|member| member.profile).expect("a profile");
    assert_eq!((profile.display_name.as_str(), profile.birth_date), ("Lan", Some(v1::Date { year: 1990, month: 5, day: 20 })));
    shop.close().await;
}

#[tokio::test]
async fn members_and_purchases_come_in_either_order() {
    let shop = Shop::open().await;
    let time = Timestamp::now().checked_sub(1.hour()).expect("within the calendar");
    let members = shop.file("members.csv", "member,name\nlan,Lan\nminh,\n");
    let sales = |name: &str, member: &str| {
        let rows = format!("order,member,time,amount\n{member}-1,{member},{time},10000\n");
        shop.file(name, &rows)
    };
    let both = [sales("lan.csv", "lan"), sales("minh.csv", "minh"), sales("hoa.csv", "hoa")];
    let importing_members = |file| ["import", "members", file, "--program", PROGRAM];
    let importing = |file| ["import", "purchases", file, "--program", PROGRAM, "--store", "s1", "--enroll"];
    let output = shop.loyaltyd(&importing_members(&members)).await;
    assert_eq!((output.status.code(), numbers(&output)), (Some(0), vec![2, 2, 0, 0]), "{}", stderr(&output));
    for (file, enrolled) in both.iter().zip([0, 0, 1]) {
        let output = shop.loyaltyd(&importing(file)).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(numbers(&output), [1, 1, 1, 0, 0, 0, enrolled]);
    }
    // Hoa came with a purchase: what says no more of her is there already, what says more is told and not lost unseen.
    let bare = shop.file("bare.csv", "member\nhoa\nlan\n");
    let more = shop.file("more.csv", "member,name\nhoa,Hoa\n");
    for (file, summary, refused) in [(&bare, [2, 0, 2, 0], &[][..]), (&more, [1, 0, 0, 1], &["2 hoa IDENTIFIER_TAKEN"][..])] {
        let output = shop.loyaltyd(&[&importing_members(file)[..], &["--rejects", "refused"]].concat()).await;
        assert_eq!(numbers(&output), summary);
        assert_eq!(refused_rows(&shop, "refused"), refused);
    }
    shop.close().await;
}

#[tokio::test]
async fn refused_rows_are_mended_and_fed_back() {
    let shop = Shop::open().await;
    let time = Timestamp::now().checked_sub(1.hour()).expect("within the calendar");
    let rows = ["sku,order,member,time,amount".to_owned()]
        .into_iter()
        .chain([
            format!("tea,A-1,lan,{time},10000"),
            format!("\"1\"\" cup, red\",A-2,lan,{time},10000"),
            format!("pot,A-2,lan,{time},many"),
        ])
        .collect::<Vec<_>>();
    fs::create_dir(shop.path("history")).expect("the folder can be written");
    for end in ["\n", "\r\n"] {
        let file = shop.file("history/sales.csv", &(rows.join(end) + end));
        let import = |file| ["import", "purchases", file, "--program", PROGRAM, "--store", "s1", "--enroll"];
        let output = shop.loyaltyd(&import(&file)).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(refused_rows(&shop, "history/sales.rejects.csv"), ["3 A-2 INVALID_ROW", "4 A-2 INVALID_ROW"]);
        let refused = fs::read_to_string(shop.path("history/sales.rejects.csv")).expect("it lies beside the file");
        assert!(refused.contains(&format!("\"1\"\" cup, red\",A-2,lan,{time},10000")), "{refused}");
        // Rows that are refused once more keep one reason each.
        let mended = shop.file("again.csv", &refused);
        let output = shop.loyaltyd(&import(&mended)).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let again = fs::read_to_string(shop.path("again.rejects.csv")).expect("it lies beside the file");
        assert_eq!(again.matches("refused_line").count(), 1, "{again}");
        assert!(again.lines().next().is_some_and(|header| header.ends_with("refused_message,sku,order,member,time,amount")), "{again}");
    }
    let refused = fs::read_to_string(shop.path("again.rejects.csv")).expect("it is there");
    let mended = shop.file("mended.csv", &refused.replace("many", "20000"));
    let over = ["import", "purchases", &mended, "--program", PROGRAM, "--store", "s1", "--rejects", &mended];
    let output = shop.loyaltyd(&over).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let output = shop.loyaltyd(&over[..7]).await;
    assert_eq!((output.status.code(), numbers(&output)), (Some(0), vec![2, 1, 1, 0, 0, 0]), "{}", stderr(&output));
    assert_eq!(shop.member("lan").await, (4, 2));
    shop.close().await;
}

#[tokio::test]
async fn a_quote_that_nobody_closes_is_told() {
    let shop = Shop::open().await;
    let time = Timestamp::now().checked_sub(1.hour()).expect("within the calendar");
    let row = |order: usize, sku: &str| format!("A-{order},lan,{time},10000,{sku}\n");
    let header = "order,member,time,amount,note\n";
    let short = [header, &row(1, "tea"), &row(2, "\"12 inch"), &row(3, "tea"), &row(4, "tea")].concat();
    let many_lines = format!("{short}{}{}", "\n".repeat(1001), row(5, "the quote\" ends"));
    let long = format!("{short}{}{}", "x".repeat(2 << 20), row(5, "the quote\" ends"));
    let last = [header, &row(1, "tea"), &row(2, "\"12 inch")].concat();
    let import = ["import", "purchases", "sales.csv", "--program", PROGRAM, "--store", "s1", "--enroll", "--no-quotes"];
    for content in [&short, &many_lines, &long, last.trim_end()] {
        shop.file("sales.csv", content);
        let output = shop.loyaltyd(&import[..8]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("line 3 opens a quote that is not closed"), "{}", stderr(&output));
    }
    shop.file("sales.csv", &short);
    let output = shop.loyaltyd(&import).await;
    assert_eq!((output.status.code(), numbers(&output)), (Some(0), vec![4, 4, 4, 0, 0, 0, 1]), "{}", stderr(&output));
    // A row whose quotes are closed may have several lines, also at the end of the file.
    let closed = [header, &row(6, "\"12\ninch\n\"")].concat();
    for content in [closed.as_str(), closed.trim_end()] {
        shop.file("sales.csv", content);
        let output = shop.loyaltyd(&import[..8]).await;
        assert_eq!((output.status.code(), numbers(&output)[0]), (Some(0), 1), "{}", stderr(&output));
    }
    shop.close().await;
}

#[tokio::test]
async fn an_import_that_is_told_to_stop_tells_how_far_it_came() {
    let shop = Shop::open().await;
    let time = Timestamp::now().checked_sub(1.hour()).expect("within the calendar");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
    command.args(["import", "purchases", "/dev/stdin", "--program", PROGRAM, "--store", "s1", "--enroll", "--acknowledged", "confirmed"]);
    command.current_dir(shop.folder.path()).env("LOYALTYD_SERVER", shop.server.address.to_string());
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut rows = process.stdin.take().expect("it is piped");
    write!(rows, "order,member,time,amount\nA-1,lan,{time},10000\nA-2,lan,{time},half\nA-3,lan,{time},10000\n").expect("it reads");
    while fs::read(shop.path("confirmed")).unwrap_or_default().is_empty() {
        assert!(process.try_wait().expect("it is known").is_none(), "it ended too early");
        tokio::task::yield_now().await;
    }
    let output = tokio::task::spawn_blocking(|| terminate(process)).await.expect("it does not panic");
    drop(rows);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("SIGTERM") && stderr(&output).contains("Run the same command again"), "{}", stderr(&output));
    assert_eq!(numbers(&output)[2], 1, "one is recorded");
    assert!(shop.path("stdin.rejects-1.csv").exists());
    shop.close().await;
}

#[tokio::test]
async fn a_wrong_command_line_is_told_from_a_failure() {
    let shop = Shop::open().await;
    let file = shop.file("sales.csv", "order,member,time,price\n");
    let import = |extra: &'static [&'static str]| [&["import", "purchases", &file, "--program", PROGRAM], extra].concat();
    let cases = [
        (import(&["--store", "s1"]), 2, "no column holds amount"),
        (import(&["--map", "amount=price"]), 2, "no column holds store"),
        (import(&["--map", "amount=cost"]), 2, "no column cost"),
        (import(&["--map", "amount=price", "--map", "amount=time"]), 2, "amount is mapped twice"),
        (import(&["--map", "colour=price"]), 2, "there is no field colour"),
        (import(&["--map", "amount=price", "--store", "s1", "--time-zone", "Mars/Olympus"]), 2, "Mars/Olympus"),
        (vec!["import", "purchases", "missing.csv", "--program", PROGRAM], 1, "missing.csv"),
        (vec!["program", "show", "nowhere"], 1, "PROGRAM_NOT_FOUND"),
        (vec!["program", "show", "--server", "127.0.0.1:1"], 1, "no server answers at 127.0.0.1:1"),
        (vec!["bench", "--skew", "odd"], 2, "zipf:EXPONENT"),
    ];
    for (words, code, told) in cases {
        let output = shop.loyaltyd(&words).await;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{words:?}: {}", stderr(&output));
    }
    shop.close().await;
}

#[tokio::test]
async fn rule_books_are_checked_published_and_shown() {
    let shop = Shop::open().await;
    let broken = shop.file("broken.yaml", "program_id: shop\ncurrency_code: usd\n");
    let output = shop.loyaltyd(&["program", "validate", &broken]).await;
    assert_eq!(output.status.code(), Some(1));
    for path in ["currency_code", "display_name", "time_zone", "accrual_rules"] {
        assert!(stderr(&output).contains(path), "{path} is not named: {}", stderr(&output));
    }
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/programs/grocery.yaml");
    let says = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    for said in ["published version 1", "version 1 says the same, nothing changed"] {
        let output = shop.loyaltyd(&["program", "publish", examples]).await;
        assert!(output.status.success() && says(&output).contains(said), "{output:?}");
    }
    let shown = says(&shop.loyaltyd(&["program", "show", "grocery"]).await);
    // What is shown can be published again, and says the same.
    let copy = shop.file("copy.yaml", &shown);
    let output = shop.loyaltyd(&["program", "publish", &copy]).await;
    assert!(says(&output).contains("nothing changed"), "{shown}\n{output:?}");
    let listed = says(&shop.loyaltyd(&["program", "show"]).await);
    assert!(listed.contains("grocery\tversion 1") && listed.contains(PROGRAM), "{listed}");
    shop.close().await;
}

/// What a process is given that must not reach the server that the load generator starts.
const NOT_FOR_THE_OWN_SERVER: [(&str, &str); 4] =
    [("LOYALTYD_PROGRAM", "missing.yaml"), ("LOYALTYD_LISTEN", "nowhere"), ("LOYALTYD_OPERATOR_KEY", "missing"), ("LOYALTYD_LOG", "!")];

fn bench(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
    command.args(["bench", "--connections", "1", "--in-flight", "2", "--members", "10"]).args(words);
    command.current_dir(folder).envs(NOT_FOR_THE_OWN_SERVER).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Asks a process to stop, and waits until it did.
fn terminate(process: Child) -> Output {
    let told = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().expect("kill is there");
    assert!(told.success());
    process.wait_with_output().expect("it ends")
}

#[test]
fn the_load_generator_tells_where_its_data_lay() {
    let folder = TempDir::new().expect("a temporary folder");
    let words = ["--scenario", "record,stream,batch", "--duration", "300ms", "--warm-up", "0s", "--json"];
    let output = bench(folder.path(), &words).output().expect("the binary runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let place = told["storage"]["folder"].as_str().expect("the folder is named");
    let own = folder.path().canonicalize().expect("it is there");
    assert!(Path::new(place).starts_with(own), "{place}");
    assert!(told["storage"]["fdatasync_p50_microseconds"].is_u64() && told["storage"]["file_system"].is_string(), "{told}");
    for row in told["scenarios"].as_array().expect("rows") {
        assert!(row["done"].as_u64() > Some(0) && row["latency_microseconds"]["p50"].as_u64() > Some(0), "{row}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0, "nothing is left behind");
}

#[test]
fn a_load_generator_that_is_told_to_stop_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut process = bench(folder.path(), &["--duration", "60s"]).spawn().expect("the binary runs");
    // The header is printed after the storage, both when the server answers.
    let mut told = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    assert!(told.next().expect("a line").expect("text").contains("fdatasync p50"));
    let output = terminate(process);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("SIGTERM"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0, "the server's folder is gone");
}
