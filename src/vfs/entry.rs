//! Entries of folders, with their facts, and sorted by name up to a bound.

use std::fs;
use std::io::{self, BufRead, Cursor, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::SystemTime;

use super::folder::{Folder, id_of};
use super::staging::is_reserved;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
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
/// What the disk says of the names in a folder, one after another.
type DirEntries = Box<dyn Iterator<Item = io::Result<fs::DirEntry>>>;

/// The entries that are shown to the client and `wanted`, without their facts, in no order.
fn shown(folder: &Folder, wanted: impl Fn(&[u8]) -> bool + 'static) -> io::Result<DirEntries> {
    let is_shown = move |name: &[u8]| !is_reserved(name) && wanted(name);
    Ok(Box::new(folder.entries()?.filter(move |entry| {
        entry.as_ref().map_or(true, |entry| is_shown(entry.file_name().as_bytes()))
    })))
}

/// Adds the facts. An entry that was removed since it was listed is left out. A `DirEntry` asks by
/// its folder's descriptor, which is quicker than by a path.
fn with_facts(entries: DirEntries) -> Entries {
    Box::new(entries.filter_map(|entry| {
        let found = entry.and_then(|entry| Ok((entry.metadata()?, entry.file_name().into_vec())));
        match found {
            Ok((metadata, name)) => Some(Ok(Entry::new(name, &metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
        }
    }))
}

/// All entries of a folder that are shown to the client, in no order.
pub fn unsorted(folder: &Folder) -> io::Result<Entries> {
    Ok(with_facts(shown(folder, |_| true)?))
}

/// The entries whose names are `wanted`, sorted by name up to a bound. Beyond it, the rest follows
/// as the disk has it. The facts about an entry are looked up when it is its turn, so that the
/// first one comes at once.
pub fn sorted(
    folder: Arc<Folder>,
    wanted: impl Fn(&[u8]) -> bool + 'static,
) -> io::Result<Entries> {
    let mut entries = shown(&folder, wanted)?;
    let mut names = entries.by_ref().map(|entry| Ok(entry?.file_name().into_vec()));
    let (sorted, has_more) = sorted_names(&mut names)?;
    let rest = has_more.then(|| with_facts(entries)); // a folder that was read to its end is closed
    let facts = move |name: io::Result<Vec<u8>>| {
        let find = |name: Vec<u8>| Ok(folder.find(&name)?.map(|found| Entry::new(name, &found)));
        name.and_then(find).transpose()
    };
    let sorted = Cursor::new(sorted).split(0).filter_map(facts);
    Ok(Box::new(sorted.chain(rest.into_iter().flatten())))
}

/// The most entries that a listing sorts. Those of a larger folder follow as the disk has them, so
/// that no folder is too large for a session's memory.
const SORTED: usize = 10_000;
/// The most bytes of names that a listing holds, with the last name above it, because a client that
/// does not read makes the server hold them.
const SORTED_BYTES: usize = 256 * 1024;

/// Takes names up to the bound. Returns them in one buffer, each with a NUL behind it, sorted by
/// their bytes as `ls` does in the C locale, and whether there may be more.
fn sorted_names(
    names: &mut dyn Iterator<Item = io::Result<Vec<u8>>>,
) -> io::Result<(Vec<u8>, bool)> {
    let (mut held, mut count) = (Vec::new(), 0);
    let has_more = loop {
        if count == SORTED || held.len() - count >= SORTED_BYTES {
            break true;
        }
        let Some(name) = names.next().transpose()? else { break false };
        held.extend_from_slice(&name);
        held.push(0);
        count += 1;
    };
    let mut names: Vec<&[u8]> = held.split_inclusive(|byte| *byte == 0).collect();
    names.sort_unstable();
    Ok((names.concat(), has_more))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: impl Iterator<Item = String>) -> Vec<u8> {
        sorted_names(&mut names.map(|name| Ok(name.into_bytes()))).unwrap().0
    }

    #[test]
    fn names_are_sorted_by_their_bytes() {
        let names = ["b", "2", "B", "10", "a b", "a", "é"].map(str::to_string);
        assert_eq!(sorted(names.into_iter()), "10\x002\0B\0a\0a b\0b\0é\0".as_bytes());
    }

    #[test]
    fn what_is_held_to_be_sorted_is_bounded_by_number_and_by_bytes() {
        let count = |held: &[u8]| held.split_inclusive(|byte| *byte == 0).count();
        let short = sorted((0..100_000).map(|n| format!("{n}")));
        assert_eq!(count(&short), SORTED);
        assert!(short.capacity() <= 5 * SORTED, "{}", short.capacity());
        let long = sorted((0..100_000).map(|n| format!("{n:0>255}")));
        assert_eq!(count(&long), SORTED_BYTES.div_ceil(255));
        assert!(long.capacity() <= SORTED_BYTES + 255 + count(&long), "{}", long.capacity());
    }
}
