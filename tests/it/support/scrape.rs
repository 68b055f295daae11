//! Reads metrics as Prometheus does, and takes nothing that it would not.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What was told at one instant.
#[derive(Debug, Default)]
pub struct Scraped {
    pub text: String,
    /// By name, its type.
    pub types: BTreeMap<String, String>,
    /// By name, its explanation.
    pub helps: BTreeMap<String, String>,
    /// By name and labels as they are written.
    pub samples: BTreeMap<String, f64>,
}

impl Scraped {
    /// The sample of this name whose labels are these, in their order.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        self.find(sample).unwrap_or_else(|| panic!("{sample} is not in\n{}", self.text))
    }

    pub fn find(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// Names of samples, without labels.
    pub fn names(&self) -> std::collections::BTreeSet<&str> {
        self.samples.keys().map(|sample| sample.split('{').next().expect("there is a first part")).collect()
    }
}

/// The head and the body of the answer to such a request.
pub async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of HTTP: {answer}"));
    (head.to_owned(), body.to_owned())
}

pub async fn scrape(address: SocketAddr) -> Scraped {
    let (head, body) = ask(address, "GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    parse(&body)
}

/// The text of OpenMetrics, as far as it is used here.
pub fn parse(text: &str) -> Scraped {
    let mut scraped = Scraped { text: text.to_owned(), ..Scraped::default() };
    let mut lines: Vec<&str> = text.strip_suffix('\n').expect("the last line is ended").lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    let mut family = String::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(!help.is_empty() && scraped.helps.insert(name.to_owned(), help.to_owned()).is_none(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(matches!(kind, "counter" | "gauge" | "histogram" | "info"), "{line}");
            assert!(is_name(name) && scraped.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            family = name.to_owned();
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let name = sample.split('{').next().expect("there is a first part");
            let suffixes: &[&str] = match scraped.types[&family].as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                "info" => &["_info"],
                _ => &[""],
            };
            assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} is not of {family}");
            check_labels(&sample[name.len()..], line);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(scraped.samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    check_histograms(&scraped);
    scraped
}

fn is_name(name: &str) -> bool {
    let is_letter = |character: char| character.is_ascii_lowercase() || character == '_';
    name.starts_with(is_letter) && name.chars().all(|character| is_letter(character) || character.is_ascii_digit())
}

fn check_labels(labels: &str, line: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_else(|| panic!("no labels: {line}"));
    for label in inner.split(',') {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(name) && !value.contains(['"', '\\', '\n']), "{line}");
    }
}

/// Buckets rise to the count.
fn check_histograms(scraped: &Scraped) {
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (sample, value) in &scraped.samples {
        let Some((name, labels)) = sample.split_once("_bucket{") else { continue };
        let (bounds, own): (Vec<&str>, Vec<&str>) = labels.trim_end_matches('}').split(',').partition(|label| label.starts_with("le="));
        let [bound] = bounds.as_slice() else { panic!("one bound: {sample}") };
        let bound = bound.trim_start_matches("le=").trim_matches('"');
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
        let count = if own.is_empty() { format!("{name}_count") } else { format!("{name}_count{{{}}}", own.join(",")) };
        buckets.entry(count).or_default().push((bound, *value));
    }
    for (count, mut buckets) in buckets {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{count}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, scraped.value(&count))), "{count}");
    }
}
