//! Offers as tills, storefronts and support see them, over the real store; and many who ask for the last use at once.

use std::fs;

use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{self, entry::Kind as Said, listed_offer::Reason, listed_offer::State},
    },
    domain::{Command, MemberId, OfferId, OfferRejection, OfferRequest, Rejection},
    ledger::{LedgerError, MemberTarget},
    store::embedded::check,
};
use tonic::Status;

use crate::{
    ledger::{self, Shop},
    redemption::{explained, start_with},
    support::{PROGRAM, TestServer, actor, by_id, options, refused, rule_book, sale},
};

/// A double for the app alone; a tea for new members; a double that support gives.
const OFFERS: &str = "\
voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]
promotions:
- { promotion_id: app, only_with_offer: true, display_name: In the app, filter: { channels: [app] }, multiply: { multiplier: 2 } }
- { promotion_id: sorry, only_with_offer: true, display_name: Sorry, multiply: { multiplier: 3 } }
offers:
- { offer_id: app, display_name: Double in the app, requires_activation: true, valid_days: 6, promotion_id: app }
- { offer_id: tea, display_name: A tea to begin with, new_member_days: 10, member_limit: { uses: 1, period: PERIOD_LIFETIME }, voucher: { \
                      voucher_kind_id: tea, valid_days: 7 } }
- { offer_id: sorry, display_name: With our apologies, personal: true, member_limit: { uses: 1, period: PERIOD_LIFETIME }, promotion_id: sorry }
- { offer_id: gold, display_name: For gold, tier_ids: [gold], voucher: { voucher_kind_id: tea } }
";

fn book() -> v1::Program {
    let read = text::read(OFFERS).expect("well-formed fields");
    v1::Program { voucher_kinds: read.voucher_kinds, promotions: read.promotions, offers: read.offers, ..rule_book() }
}

async fn lists(server: &TestServer, request: v1::ListOffersRequest) -> Vec<(String, State, Vec<Reason>)> {
    let answer = server.offers().list_offers(request).await.expect("offers are listed").into_inner();
    let one = |listed: &v1::ListedOffer| {
        let id = listed.offer.as_ref().expect("an offer").offer_id.clone();
        (id, listed.state(), listed.reasons().collect())
    };
    answer.offers.iter().map(one).collect()
}

fn of(member: &str) -> v1::ListOffersRequest {
    v1::ListOffersRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() }
}

async fn activates(server: &TestServer, member: &str, request: &str, offer: &str) -> Result<v1::ActivateOfferResponse, Status> {
    let (request_id, program_id, offer_id) = (request.into(), PROGRAM.into(), offer.into());
    let request = v1::ActivateOfferRequest { request_id, program_id, member: by_id(member), offer_id, actor: None };
    Ok(server.offers().activate_offer(request).await?.into_inner())
}

fn assignment(member: &str, request: &str, offer: &str) -> v1::AssignOfferRequest {
    v1::AssignOfferRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        offer_id: offer.into(),
        reason: "the parcel was late".into(),
        actor: actor(),
        end_time: None,
    }
}

fn withdrawal(member: &str, request: &str, offer: &str) -> v1::WithdrawOfferRequest {
    v1::WithdrawOfferRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        offer_id: offer.into(),
        reason: "given by mistake".into(),
        actor: actor(),
    }
}

/// Of a sale of 100,000 VND, which the quote says before.
async fn earns(server: &TestServer, member: &str, order: &str, channel: &str) -> i64 {
    let sale = sale(member, order, "100000");
    let purchase = sale.purchase.map(|purchase| v1::Purchase { channel: channel.into(), ..purchase });
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(member), purchase: purchase.clone() };
    let quoted = server.purchases().quote_purchase(quote).await.expect("a quote").into_inner().accrual.expect("an accrual").points;
    let sale = v1::RecordPurchaseRequest { purchase, ..sale };
    let recorded = server.purchases().record_purchase(sale).await.expect("a sale").into_inner();
    let earned = recorded.accrual.expect("an accrual").points;
    assert_eq!(earned, quoted, "the quote says what is booked");
    earned
}

