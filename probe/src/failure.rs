//! What a step that is not ok reports, and the comparisons that find it.

use std::io;

use crate::reply::Reply;

/// Why a step is not ok.
pub enum Failure {
    /// The server did something other than expected.
    Differs {
        /// What the step expected.
        expected: String,
        /// What the server did.
        got: String,
    },
    /// The server does not offer this feature, which is not a fault.
    NotOffered(String),
}

/// The result of a step or of a part of one.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let got = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_string(),
            io::ErrorKind::UnexpectedEof => "the end of the connection".to_string(),
            _ => error.to_string(),
        };
        Failure::Differs { expected: "an answer".to_string(), got }
    }
}

/// A failure with both sides.
pub fn differs<T>(expected: impl Into<String>, got: impl Into<String>) -> Result<T> {
    Err(Failure::Differs { expected: expected.into(), got: got.into() })
}

/// A step that the server gives no reason to run.
pub fn not_offered<T>(what: impl Into<String>) -> Result<T> {
    Err(Failure::NotOffered(what.into()))
}

/// Checks a condition on a reply.
pub fn check(holds: bool, expected: &str, got: &Reply) -> Result {
    if holds { Ok(()) } else { differs(expected, got.to_string()) }
}

/// Text for a terminal: control characters and bytes that are not UTF-8 are spelled out.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for part in bytes.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                _ if character.is_control() => shown.extend(character.escape_default()),
                _ => shown.push(character),
            }
        }
        shown.push_str(&part.invalid().escape_ascii().to_string());
    }
    shown
}

/// Checks that content arrived exactly; a difference is reported with its offset.
pub fn same(expected: &[u8], got: &[u8]) -> Result {
    if expected == got {
        return Ok(());
    }
    let at = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
    differs(described(expected, at), described(got, at))
}

/// Checks that two texts are equal.
pub fn same_text(expected: &str, got: &str) -> Result {
    if expected == got { Ok(()) } else { differs(expected, got) }
}

/// A short description of content: all of it if it is short, and what is at an offset.
fn described(content: &[u8], at: usize) -> String {
    let here = match content.get(at) {
        Some(byte) => format!("byte {at} is 0x{byte:02x}"),
        None => format!("it ends after {at}"),
    };
    if content.len() <= 60 {
        return format!("{} bytes \"{}\"; {here}", content.len(), printable(content));
    }
    format!("{} bytes; {here}", content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_reported_with_its_offset() {
        let Err(Failure::Differs { expected, got }) = same(b"abcd", b"abXd") else { panic!() };
        assert_eq!(expected, "4 bytes \"abcd\"; byte 2 is 0x63");
        assert_eq!(got, "4 bytes \"abXd\"; byte 2 is 0x58");
        let Err(Failure::Differs { expected, got }) = same(&[7; 100], &[7; 99]) else { panic!() };
        assert_eq!(expected, "100 bytes; byte 99 is 0x07");
        assert_eq!(got, "99 bytes; it ends after 99");
        assert!(same(b"a", b"a").is_ok());
    }

    #[test]
    fn what_is_printed_cannot_move_the_cursor() {
        assert_eq!(printable("ёж \"x\"\u{1b}[1m\0".as_bytes()), "ёж \"x\"\\u{1b}[1m\\u{0}");
        assert_eq!(printable(b"a\xffb"), "a\\xffb");
    }
}
