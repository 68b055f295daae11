//! Promotions that a part of the members has: who is in which arm, what each is given and told, and what becomes of it in returns and merges.

use std::fs;

use loyaltyd::{
    contract::{
        Violation, program, rule_book as text,
        v1::{self, award::LimitKind as Limit, entry::Kind as Said},
    },
    domain::{Accrual, Arm, ArmId, LimitKind, MemberId, Place, Points, Program, Promotion, Purchase, RuleId, bucket},
    store::embedded::check,
};

use crate::{
    accrual::{Shop, at, goods, purchase, rule_book_with},
    domain_properties::check_state,
    redemption::{explained, start_with},
    returns::{available, buys, gives, whole},
    support::{PROGRAM, TestServer, actor, by_id, options, rule_book, sale},
};

const RULE: &str = "accrual_rules: [{ rule_id: goods, per_amount: { amount: 1, points: 1 } }]\n";

fn id(promotion: &str) -> RuleId {
    RuleId::new(promotion).expect("an id")
}

#[test]
fn who_has_both_ids_can_reckon_the_arm() {
    // Reckoned by another implementation of BLAKE3.
    let member = |text: &str| MemberId::parse(text).expect("an id");
    let (one, last) = (member("01890a5d-ac96-774b-bcce-b302099a8057"), member("ffffffff-ffff-ffff-ffff-ffffffffffff"));
    assert_eq!([bucket(&id("picnic"), one), bucket(&id("spring-2026"), one), bucket(&id("picnic"), last)], [6_039, 4_673, 1_338]);
}

fn trial(promotion: &str, shares: &[u32]) -> Promotion {
    let program = rule_book_with(&format!("{RULE}promotions: [{{ promotion_id: {promotion}, multiply: {{ multiplier: 2 }} }}]\n"));
    let mut promotion = program.promotions.into_iter().next().expect("a promotion");
    promotion.arms = (0..).zip(shares).map(|(number, share)| arm(&format!("arm-{number}"), *share, number == 0)).collect();
    promotion
}

fn arm(arm: &str, share: u32, is_control: bool) -> Arm {
    Arm { id: ArmId::new(arm).expect("an id"), share, is_control }
}

#[test]
fn arms_have_their_shares_of_the_members_and_trials_do_not_look_at_one_another() {
    const MEMBERS: u32 = 100_000;
    let (one, other) = (trial("one", &[5_000, 2_000, 1]), trial("other", &[5_000, 2_500]));
    let place = |promotion: &Promotion, member| match promotion.place(member) {
        Place::Everywhere => panic!("there are arms"),
        Place::In(own) => promotion.arms.iter().position(|arm| arm == own).expect("one of them"),
        Place::Outside => promotion.arms.len(),
    };
    let mut counts = [[0u32; 3]; 4];
    for number in 0..MEMBERS {
        // Ids as they come: those of one hour are much alike.
        let mut bytes = [1; 16];
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        let member = MemberId(bytes);
        counts[place(&one, member)][place(&other, member)] += 1;
    }
    let sums = counts.map(|row| row.iter().sum::<u32>());
    // Half, a fifth, one in ten thousand, and the rest: within five times the standard deviation.
    for (count, (share, within)) in sums.iter().zip([(50_000, 800), (20_000, 650), (10, 16), (29_990, 750)]) {
        assert!(count.abs_diff(share) <= within, "{sums:?}");
    }
    // Of each big arm of one as many are in those of the other one.
    for row in [0, 1, 3] {
        for (count, share) in counts[row].iter().zip([2, 4, 4]) {
            assert!(count.abs_diff(sums[row] / share) <= 600, "{counts:?}");
        }
    }
}

#[test]
fn more_arms_behind_the_last_one_move_nobody() {
    let (few, more) = (trial("one", &[1_000, 2_000]), trial("one", &[1_000, 2_000, 3_000, 4_000]));
    for number in 0..1_000u16 {
        let mut bytes = [3; 16];
        bytes[14..].copy_from_slice(&number.to_be_bytes());
        match (few.place(MemberId(bytes)), more.place(MemberId(bytes))) {
            (Place::In(before), Place::In(after)) => assert_eq!(before, after),
            (Place::Outside, Place::In(after)) => assert!(after.share >= 3_000, "{after:?}"),
            places => panic!("{places:?}"),
        }
    }
}

