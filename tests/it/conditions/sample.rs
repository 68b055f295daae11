//! A purchase to judge conditions by.

use jiff::{Timestamp, civil::DateTime};
use loyaltyd::domain::{
    AmountField, Facts, LineAmountField, LineListField, LineTextField, ListField, NumberField, Overflow, TextField, TimeField, TruthField,
};

#[derive(Debug)]
pub struct Sample {
    pub channel: String,
    pub tier: String,
    pub purchases: i64,
    pub tier_rank: i64,
    pub age_days: i64,
    pub labels: Vec<String>,
    pub segments: Vec<String>,
    pub lines: Vec<SampleLine>,
}

#[derive(Debug)]
pub struct SampleLine {
    pub sku: String,
    pub category: String,
    pub labels: Vec<String>,
    /// In 1/1000, and in cents.
    pub quantity: i128,
    pub amount: i128,
    pub discount: i128,
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Default for Sample {
    fn default() -> Self {
        let line = |sku: &str, category: &str, labels: &[&str], quantity, amount, discount| SampleLine {
            sku: sku.into(),
            category: category.into(),
            labels: words(labels),
            quantity,
            amount,
            discount,
        };
        Self {
            channel: "app".into(),
            tier: "gold".into(),
            purchases: 7,
            tier_rank: 2,
            age_days: 100,
            labels: words(&["bio", "mix"]),
            segments: words(&["vip", "frequent"]),
            lines: vec![
                line("tea-1", "TEA", &["bio"], 2_000, 2_000, 0),
                line("coffee", "COFFEE", &["bio", "new"], 1_500, 1_600, 100),
                line("cup", "CUPS", &[], 1_000, 500, 0),
            ],
        }
    }
}

impl Facts for Sample {
    fn local_time(&self) -> DateTime {
        "2026-03-10T09:30:00".parse().unwrap()
    }

    fn truth(&self, field: TruthField) -> Result<bool, Overflow> {
        match field {
            TruthField::PurchaseIsFirst | TruthField::PurchaseOffline => Ok(false),
        }
    }

    fn number(&self, field: NumberField) -> Result<i64, Overflow> {
        Ok(match field {
            NumberField::MemberTierRank => self.tier_rank,
            NumberField::MemberAgeDays => self.age_days,
            NumberField::MemberDaysSinceLastPurchase => 12,
            NumberField::MemberPurchases => self.purchases,
        })
    }

    fn amount(&self, field: AmountField) -> Result<i128, Overflow> {
        Ok(match field {
            AmountField::PurchaseBasis => self.lines.iter().map(|line| line.amount - line.discount).sum(),
            AmountField::PurchaseTotal => 4_300,
            AmountField::PurchaseOrderDiscount => 0,
            AmountField::PurchaseQuantity => self.lines.iter().map(|line| line.quantity).sum(),
            AmountField::MemberSpend => 123_456,
            AmountField::MemberAvailablePoints => 600,
            AmountField::MemberPendingPoints | AmountField::MemberQualifyingPoints => 50,
        })
    }

    fn text(&self, field: TextField) -> &str {
        match field {
            TextField::PurchaseStoreId => "paris",
            TextField::PurchaseChannel => &self.channel,
            TextField::MemberTier => &self.tier,
        }
    }

    fn time(&self, field: TimeField) -> Timestamp {
        match field {
            TimeField::Now => "2026-03-10T08:30:00Z".parse().unwrap(),
            TimeField::MemberCreateTime => "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn count(&self, field: ListField) -> usize {
        match field {
            ListField::PurchaseLabels => self.labels.len(),
            ListField::PurchaseTenders | ListField::PurchaseCodes => 1,
            ListField::MemberSegments => self.segments.len(),
        }
    }

    fn item(&self, field: ListField, index: usize) -> &str {
        match field {
            ListField::PurchaseLabels => &self.labels[index],
            ListField::PurchaseTenders => "card",
            ListField::PurchaseCodes => "WELCOME",
            ListField::MemberSegments => &self.segments[index],
        }
    }

    fn lines(&self) -> usize {
        self.lines.len()
    }

    fn line_text(&self, field: LineTextField, line: usize) -> &str {
        let line = &self.lines[line];
        match field {
            LineTextField::Sku => &line.sku,
            LineTextField::Category => &line.category,
            LineTextField::Kind => "goods",
        }
    }

    fn line_amount(&self, field: LineAmountField, line: usize) -> Result<i128, Overflow> {
        let line = &self.lines[line];
        Ok(match field {
            LineAmountField::Quantity => line.quantity,
            LineAmountField::Amount => line.amount,
            LineAmountField::Discount => line.discount,
            LineAmountField::Basis => line.amount - line.discount,
        })
    }

    fn line_count(&self, field: LineListField, line: usize) -> usize {
        match field {
            LineListField::Labels => self.lines[line].labels.len(),
        }
    }

    fn line_item(&self, field: LineListField, line: usize, index: usize) -> &str {
        match field {
            LineListField::Labels => &self.lines[line].labels[index],
        }
    }
}
