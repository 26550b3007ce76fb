//! Which bytes may be shown on a person's terminal.
//!
//! Names are bytes from the socket to the disk and back, UTF-8 by convention (RFC 2640 §2.2). A
//! control character (C0, DEL, or C1 in UTF-8) could end a reply early, forge a log line or control
//! a terminal, so replies show `?` in its place. Programs need the name itself: a listing over a
//! data connection has all of its bytes except CR and LF.

use std::borrow::Cow;

/// Whether `bytes` contain a control character. Bytes that are not UTF-8 do not count, so names in
/// other encodings stay usable.
pub fn has_control(bytes: &[u8]) -> bool {
    // Nearly every name is plain ASCII, which needs no decoding.
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return false;
    }
    bytes.utf8_chunks().any(|chunk| chunk.valid().chars().any(char::is_control))
}

/// `bytes` with `?` in place of every control character.
pub fn sanitized(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !has_control(bytes) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let character = if character.is_control() { '?' } else { character };
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(out)
}

/// `bytes` with `?` in place of every CR and LF, to fit on one line.
pub fn on_one_line(bytes: &[u8]) -> Cow<'_, [u8]> {
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if !bytes.iter().any(breaks) {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(bytes.iter().map(|byte| if breaks(byte) { b'?' } else { *byte }).collect())
}

/// `word`, if it has only digits. (`parse` alone would accept a sign.)
pub fn digits(word: &[u8]) -> Option<&str> {
    let is_number = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    str::from_utf8(word).ok().filter(|_| is_number)
}

/// A number of bytes as text: `1 byte`, `2 bytes`.
pub fn bytes(count: u64) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
}

/// Appends a decimal number, with blanks before it up to `width` columns.
pub fn push_number(out: &mut Vec<u8>, number: u64, width: usize) {
    // With `write!`, a listing takes a tenth longer.
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    out.resize(out.len() + width.max(digits), b' ');
    let mut left = number;
    for byte in out.iter_mut().rev().take(digits) {
        *byte = b'0'.wrapping_add((left % 10) as u8);
        left /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let mut out = b"|".to_vec();
        for (number, width) in [(0, 0), (0, 2), (7, 3), (10, 2), (12345, 3), (u64::MAX, 0)] {
            push_number(&mut out, number, width);
            out.push(b'|');
        }
        assert_eq!(out, b"|0| 0|  7|10|12345|18446744073709551615|");
    }

    #[test]
    fn control_characters_become_question_marks_and_other_encodings_stay() {
        assert_eq!(&*sanitized(b"a\x1b[2Jb\r\n\x7f"), b"a?[2Jb???");
        assert_eq!(&*sanitized("c1 \u{9b} \u{85}".as_bytes()), b"c1 ? ?");
        assert_eq!(&*sanitized(b"latin-1 \xe9t\xe9"), b"latin-1 \xe9t\xe9");
        assert_eq!(&*sanitized("Приве́т 🙂".as_bytes()), "Приве́т 🙂".as_bytes());
        assert_eq!(&*on_one_line(b"a\x1b\tb\r\n\x7f\xff"), b"a\x1b\tb??\x7f\xff");
        assert!(has_control(b"\xe9\0"));
        assert!(!has_control(b"\xe9\x9b"));
    }
}
