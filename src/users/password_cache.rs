//! Passwords that were right a moment ago.
//!
//! A client that opens ten connections logs in ten times. After the first, a keyed hash in memory
//! knows name and password again, as long as the account's record is the same; the key is random
//! and dies with the process, and nothing of it is ever written down.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::random::random;

use super::hash::{Hmac, Password, constant_time_eq};
use super::record::Record;

/// So many accounts are remembered; beyond it all are forgotten and learned anew.
const REMEMBERED: usize = 16_384;

/// The keyed hashes of what was right.
pub struct PasswordCache {
    key: Hmac,
    tags: Mutex<HashMap<String, [u8; 32]>>,
}

impl std::fmt::Debug for PasswordCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordCache(..)")
    }
}

impl PasswordCache {
    /// Remembers nothing yet. Fails where the system gives no random bytes.
    pub fn new() -> io::Result<PasswordCache> {
        Ok(PasswordCache { key: Hmac::new(&random::<32>()?), tags: Mutex::default() })
    }

    /// The record stands before the password: its text holds no NUL, so no two pairs have one text.
    fn tag(&self, record: &Record, password: &Password) -> [u8; 32] {
        self.key.sign(&[record.to_string().as_bytes(), b"\0", &password.0])
    }

    /// Whether this password was right for this very record.
    pub fn contains(&self, record: &Record, password: &Password) -> bool {
        let tag = self.tag(record, password);
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.get(&record.name).is_some_and(|known| constant_time_eq(known, &tag))
    }

    /// It is.
    pub fn insert(&self, record: &Record, password: &Password) {
        let tag = self.tag(record, password);
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        if tags.len() >= REMEMBERED {
            tags.clear();
        }
        tags.insert(record.name.clone(), tag);
    }
}
