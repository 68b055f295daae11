//! Quotes and price effects as the domain decides them: what is taken off in which order, and that a quote is what is booked then.

use std::{env, sync::Arc, time::Instant};

use jiff::ToSpan;
use loyaltyd::domain::{
    AccruedLot, Adjustment, Command, Decision, EffectSource, Entry, EntryKind, Line, LineKind, Payment, Points, PriceEffect, Purchase,
    PurchaseAccrued, QuoteId, QuotePart, Rejection, Tender, TenderKind, TierId, VoucherChange, VoucherCode, VoucherKindId,
    VoucherRejection, VoucherRequest, usable,
};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, dec, goods, line, purchase, rule_book_with, total},
    domain_properties::any_purchase,
    return_properties::any_rule_book,
    returns::order,
};

const KINDS: &str = "voucher_kinds: [{ voucher_kind_id: mug, benefit: { custom: { key: mug } }, valid_days: 30 }, \
{ voucher_kind_id: five, benefit: { amount_off: { amount: 5 } }, valid_days: 30 }, \
{ voucher_kind_id: most, benefit: { amount_off: { amount: 900 } }, minimum_order: 20, valid_days: 30 }, \
{ voucher_kind_id: tenth, benefit: { percent_off: { percent: 10.5, maximum_amount: 12 } }, valid_days: 30 }, \
{ voucher_kind_id: half, benefit: { percent_off: { percent: 50 } }, valid_days: 30 }, \
{ voucher_kind_id: sku, benefit: { free_item: { sku: a } }, valid_days: 30 }, \
{ voucher_kind_id: tea, benefit: { free_item: { category: tea, maximum_amount: 40 } }, valid_days: 30 }, \
{ voucher_kind_id: post, benefit: { free_shipping: {} }, valid_days: 30 }]";
const KIND_IDS: [&str; 8] = ["mug", "five", "most", "tenth", "half", "sku", "tea", "post"];

fn issue(shop: &mut Shop, kind: &str) -> VoucherCode {
    let kind = VoucherKindId::new(kind).expect("an id");
    let entries = shop.does(&Command::Voucher(VoucherRequest::Issue { kind, reason: "sorry".into() })).expect("a voucher");
    entries.iter().rev().find_map(Entry::voucher_change).expect("a voucher").code
}

fn tier(shop: &mut Shop, tier: &str) {
    let tier = TierId::new(tier).expect("an id");
    shop.does(&Command::SetTier { tier, reason: "a test".into(), last_date: None }).expect("a tier");
}

/// Gold has a tenth off, and free shipping.
fn gold_shop(fields: &str) -> Shop {
    let tiers = "tiers: [{ tier_id: base }, { tier_id: gold, threshold: { qualifying_points: 100000 }, benefits: { discount_percent: 10, free_shipping: true } }]";
    let mut shop = Shop::open(rule_book_with(&format!(
        "{KINDS}\n{tiers}\naccrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]\n{fields}"
    )));
    tier(&mut shop, "gold");
    shop
}

fn accrued_in(entries: &[Entry]) -> &PurchaseAccrued {
    let accrued = entries.iter().find_map(|entry| if let EntryKind::PurchaseAccrued(accrued) = &entry.kind { Some(accrued) } else { None });
    accrued.expect("a purchase")
}

fn asks(purchase: Purchase) -> Purchase {
    Purchase { apply_effects: true, ..total(purchase) }
}

/// Prices after all, and what is to be paid.
fn paid(purchase: &Purchase) -> (Vec<String>, String) {
    (purchase.lines.iter().map(|line| (line.amount - line.discount).to_string()).collect(), purchase.total.to_string())
}

fn told(effects: &[PriceEffect]) -> Vec<String> {
    let source = |effect: &PriceEffect| match &effect.source {
        EffectSource::TierDiscount { tier, percent } => format!("{tier} {percent}%"),
        EffectSource::TierShipping { tier } => format!("{tier} shipping"),
        EffectSource::Voucher { .. } if effect.off_shipping => "voucher shipping".into(),
        EffectSource::Voucher { .. } => "voucher".into(),
    };
    let lines = |effect: &PriceEffect| effect.lines.iter().map(|line| format!(" {}:{}", line.line, line.amount)).collect::<String>();
    effects.iter().map(|effect| format!("{} {}{}", source(effect), effect.amount.normalize(), lines(effect))).collect()
}

