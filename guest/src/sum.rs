//! XXH128 sums.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// An XXH128 sum. It finds damage; it is no signature, since whoever can write in the directory can make another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum(pub(crate) u128);

impl Sum {
    /// How many hexadecimal digits it has.
    pub const DIGITS: usize = 32;

    /// The sum of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        // In the same way as pieces, which is less code.
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.sum()
    }

    /// Parses hexadecimal digits, also in forms that [`Display`](fmt::Display) does not write: the caller compares.
    pub fn parse(digits: &str) -> Option<Self> {
        u128::from_str_radix(digits, 16).ok().map(Sum)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Sums bytes that come in pieces.
#[derive(Default)]
pub struct Hasher(Box<Xxh3>);

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all pieces.
    pub fn sum(&self) -> Sum {
        Sum(self.0.digest128())
    }
}
