//! Salted password hashes: PBKDF2-HMAC-SHA256 (RFC 8018 §5.2, RFC 2104), in a self-describing
//! text form, `pbkdf2-sha256$ITERATIONS$SALT$HASH` with salt and hash in hexadecimal.

use std::fmt;
use std::io;

use sha2::{Digest, Sha256};

use crate::config::MOST_ITERATIONS;
use crate::random::random;

const SCHEME: &str = "pbkdf2-sha256";
/// The text of [`PasswordHash::Any`].
const ANY: &str = "any";
const BLOCK: usize = 64;
const SALT: usize = 16;

/// A password as the client sent it. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Password {
    /// The length of the password in characters, or in bytes if it is not UTF-8.
    pub fn characters(&self) -> usize {
        str::from_utf8(&self.0).map_or(self.0.len(), |text| text.chars().count())
    }
}

/// What the users file holds to verify a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// `any`: every password is right.
    Any,
    /// A salted hash.
    Pbkdf2 { iterations: usize, salt: Vec<u8>, hash: [u8; 32] },
}

impl PasswordHash {
    /// Hashes `password` with a new salt of 16 random bytes. Fails if the system gives no random
    /// bytes.
    pub fn new(password: &Password, iterations: usize) -> io::Result<PasswordHash> {
        let salt = random::<SALT>()?.to_vec();
        let hash = pbkdf2(&password.0, &salt, iterations);
        Ok(PasswordHash::Pbkdf2 { iterations, salt, hash })
    }

    /// A hash that no password has. A login with an unknown name is compared with it, so that it
    /// takes as long as a login with a known name.
    pub fn decoy(iterations: usize) -> PasswordHash {
        PasswordHash::Pbkdf2 { iterations, salt: vec![0; SALT], hash: [0; 32] }
    }

    /// The number of PBKDF2 iterations, which is the cost of a comparison.
    pub fn iterations(&self) -> Option<usize> {
        let PasswordHash::Pbkdf2 { iterations, .. } = self else { return None };
        Some(*iterations)
    }

    /// Whether `password` has this hash.
    pub fn matches(&self, password: &Password) -> bool {
        let PasswordHash::Pbkdf2 { iterations, salt, hash } = self else { return true };
        constant_time_eq(&pbkdf2(&password.0, salt, *iterations), hash)
    }

    /// Reads the text form. An error says in one phrase what is wrong with the text.
    pub fn parse(text: &str) -> Result<PasswordHash, &'static str> {
        if text == ANY {
            return Ok(PasswordHash::Any);
        }
        let fields: Vec<_> = text.split('$').collect();
        let [SCHEME, iterations, salt, hash] = *fields.as_slice() else {
            return Err("the hash is not of the form pbkdf2-sha256$ITERATIONS$SALT$HASH");
        };
        let iterations = match iterations.parse() {
            Ok(n @ 1..=MOST_ITERATIONS) => n,
            _ => return Err("the hash's iterations are not a number from 1 to 100000000"),
        };
        let salt = hex::decode(salt).map_err(|_| "the hash's salt is not hexadecimal")?;
        if salt.len() < 8 {
            return Err("the hash's salt is shorter than 8 bytes");
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes)
            .map_err(|_| "the hash is not of 32 hexadecimal bytes")?;
        Ok(PasswordHash::Pbkdf2 { iterations, salt, hash: bytes })
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PasswordHash::Pbkdf2 { iterations, salt, hash } = self else { return f.write_str(ANY) };
        write!(f, "{SCHEME}${iterations}${}${}", hex::encode(salt), hex::encode(hash))
    }
}

/// Compares two secrets. The time tells nothing about them except their lengths.
pub fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// HMAC-SHA256 whose key has been absorbed, so that a short message costs only two compressions.
/// Its `Debug` form does not show the key, because that of [`Sha256`] shows nothing.
#[derive(Debug, Clone)]
pub struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    /// Absorbs a key of any length.
    pub fn new(key: &[u8]) -> Hmac {
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            block.iter_mut().zip(Sha256::digest(key)).for_each(|(to, from)| *to = from);
        } else {
            block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        }
        let padded = |pad: u8| Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
        Hmac { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Returns the HMAC of a message, which is given in parts.
    pub fn sign(&self, message: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        message.iter().for_each(|part| inner.update(part));
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}

/// The first block of PBKDF2's output, which is all that a 32-byte hash needs.
fn pbkdf2(password: &[u8], salt: &[u8], iterations: usize) -> [u8; 32] {
    #[cfg(test)]
    WORK.set(WORK.get() + iterations as u64);
    let hmac = Hmac::new(password);
    let mut last = hmac.sign(&[salt, &1_u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = hmac.sign(&[&last]);
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
thread_local! {
    /// The iterations that this thread has done.
    pub static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_7914_section_11_hold() {
        assert_eq!(
            hex::encode(pbkdf2(b"passwd", b"salt", 1)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
        assert_eq!(
            hex::encode(pbkdf2(b"Password", b"NaCl", 80_000)),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        );
    }

    #[test]
    fn hmac_hashes_a_key_longer_than_a_block_first() {
        // RFC 4231 §4.7, test case 6.
        let hmac = Hmac::new(&[0xaa; 131]);
        assert_eq!(
            hex::encode(hmac.sign(&[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_hash_survives_its_text_form_and_matches_its_password_only() {
        let hash = PasswordHash::new(&Password(b"wonderland".to_vec()), 3).unwrap();
        let again = PasswordHash::parse(&hash.to_string()).unwrap();
        assert_eq!(again, hash);
        assert!(again.matches(&Password(b"wonderland".to_vec())));
        assert!(!again.matches(&Password(b"wonderlanD".to_vec())));
        assert!(!again.matches(&Password(Vec::new())));
    }

    #[test]
    fn two_hashes_of_the_same_password_have_different_salts() {
        let password = Password(b"wonderland".to_vec());
        let one = PasswordHash::new(&password, 1).unwrap();
        let two = PasswordHash::new(&password, 1).unwrap();
        let salt = |hash: &PasswordHash| hash.to_string().split('$').nth(2).unwrap().to_string();
        assert_eq!(salt(&one).len(), 32);
        assert_ne!(salt(&one), salt(&two));
    }

    #[test]
    fn a_text_of_any_other_form_is_not_a_hash() {
        let good = "pbkdf2-sha256$1$0011223344556677$".to_string() + &"ab".repeat(32);
        assert!(PasswordHash::parse(&good).is_ok());
        for bad in [
            "",
            "secret",
            "$$$",
            &good.replace("sha256", "sha1"),
            &good.replace("$1$", "$0$"),
            &good.replace("$1$", "$-1$"),
            &good.replace("$1$", "$100000001$"),
            &good.replace("0011", ""),
            &good.replace("0011", "001"),
            &good.replace("0011", "zz11"),
            &good[..good.len() - 2],
            &(good.clone() + "ab"),
            &(good.clone() + "$"),
        ] {
            assert!(PasswordHash::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Password(b"wonderland".to_vec())), "Password(..)");
    }
}