#[test]
fn tier_and_vouchers_take_off_one_after_the_other() {
    let mut shop = gold_shop("");
    let vouchers = ["sku", "post", "tenth", "five"].map(|kind| issue(&mut shop, kind)).to_vec();
    let card = Line { kind: LineKind::GiftCard, ..line("100") };
    let lines = vec![goods("a", "tea", "3", "45"), Line { discount: dec("10"), ..goods("b", "", "1", "90") }, card];
    let basket = asks(Purchase { vouchers, shipping: dec("3"), order_discount: dec("22.50"), ..purchase(lines) });
    let entries = shop.does(&Command::RecordPurchase(Arc::new(basket))).expect("a purchase");
    let accrued = accrued_in(&entries);
    assert_eq!(
        told(&accrued.effects),
        [
            // A tenth of 40.50 and 72.00, which the till's own discount leaves.
            "gold 10% 11.25 0:4.05 1:7.20",
            "gold shipping 3",
            // A third of 36.45.
            "voucher 12.15 0:12.15",
            "voucher shipping 0",
            // 10.5 per cent of 24.30 and 64.80, a half up.
            "voucher 9.36 0:2.55 1:6.81",
            "voucher 5 0:1.36 1:3.64",
        ]
    );
    assert_eq!(paid(&accrued.purchase), (vec!["20.39".into(), "54.35".into(), "90.00".into()], "164.74".into()));
    assert_eq!(accrued.purchase.check(), Ok(()));
    assert_eq!((accrued.accrual.basis, accrued.accrual.points), (dec("74.74"), Points(74)));
}

#[test]
fn what_is_free_is_free_and_nothing_is_below_zero() {
    let mut shop = gold_shop("");
    let vouchers = ["sku", "sku", "most", "half"].map(|kind| issue(&mut shop, kind)).to_vec();
    let basket = asks(Purchase { vouchers, tip: dec("1"), ..purchase(vec![goods("a", "", "3", "30"), goods("a", "", "0.5", "2.01")]) });
    let entries = shop.does(&Command::RecordPurchase(Arc::new(basket))).expect("a purchase");
    let accrued = accrued_in(&entries);
    let expected = ["gold 10% 3.2 0:3.00 1:0.20", "voucher 9 0:9.00", "voucher 9 0:9.00", "voucher 10.81 0:9.00 1:1.81", "voucher 0"];
    assert_eq!(told(&accrued.effects), expected);
    assert_eq!(paid(&accrued.purchase), (vec!["0.00".into(), "0.00".into()], "1".into()));
}

#[test]
fn taxes_go_down_with_their_lines() {
    for (inside, taxes, total) in [(true, ["0.90", "0.05"], "18.00"), (false, ["0.90", "0.05"], "18.95")] {
        let mut shop = gold_shop("");
        let lines = vec![Line { tax: dec("1"), ..line("10") }, Line { tax: dec("0.05"), ..line("10") }];
        let basket = asks(Purchase { prices_include_tax: inside, ..purchase(lines) });
        let entries = shop.does(&Command::RecordPurchase(Arc::new(basket))).expect("a purchase");
        let sold = &accrued_in(&entries).purchase;
        let found: Vec<String> = sold.lines.iter().map(|line| line.tax.to_string()).collect();
        assert_eq!((found, sold.total.to_string()), (taxes.map(str::to_owned).to_vec(), total.to_owned()));
    }
}

#[test]
fn tenders_pay_what_the_effects_leave() {
    let shop = gold_shop("");
    let with = |amount: &str| {
        let tenders = vec![Tender { kind: TenderKind::Card, amount: dec(amount) }];
        Command::RecordPurchase(Arc::new(Purchase { tenders, ..asks(purchase(vec![line("10")])) }))
    };
    let refused = Rejection::TendersMismatch { total: dec("9"), tendered: dec("10") };
    assert_eq!(shop.decide(&with("10")).map(drop), Err(refused));
    assert_eq!(accrued_in(&shop.decide(&with("9")).expect("a purchase").entries).purchase.total, dec("9"));
    // A till that gives discounts itself gives them, and nothing else is.
    let own = Command::RecordPurchase(Arc::new(purchase(vec![line("10")])));
    let entries = shop.decide(&own).expect("a purchase").entries;
    assert_eq!((accrued_in(&entries).purchase.total, accrued_in(&entries).effects.len()), (dec("10"), 0));
}

