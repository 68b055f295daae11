//! Lives of members whom nobody else asks for anything: vouchers that are issued, held, used and cancelled, rewards, points that turn into a
//! voucher, a tier by hand that ends, offers, sales whose prices the service makes, a campaign with a budget, and a merge, one after the other.

use loyaltyd::contract::v1;

use super::{
    call::{Answer, Call, Outcome},
    load::{Client, Gone},
    model::{ALONE, MemberNo, NOTHING},
};
use crate::support::{self, PROGRAM, by_id};

/// What a voucher costs by the torture's rule book that is asked for.
pub const REWARD_POINTS: i64 = 30;
/// So many points turn into one, which nobody comes to have by buying.
pub const GOAL_POINTS: i64 = 500_000;
/// The promotion of an offer, how much it gives, and how often.
pub const EXTRA: &str = "extra";
pub const EXTRA_OFFER: &str = "thanks";
pub const EXTRA_POINTS: i64 = 7;
pub const EXTRA_TIMES: usize = 2;
/// A promotion for whoever has its code, until all that there is of it is given.
pub const CAMPAIGN: &str = "campaign";
pub const CAMPAIGN_POINTS: i64 = 5;
pub const CAMPAIGN_BUDGET: i64 = 203;
/// What a voucher takes off, and what the highest tier does.
pub const OFF_AMOUNT: i64 = 5_000;
pub const DISCOUNT_PERCENT: i64 = 10;
/// In which a member is with so many purchases.
pub const SEGMENT: &str = "regular";
pub const SEGMENT_VISITS: i64 = 2;
const CAMPAIGN_CODE: &str = "CAMPAIGN";
const OFF: &str = "off";
const COFFEE_OFFER: &str = "welcome";
const KIND: &str = "coffee";
const REWARD: &str = "mug";
/// No hold ends by itself while all this goes on.
const HOLD_SECONDS: i64 = 86_400;

/// What the rule book says beside what purchases earn.
pub fn offers(program: &mut v1::Program) {
    use v1::{
        offer::{Gift, OfferVoucher},
        promotion::{AddFixed, Effect},
        voucher_benefit::{AmountOff, Benefit, Custom},
    };
    let kind = |id: &str, name: &str, benefit| v1::VoucherKind {
        voucher_kind_id: id.into(),
        display_name: name.into(),
        benefit: Some(v1::VoucherBenefit { benefit: Some(benefit) }),
        valid_days: Some(300),
        ..Default::default()
    };
    program.voucher_kinds = vec![
        kind(KIND, "A coffee", Benefit::Custom(Custom { key: "coffee".into(), text: "A coffee".into() })),
        kind(OFF, "5,000 off", Benefit::AmountOff(AmountOff { amount: OFF_AMOUNT.to_string() })),
    ];
    let promotion = |id: &str, points: i64| v1::Promotion {
        promotion_id: id.into(),
        effect: Some(Effect::AddFixed(AddFixed { points: points.to_string(), each_minimum_quantity: false })),
        ..Default::default()
    };
    let limits = Some(v1::PromotionLimits { budget_points: CAMPAIGN_BUDGET.to_string(), ..Default::default() });
    program.promotions = vec![
        v1::Promotion { code: CAMPAIGN_CODE.into(), limits, ..promotion(CAMPAIGN, CAMPAIGN_POINTS) },
        v1::Promotion { only_with_offer: true, ..promotion(EXTRA, EXTRA_POINTS) },
    ];
    let offer = |id: &str, uses: i32, gift| v1::Offer {
        offer_id: id.into(),
        display_name: id.into(),
        member_limit: Some(v1::OfferLimit { uses, period: v1::Period::Lifetime.into() }),
        gift: Some(gift),
        ..Default::default()
    };
    let extra = offer(EXTRA_OFFER, EXTRA_TIMES as i32, Gift::PromotionId(EXTRA.into()));
    program.offers = vec![
        v1::Offer { personal: true, requires_activation: true, ..extra },
        offer(COFFEE_OFFER, 1_000, Gift::Voucher(OfferVoucher { voucher_kind_id: KIND.into(), ..Default::default() })),
    ];
    program.segments = vec![v1::Segment {
        segment_id: SEGMENT.into(),
        display_name: "Regulars".into(),
        condition: format!("member.purchases >= {SEGMENT_VISITS}"),
        ..Default::default()
    }];
    if let Some(highest) = program.tiers.last_mut() {
        highest.benefits = Some(v1::TierBenefits { discount_percent: DISCOUNT_PERCENT.to_string(), ..Default::default() });
    }
    program.rewards = vec![v1::Reward {
        reward_id: REWARD.into(),
        display_name: "A mug".into(),
        voucher_kind_id: KIND.into(),
        points: REWARD_POINTS.to_string(),
        stock: Some(1_000_000),
        member_limit: Some(v1::RewardLimit { redemptions: 1_000, period: v1::Period::Lifetime.into() }),
        maximum_quantity: 3,
        ..Default::default()
    }];
    program.goals = vec![v1::Goal {
        goal_id: "card".into(),
        display_name: "A card".into(),
        points: GOAL_POINTS.to_string(),
        voucher_kind_id: KIND.into(),
        ..Default::default()
    }];
    program.adjustments = Some(v1::AdjustmentPolicy { maximum_points: "1000000".into(), into_debt: false });
}

