//! PurchaseService.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Gate, Named, Refusal, access,
    convert::{self, Mistakes, Order, Path},
    named,
    observe::{Tally, observe},
    program_named, returns, stream,
};
use crate::{
    contract::v1::{self, purchase_result::Result as Judged, purchase_service_server::PurchaseService},
    domain::{Command, EntryKind, Purchase},
    ledger::{Ledger, Outcome, Submission},
};

pub struct Purchases(pub Arc<Gate>);

/// Purchases of one batch.
const MAX_BATCH: usize = 1_000;
/// Their lines together, so that the answer stays within what clients read.
const MAX_BATCH_LINES: usize = 10_000;
/// Vouchers that one purchase of a batch or stream led to, for the same reason.
const MAX_LISTED: usize = 5;
/// Of a request id that are said again: as many as a valid one has.
const MAX_ECHO_CHARS: usize = 64;

#[tonic::async_trait]
impl PurchaseService for Purchases {
    type StreamPurchasesStream = stream::Answers;

    async fn quote_purchase(&self, request: Request<v1::QuotePurchaseRequest>) -> Result<Response<v1::QuotePurchaseResponse>, Status> {
        let request = request.into_inner();
        observe("PurchaseService/QuotePurchase", &request.program_id).run(async { self.quote(request) }).await
    }

    async fn record_purchase(&self, request: Request<v1::RecordPurchaseRequest>) -> Result<Response<v1::RecordPurchaseResponse>, Status> {
        let request = request.into_inner();
        observe("PurchaseService/RecordPurchase", &request.program_id).run(self.record(request)).await
    }

    async fn batch_record_purchases(
        &self,
        request: Request<v1::BatchRecordPurchasesRequest>,
    ) -> Result<Response<v1::BatchRecordPurchasesResponse>, Status> {
        let request = request.into_inner();
        // Of all, as a rule.
        let program = request.purchases.first().map_or("", |first| &first.program_id);
        observe("PurchaseService/BatchRecordPurchases", program).run(self.record_batch(request)).await
    }

    async fn stream_purchases(
        &self,
        request: Request<Streaming<v1::StreamPurchasesRequest>>,
    ) -> Result<Response<Self::StreamPurchasesStream>, Status> {
        let observed = observe("PurchaseService/StreamPurchases", "");
        match self.0.ledger().and_then(|ledger| Ok((ledger.clone(), access::current()?))) {
            Ok((ledger, caller)) => Ok(Response::new(stream::answers(Arc::clone(&self.0), ledger, caller, request.into_inner(), observed))),
            Err(refusal) => observed.run(async { Err(refusal) }).await,
        }
    }

    async fn confirm_purchase(
        &self,
        request: Request<v1::ConfirmPurchaseRequest>,
    ) -> Result<Response<v1::ConfirmPurchaseResponse>, Status> {
        let request = request.into_inner();
        let program = request.program_id.clone();
        observe("PurchaseService/ConfirmPurchase", &program).run(async { returns::confirm(self.0.ledger()?, request).await }).await
    }

    async fn return_purchase(&self, request: Request<v1::ReturnPurchaseRequest>) -> Result<Response<v1::ReturnPurchaseResponse>, Status> {
        let request = request.into_inner();
        let program = request.program_id.clone();
        observe("PurchaseService/ReturnPurchase", &program).run(async { returns::return_purchase(self.0.ledger()?, request).await }).await
    }

    async fn get_purchase(&self, request: Request<v1::GetPurchaseRequest>) -> Result<Response<v1::GetPurchaseResponse>, Status> {
        let request = request.into_inner();
        observe("PurchaseService/GetPurchase", &request.program_id).run(async { self.get(&request) }).await
    }
}

