//! StreamPurchases: reads and parses ahead, submits together what is ready, and answers in the order of the requests.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::{
    Gate, Refusal,
    access::Caller,
    observe::{Observed, Tally},
    purchase::{Item, record_all},
    request_memory::{RequestMemory, STREAMED_AT_ONCE, STREAMED_BYTES},
    status::explained,
};
use crate::{contract::v1, ledger::Ledger};

/// Requests of one stream that were read and not yet answered.
const MAX_IN_FLIGHT: usize = STREAMED_AT_ONCE;
/// A large request counts as several, so that the bound is one of memory too: by its lines, which take more once they are read than on
/// the wire, or by its bytes.
const LINES_PER_PLACE: usize = 32;
const BYTES_PER_PLACE: usize = STREAMED_BYTES;
/// Submitted together at most: half of those in flight, so that the other half is read and parsed while these are committed.
const MAX_CHUNK: usize = MAX_IN_FLIGHT / 2;

type Answer = Result<v1::StreamPurchasesResponse, Status>;

/// A request with its place among those in flight and its room until it is decided, or how the stream ended, with the word for it in the log.
type Read = Result<(Item, OwnedSemaphorePermit, OwnedSemaphorePermit), (Status, &'static str)>;

/// Answers that wait for the connection. Each has its place among those in flight until then, which bounds them.
pub struct Answers(mpsc::Receiver<(Answer, Option<OwnedSemaphorePermit>)>);

impl Stream for Answers {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.0.poll_recv(cx).map(|next| next.map(|(answer, _place)| answer))
    }
}

/// The caller broke the stream off, or sent what is no request.
const BROKEN_OFF: &str = "BROKEN_OFF";

pub fn answers(
    gate: Arc<Gate>,
    ledger: Ledger,
    caller: Caller,
    requests: Streaming<v1::StreamPurchasesRequest>,
    observed: Observed,
) -> Answers {
    let (ready, waiting) = mpsc::channel(MAX_IN_FLIGHT);
    let (answer, answers) = mpsc::channel(MAX_IN_FLIGHT);
    tokio::spawn(read(gate, ledger.clone(), caller, requests, ready));
    tokio::spawn(async move {
        let mut tally = Tally::default();
        let reason = judge(ledger, waiting, answer, &mut tally).await;
        observed.ended(tally, reason);
    });
    Answers(answers)
}

/// Reads until the caller ends, the service stops, or nobody takes answers any more.
async fn read(gate: Arc<Gate>, ledger: Ledger, caller: Caller, requests: Streaming<v1::StreamPurchasesRequest>, ready: mpsc::Sender<Read>) {
    let end = tokio::select! {
        end = read_all((&ledger, gate.memory()), caller, requests, &ready) => end,
        () = gate.closed() => Err(ended(Refusal::stopping())),
    };
    if let Err(end) = end {
        // If nobody listens any more, nobody misses it.
        let _ = ready.send(Err(end)).await;
    }
}

fn ended(refusal: Refusal) -> (Status, &'static str) {
    let reason = refusal.reason();
    (refusal.into(), reason)
}

async fn read_all(
    (ledger, memory): (&Ledger, &RequestMemory),
    mut caller: Caller,
    mut requests: Streaming<v1::StreamPurchasesRequest>,
    ready: &mpsc::Sender<Read>,
) -> Result<(), (Status, &'static str)> {
    let room = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    while let Some(v1::StreamPurchasesRequest { purchase }) = requests.message().await.map_err(|status| (explained(status), BROKEN_OFF))? {
        caller.next_message().await.map_err(ended)?;
        let places = purchase.as_ref().map_or(1, places);
        let place = Arc::clone(&room).acquire_many_owned(places).await.expect("the semaphore is never closed");
        // Of all streams: who takes no answers keeps nobody else from it.
        let streamed = memory.streamed(places).await;
        let item = caller.run(|| Item::parse(ledger, purchase));
        if ready.send(Ok((item, place, streamed))).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Of those in flight, that a request takes up.
fn places(request: &v1::RecordPurchaseRequest) -> u32 {
    let lines = request.purchase.as_ref().map_or(0, |purchase| purchase.lines.len());
    let places = 1 + (lines / LINES_PER_PLACE).max(request.encoded_len() / BYTES_PER_PLACE);
    u32::try_from(places.min(MAX_IN_FLIGHT)).expect("the bound is small")
}

/// Says why the stream ended before its caller wished, if it did.
async fn judge(
    ledger: Ledger,
    mut waiting: mpsc::Receiver<Read>,
    answer: mpsc::Sender<(Answer, Option<OwnedSemaphorePermit>)>,
    tally: &mut Tally,
) -> Option<&'static str> {
    // Without room beforehand, which for a stream that says nothing would be almost all that it takes.
    let mut chunk = Vec::new();
    while waiting.recv_many(&mut chunk, MAX_CHUNK).await > 0 {
        let mut items = Vec::with_capacity(chunk.len());
        let (mut places, mut streamed) = (Vec::with_capacity(chunk.len()), Vec::with_capacity(chunk.len()));
        let mut end = None;
        for read in chunk.drain(..) {
            match read {
                Ok((item, place, room)) => {
                    items.push(item);
                    places.push(place);
                    streamed.push(room);
                }
                Err(how) => end = Some(how),
            }
        }
        let results = record_all(&ledger, items).await;
        drop(streamed);
        results.iter().for_each(|result| tally.add(result));
        for (result, place) in results.into_iter().zip(places) {
            let response = v1::StreamPurchasesResponse { result: Some(result) };
            if answer.send((Ok(response), Some(place))).await.is_err() {
                return Some(BROKEN_OFF);
            }
        }
        if let Some((status, reason)) = end {
            let _ = answer.send((Err(status), None)).await;
            return Some(reason);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_places_by_its_lines_or_its_bytes() {
        let usual = v1::RecordPurchaseRequest { request_id: "sale-1".into(), ..Default::default() };
        assert_eq!(places(&usual), 1);
        let long = v1::RecordPurchaseRequest { request_id: "x".repeat(4 << 20), ..Default::default() };
        assert_eq!(places(&long), 1_024);
        let purchase = |count| Some(v1::Purchase { lines: vec![v1::PurchaseLine::default(); count], ..Default::default() });
        assert_eq!(places(&v1::RecordPurchaseRequest { purchase: purchase(320), ..usual.clone() }), 11);
    }
}