/// Arms, so that the member of the shop is in the first one, the second one, or none.
fn arms(shop_member: MemberId, promotion: &str, place: usize) -> String {
    let own = bucket(&id(promotion), shop_member);
    assert!((2..9_000).contains(&own), "choose another name for the promotion");
    let [with, without] = [[own + 1, 9], [own - 1, 9], [own - 1, 1]][place];
    format!("arms: [{{ arm_id: with, share_basis_points: {with} }}, {{ arm_id: without, share_basis_points: {without}, control: true }}]")
}

const MEMBER: MemberId = MemberId([7; 16]);

fn book(place: usize) -> Program {
    let limits = "limits: { budget_points: 100, times: { times: 5, period: PERIOD_LIFETIME } }";
    let (doubled, gift) = (arms(MEMBER, "doubled", place), arms(MEMBER, "gift", place));
    rule_book_with(&format!(
        "{RULE}voucher_kinds: [{{ voucher_kind_id: tea, display_name: A tea, benefit: {{ free_item: {{ sku: tea }} }}, valid_days: 30 \
         }}]\npromotion_groups: [{{ group_id: one, combination: COMBINATION_EXCLUSIVE }}, {{ group_id: best, combination: COMBINATION_BEST }}]\n\
         promotions:\n- {{ promotion_id: doubled, group_id: one, {doubled}, multiply: {{ multiplier: 2 }}, {limits} }}\n- {{ promotion_id: next, \
         group_id: one, priority: 1, add_fixed: {{ points: 3 }} }}\n- {{ promotion_id: gift, {gift}, voucher_kind_id: tea }}\n- {{ promotion_id: \
         more, group_id: best, add_fixed: {{ points: 9 }} }}\n- {{ promotion_id: doubled-too, group_id: best, arms: [{{ arm_id: all, \
         share_basis_points: 9999 }}, {{ arm_id: none, share_basis_points: 1, control: true }}], add_fixed: {{ points: 8 }} }}\n"
    ))
}

fn dollars(amount: i64) -> Purchase {
    purchase(vec![goods("tea", "food", "1", &amount.to_string())])
}

type Told<'a> = (&'a str, &'a str, i64, i64, Option<LimitKind>);

/// Each promotion with the arm, what it would give without limits, what it gives, and the limit that changed it.
fn told(accrual: &Accrual) -> Vec<Told<'_>> {
    let mut told = Vec::new();
    for award in &accrual.promotions {
        let arm = award.arm.as_ref().map_or("", ArmId::as_str);
        told.push((award.promotion.as_str(), arm, award.uncapped_points.0, award.points.0, award.limit));
    }
    told
}

#[test]
fn one_arm_has_the_promotion_the_control_is_told_of_and_the_others_hear_nothing() {
    let shop = |place| Shop::open(book(place));
    let control = Some(LimitKind::Control);
    let mut with = shop(0);
    assert_eq!(
        told(&buys(&mut with, "o-1", dollars(40))),
        [("doubled", "with", 40, 40, None), ("gift", "with", 0, 0, None), ("more", "", 9, 9, None)]
    );
    assert_eq!((available(&with), with.member.vouchers.len(), with.member.header.promotions.len()), (89, 1, 1));
    // As if there were no such promotion, and the next one of the group gives; but what it would have given is told.
    let mut without = shop(1);
    assert_eq!(
        told(&buys(&mut without, "o-1", dollars(40))),
        [("doubled", "without", 40, 0, control), ("next", "", 3, 3, None), ("gift", "without", 0, 0, control), ("more", "", 9, 9, None)]
    );
    assert_eq!((available(&without), without.member.vouchers.len(), without.member.header.promotions.len()), (52, 0, 0));
    let mut outside = shop(2);
    assert_eq!(told(&buys(&mut outside, "o-1", dollars(40))), [("next", "", 3, 3, None), ("more", "", 9, 9, None)]);
    assert_eq!((available(&outside), outside.member.vouchers.len()), (52, 0));
    // Nothing of a control is counted, so that nothing is freed.
    for shop in [&mut with, &mut without, &mut outside] {
        let before = available(shop);
        assert_eq!(gives(shop, whole("o-1")).points, Points(before));
        assert_eq!((available(shop), shop.member.vouchers.len(), shop.member.header.promotions.len()), (0, 0, 0));
        check_state(shop).expect("the state holds together");
    }
}

