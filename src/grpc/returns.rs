//! The part of PurchaseService that comes after the sale: confirmation and return.

use std::{collections::HashSet, sync::Arc};

use rust_decimal::Decimal;

use super::{
    Refusal, access,
    convert::{self, Mistakes, Order, Path},
    program_named,
};
use crate::{
    contract::v1,
    domain::{Command, Currency, EntryKind, MAX_LINES, ReturnRequest, ReturnedLine},
    ledger::{Ledger, MemberTarget, Submission},
};

/// Digits of a quantity, before and behind the point.
const QUANTITY_DIGITS: (usize, u32) = (7, 3);

pub async fn confirm(ledger: &Ledger, mut request: v1::ConfirmPurchaseRequest) -> Result<v1::ConfirmPurchaseResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let (_, program) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let order = convert::order_key(Path::Root, &request.store_id, &request.order_id, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, false, &mut mistakes);
    let ((id, actor), order) = mistakes.settle(id.zip(actor).zip(order))?;
    let command = Command::ConfirmPurchase { order: order.clone() };
    let member = MemberTarget::Order(order);
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let entry = outcome.entries.first();
    Ok(v1::ConfirmPurchaseResponse {
        member_id: outcome.key.member.to_string(),
        entry: entry.map(|entry| convert::entry(entry, &outcome.programs)),
        balance: convert::last_balance(&outcome.entries),
        tier_change: convert::tier_change(&outcome.programs, &outcome.entries),
    })
}

pub async fn return_purchase(ledger: &Ledger, mut request: v1::ReturnPurchaseRequest) -> Result<v1::ReturnPurchaseResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let (_, program) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let actor = convert::actor_if_any(request.actor.take(), access::must_name_actor(), &mut mistakes);
    let parsed = parse(request, &program.newest().currency, &mut mistakes);
    let ((id, actor), parsed) = mistakes.settle(id.zip(actor).zip(parsed))?;
    let member = MemberTarget::Order(parsed.order.clone());
    let command = Command::ReturnPurchase(Arc::new(parsed));
    let submitted = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await;
    // What is wrong with a purchase is wrong with the exchange.
    let outcome = submitted.map_err(|error| Refusal::from(error).renamed("purchase.", "exchange."))?;
    let programs = &outcome.programs;
    let is_return = |kind: &EntryKind| matches!(kind, EntryKind::PurchaseReturned(_));
    let is_reversal = |kind: &EntryKind| matches!(kind, EntryKind::RedemptionReversed(_));
    let entry = outcome.entries.iter().find(|entry| is_return(&entry.kind)).ok_or_else(no_return)?;
    let reversals = outcome.entries.iter().filter(|entry| is_reversal(&entry.kind));
    Ok(v1::ReturnPurchaseResponse {
        member_id: outcome.key.member.to_string(),
        entry: Some(convert::entry(entry, programs)),
        reversals: reversals.map(|entry| convert::entry(entry, programs)).collect(),
        balance: convert::last_balance(&outcome.entries),
        exchange: convert::purchase_recorded(programs, &outcome.entries, ledger.names_of_used(&outcome.entries)),
        referrals_taken_back: convert::referrals_taken_back(&outcome.entries, programs),
    })
}

fn no_return() -> Refusal {
    Refusal::internal(&"a return was answered without its entry")
}

fn parse(request: v1::ReturnPurchaseRequest, currency: &Currency, mistakes: &mut Mistakes) -> Option<ReturnRequest> {
    let order = convert::order_key(Path::Root, &request.store_id, &request.order_id, mistakes);
    let lines = lines(&request.lines, currency, mistakes);
    let amount = convert::parse_optional_money(Path::Root.field("amount"), request.amount.as_ref(), currency, mistakes);
    let reason = convert::text(Path::Root.field("reason"), request.reason, 500, mistakes);
    let reference = convert::text(Path::Root.field("reference"), request.reference, 120, mistakes);
    if request.exchange.as_ref().is_some_and(|bought| bought.apply_price_effects) {
        mistakes.add(
            Path::Root.field("exchange").field("apply_price_effects"),
            "is not for an exchange, which cannot be quoted: return the goods, then quote and record the purchase that takes their place",
        );
    }
    let exchange = match request.exchange {
        None => Some(None),
        bought => convert::purchase_at(Path::Root.field("exchange"), bought, Order::Required, currency, mistakes).map(Some),
    };
    let (lines, amount) = (lines?, amount?);
    let names_parts = !lines.is_empty() || !amount.is_zero();
    if names_parts == request.whole_purchase {
        let says = if names_parts {
            "is given beside lines or an amount: one of both"
        } else {
            "is required where no lines and no amount are given"
        };
        mistakes.add(Path::Root.field("whole_purchase"), says);
    }
    Some(ReturnRequest {
        order: order?,
        lines,
        amount,
        whole: request.whole_purchase,
        reason: reason?,
        reference: reference?,
        exchange: exchange?.map(Arc::new),
    })
}

fn lines(lines: &[v1::ReturnLine], currency: &Currency, mistakes: &mut Mistakes) -> Option<Vec<ReturnedLine>> {
    if lines.len() > MAX_LINES {
        mistakes.add(Path::Root.field("lines"), format!("has {} lines; at most {MAX_LINES} are allowed", lines.len()));
        return None;
    }
    let (mut parsed, mut seen) = (Vec::with_capacity(lines.len()), HashSet::new());
    for (index, line) in lines.iter().enumerate() {
        let path = Path::Root.item("lines", index);
        let (digits, places) = QUANTITY_DIGITS;
        let quantity = match line.quantity.as_str() {
            "" => Some(Decimal::ZERO),
            text => mistakes.take(path.field("quantity"), crate::domain::parse_decimal(text, digits, places)),
        };
        let amount = convert::parse_optional_money(path.field("amount"), line.amount.as_ref(), currency, mistakes);
        let place = usize::try_from(line.line_index).ok();
        match place {
            Some(place) if seen.insert(place) => {}
            Some(_) => mistakes.add(path.field("line_index"), "is named twice"),
            None => mistakes.add(path.field("line_index"), "is negative; lines are counted from 0"),
        }
        if quantity == Some(Decimal::ZERO) && amount == Some(Decimal::ZERO) {
            mistakes.add(path.field("quantity"), "is required, or an amount");
        }
        parsed.push(place.zip(quantity.zip(amount)).map(|(line, (quantity, amount))| ReturnedLine { line, quantity, amount }));
    }
    parsed.into_iter().collect()
}
