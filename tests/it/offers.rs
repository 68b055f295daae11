//! Offers: what some members alone have, how long, and how often; told by the entries that their commands and purchases lead to.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use loyaltyd::{
    contract::{Violation, program as parser, rule_book},
    domain::{
        Accrual, Command, Context, Entry, EntryKind, Header, History, MAX_OFFER_TIMES, MAX_PAST_OFFERS, Member, MemberId, MemberKey,
        OfferChange, OfferId, OfferObstacle, OfferRejection, OfferRequest, OfferStanding, OfferState, Person, Program, ProgramHistory,
        Purchase, Rejection, VoucherCause, VoucherChange, advance, apply, merge, tally_keys,
    },
};

use crate::{
    accrual::{Shop, at, goods, purchase, rule_book_with},
    returns::{buys, gives, units, whole},
};

const BOOKSHOP: &str = include_str!("../../examples/programs/offers-bookshop.yaml");

fn bookshop() -> Program {
    let document = rule_book::read(BOOKSHOP).expect("the rule book reads");
    parser::parse(&document, 1, at("2026-01-01T00:00:00Z")).expect("the rule book is valid")
}

fn open_at(program: Program, now: &str) -> Shop {
    open_as(ProgramHistory::new(Arc::new(program)), 7, now)
}

fn open_as(programs: ProgramHistory, id: u8, now: &str) -> Shop {
    let key = MemberKey { program: programs.newest().id.clone(), member: MemberId([id; 16]) };
    let now = at(now);
    let mut shop = Shop { programs, member: Member::bare(key, Header::new(now)), now, entries: Vec::new() };
    shop.does(&Command::Enroll { person: Person::default() }).expect("anyone can enrol");
    shop
}

fn passes(shop: &mut Shop, now: &str) {
    shop.now = at(now);
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    shop.member = decision.member;
    shop.entries.extend(decision.entries);
}

fn id(offer: &str) -> OfferId {
    OfferId::new(offer).expect("an id")
}

fn activates(shop: &mut Shop, offer: &str) -> Result<Vec<Entry>, Rejection> {
    shop.does(&Command::Offer(OfferRequest::Activate { offer: id(offer) }))
}

fn assigns(shop: &mut Shop, offer: &str, end_time: Option<&str>) -> Result<Vec<Entry>, Rejection> {
    let request = OfferRequest::Assign { offer: id(offer), reason: "the parcel was late".into(), end_time: end_time.map(at) };
    shop.does(&Command::Offer(request))
}

fn withdraws(shop: &mut Shop, offer: &str) -> Result<Vec<Entry>, Rejection> {
    shop.does(&Command::Offer(OfferRequest::Withdraw { offer: id(offer), reason: "given by mistake".into() }))
}

fn standing(shop: &Shop, offer: &str) -> OfferStanding {
    let program = shop.programs.newest();
    program.offer(&id(offer)).expect("there is one").standing(program, &shop.member.header, shop.now).expect("in range")
}

fn state(shop: &Shop, offer: &str) -> (OfferState, Option<Timestamp>) {
    let standing = standing(shop, offer);
    (standing.state, standing.until)
}

fn euros(amount: i64) -> Purchase {
    purchase(vec![goods("book", "", "1", &amount.to_string())])
}

/// Points in all, and those of each promotion.
fn earned(accrual: &Accrual) -> (i64, Vec<(&str, i64)>) {
    (accrual.points.0, accrual.promotions.iter().map(|award| (award.promotion.as_str(), award.points.0)).collect())
}

/// Folding the entries anew comes to the same.
#[track_caller]
fn check_fold(shop: &Shop) {
    let mut member = Member::bare(shop.member.key.clone(), Header::new(shop.entries[0].record_time));
    for entry in &shop.entries {
        apply(&mut member, entry).expect("it folds");
    }
    assert_eq!(member.header, shop.member.header);
}