#[test]
fn a_control_is_told_of_within_the_limits_that_the_other_arm_has() {
    let arms = |place| arms(MEMBER, "big", place);
    let open = |place| {
        let group = "promotion_groups: [{ group_id: best, combination: COMBINATION_BEST }]\npromotions:\n";
        let big = format!(
            "- {{ promotion_id: big, group_id: best, {}, add_fixed: {{ points: 20 }}, limits: {{ maximum_points: 5 }} }}\n",
            arms(place)
        );
        Shop::open(rule_book_with(&format!("{RULE}{group}{big}- {{ promotion_id: small, group_id: best, add_fixed: {{ points: 7 }} }}\n")))
    };
    // With its limit it is less than the other one, and would not be the one that gives: it is told of in neither arm.
    for place in [0, 1] {
        assert_eq!(told(&buys(&mut open(place), "o-1", dollars(10))), [("small", "", 7, 7, None)]);
    }
}

#[test]
fn a_return_takes_back_what_the_arm_of_the_sale_gave_whatever_becomes_of_the_arms() {
    let mut shop = Shop::open(book(0));
    buys(&mut shop, "o-1", dollars(40));
    shop.now = at("2026-03-11T15:00:00Z");
    let newer = Program { version: 2, publish_time: shop.now, ..book(1) };
    shop.programs = shop.programs.with(newer.into());
    assert_eq!(told(&buys(&mut shop, "o-2", dollars(10)))[0], ("doubled", "without", 10, 0, Some(LimitKind::Control)));
    assert_eq!(gives(&mut shop, whole("o-1")).points, Points(40 + 40 + 9));
    assert_eq!(gives(&mut shop, whole("o-2")).points, Points(10 + 3 + 9));
    assert_eq!((available(&shop), shop.member.vouchers.len()), (0, 0));
    check_state(&shop).expect("the state holds together");
}

#[test]
fn mistakes_of_arms_are_named_with_their_paths() {
    let many: Vec<String> = (0..11).map(|number| format!("{{ arm_id: a-{number}, share_basis_points: 1 }}")).collect();
    let promotion = |id: &str, arms: &str| format!("- {{ promotion_id: {id}, add_fixed: {{ points: 1 }}, arms: [{arms}] }}\n");
    let promotions = [
        promotion("a", "{ arm_id: With, share_basis_points: 0 }, { arm_id: b, share_basis_points: 10001 }"),
        promotion("b", "{ arm_id: b, share_basis_points: 6000 }, { arm_id: b, share_basis_points: 4001 }"),
        promotion("c", "{ arm_id: b, share_basis_points: 6000, control: true }"),
        promotion("d", &many.join(", ")),
    ];
    let text = format!(
        "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, fraction: \
         FRACTION_DROP }}\n{RULE}promotions:\n{}",
        promotions.concat()
    );
    let document = text::read(&text).expect("well-formed fields");
    let found = program::parse(&document, 1, at("2026-01-01T00:00:00Z")).expect_err("it is refused");
    let found: Vec<(&str, &str)> = found.iter().map(|Violation { path, message }| (path.as_str(), message.as_str())).collect();
    let paths: Vec<&str> = found.iter().map(|(path, _)| *path).collect();
    assert_eq!(
        paths,
        [
            "promotions[0].arms[0].arm_id",
            "promotions[0].arms[0].share_basis_points",
            "promotions[0].arms[1].share_basis_points",
            "promotions[1].arms[1].arm_id",
            "promotions[1].arms",
            "promotions[2].arms",
            "promotions[3].arms"
        ],
        "{found:#?}"
    );
    assert_eq!(found[4].1, "have 10001 basis points together; all members are 10000");
}

fn served_book() -> v1::Program {
    let read = text::read(
        "promotions: [{ promotion_id: spring, display_name: Spring, add_fixed: { points: 50 }, arms: [{ arm_id: with, share_basis_points: 5000 }, { arm_id: \
         without, share_basis_points: 5000, control: true }] }]\n",
    );
    v1::Program { promotions: read.expect("well-formed fields").promotions, ..rule_book() }
}

