//! ServerService: what runs here. Answered whatever state the ledger is in.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::{Gate, convert, gate::ServerState, observe::observe};
use crate::{
    contract::v1::{self, server_info::State, server_service_server::ServerService},
    domain::MAX_LINES,
    store::embedded::FORMATS,
    version,
};

/// How this server was started, as callers are told.
#[derive(Debug, Clone)]
pub struct About {
    pub start_time: Timestamp,
    pub sandbox: bool,
    pub tls: bool,
    pub callers_authenticated: bool,
    pub queue_commands: u32,
    pub connection_calls: u32,
    pub request_bytes: usize,
}

pub struct ServerRoom(pub Arc<Gate>);

#[tonic::async_trait]
impl ServerService for ServerRoom {
    async fn get_server_info(&self, _: Request<v1::GetServerInfoRequest>) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        observe("ServerService/GetServerInfo", "").run(async { Ok(self.answer()) }).await
    }
}

impl ServerRoom {
    fn answer(&self) -> v1::GetServerInfoResponse {
        let about = self.0.about();
        let format = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let state = match self.0.state() {
            ServerState::Reading => State::Reading,
            ServerState::Serving => State::Serving,
            ServerState::Stopping => State::Stopping,
        };
        let server_info = v1::ServerInfo {
            version: version::VERSION.to_owned(),
            revision: version::REVISION.to_owned(),
            storage_formats: Some(v1::StorageFormats {
                journal: format(FORMATS.journal),
                key_file: format(FORMATS.keys),
                tables: format(FORMATS.tables),
            }),
            start_time: about.map(|about| convert::timestamp(about.start_time)),
            state: state.into(),
            sandbox: about.is_some_and(|about| about.sandbox),
            tls: about.is_some_and(|about| about.tls),
            callers_authenticated: about.is_some_and(|about| about.callers_authenticated),
            time_zone_data: version::time_zone_data().to_owned(),
            limits: Some(v1::ServerLimits {
                request_bytes: about.map_or(0, |about| about.request_bytes as i64),
                queue_commands: about.map_or(0, |about| i64::from(about.queue_commands)),
                connection_calls: about.map_or(0, |about| i64::from(about.connection_calls)),
                purchase_lines: MAX_LINES as i64,
            }),
        };
        v1::GetServerInfoResponse { server_info: Some(server_info) }
    }
}