#[test]
fn the_id_of_a_quote_is_a_text() {
    let shop = gold_shop("");
    let decision = shop.decide(&Command::RecordPurchase(Arc::new(purchase(vec![line("10")])))).expect("a purchase");
    let id = QuoteId::of(&shop.member.key, &decision.entries);
    assert_eq!(id.to_string().parse(), Ok(id));
    let text = id.to_string();
    let wrong = [text[1..].to_owned(), text[..82].to_owned(), format!("{text}0"), text.to_uppercase(), text.replacen("q1", "q01", 1)];
    for wrong in wrong.into_iter().chain(["q1-é", "q2-", "q-12", "q2-É", "q4294967296-0"].map(str::to_owned)) {
        assert!(wrong.parse::<QuoteId>().is_err(), "{wrong}");
    }
    // One of another encoding is no mistake: nothing can be said of it but that it is to be quoted anew.
    let other = text.replacen("q1", "q2", 1).parse().expect("an id");
    assert_eq!(other, QuoteId::OfOther(2));
    let with_quote = Purchase { quote: Some(other), ..purchase(vec![line("10")]) };
    let parts = ["price", "points", "vouchers", "tier", "payments"];
    assert_eq!(changed(&shop, with_quote), parts);
}

/// The parts of the result that are others than the quote said.
fn changed(shop: &Shop, purchase: Purchase) -> Vec<&'static str> {
    match shop.decide(&Command::RecordPurchase(Arc::new(purchase))) {
        Err(Rejection::QuoteChanged { parts }) => parts.into_iter().map(QuotePart::name).collect(),
        other => panic!("{:?}", other.map(|decision| decision.entries)),
    }
}

fn quoted(shop: &Shop, purchase: &Purchase) -> Purchase {
    let decision = shop.decide(&Command::RecordPurchase(Arc::new(purchase.clone()))).expect("a purchase");
    Purchase { quote: Some(QuoteId::of(&shop.member.key, &decision.entries[decision.own])), ..purchase.clone() }
}

fn adjusts(shop: &mut Shop, points: i64) {
    shop.does(&Command::AdjustPoints(Adjustment { points: Points(points), ..adjustment() })).expect("points");
}

const RULE: &str = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\nadjustments: { maximum_points: 1000 }\n";

#[test]
fn a_unit_that_is_not_given_yet_costs_no_more_because_another_was_not_quite_free() {
    let sells = |kinds: &[&str]| {
        let mut shop = gold_shop("");
        tier(&mut shop, "base");
        let vouchers = kinds.iter().map(|kind| issue(&mut shop, kind)).collect();
        let basket = asks(Purchase { vouchers, ..purchase(vec![goods("a", "tea", "2", "120")]) });
        let entries = shop.does(&Command::RecordPurchase(Arc::new(basket))).expect("a purchase");
        (told(&accrued_in(&entries).effects), paid(&accrued_in(&entries).purchase).1)
    };
    let effect = |amount: &str| format!("voucher {amount} 0:{amount}.00");
    // Of the first tea 20 of 60 are to be paid still; the other one is 60.
    assert_eq!(sells(&["tea", "sku"]), (["40", "60"].map(effect).to_vec(), "20.00".into()));
    // Half off both: 10 of the first are left, and 30 of the other.
    assert_eq!(sells(&["tea", "half", "sku"]), (["40", "40", "30"].map(effect).to_vec(), "10.00".into()));
}

#[test]
fn the_tier_that_a_quote_names_is_kept_though_it_gives_no_points() {
    let tiers = "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 100000 } }]";
    let mut shop = Shop::open(rule_book_with(&format!("{tiers}\n{RULE}")));
    let sale = quoted(&shop, &purchase(vec![line("10")]));
    tier(&mut shop, "silver");
    assert_eq!(changed(&shop, sale), ["tier"]);
}

