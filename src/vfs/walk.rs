//! Walks over whole trees, and how much space a tree takes.

use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::folder::{Folder, Id, changed_during_walk};
use super::quota::{Sizes, blocks};
use super::staging::is_reserved;

/// Receives what a walk meets, in order.
pub trait Visitor {
    /// An entry of `folder`. If this returns false, the walk skips it. Most walks skip temporaries.
    fn meet(&mut self, _folder: &Folder, entry: &DirEntry, _is_folder: bool) -> io::Result<bool> {
        Ok(!is_reserved(entry.file_name().as_bytes()))
    }
    /// An entry of `folder` that is not a folder.
    fn leaf(&mut self, _folder: &Folder, _name: &[u8], _metadata: &Metadata) -> io::Result<()> {
        Ok(())
    }
    /// The beginning of a folder. Its content comes next.
    fn enter(&mut self, name: &[u8], metadata: &Metadata) -> io::Result<()>;
    /// The end of the folder `name` in `parent`, which was entered last and has not ended yet.
    fn leave(&mut self, _parent: &Folder, _name: &[u8]) -> io::Result<()> {
        Ok(())
    }
    /// The entry `name` of the folder entered last, or that folder itself, cannot be read. If this
    /// returns `Ok`, the walk goes on without it.
    fn unreadable(&mut self, name: Option<&[u8]>, error: io::Error) -> io::Result<()>;
}

/// A folder on the path from the top to where the walk is.
struct Level {
    id: Id,
    /// The names of its folders that the walk has still to enter, each behind a `/`.
    waiting: Vec<u8>,
    /// The folder that the walk entered last.
    entered: Vec<u8>,
}

/// Visits all that is in `top`, depth first. Not recursive, and holds one folder open: a tree may
/// be as deep as the disk allows.
pub fn walk(top: &Folder, visitor: &mut dyn Visitor) -> io::Result<()> {
    let mut here = top.try_clone()?;
    let mut levels = vec![scan(&here, visitor)?];
    while let Some(level) = levels.last_mut() {
        let Some(start) = level.waiting.iter().rposition(|byte| *byte == b'/') else {
            levels.pop();
            let Some(above) = levels.last() else { break };
            here = match here.parent(above.id) {
                // `..` needs the right to enter the folder that the walk leaves.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => descend(top, &levels)?,
                parent => parent?,
            };
            visitor.leave(&here, &above.entered)?;
            continue;
        };
        let name = level.waiting.split_off(start).split_off(1);
        match here.child(&name).and_then(|child| Ok((child.metadata()?, child))) {
            // It was removed since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => visitor.unreadable(Some(&name), error)?,
            Ok((metadata, child)) => {
                visitor.enter(&name, &metadata)?;
                level.entered = name;
                here = child;
                levels.push(scan(&here, visitor)?);
            }
        }
    }
    Ok(())
}

/// Walks down again to the innermost of these levels.
fn descend(top: &Folder, levels: &[Level]) -> io::Result<Folder> {
    let mut here = top.try_clone()?;
    for (above, level) in levels.iter().zip(levels.iter().skip(1)) {
        here = here.child(&above.entered)?;
        if here.id()? != level.id {
            return Err(changed_during_walk());
        }
    }
    Ok(here)
}

/// Reads one folder: visits its leaves, and collects the names of its folders.
fn scan(folder: &Folder, visitor: &mut dyn Visitor) -> io::Result<Level> {
    let mut waiting = Vec::new();
    let entries = match folder.entries() {
        Ok(entries) => Some(entries),
        Err(error) => visitor.unreadable(None, error).map(|()| None)?,
    };
    for entry in entries.into_iter().flatten() {
        let (is_folder, entry) =
            match entry.and_then(|entry| Ok((entry.file_type()?.is_dir(), entry))) {
                Ok(met) => met,
                Err(error) => {
                    visitor.unreadable(None, error)?;
                    continue;
                }
            };
        let name = entry.file_name().into_vec();
        if !visitor.meet(folder, &entry, is_folder)? {
            continue;
        }
        if is_folder {
            waiting.extend([b"/", &name[..]].concat());
        } else {
            match entry.metadata() {
                // Removed since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => visitor.unreadable(Some(&name), error)?,
                Ok(metadata) => visitor.leaf(folder, &name, &metadata)?,
            }
        }
    }
    Ok(Level { id: folder.id()?, waiting, entered: Vec::new() })
}

