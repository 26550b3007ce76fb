//! An [`Entry`] as a line of text; pure.

use std::time::SystemTime;

use crate::text;
use crate::time;
use crate::vfs::{Entry, Kind};

/// The line of `ls`: permissions, size, time, name, with `/` behind a folder's.
pub fn ls_line(entry: &Entry, now: SystemTime) -> Vec<u8> {
    let date = time::ls_date(entry.modified, now);
    let mut line = format!("{} {:>12} {date}  ", permissions(entry), entry.size).into_bytes();
    line.extend_from_slice(&text::shown(&entry.name));
    if entry.kind == Kind::Folder && !entry.name.ends_with(b"/") {
        line.push(b'/');
    }
    line
}

/// The facts of `info`, a line each.
pub fn facts(entry: &Entry) -> Vec<Vec<u8>> {
    let kind = match entry.kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Link => "symbolic link",
        Kind::Other => "special file",
    };
    let mut lines = vec![format!("kind: {kind}")];
    if entry.kind == Kind::File {
        lines.push(format!("size: {} bytes", entry.size));
    }
    lines.push(format!("modified: {} UTC", time::readable(entry.modified)));
    lines.push(format!("permissions: {}", permissions(entry)));
    lines.into_iter().map(String::into_bytes).collect()
}

/// The ten characters that open a line of `ls -l`.
pub fn permissions(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::File => '-',
        Kind::Folder => 'd',
        Kind::Link => 'l',
        Kind::Other => 's',
    };
    let bits = "rwxrwxrwx".chars().zip((0..9).rev());
    let bits = bits.map(|(letter, bit)| if entry.mode >> bit & 1 == 1 { letter } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(name: &[u8], kind: Kind) -> Entry {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_465_140);
        Entry { name: name.to_vec(), kind, size: 11, modified, mode: 0o754 }
    }

    fn line(entry: &Entry) -> String {
        String::from_utf8(ls_line(entry, entry.modified)).unwrap()
    }

    #[test]
    fn ls_lines_show_kind_size_time_and_name() {
        assert_eq!(line(&entry(b"a b.txt", Kind::File)), "-rwxr-xr--           11 Nov 23 20:19  a b.txt");
        assert_eq!(line(&entry(b"docs", Kind::Folder)), "drwxr-xr--           11 Nov 23 20:19  docs/");
        assert_eq!(line(&entry(b"l", Kind::Link)), "lrwxr-xr--           11 Nov 23 20:19  l");
    }

    #[test]
    fn control_characters_in_names_do_not_reach_the_terminal() {
        assert!(line(&entry(b"x\r\n226 \x1b[2J", Kind::File)).ends_with("  x??226 ?[2J"));
    }
}
