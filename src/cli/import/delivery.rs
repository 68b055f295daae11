//! Sends baskets through one stream, in the file's order, and takes the answers; goes on after a broken connection.

use std::{
    collections::{HashSet, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    basket::Basket,
    enroll::with_fields,
    file::Refusal,
    report::{Acknowledged, Counts, Progress, Rejects},
};
use crate::{
    cli::{CliError, client},
    contract::v1::{self, purchase_result, purchase_service_client::PurchaseServiceClient},
};

/// Purchases of this run that are remembered, to tell those that come again; beyond, they count as recorded or there already.
const REMEMBERED: usize = 3_500_000;

/// What the server has confirmed in this run, by a hash of the request id: eight bytes a purchase.
#[derive(Default)]
pub struct Confirmed {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Confirmed {
    /// Whether it is the first time.
    fn insert(&mut self, basket: &Basket) -> bool {
        let id = basket.request.as_ref().map_or("", |request| &request.request_id);
        let hash = self.hasher.hash_one(id);
        if self.hashes.len() >= REMEMBERED {
            return !self.hashes.contains(&hash);
        }
        self.hashes.insert(hash)
    }
}

pub struct Delivery {
    pub client: PurchaseServiceClient<client::ApiChannel>,
    /// Baskets that may wait for their answers.
    pub window: usize,
    pub retry_for: Duration,
    /// When this run began: what was recorded earlier was there already.
    pub since: prost_types::Timestamp,
    pub rejects: Rejects,
    pub acknowledged: Option<Acknowledged>,
    pub progress: Progress,
    pub counts: Counts,
    pub confirmed: Confirmed,
}

/// Why a stream ended.
enum End {
    /// All is delivered.
    Done,
    Broken(Status),
}

impl Delivery {
    /// Returns when every basket is answered, or with the failure that nothing helped against.
    pub async fn run(&mut self, mut baskets: mpsc::Receiver<Basket>) -> Result<(), CliError> {
        let mut unanswered = VecDeque::new();
        let mut backoff = client::Backoff::new(self.retry_for);
        loop {
            if unanswered.is_empty() {
                match baskets.recv().await {
                    Some(basket) => unanswered.push_back(basket),
                    None => return Ok(()),
                }
            }
            match self.stream(&mut baskets, &mut unanswered, &mut backoff).await? {
                End::Done => return Ok(()),
                End::Broken(status) => {
                    let text = format!("the connection broke ({}); trying again", status.message());
                    backoff.wait(status).await.map_err(|status| client::failed(&status))?;
                    self.progress.note(&text);
                }
            }
        }
    }

    /// One connection's life. What is unanswered at its end stays in `unanswered`, in order.
    async fn stream(
        &mut self,
        baskets: &mut mpsc::Receiver<Basket>,
        unanswered: &mut VecDeque<Basket>,
        backoff: &mut client::Backoff,
    ) -> Result<End, CliError> {
        self.settle(unanswered)?;
        // Never full: it has room for everything that may be unanswered.
        let (sender, requests) = mpsc::channel(self.window);
        for basket in unanswered.iter() {
            send(&sender, basket);
        }
        let mut answers = match self.client.stream_purchases(ReceiverStream::new(requests)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Ok(End::Broken(status)),
        };
        let mut open = true;
        loop {
            if !open && unanswered.is_empty() {
                return Ok(End::Done);
            }
            tokio::select! {
                basket = baskets.recv(), if open && unanswered.len() < self.window => match basket {
                    Some(basket) => {
                        send(&sender, &basket);
                        unanswered.push_back(basket);
                        self.settle(unanswered)?;
                    }
                    None => open = false,
                },
                answer = answers.message(), if !unanswered.is_empty() => {
                    let result = match answer {
                        Ok(Some(answer)) => answer.result.and_then(|result| result.result),
                        Ok(None) => return Ok(End::Broken(Status::unavailable("the server ended the stream"))),
                        Err(status) => return Ok(End::Broken(status)),
                    };
                    if let Some(purchase_result::Result::Error(error)) = &result
                        && let Some(status) = try_again(error)
                    {
                        return Ok(End::Broken(status));
                    }
                    let basket = unanswered.pop_front().expect("the answer is to a basket that was sent");
                    self.answered(&basket, result)?;
                    backoff.progress();
                    self.settle(unanswered)?;
                }
            }
        }
    }

    /// Takes note of what was refused before it was sent, where it stands in the file.
    fn settle(&mut self, unanswered: &mut VecDeque<Basket>) -> Result<(), CliError> {
        while let Some(Basket { request: Err(refusal), .. }) = unanswered.front() {
            let refusal = refusal.clone();
            let basket = unanswered.pop_front().expect("the front was just seen");
            self.refused(&basket, &refusal)?;
        }
        Ok(())
    }

    fn answered(&mut self, basket: &Basket, result: Option<purchase_result::Result>) -> Result<(), CliError> {
        match result {
            Some(purchase_result::Result::Recorded(answer)) => {
                self.seen(basket);
                if !self.confirmed.insert(basket) {
                    self.counts.repeated += 1;
                } else if super::before(&answer.record_time.unwrap_or_default(), &self.since) {
                    self.counts.already_there += 1;
                } else {
                    self.counts.recorded += 1;
                }
                self.acknowledged.as_mut().map_or(Ok(()), |file| file.add(&basket.order))
            }
            Some(purchase_result::Result::Error(error)) => {
                let fields = error.field_violations.into_iter().map(|violation| (violation.field, violation.description));
                self.refused(basket, &Refusal { reason: error.reason, message: with_fields(&error.message, fields) })
            }
            None => self.refused(basket, &Refusal { reason: "NO_RESULT".into(), message: "the server sent an empty answer".into() }),
        }
    }

    fn refused(&mut self, basket: &Basket, refusal: &Refusal) -> Result<(), CliError> {
        self.seen(basket);
        self.counts.refused += 1;
        self.rejects.add(&basket.start, basket.rows, &basket.order, refusal)
    }

    fn seen(&mut self, basket: &Basket) {
        self.counts.rows += basket.rows;
        self.counts.read += 1;
        self.counts.limited += basket.limited;
        self.progress.update(basket.position, &self.counts);
    }
}

fn send(sender: &mpsc::Sender<v1::StreamPurchasesRequest>, basket: &Basket) {
    if let Ok(request) = &basket.request {
        // Fails only when the connection is gone, which the answers tell.
        let _ = sender.try_send(v1::StreamPurchasesRequest { purchase: Some(request.clone()) });
    }
}

/// The service could not take this one now. What it says of when to come back is kept.
fn try_again(error: &v1::PurchaseError) -> Option<Status> {
    let code = Code::from_i32(error.code);
    let delay = error.retry_delay.and_then(|delay| Duration::try_from(delay).ok());
    let details = delay.map_or_else(ErrorDetails::new, |delay| ErrorDetails::with_retry_info(Some(delay)));
    let again = matches!(code, Code::Unavailable | Code::ResourceExhausted);
    again.then(|| Status::with_error_details(code, error.message.clone(), details))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_that_was_not_taken_is_sent_again_after_the_delay_that_was_asked_for() {
        let retry_delay = prost_types::Duration { seconds: 5, nanos: 250_000_000 };
        let full = v1::PurchaseError { code: Code::ResourceExhausted.into(), retry_delay: Some(retry_delay), ..Default::default() };
        let status = try_again(&full).expect("it is sent again");
        assert_eq!(client::asked(&status), Duration::from_millis(5_250));
        let old = v1::PurchaseError { retry_delay: None, ..full.clone() };
        assert_eq!(client::asked(&try_again(&old).expect("it is sent again")), Duration::ZERO);
        let refused = v1::PurchaseError { code: Code::NotFound.into(), ..full };
        assert!(try_again(&refused).is_none());
    }
}
