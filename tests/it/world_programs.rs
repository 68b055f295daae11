//! Programmes of the world, as `examples/programs` writes them down: members walk through each, so that what a test says can be read beside the
//! published terms. Days are those of the programme's time zone; members come by at noon.

use std::{cell::Cell, sync::Arc};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use loyaltyd::{
    contract::{
        rule_book,
        v1::{self, points_payment::Payment, tender, voucher::State},
    },
    ledger::ManualClock,
    store::embedded::check,
};
use tempfile::TempDir;
use tonic::Status;

use crate::support::{PROGRAM, TestServer, actor, adjustment, by_id, enrolment, options, refused};

const STARBUCKS: &str = include_str!("../../examples/programs/starbucks.yaml");
const SEPHORA: &str = include_str!("../../examples/programs/sephora.yaml");
const VIETNAM: &str = include_str!("../../examples/programs/vietnam-five-tiers.yaml");
const AIRLINE: &str = include_str!("../../examples/programs/airline.yaml");
const STAMP_CARD: &str = include_str!("../../examples/programs/stamp-card.yaml");

/// A served programme, and a calendar on its wall.
pub struct Club {
    server: TestServer,
    zone: TimeZone,
    currency: String,
    requests: Cell<u32>,
}

impl Club {
    /// Under the name that the tests' requests say; all else is the file's.
    pub async fn open(text: &str, day: &str) -> Self {
        let program = v1::Program { program_id: PROGRAM.into(), ..rule_book::read(text).expect("the example reads") };
        let zone = TimeZone::get(&program.time_zone).expect("a zone");
        let currency = program.currency_code.clone();
        let clock = Arc::new(ManualClock::new(noon_of(day, &zone)));
        let server = TestServer::start_in(TempDir::new().expect("a temporary folder"), clock, vec![program]).await;
        Self { server, zone, currency, requests: Cell::new(0) }
    }

    pub fn on(&self, day: &str) {
        self.server.clock.set(noon_of(day, &self.zone));
    }

    /// Nothing in the store contradicts the ledger.
    pub async fn close(self) {
        let (folder, _) = self.server.end().await;
        let report = check(&folder.path().join("data"), &options()).expect("the store can be checked");
        assert!(report.is_sound(), "{report:#?}");
    }

    fn request(&self) -> String {
        self.requests.set(self.requests.get() + 1);
        format!("r-{}", self.requests.get())
    }

    fn money(&self, amount: &str) -> Option<v1::Money> {
        Some(v1::Money { currency_code: self.currency.clone(), amount: amount.into() })
    }

    pub async fn enroll(&self, card: &str) -> String {
        self.server.enroll(card).await
    }

    /// Enrols somebody who was born on a day of some year.
    async fn enroll_born(&self, card: &str, month: i32, day: i32) -> String {
        let profile = Some(v1::Profile { birth_date: Some(v1::Date { year: 0, month, day }), ..Default::default() });
        let request = v1::EnrollMemberRequest { profile, ..enrolment(card) };
        let answer = self.server.members().enroll_member(request).await.expect("a new card enrols");
        answer.into_inner().member.expect("a member").member_id
    }

    pub fn line(&self, category: &str, amount: &str) -> v1::PurchaseLine {
        v1::PurchaseLine { sku: "goods".into(), category: category.into(), amount: self.money(amount), ..Default::default() }
    }

    pub fn purchase(&self, line: v1::PurchaseLine, total: &str) -> v1::Purchase {
        v1::Purchase {
            store_id: "store-1".into(),
            order_id: self.request(),
            lines: vec![line],
            total: self.money(total),
            ..Default::default()
        }
    }

    async fn records(&self, member: &str, purchase: v1::Purchase) -> v1::RecordPurchaseResponse {
        self.records_as_quoted(member, purchase, "").await
    }

    /// If it leads to what was quoted; without a quote whatever it leads to.
    pub async fn records_as_quoted(&self, member: &str, purchase: v1::Purchase, quote_id: &str) -> v1::RecordPurchaseResponse {
        let request = v1::RecordPurchaseRequest {
            request_id: self.request(),
            program_id: PROGRAM.into(),
            member: by_id(member),
            purchase: Some(purchase),
            quote_id: quote_id.into(),
            actor: None,
        };
        self.server.purchases().record_purchase(request).await.expect("it is recorded").into_inner()
    }

    pub async fn returns(&self, request: v1::ReturnPurchaseRequest) -> v1::ReturnPurchaseResponse {
        self.server.purchases().return_purchase(request).await.expect("it comes back").into_inner()
    }

    /// The points that a purchase earns.
    async fn earns(&self, member: &str, purchase: v1::Purchase) -> i64 {
        self.records(member, purchase).await.accrual.expect("an accrual").points
    }

