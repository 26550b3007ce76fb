//! Entries of folders, with their facts, and sorted by name up to a bound.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::SystemTime;

use super::folder::{Folder, id_of};
use super::staging::is_reserved;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link: shown, moved and removed as itself, never followed.
    Link,
    /// A device, a FIFO, a socket: shown and left alone.
    Other,
}

/// A name in a folder, and the facts about the file or folder that has it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The last component; of the root, `/`.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes; of a folder, what the file system says.
    pub size: u64,
    /// The time of the last change of its content.
    pub modified: SystemTime,
    /// The nine permission bits.
    pub mode: u32,
    /// The number of its hard links.
    pub links: u64,
    /// Device and inode.
    pub id: (u64, u64),
}

impl Entry {
    /// The entry `name`, which has this metadata.
    pub fn new(name: Vec<u8>, metadata: &fs::Metadata) -> Entry {
        let kind = match metadata.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Folder,
            t if t.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        Entry {
            name,
            kind,
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            mode: metadata.permissions().mode() & 0o777,
            links: metadata.nlink(),
            id: id_of(metadata),
        }
    }
}

/// The entries of a folder, one after another.
pub type Entries = Box<dyn Iterator<Item = io::Result<Entry>>>;
/// The entries of a folder without their facts.
pub type DirEntries = Box<dyn Iterator<Item = io::Result<fs::DirEntry>>>;

/// Adds the facts to entries. An entry that was removed since it was listed is left out.
pub fn with_facts(entries: DirEntries) -> Entries {
    Box::new(entries.filter_map(|entry| {
        let found = entry.and_then(|entry| Ok((entry.metadata()?, entry.file_name().into_vec())));
        match found {
            Ok((metadata, name)) => Some(Ok(Entry::new(name, &metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
        }
    }))
}

/// The names in a folder that are shown to the client and `wanted`.
pub fn dir_entries(
    folder: &Folder,
    wanted: impl Fn(&[u8]) -> bool + 'static,
) -> io::Result<DirEntries> {
    let is_shown = move |name: &[u8]| !is_reserved(name) && wanted(name);
    let entries = folder.entries()?;
    Ok(Box::new(entries.filter(move |entry| {
        entry.as_ref().map_or(true, |entry| is_shown(entry.file_name().as_bytes()))
    })))
}

/// The entries whose names are `wanted`, sorted by name up to a bound. Beyond it, the rest follows
/// as the disk has it. The facts about an entry are looked up when it is its turn, so that the
/// first one comes at once.
pub fn sorted(
    folder: Arc<Folder>,
    wanted: impl Fn(&[u8]) -> bool + 'static,
) -> io::Result<Entries> {
    let mut rest = Some(dir_entries(&folder, wanted)?);
    let mut names = Names::default();
    while let Some(entries) = rest.as_mut().filter(|_| !names.is_full()) {
        match entries.next().transpose()? {
            Some(entry) => names.push(entry.file_name().as_bytes()),
            None => rest = None, // closes it
        }
    }
    names.sort();
    let facts = move |index| {
        let name = names.get(index)?;
        let entry = |metadata| Entry::new(name.to_vec(), &metadata);
        Some(folder.find(name).map(|found| found.map(entry)).transpose())
    };
    let sorted = (0..).map_while(facts).flatten();
    Ok(Box::new(sorted.chain(rest.map(with_facts).into_iter().flatten())))
}

/// The most entries that a listing sorts. Those of a larger folder follow as the disk has them, so
/// that no folder is too large for a session's memory.
const SORTED: usize = 10_000;
/// The most bytes of names that a listing holds, with the last name above it, because a client that
/// does not read makes the server hold them.
const SORTED_BYTES: usize = 256 * 1024;

/// The names, in one buffer.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    spans: Vec<(u32, u32)>,
}

impl Names {
    /// Adds a name.
    fn push(&mut self, name: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        // Both fit, because `is_full` is asked before each name.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.spans.push((place(start), place(self.bytes.len())));
    }

    /// Whether no more may be held.
    fn is_full(&self) -> bool {
        self.spans.len() >= SORTED || self.bytes.len() >= SORTED_BYTES
    }

    /// Sorts them by their bytes, as `ls` does in the C locale, and gives the memory back that they
    /// do not need.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// The one at `index`.
    fn get(&self, index: usize) -> Option<&[u8]> {
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
