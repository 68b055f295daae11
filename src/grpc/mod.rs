//! The contract's services: one file a service. `convert` is where the wire's types become the domain's and back, `status` the only place
//! that knows the codes of gRPC.

mod admin;
mod catalogue;
mod convert;
mod entries;
mod explain;
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
mod returns;
mod reward;
mod sandbox;
mod services;
mod status;
mod stream;
mod valve;

use std::sync::Arc;

use tonic::service::Routes;

use crate::{
    contract::v1::{
        offer_service_server::OfferServiceServer, program_service_server::ProgramServiceServer, reward_service_server::RewardServiceServer,
        sandbox_service_server::SandboxServiceServer,
    },
    domain::{ProgramHistory, ProgramId},
    ledger::{Ledger, MemberTarget, SandboxClock},
};

use convert::{Mistakes, Path};
use status::Refusal;

pub use admin::AdminFrom;
pub use gate::Gate;
pub use gathering::Gathering;
pub use health::Health;
pub use services::Services;
pub use valve::Valve;

/// Largest request that is read: a purchase of 10,000 lines with long names, or a batch of 1,000 usual ones, fits.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

/// Beside the services that tills, storefronts and support call.
pub enum Besides {
    /// Backups.
    Admin(AdminFrom),
    /// A clock that can be set. There are no backups of a sandbox: restored, they would be taken for a real ledger.
    Sandbox(Arc<SandboxClock>),
}

/// All services, behind the gate. Connections tell their peers' addresses as those of TCP do.
pub fn services(gate: &Arc<Gate>, health: &Health, besides: &Besides) -> Services {
    let mut others = Routes::builder();
    others.add_service(ProgramServiceServer::new(program::Programs(Arc::clone(gate))).max_decoding_message_size(MAX_REQUEST_BYTES));
    others.add_service(RewardServiceServer::new(reward::Rewards(Arc::clone(gate))).max_decoding_message_size(MAX_REQUEST_BYTES));
    others.add_service(OfferServiceServer::new(offer::Offers(Arc::clone(gate))).max_decoding_message_size(MAX_REQUEST_BYTES));
    match besides {
        Besides::Admin(from) => others.add_service(admin::service(gate, *from)),
        Besides::Sandbox(clock) => {
            let sandbox = sandbox::Sandbox { gate: Arc::clone(gate), clock: Arc::clone(clock) };
            others.add_service(SandboxServiceServer::new(sandbox).max_decoding_message_size(MAX_REQUEST_BYTES))
        }
    };
    health.add_reflection(&mut others);
    Services::new(gate, health.server(), others.routes())
}

/// The programme that a call names. Nothing else of a call can be judged without it, so that what was found so far is said at once.
fn program_named(ledger: &Ledger, id: &str, mistakes: &mut Mistakes) -> Result<(ProgramId, Arc<ProgramHistory>), Refusal> {
    let Some(id) = mistakes.take(Path::Root.field("program_id"), ProgramId::new(id)) else {
        return Err(std::mem::take(mistakes).into());
    };
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
    let ledger = ledger?;
    // It is cut short only when the runtime ends.
    tokio::task::spawn_blocking(move || read(&ledger)).await.unwrap_or_else(|_| Err(Refusal::stopping()))
}