    /// The points that goods for this amount earn.
    pub async fn buys(&self, member: &str, amount: &str) -> i64 {
        self.earns(member, self.purchase(self.line("", amount), amount)).await
    }

    pub async fn quote(&self, member: &str, purchase: v1::Purchase) -> v1::QuotePurchaseResponse {
        let request = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(member), purchase: Some(purchase) };
        self.server.purchases().quote_purchase(request).await.expect("it is quoted").into_inner()
    }

    async fn redeems(&self, member: &str, points: i64, order_total: &str) -> Result<v1::RedeemPointsResponse, Status> {
        let request = v1::RedeemPointsRequest {
            request_id: self.request(),
            program_id: PROGRAM.into(),
            member: by_id(member),
            points,
            order_total: if order_total.is_empty() { None } else { self.money(order_total) },
            ..Default::default()
        };
        self.server.points().redeem_points(request).await.map(tonic::Response::into_inner)
    }

    async fn redeems_reward(&self, member: &str, reward: &str) -> Result<v1::RedeemRewardResponse, Status> {
        let (request_id, program_id) = (self.request(), PROGRAM.into());
        let request =
            v1::RedeemRewardRequest { request_id, program_id, member: by_id(member), reward_id: reward.into(), quantity: 1, actor: None };
        self.server.rewards().redeem_reward(request).await.map(tonic::Response::into_inner)
    }

    async fn catalogue(&self, member: &str) -> v1::ListRewardsResponse {
        let request = v1::ListRewardsRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
        self.server.rewards().list_rewards(request).await.expect("the catalogue is listed").into_inner()
    }

    /// The reason for which it is refused.
    async fn cannot_redeem(&self, member: &str, points: i64, order_total: &str) -> String {
        refused(&self.redeems(member, points, order_total).await.expect_err("it is refused")).reason
    }

    pub async fn balance(&self, member: &str) -> i64 {
        self.server.member(member).await.balance.expect("a balance").available
    }

    /// Which points lapse next, and the last day on which they are valid.
    async fn lapses(&self, member: &str) -> Vec<String> {
        let member = self.server.member(member).await;
        let shown =
            |next: &v1::ExpiringPoints| format!("{} through {}", next.points, self.day_before(next.expire_time.as_ref().expect("a time")));
        member.expiring.iter().map(shown).collect()
    }

    pub async fn standing(&self, member: &str) -> v1::TierStanding {
        self.server.member(member).await.tier.expect("a standing")
    }

    /// The tier, and the last day on which it is held.
    pub async fn tier(&self, member: &str) -> String {
        let standing = self.standing(member).await;
        standing.end_time.as_ref().map_or(standing.tier_id.clone(), |end| format!("{} through {}", standing.tier_id, self.day_before(end)))
    }

    /// The last day that is over at an instant.
    fn day_before(&self, end: &prost_types::Timestamp) -> Date {
        Timestamp::from_second(end.seconds - 1).expect("within the calendar").to_zoned(self.zone.clone()).date()
    }

    async fn vouchers(&self, member: &str) -> Vec<v1::Voucher> {
        let request = v1::ListVouchersRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
        self.server.rewards().list_vouchers(request).await.expect("vouchers are listed").into_inner().vouchers
    }

    /// The kinds of vouchers that a member has and can use, with their last days.
    async fn gifts(&self, member: &str) -> Vec<String> {
        let vouchers = self.vouchers(member).await;
        let usable = vouchers.iter().filter(|voucher| voucher.state() == State::Usable);
        let told = |voucher: &v1::Voucher| {
            let last_day = self.day_before(voucher.expire_time.as_ref().expect("an end"));
            format!("{} through {last_day}", voucher.voucher_kind_id)
        };
        usable.map(told).collect()
    }
}

fn noon_of(day: &str, zone: &TimeZone) -> Timestamp {
    let day: Date = day.parse().expect("a day");
    day.at(12, 0, 0, 0).to_zoned(zone.clone()).expect("within the calendar").timestamp()
}

