//! Rule books with every knob turned this way and that, written as the files that programme managers write.

use jiff::{SignedDuration, Timestamp};
use loyaltyd::contract::{rule_book, v1};

use super::{
    Random,
    auditor::{
        promotions::{CONDITIONS, LINE_CONDITION, SEGMENT_CONDITION},
        segments,
    },
};

/// Zones of which some change their clocks, a few of them at midnight.
const ZONES: [&str; 9] = [
    "America/New_York",
    "Asia/Ho_Chi_Minh",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Havana",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kathmandu",
];
pub const SKUS: [&str; 5] = ["", "tea", "rice", "cup", "gift"];
pub const CATEGORIES: [&str; 3] = ["", "food", "home"];
pub const LABELS: [&str; 3] = ["sale", "organic", "vip"];
pub const STORES: [&str; 3] = ["s1", "s2", "s3"];
pub const CHANNELS: [&str; 3] = ["", "pos", "web"];

/// All rule books have it.
const BIRTHDAY_KIND: &str = "v0";
pub const REWARDS: [&str; 4] = ["cup", "tee", "trip", "mug"];
pub const VOUCHER_KINDS: [&str; 5] = ["v0", "v1", "v2", "v3", "v4"];

pub const CODES: [&str; 2] = ["SPRING", "APP"];
pub const OFFERS: [&str; 6] = ["o0", "o1", "o2", "o3", "o4", "o5"];
const GROUPS: [(&str, &str); 3] = [("g0", "EXCLUSIVE"), ("g1", "BEST"), ("g2", "ALL")];

pub const REFERRAL: &str = "referral";
pub const ACTIVITIES: [&str; 4] = ["sign_up", "review", REFERRAL, "survey"];

/// What cannot change from version to version.
#[derive(Debug, Clone)]
pub struct Frame {
    pub id: String,
    currency: &'static str,
    zone: &'static str,
    precision: u32,
    tiers: usize,
    /// How tiers are counted, held and reviewed, in all versions: what was counted under another window is not there.
    standing: String,
    /// Changed now and then.
    birthday: String,
    segments: String,
    /// In most versions.
    has_referrals: bool,
    /// Segments look at the last days, in all versions: what was counted before is not there.
    has_windows: bool,
    /// Which form of inactivity the version before had, if it had one.
    by_month: Option<bool>,
    /// How late a sale may be is never raised above what the first version says: what caps have given is forgotten by that.
    is_first: bool,
}

impl Frame {
    pub fn new(id: &str, random: &mut Random) -> Self {
        let standing = standing(random);
        let has_windows = !standing.contains("reset_at_review") && random.percent(60);
        Self {
            id: id.to_owned(),
            currency: if random.percent(70) { "USD" } else { "VND" },
            zone: *random.pick::<&'static str>(&ZONES),
            precision: random.within(0..=2) as u32,
            tiers: *random.pick(&[0, 2, 3, 3]),
            standing,
            birthday: String::new(),
            segments: String::new(),
            has_referrals: random.percent(90),
            has_windows,
            by_month: None,
            is_first: true,
        }
    }

