//! The sizes of all rows: for a real run, and for a quick run that only shows that everything
//! works.

use std::time::Duration;

/// The sizes of the rows.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Bytes that one client transfers.
    pub bulk: u64,
    /// Bytes that each of four clients transfers.
    pub shared: u64,
    /// How long a rate is measured.
    pub span: Duration,
    /// The number of idle clients in each stage.
    pub idle: Vec<usize>,
    /// The number of files in a folder in each stage. The rows of listings use the last one.
    pub files: Vec<usize>,
    /// The number of accounts in the users file in each stage.
    pub accounts: Vec<usize>,
    /// The age of the users file when the server starts. Just after a change, the server would read
    /// the file again at the first login.
    pub users_age: Duration,
    /// The number of starts in a round.
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
            users_age: Duration::from_millis(500),
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
