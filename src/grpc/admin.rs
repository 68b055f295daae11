//! AdminService: backups.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    service::{Interceptor, interceptor::InterceptedService},
};

use super::{
    Gate, Refusal,
    access::{self, Caller},
    convert::{Mistakes, Path},
    observe::{Observed, Tally, observe},
    shares::{Share, Shares},
};
use crate::{
    contract::v1::{
        self,
        admin_service_server::{AdminService, AdminServiceServer},
        stream_backup_response as answer,
    },
    domain::PrincipalId,
    ledger::LedgerError,
    store::{
        CommitSeq, StoreError,
        backup::{Held, MAX_KEY_BLOCKS, Part, Source},
    },
};

/// Backups that are streamed at a time.
const MAX_BACKUPS: usize = 2;
/// Of them for one principal: another one can still take one.
const MAX_BACKUPS_OF_ONE: usize = 1;
/// How long the reason for an early end waits for a connection that is behind; less than a stop waits for calls under way.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Parts that wait for the connection.
const PARTS: usize = 4;

/// From where AdminService is answered. Where callers are authenticated, from anywhere, to operators; otherwise a backup, which holds all
/// there is, is for those on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminFrom {
    /// From the machine of the service alone.
    Loopback,
    Anywhere,
}

type Answer = Result<v1::StreamBackupResponse, Status>;

pub struct Admin {
    gate: Arc<Gate>,
    room: Arc<Shares<PrincipalId>>,
}

/// The service, which refuses before it reads who may not call it, whatever the method.
pub fn service(gate: &Arc<Gate>, from: AdminFrom, largest: usize) -> InterceptedService<AdminServiceServer<Admin>, Admission> {
    let admin = Admin { gate: Arc::clone(gate), room: Shares::new(MAX_BACKUPS, MAX_BACKUPS_OF_ONE) };
    InterceptedService::new(AdminServiceServer::new(admin).max_decoding_message_size(largest), Admission(from))
}

#[derive(Clone)]
pub struct Admission(AdminFrom);

impl Interceptor for Admission {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        // A proxy on this machine is a caller on this machine: it must not forward this service.
        let is_here = request.remote_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        match self.0 {
            AdminFrom::Anywhere => Ok(request),
            AdminFrom::Loopback if is_here => Ok(request),
            AdminFrom::Loopback => {
                let refusal = Refusal::admin_from_loopback_only();
                tracing::debug!(method = "AdminService", outcome = refusal.reason(), "refused");
                Err(refusal.into())
            }
        }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type StreamBackupStream = ReceiverStream<Answer>;

    async fn stream_backup(&self, request: Request<v1::StreamBackupRequest>) -> Result<Response<Self::StreamBackupStream>, Status> {
        let observed = observe("AdminService/StreamBackup", "");
        let begun = match access::current() {
            Ok(caller) => self.begin(request.into_inner()).await.map(|(source, permit)| (source, permit, caller)),
            Err(refusal) => Err(refusal),
        };
        match begun {
            Ok((source, permit, caller)) => {
                let (answer, answers) = mpsc::channel(PARTS);
                tokio::spawn(stream(Arc::clone(&self.gate), (source, caller), answer, observed, permit));
                Ok(Response::new(ReceiverStream::new(answers)))
            }
            Err(refusal) => observed.run(async { Err(refusal) }).await,
        }
    }
}

impl Admin {
    async fn begin(&self, request: v1::StreamBackupRequest) -> Result<(Box<dyn Source>, Share<PrincipalId>), Refusal> {
        let ledger = self.gate.ledger()?.clone();
        let mut mistakes = Mistakes::default();
        let held = held(request, &mut mistakes);
        let held = mistakes.settle(held)?;
        let permit = self.room.take(access::principal()).ok_or_else(Refusal::too_many_backups)?;
        let source = blocking(move || ledger.backup(held)).await?;
        Ok((source, permit))
    }
}