    /// A version of the rule book.
    pub fn book(&mut self, now: Timestamp, random: &mut Random) -> v1::Program {
        if self.is_first || random.percent(55) {
            self.birthday = self.birthday(random);
        }
        if self.is_first || random.percent(45) {
            self.segments = self.segments(random);
        }
        // Often the other form than before, so that members have points of both.
        let by_month = self.by_month.map_or(random.percent(50), |before| before != random.percent(70));
        let text = self.text(by_month, now, random);
        self.by_month = if text.contains("extension") { Some(by_month) } else { self.by_month };
        self.is_first = false;
        rule_book::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn is_fine(&self) -> bool {
        self.currency == "USD"
    }

    fn money(&self, random: &mut Random, most: u64) -> String {
        if self.is_fine() {
            let cents = random.within(1..=most * 100);
            format!("{}.{:02}", cents / 100, cents % 100)
        } else {
            (random.within(1..=most) * 1_000).to_string()
        }
    }

    /// With as many decimal places as points have, not 0.
    fn points(&self, random: &mut Random, most: u64) -> String {
        let units = random.within(1..=most * 10u64.pow(self.precision));
        self.written(units)
    }

    fn written(&self, units: u64) -> String {
        let whole = 10u64.pow(self.precision);
        match self.precision {
            0 => units.to_string(),
            places => format!("{}.{:0width$}", units / whole, units % whole, width = places as usize),
        }
    }

    fn text(&self, by_month: bool, now: Timestamp, random: &mut Random) -> String {
        let Self { id, currency, zone, precision, .. } = self;
        let (stage, rounding) = rounding(random, true);
        let unmultiplied = random.percent(25);
        let carries = rounding.contains("CARRY");
        let mut text = format!(
            "program_id: {id}\ndisplay_name: Simulated\ncurrency_code: {currency}\ntime_zone: {zone}\npoints_precision: {precision}\nrounding: \
             {rounding}\ncombination: {}\nbasis: {{ include_tax: {}, include_shipping: {}, include_tips: {}, include_gift_cards: {}, \
             include_points_and_vouchers: {} }}\n",
            random.pick(&["COMBINATION_SUM", "COMBINATION_SUM", "COMBINATION_EXCLUSIVE", "COMBINATION_BEST"]),
            random.percent(50),
            random.percent(50),
            random.percent(50),
            random.percent(50),
            random.percent(30),
        );
        let chance = if self.by_month.is_some() { 60 } else { 45 };
        let inactivity = random.percent(chance).then(|| inactivity(by_month, random));
        let activation = activation(random);
        text.push_str(&format!("expiry: {}\n", inactivity.clone().unwrap_or_else(|| expiry_after(&activation, random))));
        text.push_str(&format!(
            "consumption_order: CONSUMPTION_ORDER_{}\n",
            random.pick(&["UNSPECIFIED", "SOONEST_EXPIRY", "OLDEST_FIRST"])
        ));
        text.push_str(&format!("activation: {activation}\n"));
        text.push_str("accrual_rules:\n");
        for place in 0..random.within(2..=5) {
            text.push_str(&self.rule(place, stage, unmultiplied, carries, inactivity.as_deref(), random));
        }
        text.push_str(&self.activities(random));
        let kinds: Vec<&str> = VOUCHER_KINDS.into_iter().filter(|kind| *kind == BIRTHDAY_KIND || random.percent(80)).collect();
        text.push_str(&self.voucher_kinds(&kinds, random));
        text.push_str(&self.birthday);
        text.push_str(&self.segments);
        text.push_str(&self.goal(random));
        text.push_str(&self.rewards(random));
        let (promotions, gated) = self.promotions(inactivity.as_deref(), random);
        text.push_str(&promotions);
        text.push_str(&self.offers(gated, now, random));
        // Now and then far less is asked for tiers than before, at once and of all.
        let is_easy = !self.is_first && random.percent(30);
        text.push_str(&self.tiers(is_easy, &kinds, inactivity.as_deref(), random));
        let [after, pending] = [random.percent(30), random.percent(30)];
        let rate = if after { "RATE_TIER_AFTER" } else { "RATE_TIER_BEFORE" };
        let basis = if unmultiplied { "QUALIFYING_BASIS_UNMULTIPLIED" } else { "QUALIFYING_BASIS_AWARDED" };
        text.push_str(&format!(
            "tier_policy: {{ rate_tier: {rate}, qualifying_basis: {basis}, qualify_pending: {pending}, on_change: ON_CHANGE_{}{} }}\n",
            if is_easy { "AT_ONCE" } else { *random.pick(&["AT_ONCE", "AT_REVIEW", "UNSPECIFIED"]) },
            self.standing
        ));
        text.push_str(&format!(
            "purchase_time: {{ max_age_days: {}, max_ahead_seconds: 600 }}\n",
            if self.is_first { 60 } else { random.within(3..=60) }
        ));
        let most = if random.percent(50) { "maximum_points: 500, " } else { "" };
        text.push_str(&format!("adjustments: {{ {most}into_debt: {} }}\n", random.percent(40)));
        text.push_str(&self.redemption(random));
        text.push_str(&self.transfers(random));
        text.push_str(&self.offline(random));
        text.push_str(&self.fraud_limits(random));
        let shortfall = random.pick(&["DEBT", "DEBT", "FORGIVE", "REFUSE", "WITHHOLD"]);
        text.push_str(&format!("returns: {{ own_lots_only: {}, shortfall: SHORTFALL_{shortfall} }}\n", random.percent(40)));
        text
    }

    fn rule(&self, place: u64, stage: &str, unmultiplied: bool, carries: bool, inactivity: Option<&str>, random: &mut Random) -> String {
        let points = *random.pick(&["1", "0.5", "2", "0.3", "1.25", "0.05", "3"]);
        let gives = match random.below(if place == 0 { 2 } else { 6 }) {
            0 | 1 => {
                let amount = self.money(random, if self.is_fine() { 8 } else { 40 });
                format!("per_amount: {{ amount: \"{amount}\", points: \"{points}\", whole_blocks: {} }}", random.percent(30))
            }
            2 => format!("per_unit: {{ points: \"{points}\" }}"),
            3 | 4 => format!("per_order: {{ points: \"{points}\" }}"),
            _ => format!("per_product: {{ points: \"{points}\" }}"),
        };
        let mut text = format!("- rule_id: r{place}\n  priority: {}\n  {gives}\n", random.below(3));
        let own = random.percent(40).then(|| rounding(random, false));
        if let Some((_, rounding)) = &own {
            text.push_str(&format!("  rounding: {rounding}\n"));
        }
        let carries = own.as_ref().map_or(carries, |(_, rounding)| rounding.contains("CARRY"));
        if random.percent(20) || (unmultiplied && carries) {
            text.push_str("  without_tier_multiplier: true\n");
        }
        if random.percent(20) {
            text.push_str("  without_qualifying: true\n");
        }
        let activation = random.percent(25).then(|| activation(random));
        if random.percent(30) {
            let own = inactivity.filter(|_| random.percent(20));
            let own = own.map_or_else(|| expiry_after(activation.as_deref().unwrap_or_default(), random), str::to_owned);
            text.push_str(&format!("  expiry: {own}\n"));
        }
        if let Some(activation) = activation {
            text.push_str(&format!("  activation: {activation}\n"));
        }
        if (stage != "ORDER" || own.is_some()) && random.percent(45) {
            text.push_str(&self.limits(random));
        }
        if place > 0 && random.percent(60) {
            text.push_str(&self.filter(random));
        }
        text
    }

    fn activities(&self, random: &mut Random) -> String {
        let mut text = String::new();
        let waits = self.has_referrals && random.percent(85);
        let more = if waits { 2 } else { 0 };
        for place in 0..random.within(0..=6) + more {
            let is_either = place < more;
            let activity = if is_either { REFERRAL } else { random.pick::<&str>(&ACTIVITIES) };
            let mut fields = vec![format!("rule_id: a{place}, activity: {activity}")];
            // Now and then too many for a day.
            let most = if is_either { 120 } else { 30 };
            fields.push(format!("points: \"{}\"", self.points(random, most)));
            if random.percent(10) {
                let (name, year, month) = (random.pick(&["start", "end"]), 2025 + random.below(3), random.within(1..=12));
                fields.push(format!("{name}_time: \"{year}-{month:02}-01T12:00:00Z\""));
            }
            if if is_either { place == 0 } else { random.percent(40) } {
                fields.push("earner: EARNER_REFERRER".to_owned());
            }
            if random.percent(50) {
                let period = random.pick(&["DAY", "DAY", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "LIFETIME"]);
                fields.push(format!("cap: {{ points: \"{}\", period: PERIOD_{period} }}", self.points(random, 60)));
            }
            if random.percent(20) {
                fields.push("once_per_member: true".to_owned());
            }
            if random.percent(20) {
                fields.push("without_qualifying: true".to_owned());
            }
            if random.percent(40) {
                fields.push(format!("expiry: {}", expiry(random)));
            }
            // The programme's may be what nobody does of an activity: to confirm it.
            let days = random.within(1..=15);
            fields.push(format!(
                "activation: {}",
                if random.percent(60) { "{ immediate: {} }".to_owned() } else { format!("{{ after_days: {days} }}") }
            ));
            text.push_str(&format!("- {{ {} }}\n", fields.join(", ")));
        }
        if waits {
            let minimum = match random.below(4) {
                0 => String::new(),
                _ => format!(", minimum_amount: \"{}\"", self.money(random, if self.is_fine() { 90 } else { 900 })),
            };
            let days = *random.pick(&[0, 1, 5, 20, 60]);
            text.push_str(&format!("referral: {{ activity: {REFERRAL}{minimum}, within_days: {days} }}\n"));
        }
        if text.is_empty() { text } else { format!("activity_rules:\n{text}") }
    }

    /// What points turn into, in some versions.
    fn goal(&self, random: &mut Random) -> String {
        if random.percent(55) {
            return String::new();
        }
        let points = self.written(random.within(20..=80) * 10u64.pow(self.precision));
        // Some have points for thousands of vouchers.
        let (days, most) = (*random.pick(&[0, 0, 1, 6]), *random.pick(&[1, 1, 2, 3]));
        let id = random.pick(&["card", "card", "cup"]);
        format!(
            "goals: [{{ goal_id: {id}, points: \"{points}\", voucher_kind_id: {BIRTHDAY_KIND}, delay_days: {days}, maximum_at_once: {most} }}]\n"
        )
    }

    fn segments(&self, random: &mut Random) -> String {
        let mut text = String::new();
        let is_none = !self.has_windows && random.percent(25);
        let ids: std::collections::BTreeSet<&str> = segments::CONDITIONS.iter().map(|(id, _)| *id).collect();
        let mut ids: Vec<&str> = ids.into_iter().collect();
        random.shuffle(&mut ids);
        for id in ids {
            let of_days = segments::WINDOWS.contains(&id);
            let is_left_out = if of_days { !self.has_windows } else { is_none || random.percent(35) };
            if is_left_out {
                continue;
            }
            let all: Vec<&str> = segments::CONDITIONS.iter().filter(|(own, _)| *own == id).map(|(_, text)| *text).collect();
            let condition = random.pick(&all).replace("AMOUNT", if self.is_fine() { "200" } else { "300000" });
            text.push_str(&format!("- {{ segment_id: {id}, condition: \"{condition}\" }}\n"));
        }
        if text.is_empty() { text } else { format!("segments:\n{text}") }
    }

    fn has_segment(&self, id: &str) -> bool {
        self.segments.contains(&format!("segment_id: {id},"))
    }

    /// Some of them, for some time, for some tiers, and not for all who ask.
    fn rewards(&self, random: &mut Random) -> String {
        let mut text = String::new();
        for reward in REWARDS.into_iter().filter(|_| random.percent(75)).collect::<Vec<_>>() {
            let points = self.written(random.within(1..=40) * 10u64.pow(self.precision));
            let mut fields =
                vec![format!("reward_id: {reward}, display_name: \"A {reward}\", voucher_kind_id: {BIRTHDAY_KIND}, points: \"{points}\"")];
            let tiers: Vec<String> = (0..self.tiers).filter(|_| random.percent(50)).map(|tier| format!("t{tier}")).collect();
            if !tiers.is_empty() && random.percent(40) {
                let costs = tiers.iter().map(|tier| format!("{{ tier_id: {tier}, points: \"{}\" }}", self.written(random.within(0..=30))));
                let costs: Vec<String> = costs.collect();
                fields.push(format!("tier_costs: [{}]", costs.join(", ")));
            }
            if !tiers.is_empty() && random.percent(20) {
                fields.push(format!("tier_ids: [{}]", tiers.join(", ")));
            }
            let segments = ["new", "risk", "season", "top"].into_iter().filter(|id| self.has_segment(id) && random.percent(50));
            let segments: Vec<&str> = segments.collect();
            if !segments.is_empty() && random.percent(40) {
                fields.push(format!("segment_ids: [{}]", segments.join(", ")));
            }
            if random.percent(55) {
                fields.push(format!("stock: {}", random.within(0..=25)));
            }
            if random.percent(55) {
                let period = random.pick(&["DAY", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "LIFETIME"]);
                fields.push(format!("member_limit: {{ redemptions: {}, period: PERIOD_{period} }}", random.within(1..=4)));
            }
            match random.below(4) {
                // Longer than the days after which its kind begins to be.
                0 => fields.push(format!("valid_days: {}", random.within(3..=20))),
                1 => fields.push(format!("valid_months: {}", random.within(1..=2))),
                _ => {}
            }
            if random.percent(40) {
                fields.push(format!("maximum_quantity: {}", random.within(2..=3)));
            }
            let (year, month) = (2025 + random.below(3), random.within(1..=12));
            match random.below(12) {
                0 => fields.push(format!("start_time: \"{year}-{month:02}-01T12:00:00Z\"")),
                1 => fields.push(format!("end_time: \"{year}-{month:02}-01T12:00:00Z\"")),
                _ => {}
            }
            text.push_str(&format!("- {{ {} }}\n", fields.join(", ")));
        }
        if text.is_empty() { text } else { format!("rewards:\n{text}") }
    }

    /// In all their ways, alone and in groups; and the ids of those that are for members who have an offer.
    fn promotions(&self, inactivity: Option<&str>, random: &mut Random) -> (String, Vec<String>) {
        let (mut text, mut gated) = (String::new(), Vec::new());
        for place in 0..random.within(0..=8) {
            let (effect, is_voucher) = self.effect(random);
            let is_gated = random.percent(40);
            let mut fields = vec![format!("promotion_id: p{place}, priority: {}, {effect}", random.below(3))];
            if random.percent(60) {
                fields.push(format!("group_id: {}", random.pick(&GROUPS).0));
            }
            if is_gated {
                fields.push("only_with_offer: true".to_owned());
                gated.push(format!("p{place}"));
            }
            // Those that few can have are to be had often.
            if random.percent(if is_gated { 20 } else { 55 }) {
                fields.push(self.filter(random).trim().to_owned());
            }
            if random.percent(if is_gated { 5 } else { 20 }) {
                fields.push(format!("code: {}", random.pick(&CODES)));
            }
            if random.percent(20) {
                fields.push(format!("minimum_spend: \"{}\"", self.money(random, if self.is_fine() { 60 } else { 600 })));
            }
            if self.tiers > 1 && !is_gated && random.percent(15) {
                fields.push(format!("tier_ids: [t{}]", random.below(self.tiers)));
            }
            if random.percent(8) {
                fields.push("first_purchase: true".to_owned());
            }
            if random.percent(10) {
                let window = *random.pick(&["DAY", "MONTH, leap_day: LEAP_DAY_MARCH_1", "AROUND, days_before: 20, days_after: 30"]);
                fields.push(format!("birthday: {{ window: WINDOW_{window} }}"));
            }
            if self.has_segment("new") && random.percent(20) {
                fields.push(format!("condition: '{SEGMENT_CONDITION}'"));
            } else if random.percent(15) {
                fields.push(format!("condition: '{}'", random.pick(&CONDITIONS)));
            }
            if random.percent(10) {
                fields.push(format!("line_condition: '{LINE_CONDITION}'"));
            }
            if random.percent(25) {
                let shares = [random.within(1..=5_000), random.within(1..=3_000), random.within(500..=2_000)];
                let order = *random.pick(&[[0, 1, 2], [2, 0, 1], [1, 2, 0]]);
                let arms = order.map(|arm| format!("{{ arm_id: arm-{arm}, share_basis_points: {}, control: {} }}", shares[arm], arm == 0));
                fields.push(format!("arms: [{}]", arms.join(", ")));
            }
            let limits = self.promotion_limits(is_voucher, is_gated, random);
            fields.push(format!("limits: {{ {limits} }}"));
            if !is_voucher {
                fields.extend(self.promotion_points(inactivity, random));
            }
            let (year, month) = (2025 + random.below(3), random.within(1..=12));
            match random.below(12) {
                0 if !is_gated => fields.push(format!("start_time: \"{year}-{month:02}-01T12:00:00Z\"")),
                1 if !is_gated => fields.push(format!("end_time: \"{year}-{month:02}-01T12:00:00Z\"")),
                _ => {}
            }
            text.push_str(&format!("- {{ {} }}\n", fields.join(", ")));
        }
        let groups = GROUPS.map(|(id, combination)| format!("{{ group_id: {id}, combination: COMBINATION_{combination} }}"));
        let groups = format!("promotion_groups: [{}]\n", groups.join(", "));
        (if text.is_empty() { groups } else { format!("{groups}promotions:\n{text}") }, gated)
    }

    /// For all kinds of members, personal ones, for some time, and so often. `gated`: promotions that wait for one.
    fn offers(&self, mut gated: Vec<String>, now: Timestamp, random: &mut Random) -> String {
        let mut text = String::new();
        random.shuffle(&mut gated);
        for offer in OFFERS {
            let promotion = if random.percent(80) { gated.pop() } else { None };
            if promotion.is_none() && random.percent(50) {
                continue;
            }
            let mut fields = vec![format!("offer_id: {offer}, display_name: \"Offer {offer}\"")];
            let is_personal = random.percent(40);
            let is_activated = promotion.is_some() && random.percent(55);
            if is_personal {
                fields.push("personal: true".to_owned());
            } else {
                fields.extend(self.audience(random));
            }
            if is_activated {
                fields.push("requires_activation: true".to_owned());
            }
            if (is_personal || is_activated) && random.percent(60) {
                fields.push(format!("valid_days: {}", random.within(0..=9)));
            }
            if random.percent(65) {
                let period = random.pick(&["DAY", "DAY", "WEEK", "MONTH", "MONTH", "QUARTER", "YEAR", "LIFETIME"]);
                fields.push(format!("member_limit: {{ uses: {}, period: PERIOD_{period} }}", random.within(1..=3)));
            }
            let mut at = |hours: u64| now + SignedDuration::from_secs(3_600 * (random.within(0..=hours) as i64) - 86_400 * 4);
            let (start, end) = (at(20 * 24).strftime("%FT%TZ").to_string(), at(40 * 24).strftime("%FT%TZ").to_string());
            match random.below(8) {
                0 | 1 => fields.push(format!("start_time: \"{start}\"")),
                2 | 3 => fields.push(format!("end_time: \"{end}\"")),
                _ => {}
            }
            let valid = match random.below(3) {
                // As its kind says.
                0 => String::new(),
                1 => format!(", valid_days: {}", random.within(3..=9)),
                _ => ", valid_months: 1".to_owned(),
            };
            fields.push(match promotion {
                Some(promotion) => format!("promotion_id: {promotion}"),
                None => format!("voucher: {{ voucher_kind_id: {BIRTHDAY_KIND}{valid} }}"),
            });
            text.push_str(&format!("- {{ {} }}\n", fields.join(", ")));
        }
        if text.is_empty() { text } else { format!("offers:\n{text}") }
    }

    /// Of an offer that is not personal: often all, or two things at once.
    fn audience(&self, random: &mut Random) -> Vec<String> {
        let mut fields = Vec::new();
        let tiers: Vec<String> = (0..self.tiers).filter(|_| random.percent(50)).map(|tier| format!("t{tier}")).collect();
        if !tiers.is_empty() && random.percent(35) {
            fields.push(format!("tier_ids: [{}]", tiers.join(", ")));
        }
        let segments = ["new", "risk", "season", "rich", "saver", "often"].into_iter();
        let segments: Vec<&str> = segments.filter(|id| self.has_segment(id) && random.percent(50)).collect();
        if !segments.is_empty() && random.percent(45) {
            fields.push(format!("segment_ids: [{}]", segments.join(", ")));
        }
        if random.percent(30) {
            fields.push(format!("new_member_days: {}", random.within(1..=40)));
        }
        fields
    }

    /// And whether it is a voucher.
    fn effect(&self, random: &mut Random) -> (String, bool) {
        let whole = random.percent(30);
        match random.below(6) {
            0 | 1 => {
                let by = random.pick(&["2", "3", "1.5", "1.333333", "2.25"]);
                (format!("multiply: {{ multiplier: \"{by}\", whole_order: {whole} }}"), false)
            }
            2 => {
                let (amount, points) = (self.money(random, if self.is_fine() { 8 } else { 40 }), *random.pick(&["1", "0.5", "0.3", "2"]));
                let blocks = random.percent(40);
                let fields = format!("amount: \"{amount}\", points: \"{points}\", whole_blocks: {blocks}, whole_order: {whole}");
                (format!("add_per_amount: {{ {fields} }}"), false)
            }
            3 => (format!("add_fixed: {{ points: \"{}\" }}", self.points(random, 20)), false),
            4 => {
                let (points, units) = (self.points(random, 9), *random.pick(&["1", "2", "0.333"]));
                (format!("minimum_quantity: \"{units}\", add_fixed: {{ points: \"{points}\", each_minimum_quantity: true }}"), false)
            }
            _ => (format!("voucher_kind_id: {BIRTHDAY_KIND}"), true),
        }
    }

    fn promotion_limits(&self, is_voucher: bool, is_gated: bool, random: &mut Random) -> String {
        let mut limits = Vec::new();
        let periods = ["DAY", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "LIFETIME"];
        if !is_gated && (is_voucher || random.percent(25)) {
            let (times, period) = (random.within(1..=3), random.pick(&periods));
            limits.push(format!("times: {{ times: {times}, period: PERIOD_{period} }}"));
        }
        if is_voucher {
            return limits.join(", ");
        }
        if random.percent(40) {
            limits.push(format!("maximum_points: \"{}\"", self.points(random, 20)));
        }
        if random.percent(25) {
            let period = random.pick(&periods);
            limits.push(format!("cap: {{ points: \"{}\", period: PERIOD_{period} }}", self.points(random, 90)));
        }
        if random.percent(25) {
            limits.push(format!("daily_cap_points: \"{}\"", self.points(random, 120)));
        }
        if random.percent(30) {
            limits.push(format!("budget_points: \"{}\"", self.points(random, 900)));
        }
        limits.join(", ")
    }

    fn promotion_points(&self, inactivity: Option<&str>, random: &mut Random) -> Vec<String> {
        let mut fields = Vec::new();
        if random.percent(25) {
            let own = inactivity.filter(|_| random.percent(20)).map_or_else(|| expiry(random), str::to_owned);
            fields.push(format!("expiry: {own}"));
        }
        if random.percent(25) {
            fields.push(format!("activation: {}", activation(random)));
        }
        if random.percent(20) {
            fields.push("without_qualifying: true".to_owned());
        }
        fields
    }

    fn birthday(&self, random: &mut Random) -> String {
        if random.percent(20) {
            return String::new();
        }
        let window = match random.below(4) {
            0 => "DAY".to_owned(),
            1 => "MONTH".to_owned(),
            _ => format!("AROUND, days_before: {}, days_after: {}", random.within(0..=30), random.within(0..=20)),
        };
        let mut rewards = Vec::new();
        for tier in 0..=self.tiers {
            if tier == self.tiers && random.percent(10) && !rewards.is_empty() {
                continue;
            }
            if tier < self.tiers && random.percent(60) {
                continue;
            }
            let name = if tier < self.tiers { format!("tier_id: t{tier}, ") } else { String::new() };
            let reward = match random.below(3) {
                0 => {
                    let own = if random.percent(50) { format!(", expiry: {}", expiry(random)) } else { String::new() };
                    format!("points: {{ points: \"{}\"{own} }}", self.points(random, 30))
                }
                1 => format!("voucher_kind_id: {BIRTHDAY_KIND}"),
                _ => format!("multiplier: \"{}\"", random.pick(&["2", "1.5", "1.25"])),
            };
            rewards.push(format!("{{ {name}{reward} }}"));
        }
        let leap_day = random.pick(&["FEBRUARY_28", "MARCH_1"]);
        let late = random.pick(&["NEXT_YEAR", "AT_ONCE"]);
        let (notice, days) = (*random.pick(&[0, 0, 3, 20]), *random.pick(&[0, 0, 0, 20]));
        let months = *random.pick(&[0, 0, 1, 3]);
        let most = if random.percent(40) { format!(", maximum_changes: {}", random.within(0..=2)) } else { String::new() };
        format!(
            "birthday: {{ window: WINDOW_{window}, leap_day: LEAP_DAY_{leap_day}, rewards: [{}], notice_days: {notice}, late_date: \
             LATE_DATE_{late}, member_for_days: {days}, active_within_months: {months}{most} }}\n",
            rewards.join(", ")
        )
    }

    fn voucher_kinds(&self, kinds: &[&str], random: &mut Random) -> String {
        if kinds.is_empty() {
            return String::new();
        }
        let mut text = "voucher_kinds:\n".to_owned();
        for kind in kinds {
            let benefit = match random.below(6) {
                0 => format!("amount_off: {{ amount: \"{}\" }}", self.money(random, 40)),
                1 | 2 => {
                    let maximum =
                        if random.percent(50) { format!(", maximum_amount: \"{}\"", self.money(random, 20)) } else { String::new() };
                    format!("percent_off: {{ percent: \"{}\"{maximum} }}", random.pick(&["50", "33.3", "100", "7.2525"]))
                }
                3 if random.percent(50) => {
                    let maximum =
                        if random.percent(50) { format!(", maximum_amount: \"{}\"", self.money(random, 20)) } else { String::new() };
                    format!("free_item: {{ category: {}{maximum} }}", random.pick(&CATEGORIES[1..]))
                }
                3 => format!("free_item: {{ sku: {} }}", random.pick(&SKUS[1..])),
                4 => "free_shipping: {}".to_owned(),
                _ => "custom: { key: mug, text: A mug }".to_owned(),
            };
            let mut fields = vec![format!("voucher_kind_id: {kind}, display_name: \"For {kind}\", benefit: {{ {benefit} }}")];
            if random.percent(40) {
                fields.push(format!("minimum_order: \"{}\"", self.money(random, 60)));
            }
            if random.percent(25) {
                fields.push(format!("after_days: {}", random.within(1..=3)));
            }
            fields.push(match random.percent(70) {
                true => format!("valid_days: {}", random.within(3..=40)),
                false => format!("valid_months: {}", random.within(1..=3)),
            });
            text.push_str(&format!("- {{ {} }}\n", fields.join(", ")));
        }
        text
    }

    fn limits(&self, random: &mut Random) -> String {
        let mut limits = Vec::new();
        if random.percent(30) {
            limits.push(format!("minimum_points: \"{}\"", self.written(random.within(1..=4))));
        }
        if random.percent(40) {
            limits.push(format!("maximum_points: \"{}\"", self.written(random.within(5..=60))));
        }
        if random.percent(60) {
            let period = random.pick(&["DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "LIFETIME"]);
            limits.push(format!("cap: {{ points: \"{}\", period: PERIOD_{period} }}", self.points(random, 60)));
        }
        if random.percent(15) {
            limits.push("once_per_member: true".to_owned());
        }
        format!("  limits: {{ {} }}\n", limits.join(", "))
    }

    fn filter(&self, random: &mut Random) -> String {
        let mut filter = Vec::new();
        let mut list = |name: &str, values: &[&str], percent: u64, random: &mut Random| {
            if random.percent(percent) {
                filter.push(format!("{name}: [{}]", random.pick(values)));
            }
        };
        list("skus", &SKUS[1..], 15, random);
        list("categories", &CATEGORIES[1..], 20, random);
        list("labels", &LABELS, 20, random);
        list("excluded_skus", &SKUS[1..], 15, random);
        list("excluded_categories", &CATEGORIES[1..], 10, random);
        list("excluded_labels", &LABELS, 15, random);
        list("store_ids", &STORES, 10, random);
        list("channels", &CHANNELS[1..], 10, random);
        list("tenders", &["KIND_CARD", "KIND_CASH", "KIND_POINTS"], 10, random);
        list("weekdays", &["WEEKDAY_SATURDAY, WEEKDAY_SUNDAY", "WEEKDAY_MONDAY, WEEKDAY_TUESDAY, WEEKDAY_WEDNESDAY"], 10, random);
        let hours = ["{ start_hour: 22, end_hour: 4 }", "{ start_hour: 6, end_hour: 18 }"];
        list("hours", &hours, 25, random);
        if random.percent(25) {
            filter.push(format!("minimum_order: \"{}\"", self.money(random, if self.is_fine() { 60 } else { 600 })));
        }
        format!("  filter: {{ {} }}\n", filter.join(", "))
    }

    /// `inactivity`: how all points of the programme lapse, where they do so.
    fn tiers(&self, is_easy: bool, kinds: &[&str], inactivity: Option<&str>, random: &mut Random) -> String {
        if self.tiers == 0 {
            return String::new();
        }
        let own_expiry = |percent: u64, random: &mut Random| {
            let own = |random: &mut Random| inactivity.filter(|_| random.percent(20)).map_or_else(|| expiry(random), str::to_owned);
            if random.percent(percent) { format!(", expiry: {}", own(random)) } else { String::new() }
        };
        let pause = |percent: u64, random: &mut Random| match inactivity {
            Some(_) if random.percent(percent) => ", pauses_inactivity: true",
            Some(_) | None => "",
        };
        let (benefit, expires, pauses) = (benefits(20, random), own_expiry(25, random), pause(8, random));
        let mut text = format!("tiers:\n- {{ tier_id: t0, display_name: First{benefit}{expires}{pauses} }}\n");
        let (points, spend, visits) = match is_easy {
            true => (random.within(2..=20), random.within(20..=90), random.within(2..=4)),
            false => (random.within(20..=200), random.within(200..=900), random.within(4..=15)),
        };
        let multipliers = ["1.2", "1.5", "2", "1.333333", "0.5"];
        // Bounds of the same kinds in each tier, so that none is lower than below.
        let [by_points, by_spend, by_visits] = [random.percent(80), random.percent(40), random.percent(40)];
        for place in 1..self.tiers as u64 {
            let mut bounds = Vec::new();
            if by_points || !(by_spend || by_visits) {
                bounds.push(format!("qualifying_points: \"{}\"", points * place));
            }
            if by_spend {
                bounds.push(format!("spend: \"{}\"", if self.is_fine() { spend * place } else { spend * place * 10_000 }));
            }
            if by_visits {
                bounds.push(format!("visits: {}", visits * place));
            }
            let multiplier = random.pick(&multipliers);
            let reward = if random.percent(if is_easy { 80 } else { 40 }) {
                let points = format!("points: \"{}\"{}", self.points(random, 9), own_expiry(40, random));
                let voucher = format!("voucher_kind_id: {}", random.pick(kinds));
                let reward = match random.below(4) {
                    0 | 1 => points,
                    2 => voucher,
                    _ => format!("{points}, {voucher}"),
                };
                format!(", entry_reward: {{ {reward} }}")
            } else {
                String::new()
            };
            let bounds = format!("{{ {}, require_all: {} }}", bounds.join(", "), random.percent(40));
            let retention = match random.below(6) {
                0 => format!(", retention: {{ qualifying_points: \"{}\" }}", points / 2),
                1 => format!(", retention: {{ visits: {} }}", visits / 2),
                _ => String::new(),
            };
            let (benefits, expires, pauses) = (benefits(60, random), own_expiry(40, random), pause(60, random));
            text.push_str(&format!(
                "- {{ tier_id: t{place}, display_name: Next, threshold: {bounds}{retention}, multiplier: \"{multiplier}\"\
                 {reward}{benefits}{expires}{pauses} }}\n"
            ));
        }
        text
    }

    fn transfers(&self, random: &mut Random) -> String {
        if random.percent(15) {
            return String::new();
        }
        let mut bounds = Vec::new();
        if random.percent(40) {
            bounds.push(format!("minimum_points: \"{}\"", self.written(random.within(1..=20))));
        }
        if random.percent(40) {
            bounds.push(format!("maximum_points: \"{}\"", self.written(random.within(20..=400))));
        }
        format!("transfers: {{ {} }}\n", bounds.join(", "))
    }

    fn offline(&self, random: &mut Random) -> String {
        if random.percent(20) {
            return String::new();
        }
        let shortfall = random.pick(&["DEBT", "DEBT", "REFUSE"]);
        let floor = self.written(random.within(5..=60));
        format!("offline: {{ floor_limit_points: \"{floor}\", shortfall: SHORTFALL_{shortfall} }}\n")
    }

    fn fraud_limits(&self, random: &mut Random) -> String {
        let mut limits = Vec::new();
        let mut limit = |name: &str, maximum: String, percent: u64, random: &mut Random| {
            if random.percent(percent) {
                let action = random.pick(&["FLAG", "FLAG", "REFUSE"]);
                limits.push(format!("{name}: {{ maximum: {maximum}, action: ACTION_{action} }}"));
            }
        };
        let [purchases, adjustments] = [random.within(1..=2), random.within(1..=3)].map(|maximum| maximum.to_string());
        let [earned, adjusted] = [self.points(random, 80), self.written(random.within(100..=900))].map(|points| format!("\"{points}\""));
        limit("purchases_per_hour", purchases, 40, random);
        limit("points_per_day", earned, 40, random);
        limit("adjustments_per_day", adjustments, 40, random);
        limit("adjusted_points_per_day", adjusted, 40, random);
        format!("fraud_limits: {{ {} }}\n", limits.join(", "))
    }

    fn redemption(&self, random: &mut Random) -> String {
        if random.percent(7) {
            return String::new();
        }
        let points = self.written(*random.pick(&[1, 3, 10, 100]));
        let amount = if self.is_fine() { *random.pick(&["0.01", "0.10", "1.00"]) } else { *random.pick(&["100", "1000", "333"]) };
        let mut fields = vec![format!("points: \"{points}\", amount: \"{amount}\"")];
        if random.percent(40) {
            fields.push(format!("minimum_points: \"{}\"", self.written(random.within(1..=20))));
        }
        if random.percent(40) {
            fields.push(format!("step_points: \"{}\"", self.written(*random.pick(&[1, 2, 5, 10]))));
        }
        if random.percent(40) {
            fields.push(format!("maximum_share_percent: \"{}\"", random.pick(&["50", "33.3", "100", "7.25"])));
        }
        if random.percent(50) {
            fields.push(format!("grace_days: {}", random.within(1..=20)));
        }
        if random.percent(50) {
            fields.push("default_hold_seconds: 1800, maximum_hold_seconds: 1209600".to_owned());
        }
        format!("redemption: {{ {} }}\n", fields.join(", "))
    }
}

/// What a tier takes off each purchase, if it does.
fn benefits(percent: u64, random: &mut Random) -> String {
    let discount = random
        .percent(percent)
        .then(|| format!("discount_percent: \"{}\"", random.pick(&["10", "7.5", "33.3333", "12.5", "0.05", "5", "100"])));
    let shipping = random.percent(percent / 2).then(|| "free_shipping: true".to_owned());
    let all: Vec<String> = discount.into_iter().chain(shipping).collect();
    if all.is_empty() { String::new() } else { format!(", benefits: {{ {} }}", all.join(", ")) }
}

/// Stage, and the policy.
fn rounding(random: &mut Random, of_program: bool) -> (&'static str, String) {
    let stages = ["LINE", "RULE", "RULE", "ORDER"];
    let stage = *random.pick(if of_program { &stages } else { &stages[..3] });
    let text = if random.percent(35) {
        format!("{{ mode: MODE_FLOOR, stage: STAGE_{stage}, fraction: FRACTION_CARRY }}")
    } else {
        let mode = random.pick(&["FLOOR", "HALF_UP", "HALF_EVEN", "CEILING"]);
        format!("{{ mode: MODE_{mode}, stage: STAGE_{stage}, fraction: FRACTION_DROP }}")
    };
    (stage, text)
}

fn expiry(random: &mut Random) -> String {
    let from_activation = random.percent(60);
    match random.below(7) {
        0 => "{ never: {} }".to_owned(),
        1 | 2 => format!("{{ after: {{ days: {}, from_activation: {from_activation} }} }}", random.within(1..=40)),
        3 => format!("{{ after: {{ months: {}, from_activation: {from_activation} }} }}", random.within(1..=3)),
        4 | 5 => {
            let period = random.pick(&["MONTH", "QUARTER", "HALF_YEAR", "YEAR"]);
            let more = random.below(2);
            format!("{{ end_of_period: {{ period: CALENDAR_PERIOD_{period}, additional_periods: {more} }} }}")
        }
        _ => {
            let date = random.pick(&["month: 2, day: 29", "month: 4, day: 24", "month: 12, day: 31", "month: 10, day: 25"]);
            format!("{{ fixed_date: {{ {date}, minimum_days: {} }} }}", random.within(0..=60))
        }
    }
}

/// Of what waits for a confirmation, most often for some time after it.
fn expiry_after(activation: &str, random: &mut Random) -> String {
    if activation.contains("on_confirmation") && random.percent(50) {
        return format!("{{ after: {{ days: {}, from_activation: true }} }}", random.within(10..=60));
    }
    expiry(random)
}

fn inactivity(by_month: bool, random: &mut Random) -> String {
    let all = ["PURCHASE", "REDEMPTION", "ACTIVITY", "ADJUSTMENT", "TRANSFER"];
    let mut counted: Vec<String> = all.iter().filter(|_| random.percent(50)).map(|it| format!("COUNTED_ACTIVITY_{it}")).collect();
    if counted.is_empty() {
        counted.push(format!("COUNTED_ACTIVITY_{}", random.pick(&all)));
    }
    let (months, extension) = if by_month { (1..=3, "MONTH") } else { (1..=4, "RESTART") };
    let (months, counted) = (random.within(months), counted.join(", "));
    format!("{{ inactivity: {{ months: {months}, activities: [{counted}], extension: EXTENSION_{extension} }} }}")
}

fn activation(random: &mut Random) -> String {
    match random.below(5) {
        0..=2 => "{ immediate: {} }".to_owned(),
        3 => format!("{{ after_days: {} }}", random.within(1..=15)),
        _ => "{ on_confirmation: {} }".to_owned(),
    }
}

/// Some of the programmes have tiers without end.
fn standing(random: &mut Random) -> String {
    let (window, validity) = match random.below(18) {
        0 => ("CALENDAR_YEAR", "END_OF_PERIOD"),
        1 => ("CALENDAR_QUARTER", "END_OF_PERIOD"),
        2 => ("CALENDAR_QUARTER", "END_OF_NEXT_PERIOD"),
        3 => ("CALENDAR_QUARTER", "MONTHS, validity_months: 2"),
        4 => ("ROLLING_MONTHS, rolling_months: 3", "MONTHS, validity_months: 4"),
        5 => ("ROLLING_MONTHS, rolling_months: 2", "UNLIMITED"),
        6 => ("MEMBERSHIP_YEAR", "END_OF_PERIOD"),
        7 => ("MEMBERSHIP_YEAR", "END_OF_NEXT_PERIOD"),
        8 => ("MEMBERSHIP_YEAR", "MONTHS, validity_months: 5"),
        9 | 10 => ("LIFETIME, reset_at_review: true", "MONTHS, validity_months: 2"),
        11 => ("ROLLING_MONTHS, rolling_months: 4, reset_at_review: true", "MONTHS, validity_months: 1"),
        12 => ("LIFETIME", "MONTHS, validity_months: 3"),
        13 => ("ROLLING_MONTHS, rolling_months: 6, reset_at_review: true", "MONTHS, validity_months: 1"),
        14 => ("CALENDAR_YEAR", "END_OF_NEXT_PERIOD"),
        _ => return String::new(),
    };
    let outcome = random.pick(&["EARNED", "EARNED", "ONE_DOWN", "ONE_DOWN", "NEVER_DOWN"]);
    let (grace, at_once) = (*random.pick(&[0, 0, 5]), random.percent(50));
    format!(
        ", window: WINDOW_{window}, validity: VALIDITY_{validity}, review_outcome: REVIEW_OUTCOME_{outcome}, grace_days: {grace}, \
         review_returns_at_once: {at_once}"
    )
}
