//! How large everything is: for a real run, and for a quick one that only shows that everything
//! works.

use std::time::Duration;

/// The sizes of the rows.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Bytes that one client transfers.
    pub bulk: u64,
    /// Bytes that each of four clients transfers.
    pub shared: u64,
    /// How long a rate is counted.
    pub span: Duration,
    /// How many idle clients, stage by stage.
    pub idle: Vec<usize>,
    /// Files in a folder, stage by stage; the last is what the rows of listings are about.
    pub files: Vec<usize>,
    /// Accounts in the users file, stage by stage.
    pub accounts: Vec<usize>,
    /// How old a users file is when logging in again is measured: the server does not trust one to
    /// be unchanged before it is three seconds old.
    pub users_age: Duration,
    /// Starts a round.
    pub starts: usize,
}

impl Scale {
    pub fn full() -> Scale {
        Scale {
            bulk: 1 << 30,
            shared: 256 << 20,
            span: Duration::from_secs(1),
            idle: vec![1, 200, 1_000, 5_000, 10_000],
            files: vec![10, 1_000, 100_000],
            accounts: vec![10, 1_000, 100_000],
            users_age: Duration::from_millis(3_500),
            starts: 5,
        }
    }

    pub fn quick() -> Scale {
        Scale {
            bulk: 4 << 20,
            shared: 1 << 20,
            span: Duration::from_millis(50),
            idle: vec![1, 20, 50],
            files: vec![10, 300],
            accounts: vec![10, 100],
            users_age: Duration::ZERO,
            starts: 1,
        }
    }
}
