//! What it costs a purchase that the service is guarded and watched: RecordPurchase on a server as a platform team runs it, with TLS, callers
//! who show API keys, and metrics that are read, beside a plain one. Both are measured in one run, in turns, so that what else the machine
//! does comes upon both.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::time::MissedTickBehavior;
use tonic::codegen::Bytes;

use super::{
    child::{OwnServer, free_port},
    report::Target,
    session::{Session, Step},
    suite::{CONNECTIONS, IN_FLIGHT, Suite},
    workload::Scenario,
};
use crate::{
    cli::{
        CliError,
        client::{ReachArgs, ServerArgs},
    },
    grpc::access::key,
};

const TURNS: usize = 4;
/// Prometheus reads metrics every 15 s or less often.
const READ_EVERY: Duration = Duration::from_secs(1);
/// What the guarded server has on.
const WITH: &str = "with TLS, API keys and metrics";
/// How a page of metrics ends.
const END: &[u8] = b"# EOF\n";

/// What was measured of a server.
#[derive(Default, Clone, Copy)]
struct Sum {
    rate: f64,
    purchases: u64,
    /// Of the server's processors, until all that follows from the purchases is written.
    used: Duration,
}

impl Sum {
    fn microseconds(self) -> f64 {
        self.used.as_secs_f64() * 1e6 / self.purchases.max(1) as f64
    }
}

/// What guards a server, and what its callers need for it.
pub struct Guard {
    pub flags: Vec<OsString>,
    /// `https`, if there is TLS.
    pub scheme: &'static str,
    pub how: ReachArgs,
    /// Where metrics are, if they are served.
    pub metrics: Option<Uri>,
}

impl Guard {
    /// None: as it is on one's own machine.
    pub fn none() -> Self {
        Self { flags: Vec::new(), scheme: "http", how: ReachArgs::default(), metrics: None }
    }

    /// All that there is, with files in a folder that goes with the server.
    pub fn all(folder: &Path) -> Result<Self, CliError> {
        let (certificate, private) = certificate(folder)?;
        let (access, api_key) = access(folder)?;
        let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("there is no port for metrics: {error}"));
        let metrics = format!("127.0.0.1:{}", free_port().map_err(|error| failed(&error))?);
        let flags = vec![
            "--tls-cert".into(),
            certificate.clone().into(),
            "--tls-key".into(),
            private.into(),
            "--access".into(),
            access.into(),
            "--metrics-listen".into(),
            metrics.clone().into(),
        ];
        let how = ReachArgs { ca: Some(certificate), api_key_file: Some(api_key), ..ReachArgs::default() };
        let metrics = format!("http://{metrics}/metrics").parse().map_err(|error| failed(&error))?;
        Ok(Self { flags, scheme: "https", how, metrics: Some(metrics) })
    }

    pub fn address(&self, port: u16) -> ServerArgs {
        ServerArgs { server: format!("{}://127.0.0.1:{port}", self.scheme), how: self.how.clone() }
    }
}

/// One that is its own authority, made anew each time.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf), CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("cannot make a certificate: {error}"));
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).map_err(|error| failed(&error))?;
    let certificate = parameters.self_signed(&key).map_err(|error| failed(&error))?;
    let paths = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&paths.0, certificate.pem()).map_err(|error| failed(&error))?;
    fs::write(&paths.1, key.serialize_pem()).map_err(|error| failed(&error))?;
    Ok(paths)
}

/// The access file with one principal, whose rate is bounded higher than it ever comes, and the file with the key to show.
fn access(folder: &Path) -> Result<(PathBuf, PathBuf), CliError> {
    let key = key::make().map_err(|error| CliError::Failed(format!("the system gives no randomness: {error}")))?;
    let text = format!(
        r#"principals:
  - principal_id: bench
    roles: [pos, manager]
    programs: ["*"]
    limits: {{requests_per_second: 1000000}}
    api_keys:
      - {{key_id: bench, hash: "{}"}}
"#,
        key::hash_text(&key)
    );
    let paths = (folder.join("access.yaml"), folder.join("api.key"));
    let failed = |error: io::Error| CliError::Failed(format!("cannot write an access file: {error}"));
    fs::write(&paths.0, text).map_err(failed)?;
    fs::write(&paths.1, key).map_err(failed)?;
    Ok(paths)
}