#[test]
fn vouchers_that_are_delivered_later_are_kept() {
    let goal = "goals: [{ goal_id: card, points: 10, voucher_kind_id: mug, delay_days: 3 }]";
    let mut shop = Shop::open(rule_book_with(&format!("{KINDS}\n{goal}\n{RULE}")));
    adjusts(&mut shop, 8);
    let sale = quoted(&shop, &purchase(vec![line("2")]));
    adjusts(&mut shop, -5);
    assert_eq!(changed(&shop, sale), ["vouchers"]);
}

#[test]
fn points_that_could_be_spent_at_once_are_not_booked_as_pending() {
    let sale = purchase(vec![line("13")]);
    let now = Shop::open(rule_book_with(RULE));
    let books = ["after_days: 30", "on_confirmation: {}"]
        .map(|when| RULE.replace("points: 1 } }", &format!("points: 1 }}, activation: {{ {when} }} }}")));
    for book in books {
        let later = Shop::open(rule_book_with(&book));
        assert_eq!(changed(&later, quoted(&now, &sale)), ["points"], "{book}");
    }
}

#[test]
fn vouchers_that_a_sale_leads_to_come_with_the_terms_that_were_quoted() {
    let book = |name: &str, text: &str, promotion: &str| {
        let kind = format!(
            "{{ voucher_kind_id: gift, display_name: {name}, benefit: {{ custom: {{ key: gift, text: {text} }} }}, valid_days: 30 }}"
        );
        let promotion = format!("{{ promotion_id: {promotion}, voucher_kind_id: gift }}");
        Shop::open(rule_book_with(&format!("voucher_kinds: [{kind}]\npromotions: [{promotion}]\n{RULE}")))
    };
    let sale = quoted(&book("Gift", "a mug", "one"), &purchase(vec![line("10")]));
    assert!(book("Gift", "a mug", "one").decide(&Command::RecordPurchase(Arc::new(sale.clone()))).is_ok());
    for other in [book("Gift", "a pen", "one"), book("Present", "a mug", "one"), book("Gift", "a mug", "two")] {
        assert!(changed(&other, sale.clone()).contains(&"vouchers"));
    }
}

#[test]
fn conditions_read_what_the_till_took_off_itself() {
    let promotions = "promotions: [{ promotion_id: whole, condition: \"purchase.order_discount == 0.00\", add_fixed: { points: 100 } }, \
{ promotion_id: full, line_condition: \"line.discount == 0.00\", add_fixed: { points: 1000 } }]";
    let gives = |sale: Purchase| gold_shop(promotions).buys(sale).promotions.iter().map(|award| award.points.0).sum::<i64>();
    let plain = || purchase(vec![line("60"), line("40")]);
    let discounted = || Purchase { order_discount: dec("50"), ..purchase(vec![line("60"), Line { discount: dec("10"), ..line("40") }]) };
    for (sale, expected) in [(plain(), 1100), (discounted(), 1000)] {
        assert_eq!((gives(total(sale.clone())), gives(asks(sale))), (expected, expected));
    }
    let marked = purchase(vec![Line { discount: dec("1"), ..line("60") }]);
    assert_eq!((gives(marked.clone()), gives(asks(marked))), (100, 100));
}

#[test]
fn a_minimum_is_asked_of_what_the_tills_own_discounts_leave() {
    let mut shop = gold_shop("");
    let vouchers = vec![issue(&mut shop, "most")];
    let sale = |off: &str| Purchase { vouchers: vouchers.clone(), order_discount: dec(off), ..purchase(vec![line("100")]) };
    let record = |sale: Purchase| shop.decide(&Command::RecordPurchase(Arc::new(sale))).map(drop);
    let below = VoucherRejection::BelowMinimumOrder { minimum: dec("20"), goods: dec("19") };
    assert_eq!(record(asks(sale("81"))), Err(below.into()));
    // What tier and vouchers take off afterwards does not count.
    assert_eq!(record(asks(sale("80"))), Ok(()));
    // A till that gives all itself may have the voucher in the discount.
    assert_eq!(record(total(sale("90"))), Ok(()));
}

/// What a customer is told of a purchase, by the entries alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    total: Decimal,
    effects: Vec<PriceEffect>,
    points: (Points, Points),
    awards: Vec<(String, Points, Points)>,
    used: Vec<(VoucherCode, Option<Decimal>)>,
    pending: [i64; 3],
    issued: Vec<String>,
    later: i64,
    /// By which it is rated, to which it changes, and after it.
    tiers: [Option<TierId>; 3],
    spent: Vec<(Points, Decimal)>,
}

