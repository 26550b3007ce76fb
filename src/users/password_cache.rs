//! Remembers passwords that were right, so that they need not be hashed again.
//!
//! A client that opens ten connections logs in ten times, and hashing a password is slow on
//! purpose. After the first login, a keyed hash (HMAC) in memory recognizes the same password, as
//! long as the account's record is the same. The key is random and is lost when the process ends,
//! and nothing of this is written to the disk.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use crate::lock::lock;
use crate::random::random;

use super::hash::{Hmac, Password, constant_time_eq};
use super::record::Record;

/// The most accounts that are remembered. When there would be more, all are forgotten.
const REMEMBERED: usize = 16_384;

/// For each account, the keyed hash of its record and password.
#[derive(Debug)]
pub struct PasswordCache {
    key: Hmac,
    tags: Mutex<HashMap<String, [u8; 32]>>,
}

impl PasswordCache {
    /// The cache is empty. Fails if the system gives no random bytes.
    pub fn new() -> io::Result<PasswordCache> {
        Ok(PasswordCache { key: Hmac::new(&random::<32>()?), tags: Mutex::default() })
    }

    /// The keyed hash of a record and a password. The text of a record holds no NUL, so no two
    /// pairs give the same message.
    fn tag(&self, record: &Record, password: &Password) -> [u8; 32] {
        self.key.sign(&[record.to_string().as_bytes(), b"\0", &password.0])
    }

    /// Whether this password was right for this record, and the record has not changed since.
    pub fn contains(&self, record: &Record, password: &Password) -> bool {
        let tag = self.tag(record, password);
        let tags = lock(&self.tags);
        tags.get(&record.name).is_some_and(|known| constant_time_eq(known, &tag))
    }

    /// Remembers that this password is right for this record.
    pub fn insert(&self, record: &Record, password: &Password) {
        let tag = self.tag(record, password);
        let mut tags = lock(&self.tags);
        if tags.len() >= REMEMBERED {
            tags.clear();
        }
        tags.insert(record.name.clone(), tag);
    }
}
