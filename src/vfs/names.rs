//! Names that are held to be sorted: how many, and how many bytes of them.

/// The most entries that a listing sorts. Those of a larger folder follow as the disk has them, so
/// that no folder is too large for a session's memory.
pub const SORTED: usize = 10_000;
/// The most bytes of names that a listing holds, with the last name above it, because a client that
/// does not read makes the server hold them.
pub const SORTED_BYTES: usize = 256 * 1024;

/// The names, in one buffer.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    spans: Vec<(u32, u32)>,
}

impl Names {
    /// Adds a name.
    pub fn push(&mut self, name: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        // Both fit, because `is_full` is asked before each name.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.spans.push((place(start), place(self.bytes.len())));
    }

    /// Whether no more may be held.
    pub fn is_full(&self) -> bool {
        self.spans.len() >= SORTED || self.bytes.len() >= SORTED_BYTES
    }

    /// Sorts them by their bytes, as `ls` does in the C locale, and gives the memory back that they
    /// do not need.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// The one at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.spans.get(index).map(|span| slice(&self.bytes, *span))
    }
}

fn slice(bytes: &[u8], (start, end): (u32, u32)) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(names: impl Iterator<Item = String>) -> (Names, usize) {
        let mut held = Names::default();
        let mut count = 0;
        for name in names {
            if held.is_full() {
                break;
            }
            held.push(name.as_bytes());
            count += 1;
        }
        held.sort();
        (held, count)
    }

    #[test]
    fn names_are_sorted_by_their_bytes() {
        let (names, _) =
            filled(["b", "2", "B", "10", "", "a b", "a", "é"].map(str::to_string).into_iter());
        let sorted: Vec<_> = (0..).map_while(|index| names.get(index)).collect();
        let expected = ["", "10", "2", "B", "a", "a b", "b", "é"];
        assert_eq!(sorted, expected.map(str::as_bytes));
    }

    #[test]
    fn what_is_held_to_be_sorted_is_bounded_by_number_and_by_bytes() {
        let held = |names: &Names| {
            names.bytes.capacity() + size_of::<(u32, u32)>() * names.spans.capacity()
        };
        let (short, count) = filled((0..100_000).map(|n| format!("{n}")));
        assert_eq!(count, SORTED);
        assert!(held(&short) <= 12 * SORTED, "{}", held(&short));
        let (long, count) = filled((0..100_000).map(|n| format!("{n:0>255}")));
        assert_eq!(count, SORTED_BYTES.div_ceil(255));
        assert!(held(&long) <= SORTED_BYTES + 255 + 8 * count, "{}", held(&long));
    }
}