/// The life has come to its end before all was done: something was not taken.
enum End {
    Gone,
    Early,
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

type Part<T> = Result<T, End>;

impl Client {
    pub async fn lives(mut self) {
        while self.goes_on() {
            if let Err(End::Gone) = self.life().await {
                return;
            }
        }
    }

    /// A part of a life, for the kill comes soon.
    async fn part(&mut self) -> Part<()> {
        let member = self.alone().await?;
        match self.random.below(8) {
            4 => {
                self.thank(member).await?;
                self.purchase(member).await?;
                if self.random.percent(50) {
                    self.withdraw(member).await?;
                }
                Ok(self.purchase(member).await?)
            }
            5 => {
                let code = self.coffee(member).await?;
                self.use_up(member, &code).await.map(drop)
            }
            6 => {
                for _ in 0..self.random.within(1..=3) {
                    self.join_campaign(member).await?;
                }
                Ok(())
            }
            7 => {
                if self.random.percent(60) {
                    self.set_tier(member).await?;
                }
                self.priced_purchase(member).await
            }
            0 => {
                let code = self.issued(member, KIND).await?;
                self.hold(member, &code).await?;
                self.use_up(member, &code).await.map(drop)
            }
            1 => {
                self.fill_card(member).await?;
                let codes = self.redeemed(member).await?;
                self.cancel(member, &codes[0]).await.map(drop)
            }
            2 => {
                self.set_tier(member).await?;
                Ok(self.purchase(member).await?)
            }
            _ => {
                let code = self.issued(member, KIND).await?;
                let stays = self.alone().await?;
                self.merge(member, stays).await?;
                self.use_up(stays, &code).await.map(drop)
            }
        }
    }

    async fn life(&mut self) -> Part<()> {
        if self.random.percent(70) {
            return self.part().await;
        }
        let (gone, stays) = (self.alone().await?, self.alone().await?);
        for member in [gone, stays] {
            for _ in 0..self.random.within(0..=2) {
                self.purchase(member).await?;
            }
        }
        if self.random.percent(60) {
            let thanked = if self.random.percent(70) { gone } else { stays };
            self.thank(thanked).await?;
            self.purchase(thanked).await?;
        }
        let by_hand = self.issued(gone, KIND).await?;
        if self.random.percent(70) {
            self.hold(gone, &by_hand).await?;
        }
        self.fill_card(gone).await?;
        let coffees = self.redeemed(gone).await?;
        if self.random.percent(50) {
            self.cancel(gone, &coffees[0]).await?;
        }
        let promoted = if self.random.percent(50) { gone } else { stays };
        self.set_tier(promoted).await?;
        if self.random.percent(60) {
            self.use_up(gone, &by_hand).await?;
        }
        if self.random.percent(20) {
            return Ok(());
        }
        self.merge(gone, stays).await?;
        // What the one that went had is the other's, wherever it was in its life.
        if coffees.len() > 1 {
            self.cancel(stays, &coffees[1]).await?;
        }
        let more = self.issued(stays, KIND).await?;
        self.use_up(stays, &more).await?;
        self.priced_purchase(stays).await?;
        Ok(self.purchase(stays).await?)
    }

