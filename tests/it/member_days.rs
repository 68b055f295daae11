//! Member price days, as `examples/programs/member-days.yaml` has them: what gold pays on which day.

use jiff::Timestamp;
use loyaltyd::contract::v1::{self, price_effect::Source};

use crate::{support::PROGRAM, world_programs::Club};

const MEMBER_DAYS: &str = include_str!("../../examples/programs/member-days.yaml");

/// A lamp of 80 euros and a gift card, at the shelf's prices.
fn basket(club: &Club) -> v1::Purchase {
    let card = v1::PurchaseLine { kind: v1::purchase_line::Kind::GiftCard.into(), ..club.line("", "25") };
    let lamp = club.purchase(club.line("home", "80"), "105");
    v1::Purchase { lines: [lamp.lines.clone(), vec![card]].concat(), apply_price_effects: true, ..lamp }
}

fn at(purchase: v1::Purchase, instant: &str) -> v1::Purchase {
    let instant: Timestamp = instant.parse().expect("an instant");
    v1::Purchase { occurred_time: Some(prost_types::Timestamp { seconds: instant.as_second(), nanos: 0 }), ..purchase }
}

/// What the tier takes off, in per cent; empty: nothing.
fn percent(effects: &[v1::PriceEffect]) -> &str {
    effects.iter().find(|effect| effect.source() == Source::TierDiscount).map_or("", |effect| &effect.discount_percent)
}

/// What is to be paid, by how many per cent less, and the points: quoted, and then booked just so.
async fn pays(club: &Club, member: &str, basket: v1::Purchase) -> (String, String, i64) {
    let quote = club.quote(member, basket.clone()).await;
    let booked = club.records_as_quoted(member, basket, &quote.quote_id).await;
    assert_eq!((&booked.priced, &booked.price_effects, &booked.benefits), (&quote.priced, &quote.price_effects, &quote.benefits));
    let total = booked.priced.and_then(|priced| priced.total).expect("a total").amount;
    (total, percent(&booked.price_effects).to_owned(), booked.accrual.expect("an accrual").points)
}

fn said(total: &str, percent: &str, points: i64) -> (String, String, i64) {
    (total.into(), percent.into(), points)
}

#[tokio::test]
async fn gold_pays_a_tenth_less_on_the_first_saturday_of_a_month_and_a_fifth_less_when_the_sale_begins() {
    let club = Club::open(MEMBER_DAYS, "2026-11-02").await;
    let hanna = club.enroll("hanna").await;
    let peter = club.enroll("peter").await;
    assert_eq!(club.buys(&hanna, "1000").await, 1_000);
    assert_eq!(club.tier(&hanna).await, "gold through 2027-12-31");
    // Friday: what gold has on every day. A gift card is money, and has no discount.
    club.on("2026-11-06");
    assert_eq!(pays(&club, &hanna, basket(&club)).await, said("102.60", "3", 77));
    // The first Saturday, for gold alone.
    club.on("2026-11-07");
    assert_eq!(pays(&club, &hanna, basket(&club)).await, said("97.00", "10", 72));
    assert_eq!(pays(&club, &peter, basket(&club)).await, said("105.00", "", 80));
    // A week later it is over, but not for what was bought then and is told now: from midnight of Berlin to the next.
    club.on("2026-11-14");
    assert_eq!(pays(&club, &hanna, basket(&club)).await, said("102.60", "3", 77));
    for (occurred, percent) in
        [("2026-11-06T22:59:59Z", "3"), ("2026-11-06T23:00:00Z", "10"), ("2026-11-07T22:59:59Z", "10"), ("2026-11-07T23:00:00Z", "3")]
    {
        assert_eq!(pays(&club, &hanna, at(basket(&club), occurred)).await.1, percent, "{occurred}");
    }
    // The first day of the sale; the day after it is as ever, and the next first Saturday comes.
    for (day, total, percent, points) in [
        ("2026-11-26", "89.00", "20", 64),
        ("2026-11-27", "102.60", "3", 77),
        ("2026-12-05", "97.00", "10", 72),
        ("2026-12-12", "102.60", "3", 77),
    ] {
        club.on(day);
        assert_eq!(pays(&club, &hanna, basket(&club)).await, said(total, percent, points), "{day}");
    }
    // From midnight to midnight of Berlin.
    for (occurred, percent) in
        [("2026-11-25T22:59:59Z", "3"), ("2026-11-25T23:00:00Z", "20"), ("2026-11-26T22:59:59Z", "20"), ("2026-11-26T23:00:00Z", "3")]
    {
        assert_eq!(pays(&club, &hanna, at(basket(&club), occurred)).await.1, percent, "{occurred}");
    }
    club.close().await;
}

#[tokio::test]
async fn what_was_bought_on_a_price_day_comes_back_at_its_price_and_a_till_is_told_of_the_discount() {
    let club = Club::open(MEMBER_DAYS, "2026-11-02").await;
    let hanna = club.enroll("hanna").await;
    club.buys(&hanna, "1000").await;
    club.on("2026-11-07");
    let lamp = basket(&club);
    assert_eq!(pays(&club, &hanna, lamp.clone()).await, said("97.00", "10", 72));
    // A till that takes discounts off itself is told of that of the day, and needs no others.
    let own = v1::Purchase { apply_price_effects: false, ..basket(&club) };
    let benefits = club.quote(&hanna, own).await.benefits.expect("gold has benefits");
    assert_eq!((benefits.discount_percent.as_str(), benefits.price_days.as_slice()), ("10", &[][..]));
    // Who asks for Hanna is told of all that there are, and of that of every day.
    let standing = club.standing(&hanna).await.benefits.expect("gold has benefits");
    assert_eq!((standing.discount_percent.as_str(), standing.price_days.len()), ("3", 2));
    let (saturday, sale) = (&standing.price_days[0], &standing.price_days[1]);
    assert_eq!((saturday.weekdays.as_slice(), saturday.first_day_of_month, saturday.last_day_of_month), (&[6][..], 1, 7));
    assert_eq!((sale.display_name.as_str(), sale.weekdays.len(), sale.first_day_of_month), ("The sale begins", 0, 0));
    // When the lamp comes back, what was paid for it does, and what that earned.
    club.on("2026-11-16");
    let request = v1::ReturnPurchaseRequest {
        request_id: "return".into(),
        program_id: PROGRAM.into(),
        store_id: lamp.store_id,
        order_id: lamp.order_id,
        lines: vec![v1::ReturnLine { line_index: 0, quantity: "1".into(), ..Default::default() }],
        ..Default::default()
    };
    club.returns(request).await;
    assert_eq!(club.balance(&hanna).await, 1_000);
    club.close().await;
}