impl Purchases {
    fn quote(&self, request: v1::QuotePurchaseRequest) -> Result<v1::QuotePurchaseResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let purchase = convert::purchase(request.purchase, Order::Optional, &history.newest().currency, &mut mistakes);
        let (target, purchase) = mistakes.settle(target.zip(purchase))?;
        let quote = ledger.quote(&program, &target, Arc::new(purchase))?;
        let entries = &quote.decision.entries;
        let recorded = convert::purchase_recorded(&history, entries, ledger.names_of_used(entries)).ok_or_else(no_purchase)?;
        let judged = entries.iter().find(|entry| matches!(entry.kind, EntryKind::PurchaseAccrued(_))).ok_or_else(no_purchase)?;
        let judged_by = convert::program_of(&history, judged);
        let mut accrual = recorded.accrual;
        // A quote makes no lots.
        if let Some(accrual) = &mut accrual {
            accrual.awards.iter_mut().for_each(|award| award.lot_id.clear());
            accrual.lots.iter_mut().for_each(|lot| lot.lot_id.clear());
        }
        let mut referral = recorded.referral;
        if let Some(referral) = &mut referral {
            referral.awards.iter_mut().for_each(|award| award.lot_id.clear());
            referral.lots.clear();
        }
        Ok(v1::QuotePurchaseResponse {
            referral,
            accrual,
            balance: recorded.balance,
            tier_id: recorded.tier_id,
            tier_change: recorded.tier_change,
            flags: recorded.flags,
            benefits: recorded.benefits,
            vouchers: recorded.vouchers.into_iter().map(|used| v1::UsedVoucher { entry_sequence: 0, ..used }).collect(),
            // Its code is known when it is issued.
            issued_vouchers: recorded.issued_vouchers.into_iter().map(|issued| v1::Voucher { code: String::new(), ..issued }).collect(),
            goal_reached: recorded.goal_reached,
            usable_points: quote.usable.map(|usable| convert::usable(usable, &history.newest().currency)),
            quote_id: quote.id.to_string(),
            price_effects: recorded.price_effects,
            priced: recorded.priced,
            hints: quote.hints.iter().map(|hint| convert::hint(hint, judged_by)).collect(),
        })
    }

    async fn record(&self, request: v1::RecordPurchaseRequest) -> Result<v1::RecordPurchaseResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let submission = submission(ledger, request)?;
        recorded(ledger, &ledger.submit(submission).await?)
    }

    async fn record_batch(&self, request: v1::BatchRecordPurchasesRequest) -> Result<v1::BatchRecordPurchasesResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let count = request.purchases.len();
        if !(1..=MAX_BATCH).contains(&count) {
            let mut mistakes = Mistakes::default();
            mistakes.add(Path::Root.field("purchases"), format!("has {count} purchases; 1 to {MAX_BATCH} are allowed"));
            return Err(mistakes.into());
        }
        let lines: usize = request.purchases.iter().filter_map(|request| request.purchase.as_ref()).map(|it| it.lines.len()).sum();
        if lines > MAX_BATCH_LINES {
            let mut mistakes = Mistakes::default();
            let message = format!("has {lines} lines in all; at most {MAX_BATCH_LINES} are allowed: send several batches, or stream them");
            mistakes.add(Path::Root.field("purchases"), message);
            return Err(mistakes.into());
        }
        // Each is a call as far as its caller's rate goes, as each message of a stream is.
        access::count_more(count - 1).await?;
        let items = request.purchases.into_iter().map(|purchase| Item::parse(ledger, Some(purchase))).collect();
        let results = record_in_order_of_time(ledger, items).await;
        let mut tally = Tally::default();
        results.iter().for_each(|result| tally.add(result));
        tally.note();
        Ok(v1::BatchRecordPurchasesResponse { results })
    }

    fn get(&self, request: &v1::GetPurchaseRequest) -> Result<v1::GetPurchaseResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let (program, history) = program_named(ledger, &request.program_id, &mut mistakes)?;
        let order = convert::order_key(Path::Root, &request.store_id, &request.order_id, &mut mistakes);
        let (entry, latest) = ledger.purchase(&program, &mistakes.settle(order)?)?;
        let referral = ledger.referral_entries(&entry)?;
        convert::purchase_shown(&history, &entry, latest.as_ref(), &referral).ok_or_else(no_purchase)
    }
}