fn said(decision: &Decision) -> Said {
    let entries = &decision.entries[decision.own.clone()];
    let accrued = accrued_in(entries);
    let accrual = &accrued.accrual;
    let rules = accrual.awards.iter().map(|award| (award.rule.to_string(), award.points, award.qualifying_points));
    let promotions = accrual.promotions.iter().map(|award| (award.promotion.to_string(), award.points, award.qualifying_points));
    let change = |entry: &Entry| if let EntryKind::TierChanged(change) = &entry.kind { Some(change.to.clone()) } else { None };
    let changes = || entries.iter().filter_map(Entry::voucher_change);
    Said {
        total: accrued.purchase.total,
        effects: accrued.effects.clone(),
        points: (accrual.points, accrual.qualifying_points),
        awards: rules.chain(promotions).filter(|(_, points, _)| points.0 != 0).collect(),
        used: changes()
            .filter_map(|changed| if let VoucherChange::Used { value, .. } = changed.change { Some((changed.code, value)) } else { None })
            .collect(),
        issued: changes()
            .filter_map(|changed| match &changed.change {
                VoucherChange::Issued { voucher, promotion, .. } => {
                    let (benefit, minimum) = (&voucher.benefit, voucher.minimum_order.normalize());
                    Some(format!("{} {} {benefit:?} {minimum} {:?} {promotion:?}", voucher.kind, voucher.display_name, voucher.cause))
                }
                _ => None,
            })
            .collect(),
        pending: {
            let points = |is_meant: fn(&AccruedLot) -> bool| accrual.lots.iter().filter(|lot| is_meant(lot)).map(|lot| lot.points.0).sum();
            [
                points(|lot| lot.pending.is_none()),
                points(|lot| lot.pending.is_some_and(|pending| pending.activate_time.is_some())),
                points(|lot| lot.pending.is_some_and(|pending| pending.activate_time.is_none())),
            ]
        },
        later: entries
            .iter()
            .filter_map(|entry| if let EntryKind::GoalChanged(change) = &entry.kind { Some(change.vouchers.max(0)) } else { None })
            .sum(),
        tiers: {
            let changed = entries.iter().rev().find_map(change);
            [accrual.tier.clone(), changed.clone(), changed.or_else(|| accrued.tier.clone())]
        },
        spent: entries
            .iter()
            .filter_map(|entry| if let EntryKind::PointsRedeemed(made) = &entry.kind { Some((made.points, made.value)) } else { None })
            .collect(),
    }
}