#[tokio::test]
async fn starbucks_gold_earns_more_from_the_next_purchase_on_and_is_lost_after_a_year_of_too_few_stars() {
    let club = Club::open(STARBUCKS, "2026-03-10").await;
    let ana = club.enroll("ana").await;
    // Green: a Star per dollar, parts of it wait.
    assert_eq!(club.tier(&ana).await, "green");
    assert_eq!((club.buys(&ana, "299.50").await, club.buys(&ana, "0.50").await), (299, 1));
    // 500 Stars within 12 months are Gold, for 12 months. The purchase that leads there earns as Green.
    club.on("2026-05-20");
    assert_eq!(club.standing(&ana).await.next_missing_points, Some(200));
    assert_eq!(club.buys(&ana, "210").await, 210);
    assert_eq!(club.tier(&ana).await, "gold through 2027-05-19");
    // Gold: 1.2 Stars per dollar.
    club.on("2026-05-21");
    assert_eq!(club.buys(&ana, "100").await, 120);
    // She does not come by for more than six months: nothing lapses of Gold, neither what she earned in it nor what she had before.
    club.on("2027-01-10");
    assert_eq!(club.balance(&ana).await, 510 + 120);
    // Another 110 Stars by 19 May would keep Gold: what counts is 390 since the day on which she became Gold.
    assert_eq!(club.buys(&ana, "50").await, 60);
    let standing = club.standing(&ana).await;
    assert_eq!((standing.keep_missing_points, standing.falls_to_tier_id.as_str()), (Some(110), "green"));
    club.on("2027-05-19");
    assert_eq!(club.tier(&ana).await, "gold through 2027-05-19");
    club.on("2027-05-20");
    assert_eq!((club.tier(&ana).await.as_str(), club.balance(&ana).await), ("green", 690));
    // As Green again: all her Stars have six months after May, and a purchase in November adds December.
    assert_eq!(club.lapses(&ana).await, ["690 through 2027-11-30"]);
    club.on("2027-11-20");
    assert_eq!(club.buys(&ana, "10").await, 10);
    assert_eq!(club.lapses(&ana).await, ["690 through 2027-12-31", "10 through 2028-05-31"]);
    club.on("2027-12-31");
    assert_eq!(club.balance(&ana).await, 700);
    club.on("2028-01-01");
    assert_eq!(club.balance(&ana).await, 10);
    club.on("2028-05-31");
    assert_eq!(club.balance(&ana).await, 10);
    club.on("2028-06-01");
    assert_eq!(club.balance(&ana).await, 0);
    club.close().await;
}

#[tokio::test]
async fn starbucks_reserve_takes_2500_stars_a_year_and_falls_to_gold_with_fewer() {
    let club = Club::open(STARBUCKS, "2026-03-10").await;
    let (ben, carla) = (club.enroll("ben").await, club.enroll("carla").await);
    for member in [&ben, &carla] {
        club.on("2026-03-10");
        assert_eq!(club.buys(member, "500").await, 500);
        club.on("2026-03-11");
        assert_eq!(club.buys(member, "1600").await, 1920);
        assert_eq!(club.tier(member).await, "gold through 2027-03-09");
        club.on("2026-03-12");
        assert_eq!(club.buys(member, "100").await, 120);
        assert_eq!(club.tier(member).await, "reserve through 2027-03-11");
        // Reserve: 1.7 Stars per dollar.
        club.on("2026-03-13");
        assert_eq!(club.buys(member, "300").await, 510);
    }
    // Since they became Reserve they have earned 630. Ben earns 2,040 more before the year is over.
    club.on("2027-02-01");
    assert_eq!(club.standing(&carla).await.keep_missing_points, Some(2500 - 630));
    assert_eq!(club.buys(&ben, "1200").await, 2040);
    club.on("2027-03-12");
    assert_eq!(club.tier(&ben).await, "reserve through 2028-03-11");
    assert_eq!(club.tier(&carla).await, "gold through 2028-03-11");
    // Stars of Gold and Reserve members do not expire, though Carla has not come by since March of the year before.
    assert_eq!(club.balance(&carla).await, 500 + 1920 + 120 + 510);
    club.on("2028-03-12");
    assert_eq!((club.tier(&ben).await.as_str(), club.tier(&carla).await.as_str()), ("green", "green"));
    club.on("2028-09-30");
    assert_eq!(club.balance(&carla).await, 500 + 1920 + 120 + 510);
    // Six months after the one in which she is Green again, without having come by.
    club.on("2028-10-01");
    assert_eq!(club.balance(&carla).await, 0);
    club.close().await;
}

#[tokio::test]
async fn starbucks_gives_gold_seven_days_for_the_birthday_reward_and_reserve_thirty() {
    let club = Club::open(STARBUCKS, "2026-03-10").await;
    let members = [
        (club.enroll_born("dora", 6, 1).await, "10", "birthday-green through 2026-06-01"),
        (club.enroll_born("emil", 6, 1).await, "500", "birthday-gold through 2026-06-07"),
        (club.enroll_born("finn", 6, 1).await, "2500", "birthday-reserve through 2026-06-30"),
    ];
    for (member, dollars, _) in &members {
        club.buys(member, dollars).await;
    }
    club.on("2026-05-31");
    assert_eq!(club.gifts(&members[0].0).await, [""; 0]);
    club.on("2026-06-01");
    for (member, _, gift) in &members {
        assert_eq!(club.gifts(member).await, [*gift]);
    }
    club.on("2026-06-08");
    assert_eq!((club.gifts(&members[1].0).await.len(), club.gifts(&members[2].0).await.len()), (0, 1));
    club.on("2026-07-01");
    assert_eq!(club.gifts(&members[2].0).await, [""; 0]);
    club.close().await;
}