fn no_purchase() -> Refusal {
    Refusal::internal(&"a purchase was answered without the entry of a purchase")
}

fn submission(ledger: &Ledger, mut request: v1::RecordPurchaseRequest) -> Result<Submission, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let purchase = convert::purchase(request.purchase, Order::Required, &program.newest().currency, &mut mistakes);
    let quote = convert::quote_id(&request.quote_id, &mut mistakes);
    // A till may name its cashier.
    let actor = convert::actor_if_any(request.actor, false, &mut mistakes);
    let (((id, member), actor), (purchase, quote)) = mistakes.settle(id.zip(target).zip(actor).zip(purchase.zip(quote)))?;
    let purchase = Purchase { quote, ..purchase };
    Ok(Submission {
        program,
        member,
        request: id,
        actor,
        principal: access::principal(),
        command: Command::RecordPurchase(Arc::new(purchase)),
    })
}

fn recorded(ledger: &Ledger, Outcome { programs, entries, .. }: &Outcome) -> Result<v1::RecordPurchaseResponse, Refusal> {
    convert::purchase_recorded(programs, entries, ledger.names_of_used(entries)).ok_or_else(no_purchase)
}

/// One purchase of many, parsed or refused.
pub(super) struct Item {
    request_id: String,
    submission: Result<Submission, Refusal>,
}

impl Item {
    pub fn parse(ledger: &Ledger, request: Option<v1::RecordPurchaseRequest>) -> Self {
        match request {
            Some(request) => Self { request_id: echo(&request.request_id), submission: submission(ledger, request) },
            None => {
                let mut mistakes = Mistakes::default();
                mistakes.add(Path::Root.field("purchase"), "is required");
                Self { request_id: String::new(), submission: Err(mistakes.into()) }
            }
        }
    }
}

impl Item {
    /// `None`: it is refused, or does not say.
    fn occurred_time(&self) -> Option<Timestamp> {
        self.submission.as_ref().ok()?.command.purchase()?.occurred_time
    }
}

/// A request id as it is answered, cut if it is no valid one: an answer is not to be as large as the request.
fn echo(id: &str) -> String {
    id.chars().take(MAX_ECHO_CHARS).collect()
}

/// Judges purchases in the order in which they occurred. The results are in the given one.
async fn record_in_order_of_time(ledger: &Ledger, items: Vec<Item>) -> Vec<v1::PurchaseResult> {
    let now = ledger.now();
    let mut items: Vec<(usize, Item)> = items.into_iter().enumerate().collect();
    // Equal ones stay as they are.
    items.sort_by_key(|(_, item)| item.occurred_time().unwrap_or(now));
    let (places, items): (Vec<usize>, Vec<Item>) = items.into_iter().unzip();
    let mut results: Vec<_> = places.into_iter().zip(record_all(ledger, items).await).collect();
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Judges purchases in their order, each by itself.
pub(super) async fn record_all(ledger: &Ledger, items: Vec<Item>) -> Vec<v1::PurchaseResult> {
    let mut submissions = Vec::with_capacity(items.len());
    let mut answers = Vec::with_capacity(items.len());
    for Item { request_id, submission } in items {
        let judged = match submission {
            Ok(submission) => {
                submissions.push(submission);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        };
        answers.push((request_id, judged));
    }
    let mut outcomes = ledger.submit_all(submissions).await.into_iter();
    let result = |(request_id, judged): (String, Result<(), Refusal>)| {
        let recorded = judged.and_then(|()| {
            let outcome = outcomes.next().expect("each submission has an outcome");
            let recorded = recorded(ledger, &outcome?)?;
            let issued_vouchers = recorded.issued_vouchers.into_iter().take(MAX_LISTED).collect();
            Ok(v1::RecordPurchaseResponse { issued_vouchers, ..recorded })
        });
        let result = match recorded {
            Ok(recorded) => Judged::Recorded(recorded),
            Err(refusal) => Judged::Error(refusal.into()),
        };
        v1::PurchaseResult { request_id, result: Some(result) }
    };
    answers.into_iter().map(result).collect()
}