/// The result of a count.
#[derive(Debug, Default)]
pub struct Count {
    /// The bytes that the readable entries count for.
    pub bytes: u64,
    /// The entries that could not be read and count as nothing.
    pub unreadable: Option<Unreadable>,
}

/// Entries of a tree that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The path of the first one.
    pub path: Vec<u8>,
    /// The error of the first one.
    pub error: io::Error,
    /// The number of the others.
    pub others: u64,
}

/// Counts the space that all in `top` takes. What the server cannot read counts as nothing, because
/// one such folder must not lock the user out.
pub fn count(top: &Folder, sizes: &mut Sizes) -> io::Result<Count> {
    let mut counter = Counter { count: Count::default(), path: Vec::new(), sizes };
    walk(top, &mut counter)?;
    Ok(counter.count)
}

struct Counter<'s> {
    count: Count,
    /// The path of the folder that was entered last.
    path: Vec<u8>,
    sizes: &'s mut Sizes,
}

/// Whether an error is about the server and not about the folder: EMFILE, ENFILE, ENOMEM. A folder
/// that can be read a moment later must not count as nothing.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), None | Some(24 | 23 | 12))
}

impl Visitor for Counter<'_> {
    fn leaf(&mut self, _: &Folder, _: &[u8], metadata: &Metadata) -> io::Result<()> {
        self.count.bytes = self.count.bytes.saturating_add(self.sizes.of(metadata));
        Ok(())
    }

    fn enter(&mut self, name: &[u8], _: &Metadata) -> io::Result<()> {
        self.count.bytes = self.count.bytes.saturating_add(blocks(0));
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        Ok(())
    }

    fn leave(&mut self, _: &Folder, _: &[u8]) -> io::Result<()> {
        self.path.truncate(self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
        Ok(())
    }

    fn unreadable(&mut self, name: Option<&[u8]>, error: io::Error) -> io::Result<()> {
        if is_shortage(&error) {
            return Err(error);
        }
        match &mut self.count.unreadable {
            Some(unreadable) => unreadable.others = unreadable.others.saturating_add(1),
            none => {
                let mut path = self.path.clone();
                if path.is_empty() || name.is_some() {
                    path.push(b'/');
                    path.extend_from_slice(name.unwrap_or_default());
                }
                *none = Some(Unreadable { path, error, others: 0 });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_waiting_folders_take_little_more_than_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for number in 1000..2000 {
            std::fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let (mut sizes, top) = (Sizes::default(), Folder::open(dir.path()).unwrap());
        let mut counter = Counter { count: Count::default(), path: Vec::new(), sizes: &mut sizes };
        let waiting = scan(&top, &mut counter).unwrap().waiting;
        assert_eq!(waiting.len(), 1000 * "/1000".len());
        assert!(waiting.capacity() <= 2 * waiting.len(), "{}", waiting.capacity());
        walk(&top, &mut counter).unwrap();
        assert_eq!(counter.count.bytes, 1000 * blocks(0));
    }

    #[test]
    fn a_count_fails_if_the_server_is_short_of_something_and_goes_on_past_what_it_cannot_read() {
        let mut sizes = Sizes::default();
        let mut counter =
            Counter { count: Count::default(), path: b"/d".to_vec(), sizes: &mut sizes };
        for shortage in [12, 23, 24] {
            let error = io::Error::from_raw_os_error(shortage);
            assert!(counter.unreadable(None, error).is_err(), "{shortage}");
        }
        assert!(counter.unreadable(None, changed_during_walk()).is_err());
        assert!(counter.count.unreadable.is_none());
        // EIO, EACCES, ESTALE.
        for unreadable in [5, 13, 116] {
            counter.unreadable(Some(b"f"), io::Error::from_raw_os_error(unreadable)).unwrap();
        }
        let unreadable = counter.count.unreadable.unwrap();
        assert_eq!((unreadable.path, unreadable.others), (b"/d/f".to_vec(), 2));
        assert_eq!(unreadable.error.raw_os_error(), Some(5));
    }
}
