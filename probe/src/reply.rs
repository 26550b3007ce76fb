//! Replies: three digits and a text, possibly over several lines (RFC 959 §4.2).

use std::fmt;

use crate::failure::{Result, differs, printable};

/// A reply of the server, without its line ends.
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// All lines, the digits included.
    pub lines: Vec<String>,
}

impl Reply {
    /// The first line.
    pub fn first(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }

    /// Whether the code fits a pattern: codes separated by `|`, with `x` for any digit.
    pub fn fits(&self, pattern: &str) -> bool {
        let code = self.code.to_string();
        pattern.split('|').any(|codes| {
            codes.len() == 3
                && codes.chars().zip(code.chars()).all(|(want, is)| want == 'x' || want == is)
        })
    }

    /// The reply, if its code fits the pattern.
    pub fn expect(self, pattern: &str, after: &str) -> Result<Reply> {
        if self.fits(pattern) {
            return Ok(self);
        }
        differs(format!("{pattern} after \"{after}\""), self.to_string())
    }

    /// Whether one of the lines contains a text.
    pub fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// The text between the first and the last double quote, with doubled quotes made single, as
    /// the answers to PWD and MKD have it.
    pub fn quoted(&self) -> Option<String> {
        let (_, rest) = self.first().split_once('"')?;
        let (path, _) = rest.rsplit_once('"')?;
        Some(path.replace("\"\"", "\""))
    }

    /// The text after the code and one space.
    pub fn text(&self) -> &str {
        self.first().get(4..).unwrap_or("").trim()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        for (number, line) in self.lines.iter().take(SHOWN).enumerate() {
            let gap = if number == 0 { "" } else { " / " };
            write!(f, "{gap}{}", printable(line.as_bytes()))?;
        }
        if self.lines.len() > SHOWN { write!(f, " / …") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Reply {
        Reply { code: line[..3].parse().unwrap(), lines: vec![line.to_string()] }
    }

    #[test]
    fn patterns_match_codes() {
        let made = reply("257 \"/a \"\"b\"\"\" created.");
        assert!(made.fits("257") && made.fits("2xx") && made.fits("550|2x7"));
        assert!(!made.fits("250") && !made.fits("5xx") && !made.fits("25"));
        assert_eq!(made.quoted().as_deref(), Some("/a \"b\""));
    }
}
