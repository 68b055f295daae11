//! The contract's services: one file a service. `convert` is where the wire's types become the domain's and back, `status` the only place
//! that knows the codes of gRPC.
//!
//! # The way of a call
//!
//! [`connections`] lets its connection in: places, TLS, the beginning of HTTP; `gathering` and `valve` read and write it. `front` understands
//! browsers, makes known who is at the other end, and gives the call its deadline. `services` is what all of it is for: it lets `watched` begin
//! to count and trace the call, whatever becomes of it, has [`access`] judge credential and role ([`Door`]) before anything of the message is
//! read, and finds the service by the path. What is read of the message is counted (`request_memory`). The message is decoded, unless it would take too much memory (`contract::codec`). The service parses
//! it into domain types (`convert`); there `access` judges the programme, and [`Gate`] says whether there is a ledger to ask. The handler's work runs under `observe`, which tells the log and the trace how it ended.
//! On the way back a status is made (`status`) of each refusal, `watched` counts its code, and `front` turns it into gRPC-Web if it came as that.

pub mod access;
mod admin;
mod audit;
mod calls;
mod catalogue;
pub mod connections;
mod convert;
mod entries;
mod explain;
mod export;
mod front;
mod gate;
mod gathering;
mod health;
mod member;
mod observe;
mod offer;
mod page;
mod points;
mod program;
mod purchase;
mod redemption;
mod request_memory;
mod returns;
mod reward;
mod sandbox;
mod server;
mod services;
mod shares;
mod status;
mod stream;
mod traced;
mod valve;
mod watched;
mod whoever;

use std::sync::Arc;

use tonic::{Code, service::Routes};

use crate::{
    contract::v1::{
        audit_service_server::AuditServiceServer, offer_service_server::OfferServiceServer, program_service_server::ProgramServiceServer,
        reward_service_server::RewardServiceServer, sandbox_service_server::SandboxServiceServer,
    },
    domain::{ProgramHistory, ProgramId},
    ledger::{Ledger, MemberTarget, SandboxClock},
};

use convert::{Mistakes, Path};
use status::Refusal;

pub use access::{Access, Door, Guard};
pub use admin::AdminFrom;
pub use calls::{CallStatistics, Calls};
pub use front::{Front, Origins};
pub use gate::{Gate, ServerState};
pub use gathering::Gathering;
pub use health::Health;
pub use request_memory::{Bounds as RequestBounds, RequestMemory};
pub use server::About;
pub use services::Services;
pub use valve::Valve;
pub use watched::Watch;

/// Beside the services that tills, storefronts and support call.
pub enum Besides {
    /// Backups.
    Admin(AdminFrom),
    /// A clock that can be set. There are no backups of a sandbox: restored, they would be taken for a real ledger.
    Sandbox(Arc<SandboxClock>),
}

/// Such as `NOT_FOUND`.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// All services, behind the gate. Connections tell their peers' addresses as those of TCP do. A message of a request may have `largest` bytes.
pub fn services(gate: &Arc<Gate>, health: &Health, besides: &Besides, door: Door, largest: usize) -> Services {
    let mut others = Routes::builder();
    others.add_service(ProgramServiceServer::new(program::Programs(Arc::clone(gate))).max_decoding_message_size(largest));
    others.add_service(RewardServiceServer::new(reward::Rewards(Arc::clone(gate))).max_decoding_message_size(largest));
    others.add_service(OfferServiceServer::new(offer::Offers(Arc::clone(gate))).max_decoding_message_size(largest));
    others.add_service(AuditServiceServer::new(audit::Audit(Arc::clone(gate))).max_decoding_message_size(largest));
    match besides {
        Besides::Admin(from) => others.add_service(admin::service(gate, *from, largest)),
        Besides::Sandbox(clock) => {
            let sandbox = sandbox::Sandbox { gate: Arc::clone(gate), clock: Arc::clone(clock) };
            others.add_service(SandboxServiceServer::new(sandbox).max_decoding_message_size(largest))
        }
    };
    health.add_reflection(&mut others);
    Services::new(gate, health.server(), others.routes(), door, largest)
}

/// The programme that a call names, if its caller may act there. Nothing else of a call can be judged without it, so that what was found so far is said at once.
fn program_named(ledger: &Ledger, id: &str, mistakes: &mut Mistakes) -> Result<(ProgramId, Arc<ProgramHistory>), Refusal> {
    let Some(id) = mistakes.take(Path::Root.field("program_id"), ProgramId::new(id)) else {
        return Err(std::mem::take(mistakes).into());
    };
    // Before it is looked up: whether there is such a programme is not for everybody.
    access::check_program(id.as_str())?;
    let history = ledger.program(&id)?;
    Ok((id, history))
}

/// Programme and member of a call that reads.
struct Named {
    program: ProgramId,
    history: Arc<ProgramHistory>,
    target: Option<MemberTarget>,
}

fn named(
    ledger: &Ledger,
    program: &str,
    member: Option<&crate::contract::v1::MemberRef>,
    mistakes: &mut Mistakes,
) -> Result<Named, Refusal> {
    let target = convert::member_target(member, mistakes);
    let (program, history) = program_named(ledger, program, mistakes)?;
    Ok(Named { program, history, target })
}

/// Reads that may take long, beside the threads that serve calls.
async fn aside<T: Send + 'static>(
    ledger: Result<Ledger, Refusal>,
    read: impl FnOnce(&Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let (ledger, caller) = (ledger?, access::current()?);
    // It is cut short only when the runtime ends.
    tokio::task::spawn_blocking(move || caller.run(|| read(&ledger))).await.unwrap_or_else(|_| Err(Refusal::stopping()))
}