#[tokio::test]
async fn starbucks_stars_are_redeemed_along_the_ladder_and_keep_those_of_green_alive() {
    let club = Club::open(STARBUCKS, "2026-03-10").await;
    let gia = club.enroll("gia").await;
    assert_eq!(club.buys(&gia, "240").await, 240);
    let ladder = club.catalogue(&gia).await;
    let steps: Vec<(i64, i64)> = ladder.rewards.iter().map(|listed| (listed.points, listed.missing_points)).collect();
    assert_eq!(steps, [(100, 0), (200, 0), (25, 0), (300, 60), (400, 160), (60, 0)], "in the order of their ids");
    assert_eq!((ladder.next_reward_id.as_str(), ladder.next_missing_points), ("stars-300", 60));
    // In September she has a drink for 200 Stars, which counts as activity: the 40 that are left live a month longer.
    club.on("2026-09-01");
    assert_eq!(club.lapses(&gia).await, ["240 through 2026-09-30"]);
    let code = club.redeems_reward(&gia, "stars-200").await.expect("it is in reach").vouchers[0].code.clone();
    assert_eq!(club.gifts(&gia).await, ["handcrafted through 2026-09-02"]);
    let drinks = vec![club.line("handcrafted", "5.75"), club.line("handcrafted", "6.95"), club.line("brewed", "3")];
    let order = v1::Purchase { voucher_codes: vec![code], lines: drinks, ..club.purchase(club.line("", "1"), "15.70") };
    let quote = club.quote(&gia, order).await;
    assert_eq!(quote.vouchers[0].value.as_ref().map(|value| value.amount.as_str()), Some("6.95"), "the dearer one");
    club.on("2026-09-11");
    assert_eq!(club.balance(&gia).await, 40);
    let refusal = club.redeems_reward(&gia, "stars-60").await.expect_err("20 Stars are missing");
    assert_eq!(refused(&refusal).reason, "INSUFFICIENT_POINTS");
    // She has not come for the drink: the voucher has lapsed, and its Stars stay spent.
    assert_eq!(club.gifts(&gia).await, [""; 0]);
    assert_eq!(club.lapses(&gia).await, ["40 through 2026-10-31"]);
    club.on("2026-10-31");
    assert_eq!(club.balance(&gia).await, 40);
    club.on("2026-11-01");
    assert_eq!(club.balance(&gia).await, 0);
    club.close().await;
}

/// She comes by in every other month, and spends nothing.
#[tokio::test]
async fn starbucks_stars_of_green_last_a_month_longer_for_each_month_with_a_purchase() {
    let club = Club::open(STARBUCKS, "2026-03-10").await;
    let hana = club.enroll("hana").await;
    for (day, dollars) in [("2026-03-10", "40"), ("2026-03-28", "2"), ("2026-05-02", "30"), ("2026-07-31", "20")] {
        club.on(day);
        club.buys(&hana, dollars).await;
    }
    // Of March: May and July have added one each to September. Of May: July has.
    assert_eq!(club.lapses(&hana).await, ["42 through 2026-11-30", "30 through 2026-12-31", "20 through 2027-01-31"]);
    club.on("2026-12-01");
    assert_eq!(club.balance(&hana).await, 50);
    // On the last day of the year the Stars of May are saved for January, and those of July for February.
    club.on("2026-12-31");
    club.buys(&hana, "1").await;
    assert_eq!(club.lapses(&hana).await, ["30 through 2027-01-31", "20 through 2027-02-28", "1 through 2027-06-30"]);
    club.close().await;
}

