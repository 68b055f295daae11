//! Choices that bytes make. When they are used up, all choices are the first one.

/// What is left of them.
pub struct Entropy<'a>(&'a [u8]);

impl<'a> Entropy<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Less than `bound`, which is more than 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = if bound <= 256 { usize::from(self.byte()) } else { usize::from(self.byte()) << 8 | usize::from(self.byte()) };
        let number = if bound > 65_536 { number << 8 | usize::from(self.byte()) } else { number };
        number % bound
    }

    /// Once in so many times.
    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }

    pub fn pick<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[self.below(items.len())]
    }

    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Changes bytes somewhere, some times: turned, set, taken out, put in, doubled.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                bytes.push(self.byte());
                continue;
            }
            let place = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[place] ^= 1 << self.below(8),
                1 => bytes[place] = *self.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                2 => bytes[place] = self.byte(),
                3 => {
                    let end = (place + 1 + self.below(32)).min(bytes.len());
                    bytes.drain(place..end);
                }
                4 => {
                    let more: Vec<u8> = (0..=self.below(8)).map(|_| self.byte()).collect();
                    bytes.splice(place..place, more);
                }
                _ => {
                    let end = (place + 1 + self.below(64)).min(bytes.len());
                    let part = bytes[place..end].to_vec();
                    bytes.splice(place..place, part);
                }
            }
        }
    }
}
