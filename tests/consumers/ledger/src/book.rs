//! The accounts, and what changes them.

use std::collections::BTreeMap;
use std::fmt;

use minisnap_client::state::Mutator;
use serde::{Deserialize, Serialize};

/// Whose transfers are made up.
const ACCOUNTS: [&str; 5] = ["cash", "rent", "sales", "stock", "wages"];

/// What each account holds. The sum is 0, as what one gets another gives.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    accounts: BTreeMap<String, i64>,
}

impl Mutator<Book> for Transfer {
    /// Moves the amount, or, if an account cannot hold that, nothing.
    fn apply(&self, book: &mut Book) {
        let holds = |account: &str| book.accounts.get(account).copied().unwrap_or_default();
        let given = holds(&self.from).checked_sub(self.amount);
        let got = holds(&self.to).checked_add(self.amount);
        if let (Some(given), Some(got)) = (given, got) {
            book.accounts.insert(self.from.clone(), given);
            book.accounts.insert(self.to.clone(), got);
        }
    }
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accounts: Vec<_> =
            self.accounts.iter().map(|(account, holds)| format!("{account} {holds}")).collect();
        f.write_str(&accounts.join(", "))
    }
}

/// An amount that one account gives to another.
#[derive(Debug, Serialize, Deserialize)]
pub struct Transfer {
    from: String,
    to: String,
    amount: i64,
}

impl Transfer {
    /// The transfer that has this number, of those that a seed stands for.
    pub fn made_up(seed: u64, number: u64) -> Self {
        let random = scrambled(seed ^ scrambled(number));
        let accounts = ACCOUNTS.len() as u64;
        let from = random % accounts;
        let to = (from + 1 + random / accounts % (accounts - 1)) % accounts;
        let name = |index: u64| ACCOUNTS[index as usize].to_owned();
        Transfer { from: name(from), to: name(to), amount: (random >> 32) as i64 % 1000 + 1 }
    }
}

/// The last step of splitmix64: every bit of the result depends on every bit of the number.
fn scrambled(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