#[tokio::test]
async fn sephora_counts_dollars_of_a_calendar_year_and_keeps_the_tier_through_the_next_one() {
    let club = Club::open(SEPHORA, "2026-03-01").await;
    let zoe = club.enroll("zoe").await;
    // Merchandise earns, tax and shipping do not, nor do parts of a dollar.
    let line = v1::PurchaseLine { tax: club.money("17"), ..club.line("", "200.90") };
    let order = v1::Purchase { shipping: club.money("6.95"), ..club.purchase(line, "224.85") };
    assert_eq!(club.earns(&zoe, order).await, 200);
    let missing = club.standing(&zoe).await.next_missing_spend.expect("spend is missing");
    assert_eq!((club.tier(&zoe).await.as_str(), missing.amount.as_str()), ("insider", "149.10"));
    club.on("2026-06-01");
    assert_eq!(club.buys(&zoe, "149.10").await, 149);
    assert_eq!(club.tier(&zoe).await, "vib through 2027-12-31");
    // VIB earns no more than Insider. 1,000 dollars are Rouge.
    club.on("2026-11-20");
    assert_eq!(club.buys(&zoe, "700").await, 700);
    assert_eq!(club.tier(&zoe).await, "rouge through 2027-12-31");
    // 500 points are 10 dollars off; what an order is paid with points does not count.
    club.on("2027-07-01");
    let tender = |kind: tender::Kind, amount| v1::Tender { kind: kind.into(), amount: club.money(amount) };
    let order = v1::Purchase {
        tenders: vec![tender(v1::tender::Kind::Points, "10"), tender(v1::tender::Kind::Card, "400")],
        points_payments: vec![v1::PointsPayment { payment: Some(Payment::RedeemPoints(500)) }],
        ..club.purchase(club.line("", "410"), "410")
    };
    assert_eq!((club.earns(&zoe, order).await, club.balance(&zoe).await), (400, 1049 - 500 + 400));
    // 400 dollars in 2027: not Rouge again, but VIB through 2028.
    club.on("2027-12-31");
    assert_eq!(club.tier(&zoe).await, "rouge through 2027-12-31");
    club.on("2028-01-01");
    assert_eq!(club.tier(&zoe).await, "vib through 2028-12-31");
    // Her last visit was on 1 July.
    club.on("2028-07-01");
    assert_eq!(club.balance(&zoe).await, 949);
    club.on("2028-07-02");
    assert_eq!(club.balance(&zoe).await, 0);
    club.on("2029-01-01");
    assert_eq!(club.tier(&zoe).await, "insider");
    club.close().await;
}

#[tokio::test]
async fn sephora_takes_points_in_steps_of_five_hundred() {
    let club = Club::open(SEPHORA, "2026-03-01").await;
    let yuki = club.enroll("yuki").await;
    club.buys(&yuki, "499").await;
    assert_eq!(club.cannot_redeem(&yuki, 500, "30").await, "INSUFFICIENT_POINTS");
    club.buys(&yuki, "601").await;
    assert_eq!(club.cannot_redeem(&yuki, 250, "30").await, "BELOW_MINIMUM");
    assert_eq!(club.cannot_redeem(&yuki, 750, "30").await, "NOT_IN_STEPS");
    assert_eq!(club.cannot_redeem(&yuki, 1000, "15").await, "OVER_ORDER");
    // A redemption is activity: the points last for twelve months after it.
    club.on("2027-02-01");
    let redeemed = club.redeems(&yuki, 500, "30").await.expect("it is redeemed");
    assert_eq!((redeemed.value, redeemed.balance.map(|balance| balance.available)), (club.money("10.00"), Some(600)));
    club.on("2028-02-01");
    assert_eq!(club.balance(&yuki).await, 600);
    club.on("2028-02-02");
    assert_eq!(club.balance(&yuki).await, 0);
    club.close().await;
}

#[tokio::test]
async fn sephora_gives_a_hundred_dollars_for_2500_points_of_the_bazaar() {
    let club = Club::open(SEPHORA, "2026-03-01").await;
    let wendy = club.enroll("wendy").await;
    club.buys(&wendy, "2499").await;
    let refusal = club.redeems_reward(&wendy, "bazaar-100").await.expect_err("a point is missing");
    assert_eq!(refused(&refusal).reason, "INSUFFICIENT_POINTS");
    club.buys(&wendy, "1").await;
    let code = club.redeems_reward(&wendy, "bazaar-100").await.expect("it is in reach").vouchers[0].code.clone();
    let listed = club.catalogue(&wendy).await.rewards.remove(0);
    assert_eq!((club.balance(&wendy).await, listed.stock_left), (0, Some(999)));
    assert_eq!(club.gifts(&wendy).await, ["hundred-dollars through 2026-05-30"]);
    // Of an order it is 100 dollars, and of a smaller one what its goods come to.
    let order = |amount: &str| v1::Purchase { voucher_codes: vec![code.clone()], ..club.purchase(club.line("", amount), amount) };
    assert_eq!(club.quote(&wendy, order("80")).await.vouchers[0].value, club.money("80.00"));
    assert_eq!(club.records(&wendy, order("130")).await.vouchers[0].value, club.money("100.00"));
    assert_eq!(club.gifts(&wendy).await, [""; 0]);
    club.close().await;
}