    async fn ask(&mut self, call: Call, member: Option<MemberNo>) -> Part<Answer> {
        self.ask_or(call, member, NOTHING).await
    }

    async fn ask_or(&mut self, call: Call, member: Option<MemberNo>, refusals: &'static [&'static str]) -> Part<Answer> {
        let op = self.shared.model().send(call.clone(), member, refusals);
        let outcome = self.caller.call(call).await;
        self.shared.model().settle_only(op, outcome.clone());
        match outcome {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Unknown => Err(End::Gone),
            Outcome::Refused(_) | Outcome::NotTaken => Err(End::Early),
        }
    }

    async fn alone(&mut self) -> Part<MemberNo> {
        let number = self.shared.model().fresh();
        let Answer::Enrolled(answer) = self.ask(Call::Enroll(support::enrolment(&format!("{ALONE}{number}"))), None).await? else {
            panic!("an enrolment is answered as another call");
        };
        let member = answer.member.expect("an enrolment answers with the member");
        Ok(self.shared.model().by_id[&member.member_id])
    }

    async fn issued(&mut self, member: MemberNo, kind: &str) -> Part<String> {
        let (number, id) = self.numbered(member);
        let request = v1::IssueVoucherRequest {
            request_id: format!("issue-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            voucher_kind_id: kind.into(),
            reason: "goodwill".into(),
            actor: support::actor(),
        };
        let Answer::Issued(answer) = self.ask(Call::Issue(request), Some(member)).await? else {
            panic!("a voucher is answered as another call");
        };
        Ok(answer.voucher.expect("a voucher").code)
    }

    /// Gives the offer, and activates it.
    async fn thank(&mut self, member: MemberNo) -> Part<()> {
        let (number, id) = self.numbered(member);
        let request = v1::AssignOfferRequest {
            request_id: format!("assign-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            offer_id: EXTRA_OFFER.into(),
            reason: "thanks".into(),
            actor: support::actor(),
            ..Default::default()
        };
        self.ask(Call::Assign(request), Some(member)).await?;
        self.activate(member, EXTRA_OFFER).await.map(drop)
    }

    async fn activate(&mut self, member: MemberNo, offer: &str) -> Part<Answer> {
        let (number, id) = self.numbered(member);
        let (request_id, program_id) = (format!("activate-{number}"), PROGRAM.into());
        let request = v1::ActivateOfferRequest { request_id, program_id, member: by_id(&id), offer_id: offer.into(), actor: None };
        self.ask(Call::Activate(request), Some(member)).await
    }

    async fn withdraw(&mut self, member: MemberNo) -> Part<Answer> {
        let (number, id) = self.numbered(member);
        let request = v1::WithdrawOfferRequest {
            request_id: format!("withdraw-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            offer_id: EXTRA_OFFER.into(),
            reason: "by mistake".into(),
            actor: support::actor(),
        };
        self.ask(Call::Withdraw(request), Some(member)).await
    }

    /// The code of a voucher that an offer gives.
    async fn coffee(&mut self, member: MemberNo) -> Part<String> {
        let Answer::Activated(answer) = self.activate(member, COFFEE_OFFER).await? else {
            panic!("an offer is answered as another call");
        };
        Ok(answer.voucher.expect("it gives a voucher").code)
    }

    async fn join_campaign(&mut self, member: MemberNo) -> Part<Answer> {
        let mut sale = self.sale(member);
        sale.purchase.as_mut().expect("a sale has a purchase").codes = vec![CAMPAIGN_CODE.into()];
        self.ask(Call::Record(Box::new(sale)), Some(member)).await
    }

    /// At the shelf's prices, often with a voucher, and as it was quoted. Another rule book may come between.
    async fn priced_purchase(&mut self, member: MemberNo) -> Part<()> {
        let code = if self.random.percent(70) { Some(self.issued(member, OFF).await?) } else { None };
        let mut sale = self.sale(member);
        let purchase = sale.purchase.as_mut().expect("a sale has a purchase");
        (purchase.apply_price_effects, purchase.voucher_codes) = (true, code.into_iter().collect());
        if self.random.percent(60) {
            let (program_id, member, purchase) = (sale.program_id.clone(), sale.member.clone(), sale.purchase.clone());
            let asked = v1::QuotePurchaseRequest { program_id, member, purchase };
            match self.caller.purchases().quote_purchase(self.caller.request(asked)).await {
                Ok(quote) => sale.quote_id = quote.into_inner().quote_id,
                Err(_) => return Err(End::Gone),
            }
        }
        self.ask_or(Call::Record(Box::new(sale)), Some(member), &["QUOTE_CHANGED"]).await.map(drop)
    }

    async fn hold(&mut self, member: MemberNo, code: &str) -> Part<Answer> {
        let (number, _) = self.numbered(member);
        let request = v1::HoldVoucherRequest {
            request_id: format!("hold-{number}"),
            program_id: PROGRAM.into(),
            code: code.into(),
            store_id: "hcm-1".into(),
            order_id: format!("for-{code}"),
            duration: Some(prost_types::Duration { seconds: HOLD_SECONDS, nanos: 0 }),
            actor: None,
        };
        self.ask(Call::Hold(request), Some(member)).await
    }

    async fn use_up(&mut self, member: MemberNo, code: &str) -> Part<Answer> {
        let (number, _) = self.numbered(member);
        let request = v1::UseVoucherRequest {
            request_id: format!("use-{number}"),
            program_id: PROGRAM.into(),
            code: code.into(),
            store_id: "hcm-1".into(),
            order_id: format!("for-{code}"),
            ..Default::default()
        };
        self.ask(Call::Use(request), Some(member)).await
    }

    async fn cancel(&mut self, member: MemberNo, code: &str) -> Part<Answer> {
        let (number, _) = self.numbered(member);
        let request = v1::CancelVoucherRequest {
            request_id: format!("cancel-{number}"),
            program_id: PROGRAM.into(),
            code: code.into(),
            reason: "not wanted".into(),
            actor: support::actor(),
        };
        self.ask(Call::Cancel(request), Some(member)).await
    }

    /// Points turn into a voucher in the commit that brings them, and some stay.
    async fn fill_card(&mut self, member: MemberNo) -> Part<Answer> {
        let (number, id) = self.numbered(member);
        let points = GOAL_POINTS + self.random.within(3 * REWARD_POINTS as u64..=500) as i64;
        self.ask(Call::Adjust(Box::new(support::adjustment(&id, &format!("adjust-{number}"), points))), Some(member)).await
    }

    /// Codes of the vouchers.
    async fn redeemed(&mut self, member: MemberNo) -> Part<Vec<String>> {
        let (number, id) = self.numbered(member);
        let request = v1::RedeemRewardRequest {
            request_id: format!("redeem-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            reward_id: REWARD.into(),
            quantity: self.random.within(1..=3) as i32,
            actor: None,
        };
        let Answer::Redeemed(answer) = self.ask(Call::Redeem(request), Some(member)).await? else {
            panic!("a reward is answered as another call");
        };
        Ok(answer.vouchers.into_iter().map(|voucher| voucher.code).collect())
    }

    /// To the highest one, until a day that is far enough.
    async fn set_tier(&mut self, member: MemberNo) -> Part<Answer> {
        let (number, id) = self.numbered(member);
        let request = v1::SetMemberTierRequest {
            request_id: format!("tier-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            tier_id: "diamond".into(),
            reason: "goodwill".into(),
            actor: support::actor(),
            last_date: Some(v1::Date { year: 2100, month: self.random.within(1..=12) as i32, day: self.random.within(1..=28) as i32 }),
        };
        self.ask(Call::SetTier(Box::new(request)), Some(member)).await
    }

    async fn merge(&mut self, gone: MemberNo, stays: MemberNo) -> Part<Answer> {
        let (number, from) = self.numbered(gone);
        let into = self.shared.model().members[stays].id.clone();
        let request = v1::MergeMembersRequest {
            request_id: format!("merge-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&from),
            into: by_id(&into),
            reason: "two cards".into(),
            actor: support::actor(),
        };
        self.ask(Call::Merge(Box::new(request)), Some(stays)).await
    }
}