/// Stops, makes the tables again from the journal, compares all, and starts.
async fn rebuilt(server: TestServer) -> TestServer {
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = check(&data, &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
    fs::remove_dir_all(data.join("tables")).expect("the tables are removed");
    TestServer::start_in(folder, clock, vec![book()]).await
}

#[tokio::test]
async fn a_member_sees_its_offers_activates_one_and_uses_it_and_all_is_explained() {
    let server = start_with(book()).await;
    let member = server.enroll("an").await;
    let seen = lists(&server, of(&member)).await;
    let available = [("app", State::NeedsActivation), ("tea", State::Available)];
    assert_eq!(seen, available.map(|(id, state)| (id.to_owned(), state, vec![])));
    // In a shop the double is of no use.
    let in_shop = v1::ListOffersRequest { channel: "pos".into(), ..of(&member) };
    assert_eq!(lists(&server, in_shop).await.len(), 1);
    let all = lists(&server, v1::ListOffersRequest { include_unavailable: true, ..of(&member) }).await;
    assert_eq!(
        all[2..],
        [("sorry".to_owned(), State::Unavailable, vec![Reason::NotAssigned]), ("gold".to_owned(), State::Unavailable, vec![Reason::Tier]),]
    );
    assert_eq!(earns(&server, &member, "o-1", "app").await, 10);
    let first = activates(&server, &member, "a-1", "app").await.expect("it is for her");
    assert_eq!(activates(&server, &member, "a-1", "app").await.expect("the first answer again"), first);
    let entry = first.entry.expect("an entry");
    assert!(matches!(&entry.kind, Some(Said::OfferActivated(activated)) if activated.offer_id == "app" && activated.end_time.is_some()));
    let said = explained(&server, &member, entry.sequence).await;
    assert!(said.contains("The member activated offer app (Double in the app).") && said.contains("can be used until"), "{said}");
    assert_eq!((earns(&server, &member, "o-2", "app").await, earns(&server, &member, "o-3", "pos").await), (20, 10));
    let said = explained(&server, &member, entry.sequence + 1).await;
    assert!(said.contains("Promotion app (In the app), by offer app (Double in the app)"), "{said}");
    let tea = activates(&server, &member, "a-2", "tea").await.expect("she is new");
    let (voucher, entry) = (tea.voucher.expect("a voucher"), tea.entry.expect("an entry"));
    assert_eq!((voucher.voucher_kind_id.as_str(), voucher.cause()), ("tea", v1::voucher::Cause::Offer));
    let said = explained(&server, &member, entry.sequence + 1).await;
    assert!(said.contains("was issued for an offer: A tea.") && said.contains("with offer tea (A tea to begin with)"), "{said}");
    assert_eq!(lists(&server, of(&member)).await.len(), 1);

    // The same after a stop, with tables that are made again.
    let server = rebuilt(server).await;
    assert_eq!(lists(&server, of(&member)).await, [("app".to_owned(), State::Active, vec![])]);
    let again = activates(&server, &member, "a-2", "tea").await.expect("the first answer again");
    assert_eq!(again.voucher, Some(voucher));
    let status = activates(&server, &member, "a-3", "tea").await.expect_err("it was used");
    assert_eq!(refused(&status).reason, "OFFER_LIMIT");
    // Seven days later the double is over.
    server.days_later(7);
    assert_eq!(earns(&server, &member, "o-4", "app").await, 10);
    assert_eq!(lists(&server, of(&member)).await, []);
    server.stop().await;
}

#[tokio::test]
async fn support_gives_an_offer_and_takes_it_away_and_what_was_used_is_free_after_a_return() {
    let server = start_with(book()).await;
    let member = server.enroll("an").await;
    let given = server.offers().assign_offer(assignment(&member, "g-1", "sorry")).await.expect("it is given").into_inner();
    let entry = given.entry.expect("an entry");
    assert_eq!(entry.actor, actor());
    let said = explained(&server, &member, entry.sequence).await;
    assert!(said.contains("The member was given offer sorry (With our apologies). Reason: the parcel was late"), "{said}");
    assert_eq!((earns(&server, &member, "o-1", "").await, earns(&server, &member, "o-2", "").await), (30, 10));
    let back = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        ..Default::default()
    };
    server.purchases().return_purchase(back).await.expect("a return");
    let server = rebuilt(server).await;
    assert_eq!(lists(&server, of(&member)).await[2], ("sorry".to_owned(), State::Available, vec![]));
    assert_eq!(earns(&server, &member, "o-3", "").await, 30);
    server.offers().withdraw_offer(withdrawal(&member, "w-1", "sorry")).await.expect("it is taken");
    let status = server.offers().withdraw_offer(withdrawal(&member, "w-2", "sorry")).await.expect_err("it was taken");
    assert_eq!(refused(&status).reason, "OFFER_NOT_ASSIGNED");
    let request = v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(&member),
        kinds: vec![v1::EntryKind::OfferAssigned.into(), v1::EntryKind::OfferWithdrawn.into()],
        ..Default::default()
    };
    assert_eq!(server.points().list_entries(request).await.expect("entries are listed").into_inner().entries.len(), 2);
    server.stop().await;
}

/// Also after a stop, with tables that are made again.
#[tokio::test]
async fn a_till_that_was_offline_tells_of_a_sale_after_the_offer_was_taken_away() {
    let server = start_with(book()).await;
    let member = server.enroll("an").await;
    let given = server.offers().assign_offer(assignment(&member, "g-1", "sorry")).await.expect("it is given").into_inner();
    let given_time = given.entry.expect("an entry").record_time.expect("an instant");
    server.days_later(1);
    server.offers().assign_offer(assignment(&member, "g-2", "sorry")).await.expect("it is given anew");
    server.days_later(1);
    server.offers().withdraw_offer(withdrawal(&member, "w-1", "sorry")).await.expect("it is taken");
    server.days_later(1);
    let server = rebuilt(server).await;
    for (order, hours, points) in [("o-1", 49, 10), ("o-2", 23, 30)] {
        let sale = sale(&member, order, "100000");
        let occurred_time = Some(prost_types::Timestamp { seconds: given_time.seconds + hours * 3_600, ..given_time });
        let purchase = sale.purchase.map(|purchase| v1::Purchase { occurred_time, ..purchase });
        let told = v1::RecordPurchaseRequest { purchase, ..sale };
        let told = server.purchases().record_purchase(told).await.expect("a sale").into_inner();
        assert_eq!(told.accrual.expect("an accrual").points, points, "{order}");
    }
    server.stop().await;
}