#[tokio::test]
async fn sephora_gives_a_gift_in_the_month_of_the_birthday_or_250_points() {
    let club = Club::open(SEPHORA, "2026-03-01").await;
    let xenia = club.enroll_born("xenia", 5, 17).await;
    club.on("2026-04-30");
    assert_eq!(club.gifts(&xenia).await, [""; 0]);
    club.on("2026-05-01");
    assert_eq!(club.gifts(&xenia).await, ["birthday-gift through 2026-05-31"]);
    // She would rather have points.
    let code = club.vouchers(&xenia).await.remove(0).code;
    let used = v1::UseVoucherRequest { request_id: club.request(), program_id: PROGRAM.into(), code, ..Default::default() };
    club.server.rewards().use_voucher(used).await.expect("it is used");
    let too_many = club.server.points().adjust_points(adjustment(&xenia, "gift-1", 251)).await.expect_err("it is refused");
    assert_eq!(refused(&too_many).reason, "ADJUSTMENT_TOO_LARGE");
    club.server.points().adjust_points(adjustment(&xenia, "gift-2", 250)).await.expect("they are added");
    assert_eq!((club.balance(&xenia).await, club.gifts(&xenia).await.len()), (250, 0));
    club.on("2027-05-31");
    assert_eq!(club.gifts(&xenia).await, ["birthday-gift through 2027-05-31"]);
    club.close().await;
}

#[tokio::test]
async fn vietnam_counts_what_is_paid_net_of_promotions_vat_and_shipping_and_gives_a_discount_by_tier() {
    let club = Club::open(VIETNAM, "2026-03-10").await;
    let an = club.enroll("an").await;
    let discount = |quote: v1::QuotePurchaseResponse| quote.benefits.map_or(String::new(), |benefits| benefits.discount_percent);
    // 1,200,000 with 100,000 of VAT inside, less a promotion of 100,000, and 30,000 for the post.
    let line = v1::PurchaseLine { discount: club.money("100000"), tax: club.money("100000"), ..club.line("", "1200000") };
    let order = v1::Purchase { prices_include_tax: true, shipping: club.money("30000"), ..club.purchase(line, "1130000") };
    assert_eq!(discount(club.quote(&an, order.clone()).await), "");
    assert_eq!(club.earns(&an, order).await, 1000);
    // 999 dong are no point.
    assert_eq!(club.buys(&an, "999").await, 0);
    for (tier, percent, amount) in
        [("silver", "5", "1000000"), ("gold", "10", "3000000"), ("platinum", "15", "5000000"), ("diamond", "20", "1000")]
    {
        assert_eq!(club.tier(&an).await, tier);
        let order = club.purchase(club.line("", amount), amount);
        assert_eq!(discount(club.quote(&an, order.clone()).await), percent);
        club.earns(&an, order).await;
    }
    // What the till takes off earns nothing: 20 % of 100,000.
    let line = v1::PurchaseLine { discount: club.money("20000"), ..club.line("", "100000") };
    assert_eq!(club.earns(&an, club.purchase(line, "80000")).await, 80);
    club.on("2031-03-10");
    assert_eq!(club.tier(&an).await, "diamond");
    club.close().await;
}

#[tokio::test]
async fn vietnam_gives_thirty_percent_off_for_the_birthday_and_more_at_most_the_higher_the_tier() {
    let club = Club::open(VIETNAM, "2026-03-10").await;
    let tiers = [
        ("member", "1000", "100000"),
        ("silver", "1000000", "200000"),
        ("gold", "2000000", "300000"),
        ("platinum", "5000000", "400000"),
        ("diamond", "10000000", "500000"),
    ];
    let mut members = Vec::new();
    for (tier, amount, most) in tiers {
        let member = club.enroll_born(tier, 8, 8).await;
        club.buys(&member, amount).await;
        members.push((member, tier, most));
    }
    club.on("2026-08-08");
    for (member, tier, most) in &members {
        assert_eq!(club.gifts(member).await, [format!("birthday-{tier} through 2026-09-06")]);
        let codes = vec![club.vouchers(member).await.remove(0).code];
        let order = |amount: &str| v1::Purchase { voucher_codes: codes.clone(), ..club.purchase(club.line("", amount), amount) };
        let worth = club.quote(member, order("200000")).await.vouchers.remove(0).value;
        assert_eq!(worth, club.money("60000"));
        // Off one order, and no other.
        let bought = club.records(member, order("5000000")).await;
        assert_eq!(bought.vouchers[0].value, club.money(most));
        assert_eq!(club.gifts(member).await, [""; 0]);
    }
    club.close().await;
}

/// A line for a flight of so many miles.
fn flight(club: &Club, miles: &str, cabin: &str) -> v1::Purchase {
    let line = v1::PurchaseLine { quantity: miles.into(), labels: vec![cabin.into()], ..club.line("flight", "2000000") };
    club.purchase(line, "2000000")
}

