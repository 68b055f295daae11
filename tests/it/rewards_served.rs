//! Rewards as storefronts and support staff see them, over the real store; and many who ask for the last one at once.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use jiff::ToSpan;
use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{self, entry::Kind as Said, listed_reward::Reason, voucher::Cause},
    },
    domain::{Command, MemberId, Points, Rejection, RewardId, RewardObstacle, RewardRejection, VoucherCode, VoucherRequest},
    ledger::{Clock as _, Ledger, LedgerError, MemberTarget},
    store::embedded::{Backup, BackupPlace, EmbeddedStore, Until, check, restore},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    ledger::{self, Shop},
    redemption::{balance, explained, member_with, start_with},
    support::{PROGRAM, TestServer, actor, adjustment, by_card, by_id, options, refused, rule_book, sale},
};

/// Of the usual tiers; a point is 10,000 VND.
fn book(rewards: &str) -> v1::Program {
    let fields = format!(
        "voucher_kinds:\n- {{ voucher_kind_id: tea, display_name: A tea, benefit: {{ free_item: {{ sku: tea }} }}, valid_days: 30 }}\n- {{ \
         voucher_kind_id: evening, display_name: An evening, benefit: {{ custom: {{ key: evening }} }}, valid_months: 3 \
         }}\nrewards:\n{rewards}"
    );
    let read = text::read(&fields).expect("well-formed fields");
    v1::Program { voucher_kinds: read.voucher_kinds, rewards: read.rewards, ..rule_book() }
}

/// A tea for 25, two a month, three in all; an evening for gold and diamond; and one that is over.
const REWARDS: &str = "\
- { reward_id: tea, display_name: A tea, description: Hot or iced, voucher_kind_id: tea, points: 25, stock: 3, member_limit: { redemptions: 2, \
                       period: PERIOD_MONTH }, maximum_quantity: 2 }
- { reward_id: evening, display_name: An evening, voucher_kind_id: evening, points: 300, tier_costs: [{ tier_id: diamond, points: 200 }], tier_ids: \
                       [gold, diamond], valid_days: 10 }
- { reward_id: summer, display_name: Summer, voucher_kind_id: tea, points: 5, end_time: \"2026-01-01T00:00:00+07:00\" }
- { reward_id: biscuit, display_name: A biscuit, voucher_kind_id: tea, points: 40 }
";

fn ask(member: Option<v1::MemberRef>, request: &str, reward: &str, quantity: i32) -> v1::RedeemRewardRequest {
    let (request_id, program_id, reward_id) = (request.into(), PROGRAM.into(), reward.into());
    v1::RedeemRewardRequest { request_id, program_id, member, reward_id, quantity, actor: None }
}

async fn redeems(server: &TestServer, member: &str, request: &str, reward: &str) -> Result<v1::RedeemRewardResponse, Status> {
    Ok(server.rewards().redeem_reward(ask(by_id(member), request, reward, 0)).await?.into_inner())
}

async fn cancels(server: &TestServer, code: &str, request: &str) -> Result<v1::Entry, Status> {
    let request = v1::CancelVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        reason: "wants the points".into(),
        actor: actor(),
    };
    Ok(server.rewards().cancel_voucher(request).await?.into_inner().entry.expect("an entry"))
}

async fn lists(server: &TestServer, member: Option<v1::MemberRef>) -> v1::ListRewardsResponse {
    let request = v1::ListRewardsRequest { program_id: PROGRAM.into(), member, ..Default::default() };
    server.rewards().list_rewards(request).await.expect("rewards are listed").into_inner()
}

async fn listed(server: &TestServer, member: &str, reward: &str) -> v1::ListedReward {
    let all = lists(server, by_id(member)).await.rewards.into_iter();
    let id = |listed: &v1::ListedReward| listed.reward.as_ref().map(|reward| reward.reward_id.clone());
    all.into_iter().find(|listed| id(listed).as_deref() == Some(reward)).expect("it is in the catalogue")
}