/// A later version takes an offer out: its promotion is not for everybody then.
#[tokio::test]
async fn a_campaign_is_over_when_its_offer_is_taken_out_of_the_rule_book() {
    let server = start_with(book()).await;
    let member = server.enroll("an").await;
    let publish = |request: &str, offers: Vec<v1::Offer>, promotions: Vec<v1::Promotion>| v1::PublishProgramRequest {
        request_id: request.into(),
        program: Some(v1::Program { offers, promotions, ..book() }),
        ..Default::default()
    };
    let left: Vec<_> = book().offers.into_iter().filter(|offer| offer.offer_id != "sorry").collect();
    server.programs().publish_program(publish("p-2", left, book().promotions)).await.expect("a campaign can end");
    assert_eq!(earns(&server, &member, "o-1", "").await, 10);
    let open = book().promotions.into_iter().map(|promotion| v1::Promotion { only_with_offer: false, ..promotion }).collect();
    let status = server.programs().publish_program(publish("p-3", book().offers, open)).await.expect_err("the promotions do not say so");
    assert_eq!(refused(&status).fields, ["program.promotions[0].only_with_offer", "program.promotions[1].only_with_offer"]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let server = start_with(book()).await;
    let member = server.enroll("an").await;
    let bad = v1::AssignOfferRequest {
        offer_id: "A".into(),
        reason: String::new(),
        actor: None,
        end_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        ..assignment(&member, "", "sorry")
    };
    let mut fields = refused(&server.offers().assign_offer(bad).await.expect_err("it is wrong")).fields;
    fields.sort();
    assert_eq!(fields, ["actor", "end_time", "offer_id", "reason", "request_id"]);
    let long = v1::ListOffersRequest { channel: "c".repeat(65), store_id: "s".repeat(65), ..of(&member) };
    assert_eq!(refused(&server.offers().list_offers(long).await.expect_err("it is too long")).fields, ["channel", "store_id"]);
    server.stop().await;
}

const LEDGER_BOOK: &str = r#"
programId: shop
displayName: Shop
currencyCode: USD
timeZone: America/New_York
rounding: {mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP}
accrualRules: [{ruleId: base, perAmount: {amount: "1", points: "1"}}]
voucherKinds: [{voucherKindId: tea, benefit: {freeItem: {sku: tea}}, validDays: 30}]
promotions: [{promotionId: five, onlyWithOffer: true, addFixed: {points: "5"}, limits: {budgetPoints: "50"}}]
offers:
  - {offerId: tea, displayName: Tea, voucher: {voucherKindId: tea}, memberLimit: {uses: 3, period: PERIOD_LIFETIME}}
  - {offerId: five, displayName: Five, promotionId: five, requiresActivation: true, memberLimit: {uses: 7, period: PERIOD_LIFETIME}}
"#;

const TASKS: usize = 1_000;

fn activate(offer: &str) -> Command {
    Command::Offer(OfferRequest::Activate { offer: OfferId::new(offer).expect("an id") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_ask_at_once_use_an_offer_as_often_as_they_may() {
    let shop = Shop::open_with(LEDGER_BOOK).await;
    let members: [MemberId; 2] = [shop.enroll("m-1").await, shop.enroll("m-2").await];
    let submit = |round: &str, command: fn(usize) -> Command| {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (ledger, member) = (shop.ledger.clone(), members[task % 2]);
                let submission = shop.submission(MemberTarget::Id(member), &format!("{round}-{task}"), command(task));
                tokio::spawn(async move { ledger.submit(submission).await })
            })
            .collect();
        tasks
    };
    let mut got = 0;
    for task in submit("tea", |_| activate("tea")) {
        match task.await.expect("it ends") {
            Ok(_) => got += 1,
            Err(LedgerError::Rejected(Rejection::Offer(OfferRejection::Limit { limit: 3, .. }))) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let live = |member| shop.ledger.vouchers(&ledger::key(member)).expect("vouchers").vouchers.len();
    assert_eq!((got, members.map(live)), (6, [3, 3]));
    for member in members {
        let submission = shop.submission(MemberTarget::Id(member), &format!("five-{member}"), activate("five"));
        shop.ledger.submit(submission).await.expect("it is activated");
    }
    // 7 uses each at most, and 10 in all by the promotion's own budget.
    for task in submit("sale", |task| Command::RecordPurchase(std::sync::Arc::new(ledger::purchase(&format!("o-{task}"), 1)))) {
        task.await.expect("it ends").expect("a sale");
    }
    let points = members.map(|member| shop.available(member) - 500);
    assert_eq!(points.iter().sum::<i64>(), 50, "{points:?}");
    assert!(points.iter().all(|points| *points <= 35), "{points:?}");
}