#[tokio::test]
async fn an_airline_counts_qualifying_miles_and_not_bonus_miles_and_goes_one_down_at_a_review() {
    let club = Club::open(AIRLINE, "2026-01-10").await;
    let lan = club.enroll("lan").await;
    let mut tiers = Vec::new();
    for month in 1..=6 {
        club.on(&format!("2026-{month:02}-10"));
        // Half a mile more in business class.
        assert_eq!(club.earns(&lan, flight(&club, "5500", "business")).await, 5500 + 2750);
        tiers.push(club.tier(&lan).await);
    }
    let titanium = "titanium through 2027-03-09";
    assert_eq!(tiers, ["silver", "silver", titanium, titanium, titanium, "gold through 2027-06-09"]);
    // Nights in hotels are miles to spend.
    let nights = v1::RecordActivityRequest {
        request_id: club.request(),
        program_id: PROGRAM.into(),
        member: by_id(&lan),
        activity: "hotel_night".into(),
        reference: "booking-1".into(),
        ..Default::default()
    };
    club.server.points().record_activity(nights).await.expect("it is recorded");
    let totals = club.standing(&lan).await.window_totals.expect("something is counted");
    assert_eq!((club.balance(&lan).await, totals.points, totals.visits), (6 * 8250 + 500, 33_000, 6));
    // She flies no more: one down, and a year later one more.
    club.on("2027-06-09");
    assert_eq!(club.tier(&lan).await, "gold through 2027-06-09");
    club.on("2027-06-10");
    assert_eq!(club.tier(&lan).await, "titanium through 2028-06-09");
    club.on("2028-06-10");
    assert_eq!(club.tier(&lan).await, "silver");
    // Miles are valid for 36 months.
    club.on("2029-01-10");
    assert_eq!(club.balance(&lan).await, 50_000);
    club.on("2029-01-11");
    assert_eq!(club.balance(&lan).await, 50_000 - 8250);
    club.close().await;
}

#[tokio::test]
async fn an_airline_counts_flights_however_short_they_are() {
    let club = Club::open(AIRLINE, "2026-01-10").await;
    let minh = club.enroll("minh").await;
    for _ in 1..18 {
        assert_eq!(club.earns(&minh, flight(&club, "300", "economy")).await, 300);
    }
    let standing = club.standing(&minh).await;
    assert_eq!((standing.tier_id.as_str(), standing.next_missing_visits, standing.next_missing_points), ("silver", Some(1), Some(9_900)));
    club.earns(&minh, flight(&club, "300", "economy")).await;
    assert_eq!(club.tier(&minh).await, "titanium through 2027-01-09");
    // Nine and eighteen more within the twelve months are Gold and Platinum.
    club.on("2026-09-10");
    for (flights, tier) in [(9, "gold through 2027-09-09"), (18, "platinum through 2027-09-09")] {
        for _ in 0..flights {
            club.earns(&minh, flight(&club, "300", "economy")).await;
        }
        assert_eq!(club.tier(&minh).await, tier);
    }
    club.close().await;
}

#[tokio::test]
async fn an_airline_raises_nobody_for_a_mile_or_a_flight_too_few_and_goes_from_platinum_one_down_each_year() {
    let club = Club::open(AIRLINE, "2026-01-10").await;
    let huong = club.enroll("huong").await;
    // The last mile of each step; of one kind of flights each, so that their number is far from enough.
    for (miles, held, next, missing) in [
        ("14999", "silver", "titanium", 1),
        ("1", "titanium through 2027-01-09", "gold", 15_000),
        ("14999", "titanium through 2027-01-09", "gold", 1),
        ("1", "gold through 2027-01-09", "platinum", 20_000),
        ("19999", "gold through 2027-01-09", "platinum", 1),
        // What is flown on the day of reaching a tier counts for keeping it too, so that the last mile is flown on a day of its own.
        ("1", "platinum through 2027-01-10", "", 0),
    ] {
        club.on(if held.starts_with("platinum") { "2026-01-11" } else { "2026-01-10" });
        club.earns(&huong, flight(&club, miles, "economy")).await;
        let standing = club.standing(&huong).await;
        assert_eq!((club.tier(&huong).await.as_str(), standing.next_tier_id.as_str()), (held, next));
        assert_eq!(standing.next_missing_points.unwrap_or_default(), missing);
    }
    // 44 flights are Gold, by their number alone, and the 45th is Platinum.
    club.on("2026-01-10");
    let quan = club.enroll("quan").await;
    for (flights, held, missing) in [
        (17, "silver", Some(1)),
        (1, "titanium through 2027-01-09", Some(9)),
        (8, "titanium through 2027-01-09", Some(1)),
        (1, "gold through 2027-01-09", Some(18)),
        (17, "gold through 2027-01-09", Some(1)),
        (1, "platinum through 2027-01-10", None),
    ] {
        club.on(if held.starts_with("platinum") { "2026-01-11" } else { "2026-01-10" });
        for _ in 0..flights {
            club.earns(&quan, flight(&club, "100", "economy")).await;
        }
        assert_eq!((club.tier(&quan).await.as_str(), club.standing(&quan).await.next_missing_visits), (held, missing));
    }
    // One flies no more: Platinum, Gold, Titanium, Silver, a year each. The other one flies what is Titanium, which is no more than one down.
    club.on("2026-07-10");
    club.earns(&quan, flight(&club, "15000", "economy")).await;
    for (day, huong_has, quan_has) in [
        ("2027-01-10", "platinum through 2027-01-10", "platinum through 2027-01-10"),
        ("2027-01-11", "gold through 2028-01-10", "gold through 2028-01-10"),
        ("2028-01-11", "titanium through 2029-01-10", "titanium through 2029-01-10"),
        ("2029-01-11", "silver", "silver"),
    ] {
        club.on(day);
        assert_eq!((club.tier(&huong).await.as_str(), club.tier(&quan).await.as_str()), (huong_has, quan_has), "{day}");
    }
    club.close().await;
}