/// Two members, of either arm.
async fn one_of_each(server: &TestServer) -> [String; 2] {
    let mut found = [None, None];
    for number in 0..60 {
        let member = server.enroll(&format!("c-{number}")).await;
        let own = bucket(&id("spring"), MemberId::parse(&member).expect("an id"));
        found[usize::from(own >= 5_000)].get_or_insert(member);
    }
    found.map(|member| member.expect("sixty are not in one arm"))
}

fn spring(accrual: Option<&v1::Accrual>) -> (String, i64, i64, Limit) {
    let award = accrual.and_then(|accrual| accrual.awards.iter().find(|award| award.promotion_id == "spring")).expect("it is told of");
    (award.arm_id.clone(), award.uncapped_points, award.points, award.limit())
}

async fn buys_for(server: &TestServer, member: &str, order: &str) -> v1::RecordPurchaseResponse {
    let request = sale(member, order, "100000");
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: request.member.clone(), purchase: request.purchase.clone() };
    let quoted = server.purchases().quote_purchase(quote).await.expect("it is quoted").into_inner();
    let recorded = server.purchases().record_purchase(request).await.expect("it is recorded").into_inner();
    assert_eq!(spring(quoted.accrual.as_ref()), spring(recorded.accrual.as_ref()), "a till says what is booked");
    recorded
}

#[tokio::test]
async fn the_arm_is_on_the_entry_in_words_too_and_of_merged_cards_the_one_that_stays_decides() {
    let server = start_with(served_book()).await;
    let [with, without] = one_of_each(&server).await;
    let (given, withheld) = (("with".to_owned(), 50, 50, Limit::Unspecified), ("without".to_owned(), 50, 0, Limit::Control));
    let first = buys_for(&server, &with, "o-1").await;
    assert_eq!(spring(first.accrual.as_ref()), given);
    let said = explained(&server, &with, first.entry_sequence).await;
    assert!(said.contains("Promotion spring (Spring): 50 per order. The member is in arm with of its trial."), "{said}");
    let second = buys_for(&server, &without, "o-2").await;
    assert_eq!(spring(second.accrual.as_ref()), withheld);
    let said = explained(&server, &without, second.entry_sequence).await;
    let words = "The member is in arm without of its trial. The arm is a control, which is given nothing: 50 points became 0.";
    assert!(said.contains(words), "{said}");
    // Who lists entries has both arms to measure.
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&without), ..Default::default() };
    let listed = server.points().list_entries(list).await.expect("entries").into_inner().entries;
    let accrued = listed.iter().find_map(|entry| match &entry.kind {
        Some(Said::PurchaseAccrued(accrued)) => Some(accrued),
        _ => None,
    });
    assert_eq!(spring(accrued.expect("a purchase").accrual.as_ref()), withheld);
    let merge = v1::MergeMembersRequest {
        request_id: "m-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&with),
        into: by_id(&without),
        reason: "one customer".into(),
        actor: actor(),
    };
    server.members().merge_members(merge).await.expect("they are one");
    // The tables know as much as the journal.
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = check(&data, &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
    fs::remove_dir_all(data.join("tables")).expect("the tables are removed");
    let server = TestServer::start_in(folder, clock, vec![served_book()]).await;
    assert_eq!(spring(buys_for(&server, &without, "o-3").await.accrual.as_ref()), withheld);
    assert_eq!(
        spring(buys_for(&server, &with, "o-4").await.accrual.as_ref()),
        withheld,
        "the old id is another name of the card that stays"
    );
    let back = v1::ReturnPurchaseRequest {
        request_id: "r-1".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        reason: "damaged".into(),
        ..Default::default()
    };
    let answer = server.purchases().return_purchase(back).await.expect("a return").into_inner();
    let Some(Said::PurchaseReturned(returned)) = answer.entry.and_then(|entry| entry.kind) else { panic!("a return") };
    assert_eq!(returned.points, first.accrual.expect("an accrual").points, "what the sale was given in its arm goes");
    server.stop().await;
}
