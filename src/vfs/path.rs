//! Virtual paths: what the client calls `/docs/a.txt`.

use std::io::{self, ErrorKind};

use crate::config::{LEVEL_LIMIT, PATH_LIMIT};
use crate::text;

use super::folder::refused;

/// A path below the user's root, resolved: its components are plain names, never empty, `.`, `..`
/// or with a slash or NUL in them, so that a path that leads out cannot be represented. Names are
/// bytes, as on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VirtualPath(
    /// A slash before each component. Without spare capacity, because sessions keep paths while
    /// they idle.
    Box<[u8]>,
);

impl VirtualPath {
    /// The user's root, `/`.
    pub fn root() -> VirtualPath {
        VirtualPath::default()
    }

    /// What `argument` means to a user whose current folder this is: absolute if it begins with
    /// `/`; `//`, `./` and a trailing `/` mean nothing; `..` leads up, and at the root nowhere (RFC
    /// 959 leaves this to the server; POSIX says the same of `/..`).
    pub fn join(&self, argument: &[u8]) -> io::Result<VirtualPath> {
        let base = if argument.starts_with(b"/") { &[] } else { &*self.0 };
        // Room for all of it at once: what grows in steps leaves holes in the heap.
        let mut path = Vec::with_capacity(base.len() + 1 + argument.len());
        path.extend_from_slice(base);
        for name in argument.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => path.truncate(last_slash(&path)),
                _ if name.contains(&0) => {
                    return Err(refused(ErrorKind::InvalidFilename, "a name cannot hold NUL"));
                }
                _ => {
                    path.push(b'/');
                    path.extend_from_slice(name);
                }
            }
        }
        if path.len() > PATH_LIMIT {
            return Err(refused(ErrorKind::InvalidFilename, "the path is too long"));
        }
        if path.iter().filter(|byte| **byte == b'/').count() > LEVEL_LIMIT {
            let text = format!("the path is too deep; it may have {LEVEL_LIMIT} levels");
            return Err(io::Error::new(ErrorKind::InvalidFilename, text));
        }
        Ok(VirtualPath(path.into_boxed_slice()))
    }

    /// The folder that holds it; the root's is the root.
    pub fn parent(&self) -> VirtualPath {
        VirtualPath(self.0.get(..last_slash(&self.0)).unwrap_or_default().into())
    }

    /// Its last component; the root has none.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.get(last_slash(&self.0) + 1..).filter(|name| !name.is_empty())
    }

    /// The components, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').skip(1)
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &VirtualPath) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as bytes, `/` first.
    pub fn bytes(&self) -> &[u8] {
        if self.is_root() { b"/" } else { &self.0 }
    }

    /// The path as a reply shows it: `?` for every control character.
    pub fn shown(&self) -> Vec<u8> {
        text::sanitized(self.bytes()).into_owned()
    }
}

/// Where the last component of a path begins.
fn last_slash(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(base: &str, argument: &str) -> String {
        let base = VirtualPath::root().join(base.as_bytes()).unwrap();
        String::from_utf8(base.join(argument.as_bytes()).unwrap().bytes().to_vec()).unwrap()
    }

    #[test]
    fn arguments_resolve_as_in_a_shell() {
        for (base, argument, path) in [
            ("/", "", "/"),
            ("/a/b", "c", "/a/b/c"),
            ("/a/b", "/c", "/c"),
            ("/a/b", "..", "/a"),
            ("/a/b", "../../../../etc", "/etc"),
            ("/", "..", "/"),
            ("/a", ".//./b///", "/a/b"),
            ("/a", "//x", "/x"),
            ("/a", "...", "/a/..."),
            ("/a", "b/../../c/.", "/c"),
        ] {
            assert_eq!(joined(base, argument), path, "{base} {argument}");
        }
    }

    #[test]
    fn a_path_longer_than_the_limit_is_refused_and_not_cut() {
        let mut path = VirtualPath::root();
        let name = [b'x'; 255];
        for _ in 0..256 {
            path = path.join(&name).unwrap();
        }
        let error = path.join(b"y").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFilename);
        assert!(path.join(b"..").is_ok());
    }

    #[test]
    fn a_path_deeper_than_the_limit_is_refused() {
        let deepest = VirtualPath::root().join(&b"d/".repeat(LEVEL_LIMIT)).unwrap();
        assert_eq!(deepest.names().count(), LEVEL_LIMIT);
        assert_eq!(deepest.join(b"../e").unwrap().names().last(), Some(&b"e"[..]));
        let error = deepest.join(b"d").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFilename);
        assert_eq!(error.to_string(), "the path is too deep; it may have 1000 levels");
    }

    #[test]
    fn what_is_within_what_is_told_by_whole_names() {
        let path = |text: &str| VirtualPath::root().join(text.as_bytes()).unwrap();
        for (inner, outer, is_within) in [
            ("/a", "/a", true),
            ("/a/b", "/a", true),
            ("/ab", "/a", false),
            ("/a", "/a/b", false),
            ("/a", "/", true),
            ("/", "/", true),
            ("/", "/a", false),
        ] {
            assert_eq!(path(inner).is_within(&path(outer)), is_within, "{inner} {outer}");
        }
        assert_eq!(path("/a/b").parent(), path("/a"));
        assert_eq!(path("/a").parent(), path("/"));
        assert_eq!(path("/").parent(), path("/"));
        assert_eq!((path("/").name(), path("/a/b").name()), (None, Some(&b"b"[..])));
    }

    proptest! {
        #[test]
        fn no_sequence_of_arguments_leaves_the_root(
            arguments in prop::collection::vec("[./a\\\\~ *é]{0,12}|\\PC{0,8}|(\\.\\./){1,9}[a-z]?", 0..12),
        ) {
            let mut path = VirtualPath::root();
            for argument in &arguments {
                if let Ok(next) = path.join(argument.as_bytes()) {
                    path = next;
                }
                for name in path.names() {
                    prop_assert!(!matches!(name, b"" | b"." | b".."));
                    prop_assert!(!name.contains(&b'/') && !name.contains(&0));
                }
                prop_assert_eq!(VirtualPath::root().join(path.bytes()).unwrap(), path.clone());
            }
        }

        #[test]
        fn bytes_of_any_kind_never_panic_and_never_leave_the_root(
            arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
        ) {
            let mut path = VirtualPath::root();
            for argument in &arguments {
                path = path.join(argument).unwrap_or(path);
                prop_assert!(path.names().all(|name| !matches!(name, b"" | b"." | b"..")));
            }
        }
    }
}