#[tokio::test]
async fn an_airline_drops_from_the_twelve_months_what_was_flown_before_them() {
    let club = Club::open(AIRLINE, "2026-01-10").await;
    let lien = club.enroll("lien").await;
    club.earns(&lien, flight(&club, "10000", "economy")).await;
    // A year and a day later they do not count any more.
    club.on("2027-01-09");
    assert_eq!(club.standing(&lien).await.next_missing_points, Some(5_000));
    club.on("2027-01-10");
    assert_eq!(club.standing(&lien).await.next_missing_points, Some(15_000));
    club.earns(&lien, flight(&club, "5000", "economy")).await;
    assert_eq!(club.tier(&lien).await, "silver");
    club.close().await;
}

#[tokio::test]
async fn the_tenth_stamp_is_a_free_coffee_by_itself_which_earns_no_stamp() {
    let club = Club::open(STAMP_CARD, "2026-03-10").await;
    let ida = club.enroll("ida").await;
    let coffee = |cups: &str, amount: &str| {
        let line = v1::PurchaseLine { quantity: cups.into(), ..club.line("coffee", amount) };
        club.purchase(line, amount)
    };
    // Each coffee is a stamp, cake is none.
    assert_eq!(club.earns(&ida, coffee("3", "12.50")).await, 3);
    assert_eq!(club.earns(&ida, club.purchase(club.line("cake", "5"), "5")).await, 0);
    assert_eq!(club.earns(&ida, coffee("6", "24")).await, 6);
    assert_eq!((club.balance(&ida).await, club.cannot_redeem(&ida, 9, "").await), (9, "REDEMPTION_NOT_OFFERED".to_owned()));
    let missing = club.server.member(&ida).await.goal.expect("there is a goal").missing_points;
    assert_eq!(missing, 1);
    // The tenth fills the card, and the coffee is there; the eleventh is the first of the next card.
    let quote = club.quote(&ida, coffee("2", "8")).await;
    assert_eq!((quote.issued_vouchers.len(), quote.balance.map(|balance| balance.available)), (1, Some(1)));
    let recorded = club.records(&ida, coffee("2", "8")).await;
    let issued: Vec<_> = recorded.issued_vouchers.iter().map(|voucher| (voucher.voucher_kind_id.as_str(), voucher.cause())).collect();
    assert_eq!(issued, [("free-coffee", v1::voucher::Cause::Goal)]);
    assert_eq!((recorded.balance.map(|balance| balance.available), club.balance(&ida).await), (Some(1), 1));
    // Years later it is the dearest one.
    club.on("2028-03-10");
    assert_eq!(club.gifts(&ida).await, ["free-coffee through 2036-03-10"]);
    let free = v1::PurchaseLine { discount: club.money("6.50"), labels: vec!["free".into()], ..club.line("coffee", "6.50") };
    let code = recorded.issued_vouchers[0].code.clone();
    let free = v1::Purchase { voucher_codes: vec![code], ..club.purchase(free, "0") };
    assert_eq!((club.earns(&ida, free).await, club.balance(&ida).await, club.gifts(&ida).await.len()), (0, 1, 0));
    // Another time she fills the card and would rather have her stamps.
    let full = club.records(&ida, coffee("9", "36")).await;
    let cancel = v1::CancelVoucherRequest {
        request_id: club.request(),
        program_id: PROGRAM.into(),
        code: full.issued_vouchers[0].code.clone(),
        reason: "changed her mind".into(),
        actor: actor(),
    };
    club.server.rewards().cancel_voucher(cancel).await.expect("it is cancelled");
    assert_eq!((club.balance(&ida).await, club.gifts(&ida).await.len()), (10, 0));
    // With the next stamp they are a coffee again.
    club.earns(&ida, coffee("1", "4")).await;
    assert_eq!((club.balance(&ida).await, club.gifts(&ida).await.len()), (1, 1));
    club.close().await;
}