#[track_caller]
fn refused(answer: Result<Vec<Entry>, Rejection>) -> OfferRejection {
    match answer {
        Err(Rejection::Offer(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gold_reader_turns_on_a_week_of_triple_points_once_a_month() {
    let mut shop = open_at(bookshop(), "2026-03-02T10:00:00Z");
    // A reader does not have it.
    assert_eq!(standing(&shop, "gold-week").state, OfferState::Unavailable);
    let tier = shop.programs.newest().tiers[0].id.clone();
    assert_eq!(refused(activates(&mut shop, "gold-week")), OfferRejection::Tier { offer: id("gold-week"), tier: Some(tier) });
    // 500 euros are gold; gold alone gives nothing more until the offer is turned on.
    assert_eq!(earned(&buys(&mut shop, "o-1", euros(500))), (500, vec![]));
    assert_eq!(state(&shop, "gold-week").0, OfferState::NeedsActivation);
    assert_eq!(earned(&buys(&mut shop, "o-2", euros(10))), (10, vec![]));
    let entries = activates(&mut shop, "gold-week").expect("it is for gold");
    assert_eq!(entries.len(), 1);
    // Monday, and six days more.
    let end = at("2026-03-08T23:00:00Z");
    assert_eq!(state(&shop, "gold-week"), (OfferState::Active, Some(end)));
    assert_eq!(earned(&buys(&mut shop, "o-3", euros(10))), (30, vec![("triple-week", 20)]));
    assert_eq!(standing(&shop, "gold-week").uses_left, Some(4));
    let again = OfferRejection::Active { offer: id("gold-week"), end_time: Some(end) };
    assert_eq!(refused(activates(&mut shop, "gold-week")), again);
    passes(&mut shop, "2026-03-08T22:59:59Z");
    assert_eq!(earned(&buys(&mut shop, "o-4", euros(10))).0, 30);
    passes(&mut shop, "2026-03-08T23:00:00Z");
    assert_eq!(earned(&buys(&mut shop, "o-5", euros(10))).0, 10);
    // A till that tells late what was sold in the week sold it then.
    let late = Purchase { occurred_time: Some(at("2026-03-08T12:00:00Z")), ..euros(10) };
    assert_eq!(earned(&buys(&mut shop, "o-6", late)).0, 30);
    assert_eq!(state(&shop, "gold-week").0, OfferState::Ended);
    assert_eq!(refused(activates(&mut shop, "gold-week")), OfferRejection::Ended { offer: id("gold-week") });
    // In April again.
    passes(&mut shop, "2026-04-01T08:00:00Z");
    activates(&mut shop, "gold-week").expect("another month");
    for order in ["p-1", "p-2", "p-3", "p-4", "p-5"] {
        assert_eq!(earned(&buys(&mut shop, order, euros(10))).0, 30, "{order}");
    }
    assert_eq!(state(&shop, "gold-week").0, OfferState::UsedUp);
    assert_eq!(earned(&buys(&mut shop, "p-6", euros(10))).0, 10);
    check_fold(&shop);
}

#[test]
fn who_has_stayed_away_is_won_back_once_a_year_and_a_return_frees_the_use() {
    let mut shop = open_at(bookshop(), "2026-01-05T10:00:00Z");
    buys(&mut shop, "o-1", euros(40));
    assert_eq!(standing(&shop, "win-back").why_not, [OfferObstacle::Refused(OfferRejection::Segment { offer: id("win-back") })]);
    passes(&mut shop, "2026-03-20T10:00:00Z");
    assert_eq!(state(&shop, "win-back"), (OfferState::NeedsActivation, None));
    activates(&mut shop, "win-back").expect("she is at risk");
    // A postcard is too little, and ends being at risk; the offer stays hers for 14 days.
    assert_eq!(earned(&buys(&mut shop, "o-2", euros(2))), (2, vec![]));
    assert_eq!(shop.member.header.segments.held.len(), 0);
    assert_eq!(state(&shop, "win-back"), (OfferState::Active, Some(at("2026-04-03T22:00:00Z"))));
    assert_eq!(earned(&buys(&mut shop, "o-3", euros(35))), (235, vec![("come-back", 200)]));
    assert_eq!(state(&shop, "win-back").0, OfferState::UsedUp);
    assert_eq!(earned(&buys(&mut shop, "o-4", euros(35))).0, 35);
    // The goods come back: 235 points go, and the use is free again.
    assert_eq!(gives(&mut shop, whole("o-3")).points.0, 235);
    assert_eq!(standing(&shop, "win-back").uses_left, Some(1));
    assert_eq!(earned(&buys(&mut shop, "o-5", euros(30))), (230, vec![("come-back", 200)]));
    // Whether the time of the offer is over makes no difference for a return.
    passes(&mut shop, "2026-06-01T10:00:00Z");
    assert_eq!(gives(&mut shop, units("o-5", 0, "1")).points.0, 230);
    check_fold(&shop);
}

#[test]
fn a_new_member_is_welcomed_with_one_voucher() {
    let mut shop = open_at(bookshop(), "2026-03-01T23:30:00Z");
    // Enrolled on 2 March by the shop's clock: until the end of 31 March.
    let end = at("2026-03-31T22:00:00Z");
    assert_eq!(state(&shop, "welcome"), (OfferState::Available, Some(end)));
    let entries = activates(&mut shop, "welcome").expect("she is new");
    let [told, issued] = entries.as_slice() else { panic!("{entries:?}") };
    let EntryKind::OfferChanged(changed) = &told.kind else { panic!("{told:?}") };
    assert_eq!((&changed.offer, &changed.change), (&id("welcome"), &OfferChange::Activated));
    let Some(VoucherChange::Issued { voucher, offer, .. }) = issued.voucher_change().map(|changed| &changed.change) else {
        panic!("{issued:?}")
    };
    // 30 days, though the kind says 90.
    assert_eq!((voucher.cause, offer.as_ref()), (VoucherCause::Offer, Some(&id("welcome"))));
    assert_eq!(voucher.expire_time, at("2026-04-01T22:00:00Z"));
    let used_up = OfferRejection::Limit { offer: id("welcome"), limit: 1, next_time: None };
    assert_eq!(refused(activates(&mut shop, "welcome")), used_up);
    assert_eq!((state(&shop, "welcome").0, standing(&shop, "welcome").uses), (OfferState::UsedUp, 1));
    check_fold(&shop);
    let mut late = open_at(bookshop(), "2026-03-01T23:30:00Z");
    passes(&mut late, "2026-03-31T21:59:59Z");
    assert_eq!(state(&late, "welcome").0, OfferState::Available);
    passes(&mut late, "2026-03-31T22:00:00Z");
    assert_eq!(refused(activates(&mut late, "welcome")), OfferRejection::NotNew { offer: id("welcome"), end_time: end });
}

#[test]
fn support_gives_an_offer_and_takes_it_away() {
    let mut shop = open_at(bookshop(), "2026-03-02T10:00:00Z");
    assert_eq!(earned(&buys(&mut shop, "o-1", euros(10))).0, 10);
    assert_eq!(refused(withdraws(&mut shop, "sorry")), OfferRejection::NotAssigned { offer: id("sorry") });
    assert_eq!(refused(assigns(&mut shop, "welcome", None)), OfferRejection::NotPersonal { offer: id("welcome") });
    let past = OfferRejection::EndPast { offer: id("sorry"), end_time: shop.now };
    assert_eq!(refused(assigns(&mut shop, "sorry", Some("2026-03-02T10:00:00Z"))), past);
    assigns(&mut shop, "sorry", None).expect("it is personal");
    assert_eq!(state(&shop, "sorry"), (OfferState::Available, Some(at("2026-04-01T22:00:00Z"))));
    assert_eq!(refused(activates(&mut shop, "sorry")), OfferRejection::NoActivation { offer: id("sorry") });
    withdraws(&mut shop, "sorry").expect("it was given");
    assert!(shop.member.header.offers.is_empty(), "nothing is kept of it");
    assert_eq!(earned(&buys(&mut shop, "o-2", euros(10))).0, 10);
    assigns(&mut shop, "sorry", Some("2026-03-10T00:00:00Z")).expect("it is personal");
    assert_eq!(state(&shop, "sorry").1, Some(at("2026-03-10T00:00:00Z")));
    assert_eq!(earned(&buys(&mut shop, "o-3", euros(10))), (20, vec![("sorry-double", 10)]));
    // Given anew it is still used up.
    assigns(&mut shop, "sorry", None).expect("it is personal");
    assert_eq!(earned(&buys(&mut shop, "o-4", euros(10))).0, 10);
    assert_eq!(state(&shop, "sorry").0, OfferState::UsedUp);
    check_fold(&shop);
}

#[test]
fn a_suspended_member_has_no_offers_and_an_erased_one_keeps_nothing() {
    let mut shop = open_at(bookshop(), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "sorry", None).expect("it is personal");
    shop.does(&Command::Suspend { reason: "a dispute".into() }).expect("anyone can be suspended");
    assert_eq!(standing(&shop, "sorry").why_not, [OfferObstacle::MemberSuspended]);
    assert_eq!(activates(&mut shop, "welcome"), Err(Rejection::MemberSuspended));
    assert_eq!(assigns(&mut shop, "sorry", None), Err(Rejection::MemberSuspended));
    withdraws(&mut shop, "sorry").expect("what was given is taken");
    shop.does(&Command::Reactivate { reason: "settled".into() }).expect("she is back");
    assigns(&mut shop, "sorry", None).expect("it is personal");
    shop.does(&Command::Erase { reason: "she asked".into() }).expect("anyone can be erased");
    assert!(shop.member.header.offers.is_empty());
    assert_eq!(withdraws(&mut shop, "sorry"), Err(Rejection::MemberErased));
    check_fold(&shop);
}

#[test]
fn of_two_members_who_become_one_the_offers_and_what_was_used_of_them_are_kept() {
    let programs = ProgramHistory::new(Arc::new(bookshop()));
    let (mut gone, mut stays) =
        (open_as(programs.clone(), 8, "2026-03-02T10:00:00Z"), open_as(programs.clone(), 7, "2026-03-02T10:00:00Z"));
    assigns(&mut gone, "sorry", None).expect("it is personal");
    buys(&mut gone, "o-1", euros(10));
    activates(&mut gone, "welcome").expect("she is new");
    assigns(&mut stays, "sorry", Some("2026-03-05T00:00:00Z")).expect("it is personal");
    merges(gone, &mut stays);
    // The longer time; both have used it up together.
    assert_eq!(state(&stays, "sorry"), (OfferState::UsedUp, Some(at("2026-04-01T22:00:00Z"))));
    assert_eq!(state(&stays, "welcome").0, OfferState::UsedUp);
    check_fold_of(&stays);
}

/// One becomes the other, now.
fn merges(gone: Shop, stays: &mut Shop) {
    let programs = stays.programs.clone();
    let context = Context {
        programs: &programs,
        now: stays.now,
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: History::NONE,
    };
    let (gone, one) = merge(context, gone.member, stays.member.clone(), "the same reader").expect("they become one");
    assert!(gone.member.header.offers.is_empty());
    stays.member = one.member;
    stays.entries.extend(one.entries);
}

/// The vouchers that came with the other member are in the entry itself.
#[track_caller]
fn check_fold_of(shop: &Shop) {
    let mut member = Member::bare(shop.member.key.clone(), Header::new(shop.entries[0].record_time));
    for entry in &shop.entries {
        apply(&mut member, entry).expect("it folds");
    }
    assert_eq!(member.header.offers, shop.member.header.offers);
}

/// What is kept of offers that are gone is bounded, and what is kept of those that are there is not forgotten for it.
#[test]
fn of_offers_that_the_rule_book_has_no_more_the_last_ones_are_remembered() {
    let book = |first: usize| {
        let offers: Vec<String> = (first..first + 50)
            .map(|n| format!("{{ offer_id: o{n}, display_name: O, personal: true, voucher: {{ voucher_kind_id: tea }} }}"))
            .collect();
        let more = "{ offer_id: kept, display_name: K, personal: true, voucher: { voucher_kind_id: tea } }";
        format!(
            "accrual_rules: [{{ rule_id: goods, per_amount: {{ amount: 1, points: 1 }} }}]\nvoucher_kinds: [{{ voucher_kind_id: tea, benefit: {{ \
             free_item: {{ sku: tea }} }}, valid_days: 30 }}]\noffers: [{more}, {}]\n",
            offers.join(", ")
        )
    };
    let mut shop = Shop::open(rule_book_with(&book(0)));
    assigns(&mut shop, "kept", None).expect("it is personal");
    for version in 0..4 {
        let first = version * 50;
        let program = Program { version: version as u32 + 2, publish_time: shop.now, ..rule_book_with(&book(first)) };
        shop.programs = shop.programs.with(Arc::new(program));
        for n in first..first + 50 {
            shop.now += 1.second();
            assigns(&mut shop, &format!("o{n}"), None).expect("it is personal");
            let past = shop.member.header.offers.keys().filter(|offer| shop.programs.newest().offer(offer).is_none()).count();
            assert!(past <= MAX_PAST_OFFERS, "{past}");
        }
    }
    let offers = &shop.member.header.offers;
    assert_eq!((offers.len(), offers.contains_key(&id("o49")), offers.contains_key(&id("o50"))), (151, false, true));
    assert!(offers.contains_key(&id("kept")));
    check_fold(&shop);
}

/// Double points, and a tea, for those who have offer `it`; `promotion`: more about the double points.
fn book_with(promotion: &str, offer: &str) -> Program {
    rule_book_with(&format!(
        "accrual_rules: [{{ rule_id: goods, per_amount: {{ amount: 1, points: 1 }} }}]\ntiers: [{{ tier_id: green }}, {{ tier_id: gold, threshold: \
         {{ qualifying_points: 100000 }} }}]\nvoucher_kinds: [{{ voucher_kind_id: tea, benefit: {{ free_item: {{ sku: tea }} }}, valid_days: 30 \
         }}]\npromotions: [{{ promotion_id: double, only_with_offer: true, {promotion} multiply: {{ multiplier: 2 }} }}]\noffers: [{{ offer_id: it, \
         display_name: It, {offer} }}]\n"
    ))
}

fn book_of(offer: &str) -> Program {
    book_with("", offer)
}

/// From now on.
fn publishes(shop: &mut Shop, program: Program) {
    let version = shop.programs.newest().version + 1;
    shop.programs = shop.programs.with(Arc::new(Program { version, publish_time: shop.now, ..program }));
}

/// What a sale of 10 that occurred then, and is told now, earns.
fn earns_late(shop: &mut Shop, order: &str, occurred: &str) -> i64 {
    earned(&buys(shop, order, Purchase { occurred_time: Some(at(occurred)), ..euros(10) })).0
}

fn earns(shop: &mut Shop, order: &str) -> i64 {
    earned(&buys(shop, order, euros(10))).0
}

fn why_not(shop: &Shop) -> Vec<OfferObstacle> {
    standing(shop, "it").why_not
}

fn not_offered(start_time: Option<&str>, end_time: Option<&str>) -> OfferObstacle {
    let (start_time, end_time) = (start_time.map(at), end_time.map(at));
    OfferObstacle::Refused(OfferRejection::NotOffered { offer: id("it"), start_time, end_time })
}

#[test]
fn a_promotion_gives_to_nobody_once_its_offer_is_taken_out_of_the_rule_book() {
    let mut shop = open_at(bookshop(), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "sorry", None).expect("it is personal");
    let mut document = rule_book::read(BOOKSHOP).expect("the rule book reads");
    document.offers.retain(|offer| offer.offer_id != "sorry");
    let program = parser::parse(&document, 2, shop.now).expect("a campaign can end");
    publishes(&mut shop, program);
    assert_eq!(earned(&buys(&mut shop, "o-1", euros(10))), (10, vec![]));
    let mut other = open_as(shop.programs.clone(), 8, "2026-03-02T10:00:00Z");
    assert_eq!(earned(&buys(&mut other, "o-1", euros(10))), (10, vec![]));
}

#[test]
fn a_sale_that_is_told_late_earns_by_the_offer_that_was_had_then() {
    let mut shop = open_at(bookshop(), "2026-03-02T10:00:00Z");
    buys(&mut shop, "o-1", euros(500));
    activates(&mut shop, "gold-week").expect("it is for gold");
    passes(&mut shop, "2026-04-01T08:00:00Z");
    activates(&mut shop, "gold-week").expect("another month");
    passes(&mut shop, "2026-04-02T08:00:00Z");
    assert_eq!(earns_late(&mut shop, "o-2", "2026-03-08T12:00:00Z"), 30);
    assert_eq!(earns_late(&mut shop, "o-3", "2026-03-09T12:00:00Z"), 10);
    check_fold(&shop);

    let mut shop = open_at(book_of("personal: true, promotion_id: double"), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "it", Some("2026-03-05T00:00:00Z")).expect("it is personal");
    passes(&mut shop, "2026-03-07T10:00:00Z");
    assigns(&mut shop, "it", None).expect("it is personal");
    assert_eq!(earns_late(&mut shop, "o-1", "2026-03-03T10:00:00Z"), 20, "before it was given anew");
    assert_eq!(earns_late(&mut shop, "o-2", "2026-03-06T10:00:00Z"), 10, "it was over");
    passes(&mut shop, "2026-03-09T10:00:00Z");
    withdraws(&mut shop, "it").expect("it was given");
    passes(&mut shop, "2026-03-10T10:00:00Z");
    assert_eq!(earns_late(&mut shop, "o-3", "2026-03-09T09:59:59Z"), 20, "before it was taken away");
    assert_eq!(earns_late(&mut shop, "o-4", "2026-03-09T10:00:00Z"), 10);
    assert_eq!(refused(withdraws(&mut shop, "it")), OfferRejection::NotAssigned { offer: id("it") });
    assert_eq!(why_not(&shop), [OfferObstacle::Refused(OfferRejection::NotAssigned { offer: id("it") })]);
    check_fold(&shop);
}

/// As promotions that ask for segments do.
#[test]
fn a_sale_that_is_told_late_has_no_offer_for_a_segment_that_the_member_came_into_after_it() {
    let book = rule_book_with(
        "accrual_rules: [{ rule_id: goods, per_amount: { amount: 1, points: 1 } }]\nsegments: [{ segment_id: regular, condition: \
         \"member.purchases >= 1\" }]\npromotions: [{ promotion_id: double, only_with_offer: true, multiply: { multiplier: 2 } }]\noffers: [{ \
         offer_id: it, display_name: It, segment_ids: [regular], promotion_id: double }]\n",
    );
    let mut shop = open_at(book, "2026-03-02T10:00:00Z");
    passes(&mut shop, "2026-03-05T10:00:00Z");
    assert_eq!(earns(&mut shop, "o-1"), 10, "she was in none before");
    passes(&mut shop, "2026-03-06T10:00:00Z");
    assert_eq!(earns_late(&mut shop, "o-2", "2026-03-05T09:59:59Z"), 10, "she was in none then");
    assert_eq!(earns_late(&mut shop, "o-3", "2026-03-05T10:00:00Z"), 20);
    assert_eq!(earns(&mut shop, "o-4"), 20);
    check_fold(&shop);
}

#[test]
fn of_the_times_that_an_offer_was_had_the_last_few_are_kept_as_long_as_a_sale_may_be_late() {
    let mut shop = open_at(book_of("personal: true, promotion_id: double, requires_activation: true"), "2026-03-02T10:00:00Z");
    let times = |shop: &Shop| {
        let held = &shop.member.header.offers[&id("it")];
        (held.assigned.len(), held.activated.len())
    };
    for n in 1..=8 {
        assigns(&mut shop, "it", None).expect("it is personal");
        shop.now += 1.minute();
        activates(&mut shop, "it").expect("it was given anew");
        shop.now += 1.minute();
        assert_eq!(times(&shop), (n.min(MAX_OFFER_TIMES), n.min(MAX_OFFER_TIMES)));
    }
    passes(&mut shop, "2027-12-02T10:00:00Z");
    withdraws(&mut shop, "it").expect("it was given");
    shop.now += 1.minute();
    assigns(&mut shop, "it", None).expect("it is personal");
    // The one that was taken away a minute ago, and the new one.
    assert_eq!(times(&shop), (2, 1));
    check_fold(&shop);
}

#[test]
fn a_campaign_that_is_prolonged_goes_on_for_those_who_have_activated_it_or_were_given_it() {
    let until = |end: &str, offer: &str| book_of(&format!("{offer}, promotion_id: double, end_time: \"{end}\""));
    for (offer, state_then) in [("requires_activation: true", OfferState::Active), ("personal: true", OfferState::Available)] {
        let mut shop = open_at(until("2026-03-31T04:00:00Z", offer), "2026-03-05T10:00:00Z");
        if state_then == OfferState::Active {
            activates(&mut shop, "it").expect("it is for all");
        } else {
            assigns(&mut shop, "it", None).expect("it is personal");
        }
        assert_eq!(state(&shop, "it"), (state_then, Some(at("2026-03-31T04:00:00Z"))));
        passes(&mut shop, "2026-03-31T04:00:00Z");
        assert_eq!((earns(&mut shop, "o-1"), why_not(&shop)), (10, vec![not_offered(None, Some("2026-03-31T04:00:00Z"))]));
        passes(&mut shop, "2026-03-31T10:00:00Z");
        publishes(&mut shop, until("2026-04-30T04:00:00Z", offer));
        passes(&mut shop, "2026-04-01T10:00:00Z");
        assert_eq!(state(&shop, "it"), (state_then, Some(at("2026-04-30T04:00:00Z"))));
        assert_eq!(earns(&mut shop, "o-2"), 20);
    }
}

/// ListOffers and the till say the same, whatever later versions change.
#[test]
fn who_was_given_an_offer_has_it_while_it_runs_whoever_it_is_for_later() {
    let given = |fields: &str| book_of(&format!("promotion_id: double, {fields}"));
    // It ends sooner.
    let mut shop = open_at(given("personal: true, valid_days: 30"), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "it", None).expect("it is personal");
    publishes(&mut shop, given("personal: true, valid_days: 30, end_time: \"2026-03-10T00:00:00Z\""));
    passes(&mut shop, "2026-03-03T10:00:00Z");
    assert_eq!((state(&shop, "it"), earns(&mut shop, "o-1")), ((OfferState::Available, Some(at("2026-03-10T00:00:00Z"))), 20));
    passes(&mut shop, "2026-03-15T10:00:00Z");
    assert_eq!((why_not(&shop), earns(&mut shop, "o-2")), (vec![not_offered(None, Some("2026-03-10T00:00:00Z"))], 10));
    // It begins sooner than was said.
    let mut shop = open_at(given("personal: true, start_time: \"2026-03-10T00:00:00Z\""), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "it", None).expect("it is personal");
    assert_eq!((why_not(&shop), earns(&mut shop, "o-1")), (vec![not_offered(Some("2026-03-10T00:00:00Z"), None)], 10));
    publishes(&mut shop, given("personal: true, start_time: \"2026-03-03T00:00:00Z\""));
    passes(&mut shop, "2026-03-04T10:00:00Z");
    assert_eq!((state(&shop, "it").0, earns(&mut shop, "o-2")), (OfferState::Available, 20));
    // It is for gold now.
    let mut shop = open_at(given("personal: true, valid_days: 6"), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "it", None).expect("it is personal");
    publishes(&mut shop, given("tier_ids: [gold]"));
    passes(&mut shop, "2026-03-04T10:00:00Z");
    assert_eq!((state(&shop, "it"), earns(&mut shop, "o-1")), ((OfferState::Available, Some(at("2026-03-09T04:00:00Z"))), 20));
    passes(&mut shop, "2026-03-10T10:00:00Z");
    assert_eq!((state(&shop, "it").0, earns(&mut shop, "o-2")), (OfferState::Unavailable, 10));
}

#[test]
fn an_activation_counts_as_long_as_the_offer_has_activations() {
    let mut shop = open_at(book_of("promotion_id: double, requires_activation: true, valid_days: 1"), "2026-03-02T10:00:00Z");
    activates(&mut shop, "it").expect("it is for all");
    publishes(&mut shop, book_of("promotion_id: double"));
    passes(&mut shop, "2026-03-05T10:00:00Z");
    assert_eq!((state(&shop, "it").0, why_not(&shop), earns(&mut shop, "o-1")), (OfferState::Available, vec![], 20));

    let mut shop = open_at(book_of("promotion_id: double, requires_activation: true"), "2026-03-02T10:00:00Z");
    activates(&mut shop, "it").expect("it is for all");
    publishes(&mut shop, book_of("voucher: { voucher_kind_id: tea }"));
    passes(&mut shop, "2026-03-05T10:00:00Z");
    assert_eq!(state(&shop, "it").0, OfferState::Available);
    let entries = activates(&mut shop, "it").expect("the voucher is for all");
    let EntryKind::OfferChanged(changed) = &entries[0].kind else { panic!("{entries:?}") };
    assert_eq!((entries.len(), changed.held.activated_now()), (2, None));
}

/// Two who ask at once may do so at one instant. An activation of long ago is forgotten over the new one.
#[test]
fn an_offer_that_is_given_activated_and_withdrawn_at_one_instant_has_been_activated() {
    let ended = || OfferRejection::Ended { offer: id("it") };
    for before in [false, true] {
        let mut shop = open_at(book_of("personal: true, promotion_id: double, requires_activation: true"), "2026-03-02T10:00:00Z");
        if before {
            assigns(&mut shop, "it", None).expect("it is personal");
            activates(&mut shop, "it").expect("it was given");
            shop.now += 1.minute();
            withdraws(&mut shop, "it").expect("it was given");
            passes(&mut shop, "2027-12-02T10:00:00Z");
        }
        assigns(&mut shop, "it", None).expect("it is personal");
        activates(&mut shop, "it").expect("it was given");
        assert_eq!(earns(&mut shop, "o-1"), 20);
        withdraws(&mut shop, "it").expect("it was given");
        let not_assigned = OfferRejection::NotAssigned { offer: id("it") };
        assert_eq!(why_not(&shop), [not_assigned, ended()].map(OfferObstacle::Refused));
        assert_eq!(earns(&mut shop, "o-2"), 10);
        // It is for all now.
        publishes(&mut shop, book_of("promotion_id: double, requires_activation: true"));
        assert_eq!((refused(activates(&mut shop, "it")), state(&shop, "it").0), (ended(), OfferState::Ended));
        publishes(&mut shop, book_of("personal: true, promotion_id: double, requires_activation: true"));
        for _ in 0..2 {
            assigns(&mut shop, "it", None).expect("it is personal");
            activates(&mut shop, "it").expect("it was given anew, at the same instant");
        }
        assert_eq!(earns(&mut shop, "o-3"), 20);
        check_fold(&shop);
    }
}

#[test]
fn who_is_given_an_offer_that_has_to_be_activated_activates_it_for_as_long_as_it_was_given() {
    let mut shop =
        open_at(book_of("personal: true, requires_activation: true, valid_days: 30, promotion_id: double"), "2026-03-02T10:00:00Z");
    assigns(&mut shop, "it", Some("2026-03-05T00:00:00Z")).expect("it is personal");
    assert_eq!((state(&shop, "it").0, earns(&mut shop, "o-1")), (OfferState::NeedsActivation, 10));
    activates(&mut shop, "it").expect("she was given it");
    assert_eq!(state(&shop, "it"), (OfferState::Active, Some(at("2026-03-05T00:00:00Z"))));
    assert_eq!(earns(&mut shop, "o-2"), 20);
    passes(&mut shop, "2026-03-03T10:00:00Z");
    assigns(&mut shop, "it", None).expect("it is personal");
    assert_eq!((state(&shop, "it").0, earns(&mut shop, "o-3")), (OfferState::NeedsActivation, 10));
    activates(&mut shop, "it").expect("she was given it anew");
    assert_eq!(state(&shop, "it"), (OfferState::Active, Some(at("2026-04-03T04:00:00Z"))));
    passes(&mut shop, "2026-04-03T04:00:00Z");
    assert_eq!((state(&shop, "it").0, earns(&mut shop, "o-4")), (OfferState::Ended, 10));
    check_fold(&shop);
}

#[test]
fn a_merge_keeps_what_was_given_lately_what_is_active_and_all_that_was_used() {
    let given = ProgramHistory::new(Arc::new(book_of("personal: true, requires_activation: true, valid_days: 6, promotion_id: double")));
    let mut gone = open_as(given.clone(), 8, "2026-01-02T10:00:00Z");
    assigns(&mut gone, "it", None).expect("it is personal");
    activates(&mut gone, "it").expect("she was given it");
    passes(&mut gone, "2026-02-01T10:00:00Z");
    let mut stays = open_as(given.clone(), 7, "2026-02-01T10:00:00Z");
    assigns(&mut stays, "it", None).expect("it is personal");
    merges(gone, &mut stays);
    // What the other one had is over, and was not this gift.
    assert_eq!(state(&stays, "it").0, OfferState::NeedsActivation);
    activates(&mut stays, "it").expect("she was given it");
    check_fold_of(&stays);

    // Active is who was with either card, and a sale of before counts for either too.
    let mut gone = open_as(given.clone(), 8, "2026-02-01T10:00:00Z");
    assigns(&mut gone, "it", None).expect("it is personal");
    activates(&mut gone, "it").expect("she was given it");
    let mut stays = open_as(given, 7, "2026-02-03T10:00:00Z");
    assigns(&mut stays, "it", None).expect("it is personal");
    passes(&mut gone, "2026-02-03T10:00:00Z");
    merges(gone, &mut stays);
    assert_eq!(state(&stays, "it"), (OfferState::Active, Some(at("2026-02-08T05:00:00Z"))));
    assert_eq!((earns(&mut stays, "o-1"), earns_late(&mut stays, "o-2", "2026-02-02T10:00:00Z")), (20, 20));

    let limit = "member_limit: { uses: 5, period: PERIOD_YEAR }";
    for (offer, uses) in [("promotion_id: double", 3), ("voucher: { voucher_kind_id: tea }", 3)] {
        let programs = ProgramHistory::new(Arc::new(book_of(&format!("{limit}, {offer}"))));
        let mut both = [8, 7].map(|id| open_as(programs.clone(), id, "2026-03-02T10:00:00Z"));
        for (who, order) in [(0, "o-1"), (0, "o-2"), (1, "o-3")] {
            if offer.starts_with("voucher") {
                activates(&mut both[who], "it").expect("it is for all");
            } else {
                assert_eq!(earns(&mut both[who], order), 20);
            }
        }
        let [gone, mut stays] = both;
        merges(gone, &mut stays);
        let standing = standing(&stays, "it");
        assert_eq!((standing.uses, standing.uses_left), (uses, Some(5 - uses)));
        check_fold_of(&stays);
    }
}

#[test]
fn a_merge_does_not_remember_more_offers_of_before_than_there_may_be() {
    let book = |name: &str| {
        let offers: Vec<String> = (0..80)
            .map(|n| format!("{{ offer_id: {name}{n}, display_name: O, personal: true, voucher: {{ voucher_kind_id: tea }} }}"))
            .collect();
        format!(
            "accrual_rules: [{{ rule_id: goods, per_amount: {{ amount: 1, points: 1 }} }}]\nvoucher_kinds: [{{ voucher_kind_id: tea, benefit: {{ \
             free_item: {{ sku: tea }} }}, valid_days: 30 }}]\noffers: [{}]\n",
            offers.join(", ")
        )
    };
    let mut stays = open_at(rule_book_with(&book("x")), "2026-03-02T10:00:00Z");
    for n in 0..80 {
        stays.now += 1.second();
        assigns(&mut stays, &format!("x{n}"), None).expect("it is personal");
    }
    publishes(&mut stays, rule_book_with(&book("y")));
    let mut gone = open_as(stays.programs.clone(), 8, "2026-03-02T11:00:00Z");
    for n in 0..80 {
        gone.now += 1.second();
        assigns(&mut gone, &format!("y{n}"), None).expect("it is personal");
    }
    passes(&mut stays, "2026-03-02T12:00:00Z");
    publishes(&mut stays, book_of("promotion_id: double"));
    merges(gone, &mut stays);
    let offers = &stays.member.header.offers;
    assert_eq!((offers.len(), offers.contains_key(&id("x59")), offers.contains_key(&id("x60"))), (MAX_PAST_OFFERS, false, true));
    check_fold_of(&stays);
}

#[test]
fn only_budgets_of_offers_that_a_member_may_have_are_read() {
    for (offer, had) in [
        ("personal: true, promotion_id: double", false),
        ("requires_activation: true, promotion_id: double", false),
        ("promotion_id: double", true),
        ("voucher: { voucher_kind_id: tea }", false),
    ] {
        let mut shop = open_at(book_with("limits: { budget_points: 100 },", offer), "2026-03-02T10:00:00Z");
        let reads = |shop: &Shop| {
            let command = Command::RecordPurchase(Arc::new(euros(10)));
            !tally_keys(&shop.programs, &shop.member.header, &command, History::NONE, shop.now).is_empty()
        };
        assert_eq!(reads(&shop), had, "{offer}");
        if offer.starts_with("personal") {
            assigns(&mut shop, "it", None).expect("it is personal");
            assert!(reads(&shop));
        } else if offer.starts_with("requires") {
            activates(&mut shop, "it").expect("it is for all");
            assert!(reads(&shop));
        }
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_end_what_was_just_activated() {
    let mut shop = open_at(book_of("requires_activation: true, valid_days: 6, promotion_id: double"), "2026-03-02T10:00:00Z");
    activates(&mut shop, "it").expect("it is for all");
    shop.now -= 5.minutes();
    let end = at("2026-03-09T04:00:00Z");
    assert_eq!((state(&shop, "it"), earns(&mut shop, "o-1")), ((OfferState::Active, Some(end)), 20));
    assert_eq!(refused(activates(&mut shop, "it")), OfferRejection::Active { offer: id("it"), end_time: Some(end) });
    // A sale of before is one of before.
    shop.now += 10.minutes();
    assert_eq!(earns_late(&mut shop, "o-2", "2026-03-02T09:55:00Z"), 10);
}

const BOOK: &str = "
accrual_rules: [{ rule_id: goods, per_amount: { amount: 1, points: 1 } }]
tiers: [{ tier_id: green, display_name: Green }, { tier_id: gold, display_name: Gold, threshold: { qualifying_points: 100 } }]
segments: [{ segment_id: vip, condition: \"member.purchases > 9\" }]
voucher_kinds: [{ voucher_kind_id: tea, benefit: { free_item: { sku: tea } }, after_days: 2, valid_days: 30 }]
promotions:
- { promotion_id: double, only_with_offer: true, multiply: { multiplier: 2 } }
- { promotion_id: open, multiply: { multiplier: 2 } }
";

fn mistakes(fields: &str) -> Vec<String> {
    let text = format!(
        "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\nrounding: {{ mode: MODE_FLOOR, stage: \
         STAGE_RULE, fraction: FRACTION_DROP }}\n{fields}"
    );
    let document = rule_book::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mistakes = parser::parse(&document, 1, Timestamp::UNIX_EPOCH).expect_err(fields);
    mistakes.iter().map(|Violation { path, message }| format!("{path}: {message}")).collect()
}

#[test]
fn a_rule_book_says_where_its_offers_are_wrong() {
    for (offer, expected) in [
        ("offer_id: A, promotion_id: double", "offers[0].offer_id: has a character that is not allowed"),
        ("offer_id: a", "offers[0]: needs promotion_id or voucher: what the offer gives"),
        ("offer_id: a, promotion_id: triple", "offers[0].promotion_id: is not a promotion of the programme"),
        ("offer_id: a, voucher: { voucher_kind_id: mug }", "offers[0].voucher.voucher_kind_id: is not a kind of vouchers"),
        ("offer_id: a, voucher: { voucher_kind_id: tea, valid_days: 1 }", "offers[0].voucher.valid_days: ends before its voucher is valid"),
        ("offer_id: a, promotion_id: double, tier_ids: [green, silver]", "offers[0].tier_ids[1]: is not a tier of the programme"),
        ("offer_id: a, promotion_id: double, segment_ids: [new]", "offers[0].segment_ids[0]: is not a segment of the programme"),
        ("offer_id: a, promotion_id: double, new_member_days: -1", "offers[0].new_member_days: is -1; it must be 1 to 3650"),
        ("offer_id: a, promotion_id: double, personal: true, tier_ids: [gold]", "offers[0].tier_ids: is given, but a personal offer"),
        (
            "offer_id: a, promotion_id: double, personal: true, new_member_days: 3",
            "offers[0].new_member_days: is given, but a personal offer",
        ),
        (
            "offer_id: a, voucher: { voucher_kind_id: tea }, requires_activation: true",
            "offers[0].requires_activation: is for promotions: a voucher is always asked for",
        ),
        ("offer_id: a, promotion_id: double, valid_days: 3", "offers[0].valid_days: counts from when the offer is activated or given"),
        ("offer_id: a, promotion_id: double, personal: true, valid_days: 4000", "offers[0].valid_days: is 4000; it must be 0 to 3650"),
        ("offer_id: a, promotion_id: double, member_limit: { uses: 1 }", "offers[0].member_limit.period: is required"),
        (
            "offer_id: a, promotion_id: double, member_limit: { uses: 0, period: PERIOD_DAY }",
            "offers[0].member_limit.uses: is 0; it must be 1 to 1000000",
        ),
        ("offer_id: a, promotion_id: open", "promotions[1].only_with_offer: must be true: offers[0] has this promotion"),
        (
            "offer_id: a, promotion_id: double, start_time: \"2026-03-11T00:00:00Z\", end_time: \"2026-03-11T00:00:00Z\"",
            "offers[0].end_time: is not after start_time",
        ),
    ] {
        let found = mistakes(&format!("{BOOK}offers: [{{ display_name: An offer, {offer} }}]\n"));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected} is not {found:?}");
    }
    let one = "{ offer_id: a, display_name: An offer, promotion_id: double }";
    assert_eq!(
        mistakes(&format!("{BOOK}offers: [{one}, {one}]\n")),
        ["offers[1].offer_id: is the id of an earlier offer too", "offers[1].promotion_id: is the promotion of an earlier offer too"]
    );
    for (field, expected) in [
        (
            "limits: { times: { times: 1, period: PERIOD_DAY } }",
            "promotions[2].limits.times: is for its offer to say, with only_with_offer: give",
        ),
        ("start_time: \"2026-03-11T00:00:00Z\"", "promotions[2].start_time: is for its offer to say"),
        ("end_time: \"2026-03-11T00:00:00Z\"", "promotions[2].end_time: is for its offer to say"),
        ("tier_ids: [gold]", "promotions[2].tier_ids: is for its offer to say"),
    ] {
        let promotion = format!("- {{ promotion_id: own, only_with_offer: true, {field}, multiply: {{ multiplier: 2 }} }}\n");
        let found = mistakes(&format!("{BOOK}{promotion}offers: [{{ offer_id: a, display_name: An offer, promotion_id: own }}]\n"));
        // Without the promotion the offer is not looked at for more.
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected} is not {found:?}");
    }
    let many = vec![one; 101].join(", ");
    assert_eq!(mistakes(&format!("{BOOK}offers: [{many}]\n"))[0], "offers: has 101 offers; at most 100 are allowed");
}