/// Reads the metrics of a server.
struct Reader {
    metrics: Uri,
    client: Client<HttpConnector, Empty<Bytes>>,
    /// How often they were read, and how many bytes they had at last.
    read: u64,
    bytes: usize,
}

impl Reader {
    fn of(session: &Session) -> Result<Self, CliError> {
        let metrics = session.own.as_ref().and_then(OwnServer::metrics).cloned();
        let metrics = metrics.ok_or_else(|| CliError::Failed("the server has no metrics".to_owned()))?;
        Ok(Self { metrics, client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()), read: 0, bytes: 0 })
    }

    /// Again and again, for as long as it is polled. It ends with why they cannot be read.
    async fn run(&mut self) -> CliError {
        let mut times = tokio::time::interval(READ_EVERY);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            match self.page().await {
                Ok(bytes) => (self.read, self.bytes) = (self.read + 1, bytes),
                Err(why) => return CliError::Failed(format!("the metrics cannot be read: {why}")),
            }
        }
    }

    async fn page(&self) -> Result<usize, String> {
        let answer = self.client.get(self.metrics.clone()).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let page = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        match status == StatusCode::OK && page.ends_with(END) {
            true => Ok(page.len()),
            false => Err(format!("the answer is {status}, and no whole page")),
        }
    }
}

pub(super) async fn measure(suite: &mut Suite<'_>) -> Result<(), CliError> {
    let members = suite.members(100_000);
    suite.renew(members, false).await?;
    let guarded = OwnServer::start_guarded(suite.parent()).await?;
    let mut other = Session::open(guarded.address.clone(), Some(guarded), CONNECTIONS, suite.session.settings).await?;
    for session in [&mut suite.session, &mut other] {
        session.publish().await?;
        session.preload(members).await?;
        session.settle().await;
    }
    let mut reader = Reader::of(&other)?;
    let turns = if suite.is_quick() { 1 } else { TURNS };
    let (mut plain, mut secured) = (Sum::default(), Sum::default());
    let duration = suite.seconds(10);
    for _ in 0..turns {
        take_turn(&mut suite.session, duration, &mut plain, None).await?;
        take_turn(&mut other, duration, &mut secured, Some(&mut reader)).await?;
    }
    suite.session.measured.append(&mut other.measured);
    for (name, sum) in [("on a plain server", plain), (WITH, secured)] {
        let name = format!("RecordPurchase {name}, {:.1} us of the server's processors each", sum.microseconds());
        suite.figure("secured", name, sum.rate / turns as f64, "/s", None);
    }
    suite.figure("secured", format!("metrics were read, of {} bytes at last", reader.bytes), reader.read as f64, "times", None);
    let ratio = |one: f64, other: f64| if other > 0.0 { one / other } else { 0.0 };
    let target = Some(Target::AtLeast(0.85));
    suite.figure("secured", format!("rate {WITH}, of the one without"), ratio(secured.rate, plain.rate), "", target);
    let cost = ratio(secured.microseconds(), plain.microseconds());
    suite.figure("secured", format!("processor time of a purchase {WITH}, of one without"), cost, "", None);
    Ok(())
}

async fn take_turn(session: &mut Session, duration: Duration, sum: &mut Sum, reader: Option<&mut Reader>) -> Result<(), CliError> {
    let before = session.cpu().0;
    let workload = session.workload(Scenario::Record);
    let step = session.step(Step(Scenario::Record, CONNECTIONS, IN_FLIGHT, duration), workload, None);
    let measured = match reader {
        None => step.await?,
        Some(reader) => tokio::select! {
            measured = step => measured?,
            failed = reader.run() => return Err(failed),
        },
    };
    sum.rate += measured.rate();
    sum.purchases += measured.tally.all;
    session.settle().await;
    let used = session.cpu().0.zip(before).map(|(after, before)| after.saturating_sub(before));
    sum.used += used.unwrap_or_default();
    Ok(())
}
