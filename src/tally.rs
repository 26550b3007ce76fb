//! How many things there are of each kind, such as sessions per account.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A number for each key, and their sum. A key with the number 0 takes no memory.
#[derive(Debug)]
pub struct Tally<K> {
    counts: HashMap<K, usize>,
    total: usize,
}

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally { counts: HashMap::new(), total: 0 }
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// Counts one more of `key`.
    pub fn add(&mut self, key: K) {
        *self.counts.entry(key).or_default() += 1;
        self.total += 1;
    }

    /// Counts one less of `key`, if there is one.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let Some(count) = self.counts.get_mut(key) else { return };
        *count -= 1;
        self.total -= 1;
        if *count == 0 {
            self.counts.remove(key);
        }
    }

    /// How many there are of `key`.
    pub fn count<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// How many there are of all keys together.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The keys that are counted at least once.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.counts.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_removed_as_often_as_added_takes_no_memory() {
        let mut tally = Tally::default();
        ["a", "b", "a"].into_iter().for_each(|key| tally.add(key.to_string()));
        assert_eq!((tally.count("a"), tally.count("b"), tally.total()), (2, 1, 3));
        ["a", "a", "a", "c"].into_iter().for_each(|key| tally.remove(key));
        assert_eq!((tally.count("a"), tally.count("b"), tally.total()), (0, 1, 1));
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["b"]);
    }
}