fn held(request: v1::StreamBackupRequest, mistakes: &mut Mistakes) -> Option<Held> {
    let v1::StreamBackupRequest { store_id, last_commit, last_commit_hash, key_block_hashes } = request;
    let field = |name| Path::Root.field(name);
    let is_new = store_id.is_empty();
    let store_id = match <[u8; 16]>::try_from(store_id.as_slice()) {
        Ok(id) => Some(id),
        Err(_) if is_new => None,
        Err(_) => {
            mistakes.add(field("store_id"), "has 16 bytes, or none for a new backup");
            return None;
        }
    };
    let Ok(last) = u64::try_from(last_commit) else {
        mistakes.add(field("last_commit"), "is negative");
        return None;
    };
    if is_new && last > 0 {
        mistakes.add(field("store_id"), "is required with last_commit");
        return None;
    }
    let hash = match <[u8; 32]>::try_from(last_commit_hash.as_slice()) {
        Ok(hash) if last > 0 => hash,
        Err(_) if last > 0 => {
            mistakes.add(field("last_commit_hash"), "has 32 bytes");
            return None;
        }
        Ok(_) | Err(_) => [0; 32],
    };
    if key_block_hashes.len() > MAX_KEY_BLOCKS {
        mistakes.add(field("key_block_hashes"), "has more than 131,072 items");
        return None;
    }
    let blocks = key_block_hashes.iter().map(|hash| <[u8; 16]>::try_from(hash.as_slice()));
    match blocks.collect::<Result<Vec<_>, _>>() {
        Ok(key_blocks) => Some(Held { store_id, last: CommitSeq(last), hash, key_blocks }),
        Err(_) => {
            mistakes.add(field("key_block_hashes"), "has an item that has not 16 bytes");
            None
        }
    }
}

/// Reading the store takes time that the tasks of other calls do not have.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static) -> Result<T, Refusal> {
    // It is cut short only when the runtime ends.
    Ok(tokio::task::spawn_blocking(work).await.unwrap_or(Err(LedgerError::Closing))?)
}

/// Until all is sent, nobody listens, or the service stops.
async fn stream(
    gate: Arc<Gate>,
    (source, caller): (Box<dyn Source>, Caller),
    answer: mpsc::Sender<Answer>,
    observed: Observed,
    permit: Share<PrincipalId>,
) {
    let end = tokio::select! {
        end = send_all(&gate, (source, caller), &answer) => end,
        () = gate.closed() => Err(Refusal::stopping()),
    };
    let reason = end.as_ref().err().map(Refusal::reason);
    if let Err(refusal) = end {
        // If nobody listens any more, nobody misses it.
        let _ = tokio::time::timeout(LAST_WORD, answer.send(Err(refusal.into()))).await;
    }
    observed.ended(Tally::default(), reason);
    drop(permit);
}

async fn send_all(gate: &Gate, (mut source, mut caller): (Box<dyn Source>, Caller), answer: &mpsc::Sender<Answer>) -> Result<(), Refusal> {
    loop {
        caller.renew()?;
        let next = blocking(move || {
            let part = source.next()?;
            Ok::<_, LedgerError>((source, part))
        });
        let (back, part) = next.await?;
        let Some(part) = part else { return Ok(()) };
        if !gate.send(answer, Ok(response(part)?)).await? {
            return Ok(());
        }
        source = back;
    }
}

fn response(part: Part) -> Result<v1::StreamBackupResponse, Refusal> {
    let number = |number: u64| i64::try_from(number).map_err(|_| Refusal::internal(&"a number of a backup does not fit"));
    let part = match part {
        Part::Start { store_id, last, key_bytes, journal_bytes } => answer::Part::Start(v1::BackupStart {
            store_id: store_id.to_vec(),
            last_commit: number(last.0)?,
            key_file_bytes: number(key_bytes)?,
            journal_bytes: number(journal_bytes)?,
        }),
        Part::KeyBlock { offset, content } => answer::Part::KeyBlock(v1::BackupKeyBlock { offset: number(offset)?, content }),
        Part::Journal { segment, offset, content } => {
            answer::Part::JournalPart(v1::BackupJournalPart { first_commit: number(segment)?, offset: number(offset)?, content })
        }
        Part::End { last, hash } => answer::Part::End(v1::BackupEnd { last_commit: number(last.0)?, last_commit_hash: hash.to_vec() }),
    };
    Ok(v1::StreamBackupResponse { part: Some(part) })
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        LedgerError::from(error).into()
    }
}