fn summary(listed: &[v1::ListedReward]) -> Vec<(String, i64, i64, Vec<Reason>)> {
    let one = |listed: &v1::ListedReward| {
        let id = listed.reward.as_ref().expect("a reward").reward_id.clone();
        assert_eq!(listed.in_reach, listed.reasons.is_empty());
        (id, listed.points, listed.missing_points, listed.reasons().collect())
    };
    listed.iter().map(one).collect()
}

#[track_caller]
fn is_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str, numbers: &[(&str, &str)]) {
    let status = answer.expect_err(reason);
    assert_eq!((status.code(), refused(&status).reason.as_str()), (code, reason), "{status:?}");
    let details = status.get_error_details();
    let metadata = &details.error_info().expect("an ErrorInfo").metadata;
    for (name, value) in numbers {
        assert_eq!(metadata.get(*name).map(String::as_str), Some(*value), "{name} in {metadata:?}");
    }
}

/// Stops, makes the tables again from the journal, compares all, and starts.
async fn rebuilt(server: TestServer, program: v1::Program) -> TestServer {
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = check(&data, &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
    fs::remove_dir_all(data.join("tables")).expect("the tables are removed");
    TestServer::start_in(folder, clock, vec![program]).await
}

#[tokio::test]
async fn a_catalogue_says_what_is_in_reach_what_is_missing_and_why_not() {
    let server = start_with(book(REWARDS)).await;
    let member = member_with(&server, "c-1", 30).await;
    let of_member = lists(&server, by_id(&member)).await;
    assert_eq!(
        summary(&of_member.rewards),
        [
            ("biscuit".to_owned(), 40, 10, vec![Reason::InsufficientPoints]),
            ("evening".to_owned(), 300, 270, vec![Reason::Tier, Reason::InsufficientPoints]),
            ("summer".to_owned(), 5, 0, vec![Reason::NoLongerOffered]),
            ("tea".to_owned(), 25, 0, vec![]),
        ]
    );
    assert_eq!((of_member.next_reward_id.as_str(), of_member.next_missing_points), ("biscuit", 10));
    let tea = &of_member.rewards[3];
    assert_eq!((tea.stock_left, tea.member_left, tea.redeemed), (Some(3), Some(2), 0));
    let as_published = book(REWARDS).rewards.into_iter().find(|reward| reward.reward_id == "tea");
    assert_eq!(tea.reward, as_published);
    // For nobody in particular: by whoever shows the catalogue to passers-by.
    let of_all = lists(&server, None).await;
    let reasons = summary(&of_all.rewards).into_iter().map(|(.., reasons)| reasons);
    assert_eq!(reasons.collect::<Vec<_>>(), [vec![], vec![], vec![Reason::NoLongerOffered], vec![]]);
    assert_eq!((of_all.next_reward_id.as_str(), of_all.rewards[3].member_left), ("", Some(2)));
    // By the card, page by page.
    let (mut token, mut ids) = (String::new(), Vec::new());
    loop {
        let request =
            v1::ListRewardsRequest { program_id: PROGRAM.into(), member: by_card("c-1"), page_size: 3, page_token: token.clone() };
        let page = server.rewards().list_rewards(request).await.expect("a page").into_inner();
        ids.extend(page.rewards.into_iter().map(|listed| listed.reward.expect("a reward").reward_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let others = v1::ListRewardsRequest { program_id: PROGRAM.into(), page_token: token.clone(), ..Default::default() };
        let status = server.rewards().list_rewards(others).await.expect_err("it is another list's");
        assert_eq!(refused(&status).fields, ["page_token"]);
    }
    assert_eq!(ids, ["biscuit", "evening", "summer", "tea"]);
    let missing = [("available", "30"), ("requested", "40"), ("missing", "10")];
    is_refused(redeems(&server, &member, "r-0", "biscuit").await, Code::FailedPrecondition, "INSUFFICIENT_POINTS", &missing);
    // Two in this month, and when the next one begins.
    let answer = server.rewards().redeem_reward(ask(by_card("c-1"), "r-1", "tea", 1)).await.expect("one").into_inner();
    assert_eq!((answer.vouchers.len(), answer.balance.map(|balance| balance.available)), (1, Some(5)));
    server.points().adjust_points(adjustment(&member, "gift-2", 500)).await.expect("points");
    redeems(&server, &member, "r-2", "tea").await.expect("two");
    let tea = listed(&server, &member, "tea").await;
    assert_eq!((tea.stock_left, tea.member_left, tea.redeemed), (Some(1), Some(0), 2));
    assert_eq!(tea.reasons().collect::<Vec<_>>(), [Reason::MemberLimit]);
    // Midnight of 1 April in Ho Chi Minh City.
    assert_eq!(tea.next_time.map(|time| time.seconds), Some(1_774_976_400));
    server.stop().await;
}

#[tokio::test]
async fn a_reward_is_redeemed_once_however_often_it_is_sent_and_explained_to_support() {
    let server = start_with(book(REWARDS)).await;
    let member = member_with(&server, "c-1", 80).await;
    let request = ask(by_id(&member), "r-1", "tea", 2);
    let first = server.rewards().redeem_reward(request.clone()).await.expect("two").into_inner();
    assert_eq!(server.rewards().redeem_reward(request.clone()).await.expect("the first answer").into_inner(), first);
    let reused = v1::RedeemRewardRequest { quantity: 1, ..request };
    is_refused(server.rewards().redeem_reward(reused).await, Code::AlreadyExists, "REQUEST_ID_REUSED", &[]);
    assert_eq!((first.vouchers.len(), first.entries.len(), balance(&server, &member).await.available), (2, 2, 30));
    assert_eq!(first.vouchers[0].cause(), Cause::Reward);
    let Some(Said::VoucherIssued(said)) = first.entries[1].kind.clone() else { panic!("{:#?}", first.entries) };
    let lots: Vec<(&str, i64)> = said.allocations.iter().map(|taken| (taken.lot_id.as_str(), taken.points)).collect();
    assert_eq!((said.reward_id.as_str(), said.points, said.goal_id.as_str(), lots), ("tea", 25, "", vec![("1", 25)]));
    assert_eq!((first.entries[1].points, first.entries[1].request_id.as_str()), (-25, "r-1"));
    let explained_first = explained(&server, &member, first.entries[1].sequence).await;
    for part in [
        "for a reward: A tea",
        "The member redeemed reward tea (A tea), which cost 25 points.",
        "25 points came from lot 1",
        "It made 2 of",
    ] {
        assert!(explained_first.contains(part), "{part:?} is not in:\n{explained_first}");
    }
    // What points went for is undone by the voucher alone.
    let reversal = v1::ReverseRedemptionRequest {
        request_id: "back-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        redemption_sequence: first.entries[0].sequence,
        reason: "wants the points".into(),
        ..Default::default()
    };
    let refused = server.points().reverse_redemption(reversal).await.expect_err("it is refused");
    assert!(refused.message().contains("CancelVoucher"), "{refused:?}");
    is_refused(Err::<(), _>(refused), Code::FailedPrecondition, "REDEMPTION_OF_REWARD", &[("redemption_sequence", "3")]);
    let entry = cancels(&server, &first.vouchers[1].code, "cancel-1").await.expect("cancelled");
    let Some(Said::VoucherCancelled(said)) = entry.kind.clone() else { panic!("{entry:#?}") };
    assert_eq!((said.reward_id.as_str(), said.points, said.put_back.len(), entry.points), ("tea", 25, 1, 25));
    let text = explained(&server, &member, entry.sequence).await;
    for part in ["The 25 points that reward tea (A tea) cost came back.", "it left 1 of reward tea (A tea) that were taken"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(server.member(&member).await.live_vouchers, 1);
    server.stop().await;
}

#[tokio::test]
async fn what_was_taken_and_given_back_survives_a_stop_and_tables_that_are_made_again() {
    let server = start_with(book(REWARDS)).await;
    let (an, binh) = (member_with(&server, "c-1", 500).await, member_with(&server, "c-2", 500).await);
    let code = redeems(&server, &an, "r-1", "tea").await.expect("one").vouchers[0].code.clone();
    redeems(&server, &an, "r-2", "tea").await.expect("two");
    redeems(&server, &binh, "r-3", "tea").await.expect("three");
    let out = [("left", "0"), ("requested", "1"), ("reward_id", "tea")];
    is_refused(redeems(&server, &binh, "r-4", "tea").await, Code::FailedPrecondition, "REWARD_OUT_OF_STOCK", &out);
    cancels(&server, &code, "cancel-1").await.expect("one is free again");
    let server = server.restart_with(book(REWARDS)).await;
    assert_eq!(listed(&server, &an, "tea").await.stock_left, Some(1));
    let server = rebuilt(server, book(REWARDS)).await;
    assert_eq!((listed(&server, &an, "tea").await.member_left, listed(&server, &binh, "tea").await.stock_left), (Some(1), Some(1)));
    redeems(&server, &binh, "r-5", "tea").await.expect("the last one");
    is_refused(redeems(&server, &an, "r-6", "tea").await, Code::FailedPrecondition, "REWARD_OUT_OF_STOCK", &[("left", "0")]);
    // What is not asked for any more was given away: neither a voucher that lapses nor a member who is erased frees anything.
    let erase = v1::EraseMemberRequest {
        request_id: "erase-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        reason: "asked to be forgotten".into(),
        actor: actor(),
    };
    server.members().erase_member(erase).await.expect("erased");
    server.days_later(40);
    assert_eq!(listed(&server, &binh, "tea").await.stock_left, Some(0));
    let server = rebuilt(server, book(REWARDS)).await;
    // And a version that has more.
    let server = server.restart_with(book(&REWARDS.replace("stock: 3", "stock: 5"))).await;
    assert_eq!((listed(&server, &binh, "tea").await.stock_left, listed(&server, &binh, "tea").await.member_left), (Some(2), Some(2)));
    server.stop().await;
}

#[tokio::test]
async fn a_member_who_is_merged_brings_along_what_it_had() {
    let server = start_with(book(REWARDS)).await;
    let (old, new) = (member_with(&server, "c-1", 100).await, member_with(&server, "c-2", 100).await);
    let code = redeems(&server, &old, "r-1", "tea").await.expect("one").vouchers[0].code.clone();
    redeems(&server, &new, "r-2", "tea").await.expect("another");
    let request = v1::MergeMembersRequest {
        request_id: "merge-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&old),
        into: by_id(&new),
        reason: "two cards".into(),
        actor: actor(),
    };
    server.members().merge_members(request).await.expect("one");
    let full = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&new), view: v1::MemberView::Full.into(), as_of: None };
    let member = server.members().get_member(full).await.expect("the member is there").into_inner().member.expect("a member");
    assert_eq!(member.redeemed_rewards, [v1::RedeemedReward { reward_id: "tea".into(), redeemed: 2 }]);
    let tea = listed(&server, &old, "tea").await;
    assert_eq!((tea.member_left, tea.redeemed, tea.stock_left), (Some(0), 2, Some(1)));
    let limit = [("limit", "2"), ("left", "0"), ("next_time", "2026-03-31T17:00:00Z")];
    is_refused(redeems(&server, &new, "r-3", "tea").await, Code::FailedPrecondition, "REWARD_LIMIT", &limit);
    let server = rebuilt(server, book(REWARDS)).await;
    let entry = cancels(&server, &code, "cancel-1").await.expect("what one card had is undone for both");
    let Some(Said::VoucherCancelled(said)) = entry.kind.clone() else { panic!("{entry:#?}") };
    assert_eq!(said.put_back.iter().map(|back| (back.lot_id.as_str(), back.points)).collect::<Vec<_>>(), [("2", 25)]);
    let tea = listed(&server, &new, "tea").await;
    assert_eq!((tea.member_left, tea.redeemed, tea.stock_left, balance(&server, &new).await.available), (Some(1), 1, Some(2), 175));
    let server = rebuilt(server, book(REWARDS)).await;
    assert_eq!(listed(&server, &new, "tea").await.redeemed, 1);
    server.stop().await;
}

#[tokio::test]
async fn the_voucher_of_a_reward_is_used_with_a_sale_and_comes_back_with_the_goods() {
    let server = start_with(book(REWARDS)).await;
    let member = member_with(&server, "c-1", 100).await;
    let code = redeems(&server, &member, "r-1", "tea").await.expect("one").vouchers[0].code.clone();
    let mut request = sale(&member, "o-1", "40000");
    let purchase = request.purchase.as_mut().expect("a purchase");
    purchase.lines[0].sku = "tea".into();
    purchase.voucher_codes = vec![code.clone()];
    let recorded = server.purchases().record_purchase(request).await.expect("a sale").into_inner();
    assert_eq!(recorded.vouchers[0].value.as_ref().map(|value| value.amount.as_str()), Some("40000"));
    is_refused(cancels(&server, &code, "cancel-1").await, Code::FailedPrecondition, "VOUCHER_USED", &[]);
    let back = v1::ReturnPurchaseRequest {
        request_id: "back-1".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        ..Default::default()
    };
    server.purchases().return_purchase(back).await.expect("a return");
    assert_eq!((listed(&server, &member, "tea").await.stock_left, balance(&server, &member).await.available), (Some(2), 75));
    cancels(&server, &code, "cancel-2").await.expect("cancelled");
    assert_eq!((listed(&server, &member, "tea").await.stock_left, balance(&server, &member).await.available), (Some(3), 100));
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
rewards:
  - {rewardId: last, displayName: The last one, voucherKindId: tea, points: "5", stock: "1"}
  - {rewardId: many, displayName: Many, voucherKindId: tea, points: "1", stock: "300"}
"#;

const TASKS: usize = 1_000;

fn redeem(reward: &str) -> Command {
    Command::Voucher(VoucherRequest::Redeem { reward: RewardId::new(reward).expect("an id"), quantity: 1 })
}

/// Each of many tasks asks for one of a reward, for one of the members; the codes of those who got one.
async fn race(shop: &Shop, members: &[MemberId], reward: &'static str, round: &str) -> Vec<VoucherCode> {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (ledger, member) = (shop.ledger.clone(), members[task % members.len()]);
            let submission = shop.submission(MemberTarget::Id(member), &format!("{reward}-{round}-{task}"), redeem(reward));
            tokio::spawn(async move { ledger.submit(submission).await })
        })
        .collect();
    let mut codes = Vec::new();
    for task in tasks {
        match task.await.expect("it ends") {
            Ok(outcome) => codes.push(outcome.entries[0].voucher_change().expect("a voucher").code),
            Err(LedgerError::Rejected(Rejection::Reward(RewardRejection::OutOfStock { left: 0, .. }))) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    codes
}

/// What is left of it.
fn left(shop: &Shop, reward: &str) -> Option<u64> {
    left_of(&shop.ledger, reward)
}

fn left_of(ledger: &Ledger, reward: &str) -> Option<u64> {
    let program = ledger::key(MemberId([0; 16])).program;
    let found = ledger.rewards(&program, None).expect("rewards are listed");
    let mut all = found.program.rewards.keys().zip(&found.standings);
    all.find(|(id, _)| id.as_str() == reward).and_then(|(_, standing)| standing.stock_left)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_ask_at_once_get_what_there_is_and_not_one_more() {
    let mut shop = Shop::open_with(LEDGER_BOOK).await;
    let mut members = Vec::new();
    for number in 0..20 {
        let member = shop.enroll(&format!("m-{number}")).await;
        shop.ledger.submit(shop.adjust(member, &format!("gift-{number}"), 10_000)).await.expect("points");
        members.push(member);
    }
    let got = race(&shop, &members, "last", "1").await;
    assert_eq!((got.len(), left(&shop, "last")), (1, Some(0)));
    // It is given back while others ask for it: somebody else gets it, and nobody twice.
    let cancel = Command::Voucher(VoucherRequest::Cancel { code: got[0], reason: "back".into() });
    let cancelling = shop.submission(MemberTarget::Voucher(got[0]), "cancel-1", cancel);
    let (cancelled, again) = tokio::join!(shop.ledger.submit(cancelling), race(&shop, &members, "last", "2"));
    cancelled.expect("it is given back");
    assert!(again.len() <= 1, "{}", again.len());
    assert_eq!(left(&shop, "last"), Some(1 - again.len() as u64));
    let got = race(&shop, &members, "many", "1").await;
    assert_eq!((got.iter().map(|code| *code.as_bytes()).collect::<BTreeSet<_>>().len(), left(&shop, "many")), (300, Some(0)));
    // What one member after the other has is what is counted, also by tables that are made again.
    for _ in 0..2 {
        let lives: usize = members.iter().map(|member| shop.ledger.vouchers(&ledger::key(*member)).expect("vouchers").vouchers.len()).sum();
        assert_eq!(lives, 300 + again.len());
        shop = rebuilt_shop(shop);
        assert_eq!((left(&shop, "many"), left(&shop, "last")), (Some(0), Some(1 - again.len() as u64)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_whose_points_lie_in_too_many_lots_is_not_said_to_be_in_reach() {
    let dear = "  - {rewardId: dear, displayName: Dear, voucherKindId: tea, points: \"10001\"}\n";
    let fair = "  - {rewardId: fair, displayName: Fair, voucherKindId: tea, points: \"10000\"}\n";
    for order in ["CONSUMPTION_ORDER_SOONEST_EXPIRY", "CONSUMPTION_ORDER_OLDEST_FIRST"] {
        let shop = Shop::open_with(&format!("consumptionOrder: {order}{LEDGER_BOOK}{dear}{fair}")).await;
        let member = shop.enroll("m-1").await;
        // A point at a time, each in a lot of its own.
        for thousand in 0..11 {
            let gifts = (0..if thousand < 10 { TASKS } else { 1 }).map(|number| {
                let (ledger, gift) = (shop.ledger.clone(), shop.adjust(member, &format!("gift-{thousand}-{number}"), 1));
                tokio::spawn(async move { ledger.submit(gift).await })
            });
            for gift in gifts.collect::<Vec<_>>() {
                gift.await.expect("it ends").expect("a point");
            }
        }
        let key = ledger::key(member);
        let why_not = |reward: &str| {
            let found = shop.ledger.rewards(&key.program, Some(&key)).expect("rewards are listed");
            let mut all = found.program.rewards.keys().zip(found.standings);
            all.find(|(id, _)| id.as_str() == reward).expect("it is offered").1.why_not
        };
        let (most, requested) = (Points(10_000), Points(10_001));
        assert_eq!(why_not("dear"), [RewardObstacle::TooManyLots { most, requested }], "{order}");
        assert_eq!(why_not("fair"), []);
        let submission = |request: &str, reward| shop.submission(MemberTarget::Id(member), request, redeem(reward));
        let refused = shop.ledger.submit(submission("dear-1", "dear")).await.expect_err("it is refused as it was said");
        let expected = Rejection::TooManyLots { limit: 10_000, most, requested };
        assert!(matches!(&refused, LedgerError::Rejected(rejection) if *rejection == expected), "{refused:?}");
        shop.ledger.submit(shop.adjust(member, "gift", 10_000)).await.expect("points");
        assert_eq!(why_not("dear"), [RewardObstacle::TooManyLots { most, requested }], "the large lot is the last one");
        shop.ledger.submit(submission("fair-1", "fair")).await.expect("it is had as it was said");
        assert_eq!((why_not("dear"), why_not("fair")), (vec![], vec![]));
    }
}

/// Stops, compares all, and starts with tables that are made again.
fn rebuilt_shop(shop: Shop) -> Shop {
    shop.ledger.close().expect("it closes");
    let Shop { ledger, clock, folder } = shop;
    drop(ledger);
    let report = check(folder.path(), &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
    fs::remove_dir_all(folder.path().join("tables")).expect("the tables are removed");
    Shop { ledger: ledger::open(&folder, &clock), clock, folder }
}

/// The ledger in another folder than the shop's.
fn ledger_in(folder: &Path, shop: &Shop) -> Ledger {
    let store = EmbeddedStore::open(folder, options()).expect("the store opens");
    Ledger::open(Arc::new(store), Arc::clone(&shop.clock) as _).expect("the ledger opens")
}

#[tokio::test]
async fn what_is_taken_is_the_same_after_a_kill_and_in_a_restored_backup() {
    let shop = Shop::open_with(LEDGER_BOOK).await;
    let member = shop.enroll("m-1").await;
    shop.ledger.submit(shop.adjust(member, "gift", 10_000)).await.expect("points");
    let mut codes = Vec::new();
    for number in 0..7 {
        let submission = shop.submission(MemberTarget::Id(member), &format!("many-{number}"), redeem("many"));
        codes.push(shop.ledger.submit(submission).await.expect("one").entries[0].voucher_change().expect("a voucher").code);
    }
    let cancel = Command::Voucher(VoucherRequest::Cancel { code: codes[3], reason: "back".into() });
    shop.ledger.submit(shop.submission(MemberTarget::Voucher(codes[3]), "cancel-1", cancel)).await.expect("it is given back");
    let others = tempfile::tempdir().expect("a temporary folder");
    let (killed, backup, restored) = (others.path().join("killed"), others.path().join("backup"), others.path().join("restored"));
    // As a kill leaves it: nothing was written out in order.
    copy_folder(shop.folder.path(), &killed);
    let mut writer = Backup::open(&backup, None, true).expect("a backup is begun");
    let mut source = shop.ledger.backup(writer.held().clone()).expect("a backup is read");
    while let Some(part) = source.next().expect("a part") {
        writer.store(part).expect("it is stored");
    }
    let place = BackupPlace { folder: &backup, keys: None, operator_key: None };
    restore(&place, &restored, Until::End).expect("it is restored");
    for folder in [killed, restored] {
        let ledger = ledger_in(&folder, &shop);
        assert_eq!(left_of(&ledger, "many"), Some(294), "{}", folder.display());
        // And goes on from there.
        let submission = shop.submission(MemberTarget::Id(member), "one-more", redeem("many"));
        ledger.submit(submission).await.expect("one more");
        assert_eq!(left_of(&ledger, "many"), Some(293));
        ledger.close().expect("it closes");
        drop(ledger);
        assert!(check(&folder, &options()).expect("the store can be checked").is_sound());
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for item in fs::read_dir(from).expect("a folder is listed") {
        let path = item.expect("an item").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => _ = fs::copy(&path, &target).expect("a copy"),
        }
    }
}

#[tokio::test]
async fn a_reward_that_begins_later_is_there_at_its_first_instant() {
    let later = REWARDS.replace("end_time: \"2026-01-01T00:00:00+07:00\"", "start_time: \"2026-03-11T00:00:00+07:00\"");
    let server = start_with(book(&later)).await;
    let member = member_with(&server, "c-1", 100).await;
    let start = [("start_time", "2026-03-10T17:00:00Z"), ("reward_id", "summer")];
    is_refused(redeems(&server, &member, "r-1", "summer").await, Code::FailedPrecondition, "REWARD_NOT_OFFERED", &start);
    assert_eq!(listed(&server, &member, "summer").await.reasons().collect::<Vec<_>>(), [Reason::NotYetOffered]);
    server.clock.set(server.clock.now() + 12.hours());
    redeems(&server, &member, "r-2", "summer").await.expect("it is there");
    // A version without it, though the member has its voucher still.
    let without: String = REWARDS.lines().filter(|line| !line.contains("summer")).map(|line| format!("{line}\n")).collect();
    let server = server.restart_with(book(&without)).await;
    is_refused(redeems(&server, &member, "r-3", "summer").await, Code::FailedPrecondition, "REWARD_NOT_OFFERED", &[]);
    is_refused(redeems(&server, &member, "r-4", "winter").await, Code::NotFound, "REWARD_NOT_FOUND", &[("reward_id", "winter")]);
    let negative = server.rewards().redeem_reward(ask(by_id(&member), "r-5", "tea", -1)).await.expect_err("it is wrong");
    assert_eq!(refused(&negative).fields, ["quantity"]);
    let many = server.rewards().redeem_reward(ask(by_id(&member), "r-6", "tea", 3)).await;
    is_refused(many, Code::InvalidArgument, "REWARD_QUANTITY", &[("maximum", "2"), ("requested", "3")]);
    server.stop().await;
}
