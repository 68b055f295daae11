//! Repeatable randomness and the choice of members.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `bound`, exclusive.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of a product fits")
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Which members are busy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Skew {
    Uniform,
    /// A power law: the member of rank k is chosen in proportion to 1 / k^exponent.
    Zipf(f64),
}

impl Skew {
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected uniform, or zipf:EXPONENT with an exponent of more than 0 and at most 5".to_owned();
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let exponent: f64 = text.strip_prefix("zipf:").and_then(|number| number.parse().ok()).ok_or_else(expected)?;
        if exponent > 0.0 && exponent <= 5.0 { Ok(Self::Zipf(exponent)) } else { Err(expected()) }
    }

    /// One of `members`, which is not 0.
    pub fn pick(self, random: &mut Random, members: u64) -> u64 {
        match self {
            Self::Uniform => random.below(members),
            Self::Zipf(exponent) => {
                // The inverse of the continuous distribution; its difference to the discrete one does not matter for load.
                let (fraction, most) = (random.fraction(), members as f64);
                let rest = 1.0 - exponent;
                let rank = if rest.abs() < 1e-9 {
                    (fraction * most.ln()).exp()
                } else {
                    (fraction * (most.powf(rest) - 1.0) + 1.0).powf(1.0 / rest)
                };
                (rank as u64).clamp(1, members) - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew() {
        let mut random = Random::new(1);
        for (skew, least, most) in [(Skew::Uniform, 50, 200), (Skew::Zipf(1.0), 4_000, 6_000)] {
            let mut first_ten = 0;
            for _ in 0..10_000 {
                let member = skew.pick(&mut random, 1_000);
                assert!(member < 1_000);
                first_ten += u32::from(member < 31);
            }
            assert!((least..=most).contains(&(first_ten / if skew == Skew::Uniform { 3 } else { 1 })), "{skew:?} {first_ten}");
        }
        assert_eq!(Skew::parse("zipf:0.99"), Ok(Skew::Zipf(0.99)));
        assert!(Skew::parse("zipf:nan").is_err() && Skew::parse("zipf:-1").is_err() && Skew::parse("even").is_err());
    }
}