/// What happens to the member between the quote and the sale.
#[derive(Debug, Clone)]
pub enum Between {
    Nothing,
    Wait(i64),
    Adjust(i64),
    Tier(&'static str),
    Buy(Box<Purchase>),
    Voucher(&'static str),
}

#[derive(Debug, Clone)]
pub struct Sale {
    pub purchase: Purchase,
    pub applies: bool,
    pub pays: bool,
    late_hours: Option<i64>,
    pub issues: Vec<&'static str>,
    pub uses: usize,
    hours: i64,
    pub between: Between,
}

pub fn any_sale() -> impl Strategy<Value = Sale> {
    let between = prop_oneof![
        6 => Just(Between::Nothing),
        1 => (1i64..400).prop_map(Between::Wait),
        1 => (-60i64..120).prop_filter("not 0", |points| *points != 0).prop_map(Between::Adjust),
        1 => select(vec!["base", "silver", "gold"]).prop_map(Between::Tier),
        1 => any_purchase().prop_map(|purchase| Between::Buy(Box::new(purchase))),
        1 => select(KIND_IDS.to_vec()).prop_map(Between::Voucher),
    ];
    let issues = proptest::collection::vec(select(KIND_IDS.to_vec()), 0..2);
    let late = proptest::option::weighted(0.2, 0i64..40);
    (any_purchase(), any::<[bool; 2]>(), late, issues, 0usize..4, 0i64..30, between).prop_map(
        |(purchase, [applies, pays], late_hours, issues, uses, hours, between)| Sale {
            purchase,
            applies,
            pays,
            late_hours,
            issues,
            uses,
            hours,
            between,
        },
    )
}

pub fn any_book() -> impl Strategy<Value = String> {
    let percent = select(vec!["", "discount_percent: 3.3333, ", "discount_percent: 10, ", "discount_percent: 100, "]);
    (any_rule_book(), percent, any::<bool>()).prop_map(|(book, percent, shipping)| {
        let (head, rest) = book.split_once("voucher_kinds:").expect("there are kinds");
        let (_, rest) = rest.split_once('\n').expect("they are in one line");
        let benefits = format!("multiplier: 0.4, benefits: {{ {percent}free_shipping: {shipping} }}");
        let rest = rest.replacen("multiplier: 0.4", &benefits, 1);
        let rest = rest.replacen("multiplier: 1.333333", "multiplier: 1.333333, benefits: { discount_percent: 12.5 }", 1);
        format!(
            "{head}{KINDS}\nredemption: {{ points: 10, amount: 1 }}\nadjustments: {{ maximum_points: 100000, into_debt: true }}\n{rest}"
        )
    })
}

/// The purchase as the till sends it; with tenders that pay what is quoted.
fn as_sent(shop: &Shop, sale: &Sale) -> Purchase {
    let live: Vec<VoucherCode> = shop.member.vouchers.keys().copied().take(sale.uses).collect();
    let occurred_time = sale.late_hours.map(|hours| shop.now - hours.hours());
    let sent = Purchase { occurred_time, vouchers: live, ..sale.purchase.clone() };
    if !sale.applies {
        return sent;
    }
    let untendered = Purchase { tenders: Vec::new(), apply_effects: true, ..sent };
    let Ok(decision) = shop.decide(&Command::RecordPurchase(Arc::new(untendered.clone()))) else { return untendered };
    let total = accrued_in(&decision.entries[decision.own.clone()]).purchase.total;
    let offered = usable(shop.programs.newest(), &shop.member.header, total).expect("small numbers").filter(|usable| usable.points.0 > 0);
    let card = |amount| Tender { kind: TenderKind::Card, amount };
    match offered.filter(|_| sale.pays) {
        Some(offered) => Purchase {
            tenders: vec![Tender { kind: TenderKind::Points, amount: offered.value }, card(total - offered.value)],
            payments: vec![Payment::Redeem { points: offered.points }],
            ..untendered
        },
        None => Purchase { tenders: vec![card(total)], ..untendered },
    }
}

fn meanwhile(shop: &mut Shop, between: &Between) {
    let command = match between {
        Between::Nothing => return,
        Between::Wait(hours) => {
            shop.now += hours.hours();
            return;
        }
        Between::Adjust(points) => Command::AdjustPoints(Adjustment { points: Points(*points), ..adjustment() }),
        Between::Tier(tier) => Command::SetTier { tier: TierId::new(tier).expect("an id"), reason: "a test".into(), last_date: None },
        Between::Buy(purchase) => Command::RecordPurchase(Arc::new(Purchase::clone(purchase))),
        Between::Voucher(kind) => {
            Command::Voucher(VoucherRequest::Issue { kind: VoucherKindId::new(kind).expect("an id"), reason: "sorry".into() })
        }
    };
    // What is refused happens to nobody.
    let _ = shop.does(&command);
}

fn adjustment() -> Adjustment {
    Adjustment { points: Points(1), reason: "a test".into(), reference: String::new(), qualifying: true, expiry: None }
}

/// What was paid is what the shelf said less the effects, and no price is below zero.
fn check_price(sent: &Purchase, accrued: &PurchaseAccrued) {
    let sold = &accrued.purchase;
    assert_eq!(sold.check(), Ok(()), "{sold:?}");
    let off_lines: Decimal = accrued.effects.iter().flat_map(|effect| &effect.lines).map(|line| line.amount).sum();
    let off_shipping: Decimal = accrued.effects.iter().filter(|effect| effect.off_shipping).map(|effect| effect.amount).sum();
    let off: Decimal = accrued.effects.iter().map(|effect| effect.amount).sum();
    let price =
        |purchase: &Purchase| purchase.lines.iter().map(|line| line.amount - line.discount).sum::<Decimal>() - purchase.order_discount;
    assert_eq!((price(sent) - price(sold), sent.shipping - sold.shipping), (off_lines, off_shipping), "{accrued:#?}");
    assert_eq!(off, off_lines + off_shipping, "{accrued:#?}");
    for (before, after) in sent.lines.iter().zip(&sold.lines) {
        assert!(after.discount <= after.amount && after.discount >= before.discount && after.tax <= before.tax, "{accrued:#?}");
    }
    let card = |effect: &PriceEffect| effect.lines.iter().any(|line| sent.lines[line.line].kind == LineKind::GiftCard);
    assert!(!accrued.effects.iter().any(card), "a gift card is money: {accrued:#?}");
}

/// Quotes it, lets something happen, and records it: `true` if the quote was kept.
fn sell(shop: &mut Shop, number: usize, sale: &Sale) -> Option<bool> {
    shop.now += sale.hours.hours();
    for kind in &sale.issues {
        issue(shop, kind);
    }
    let sent = as_sent(shop, sale);
    let Ok(quoted) = shop.decide(&Command::RecordPurchase(Arc::new(sent.clone()))) else { return None };
    let id = QuoteId::of(&quoted.member.key, &quoted.entries[quoted.own.clone()]);
    meanwhile(shop, &sale.between);
    let numbered = Purchase { order: Some(order(&format!("o-{number}"))), ..sent.clone() };
    let with_quote = Command::RecordPurchase(Arc::new(Purchase { quote: Some(id), ..numbered.clone() }));
    let without = Command::RecordPurchase(Arc::new(numbered));
    let (kept, now) = (shop.decide(&with_quote), shop.decide(&without));
    let now = match now {
        Ok(now) => now,
        Err(why) => {
            assert!(!matches!(sale.between, Between::Nothing), "{why}");
            assert_eq!(kept.map(drop), Err(why), "what refuses the sale goes before");
            return None;
        }
    };
    let is_same = said(&quoted) == said(&now);
    assert!(is_same || !matches!(sale.between, Between::Nothing), "{:#?}\n{:#?}", said(&quoted), said(&now));
    match kept {
        Ok(kept) => {
            assert!(is_same, "{:#?}\n{:#?}", said(&quoted), said(&now));
            assert_eq!((&kept.entries, &kept.member), (&now.entries, &now.member));
        }
        Err(Rejection::QuoteChanged { parts }) => assert!(!is_same && !parts.is_empty(), "{:#?}", said(&quoted)),
        Err(other) => panic!("{other}"),
    }
    let entries = shop.does(if is_same { &with_quote } else { &without }).expect("a purchase");
    let accrued = entries.iter().rev().find_map(|entry| match &entry.kind {
        EntryKind::PurchaseAccrued(accrued) => Some(accrued),
        _ => None,
    });
    check_price(&sent, accrued.expect("a purchase"));
    Some(is_same)
}

/// Baskets, rule books and members at random: 2,000 of the first, with `LOYALTYD_TEST_LONG` 100,000.
#[test]
fn a_quote_is_what_is_booked_or_the_sale_is_refused() {
    const OF_ONE_BOOK: usize = 40;
    let wanted = if env::var_os("LOYALTYD_TEST_LONG").is_some() { 100_000 } else { 2_000 };
    let seed = env::var("LOYALTYD_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_310);
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() });
    let (begun, mut kept, mut changed, mut refused, mut books, mut effects) = (Instant::now(), 0, 0, 0, 0, 0);
    while kept + changed < wanted {
        let book = any_book().new_tree(&mut runner).expect("a book").current();
        let sales = proptest::collection::vec(any_sale(), OF_ONE_BOOK).new_tree(&mut runner).expect("baskets").current();
        let mut shop = Shop::open(rule_book_with(&book));
        books += 1;
        for (number, sale) in sales.iter().enumerate() {
            match sell(&mut shop, number, sale) {
                Some(true) => kept += 1,
                Some(false) => changed += 1,
                None => refused += 1,
            }
        }
        let sold = shop.entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::PurchaseAccrued(accrued) => Some(accrued.effects.len()),
            _ => None,
        });
        effects += sold.sum::<usize>();
    }
    eprintln!(
        "{kept} quotes kept, {changed} changed, {refused} sales refused, {effects} price effects, {books} rule books, {:?}",
        begun.elapsed()
    );
    assert!(changed > wanted / 50 && effects > wanted / 2 && refused < wanted, "{kept} {changed} {refused} {effects}");
}
