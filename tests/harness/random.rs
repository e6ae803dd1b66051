//! Numbers that look random, and are the same in every run.

use std::time::Duration;

/// Marsaglia's xorshift, 64 bits.
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(0x2545_F491_4F6C_DD1D)
    }
}

impl Random {
    /// A sequence of its own for each number.
    pub fn of(number: u64) -> Self {
        Random(Random::default().0 ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// A time shorter than `longest`.
    pub fn time(&mut self, longest: Duration) -> Duration {
        Duration::from_nanos(self.below(longest.as_nanos() as u64))
    }
}
