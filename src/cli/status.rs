//! `loyaltyd status`.

use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{CliError, client};
use crate::contract::v1::{self, server_info::State, server_service_client::ServerServiceClient};

/// Say whether a server serves, and which one it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: it serves. 1: it does not, or nobody answers.

EXAMPLES
  loyaltyd status
  loyaltyd status --server 127.0.0.1:6000
  until loyaltyd status >/dev/null 2>&1; do sleep 1; done")]
pub struct Args {
    #[command(flatten)]
    server: client::ServerArgs,
}

pub async fn run(args: Args) -> Result<(), CliError> {
    let channel = args.server.connect().await?;
    let asked = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    let health = asked.map_err(|status| client::failed(&status))?.into_inner().status();
    // Health alone decides: a probe need not have a credential where health is open, and an older server has no such service.
    let answer = ServerServiceClient::new(channel).get_server_info(v1::GetServerInfoRequest {}).await;
    let info = match answer {
        Ok(answer) => answer.into_inner().server_info.unwrap_or_default(),
        Err(status) => {
            print!("{}", rows(&[("server", args.server.server.clone()), ("health", health.as_str_name().to_owned())]));
            println!("The rest is not told: {}", client::failed(&status));
            return judged(&args.server.server, health, None);
        }
    };
    print!("{}", described(&args.server.server, &info, health));
    judged(&args.server.server, health, Some(state(&info)))
}

/// With the state that it is in, if it says so.
fn judged(server: &str, health: ServingStatus, state: Option<&str>) -> Result<(), CliError> {
    match health {
        ServingStatus::Serving => Ok(()),
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            let state = state.map_or_else(String::new, |state| format!(": it is {state}"));
            Err(CliError::Failed(format!("the server at {server} does not serve{state}")))
        }
    }
}

fn state(info: &v1::ServerInfo) -> &'static str {
    match info.state() {
        State::Unspecified => "in a state that this version does not know",
        State::Reading => "reading its ledger",
        State::Serving => "serving",
        State::Stopping => "stopping",
    }
}

fn described(server: &str, info: &v1::ServerInfo, health: ServingStatus) -> String {
    let formats = info.storage_formats.unwrap_or_default();
    let limits = info.limits.unwrap_or_default();
    let yes = |is_so: bool| if is_so { "yes" } else { "no" };
    let start = info.start_time.map_or_else(|| "unknown".to_owned(), |time| time.to_string());
    let v1::StorageFormats { journal, key_file, tables } = formats;
    let v1::ServerLimits { request_bytes, queue_commands, connection_calls, purchase_lines } = limits;
    rows(&[
        ("server", server.to_owned()),
        ("state", state(info).to_owned()),
        ("health", health.as_str_name().to_owned()),
        ("version", format!("{} (revision {})", info.version, info.revision)),
        ("storage formats", format!("journal {journal}, key file {key_file}, tables {tables}")),
        ("started", start),
        ("time zone data", info.time_zone_data.clone()),
        ("sandbox", yes(info.sandbox).to_owned()),
        ("TLS", yes(info.tls).to_owned()),
        ("callers authenticated", yes(info.callers_authenticated).to_owned()),
        ("request bytes", request_bytes.to_string()),
        ("queue", queue_commands.to_string()),
        ("calls on a connection", connection_calls.to_string()),
        ("lines of a purchase", purchase_lines.to_string()),
    ])
}

fn rows(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<22} {value}\n")).collect()
}
