//! Comparing the catalogue that a member is shown with how its rewards must stand, and its offers, and how large segments are.

use loyaltyd::domain::{MemberKey, Offer, OfferStanding, OfferState, Rejection, RewardId, RewardStanding, SegmentId};

use super::{
    auditor::{Account, offers, rewards, segments},
    life::{Life, Shop},
};

impl Life {
    pub fn catalogue_is_as_told(&self, shop: &Shop, key: &MemberKey, account: &Account) -> Result<(), String> {
        if account.merged_into.is_some() {
            return Ok(());
        }
        let listed = self.ledger().rewards(&key.program, Some(key)).map_err(|error| error.to_string())?;
        let standing = |(reward, standing): (&RewardId, &RewardStanding)| {
            let left = standing.stock_left.map(|left| left as i64);
            (reward.to_string(), i64::from(standing.redeemed), left, standing.why_not.first().cloned().map(Rejection::from))
        };
        let found: Vec<rewards::Standing> = listed.program.rewards.keys().zip(&listed.standings).map(standing).collect();
        let expected =
            rewards::listed(account, &shop.books, self.last_now.expect("something was read"), rewards::shelf(shop.accounts.iter()));
        if found == expected { Ok(()) } else { Err(format!("of the rewards:\n{expected:#?}\nwas expected, and found was\n{found:#?}")) }
    }

    pub fn offers_are_as_told(&self, shop: &Shop, key: &MemberKey, account: &Account) -> Result<(), String> {
        if account.merged_into.is_some() {
            return Ok(());
        }
        let listed = self.ledger().offers(key).map_err(|error| error.to_string())?;
        let standing = |(offer, standing): (&Offer, &OfferStanding)| offers::Standing {
            offer: offer.id.to_string(),
            state: match standing.state {
                OfferState::Available => "available",
                OfferState::NeedsActivation => "needs activation",
                OfferState::Active => "active",
                OfferState::UsedUp => "used up",
                OfferState::Ended => "ended",
                OfferState::Unavailable => "unavailable",
            },
            until: standing.until,
            uses: standing.uses,
            left: standing.uses_left,
            why_not: standing.why_not.iter().cloned().map(Rejection::from).collect(),
        };
        let found: Vec<offers::Standing> = listed.program.offers.iter().zip(&listed.standings).map(standing).collect();
        let expected = offers::listed(account, &shop.books, self.last_now.expect("something was read"));
        if found == expected { Ok(()) } else { Err(format!("of the offers:\n{expected:#?}\nwas expected, and found was\n{found:#?}")) }
    }

    /// How many are in each segment, as far as is entered.
    pub fn segments_are_as_large(&self, shop: usize) -> Result<(), String> {
        let shop = &self.shops[shop];
        for (id, _) in segments::CONDITIONS {
            let segment = SegmentId::new(id).expect("an id");
            let found = self.ledger().segment_size(&shop.id, &segment).map_err(|error| error.to_string())?;
            let expected = shop.accounts.iter().filter(|account| account.segments.held.contains_key(id)).count();
            if found != expected as u64 {
                return Err(format!("{expected} members are in {id}, and the ledger says {found}"));
            }
        }
        Ok(())
    }
}
