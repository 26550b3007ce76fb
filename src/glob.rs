//! File name patterns: `*` for any bytes, `?` for one character.
//!
//! The matcher goes back to the last `*` only. So it is linear in practice, and at worst takes the
//! product of the two lengths (R. Cox, "Glob matching can be simple and fast too"). Recursion over
//! every `*` caused CVE-2019-20176 and similar ones.

/// Whether `name` contains `*` or `?`.
pub fn is_pattern(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether all of `name` matches `pattern`.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n = next_character(name, n);
            }
            Some(byte) if name.get(n) == Some(byte) => {
                p += 1;
                n += 1;
            }
            _ => {
                // The last star takes one more byte. Earlier stars need no new attempt.
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// The index after the UTF-8 character at `n`, or after the byte if it is not UTF-8.
fn next_character(name: &[u8], n: usize) -> usize {
    let continues = |byte: &&u8| **byte & 0xc0 == 0x80;
    let rest = name.get(n + 1..).unwrap_or_default();
    n + 1 + rest.iter().take(3).take_while(continues).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a.txt", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.bak", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("?", "é", true),
            ("?", "ab", false),
            ("??", "🙂x", true),
            ("a?c", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("**", "a", true),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        // 2^100 steps for a matcher that recurses over every star.
        let (pattern, name) = ("a*".repeat(100) + "b", "a".repeat(250));
        assert!(!matches(pattern.as_bytes(), name.as_bytes()));
    }

    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| by_definition(rest, &name[n..])),
            Some((b'?', rest)) => !name.is_empty() && by_definition(rest, &name[1..]),
            Some((byte, rest)) => name.first() == Some(byte) && by_definition(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn the_fast_matcher_agrees_with_the_definition(
            pattern in "[ab*?]{0,8}",
            name in "[ab]{0,10}",
        ) {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern, name), by_definition(pattern, name));
        }
    }
}
