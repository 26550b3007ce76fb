//! Virtual paths: what the client calls `/docs/a.txt`.

use std::io::{self, ErrorKind};

use crate::config::PATH_LIMIT;
use crate::text;

use super::refused;

/// A path below the user's root, resolved: its components are plain names, never empty, `.`, `..`
/// or with a slash or NUL in them, so that a path that leads out cannot be represented. Names are
/// bytes, as on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VirtualPath(Vec<Vec<u8>>);

impl VirtualPath {
    /// The user's root, `/`.
    pub fn root() -> VirtualPath {
        VirtualPath::default()
    }

    /// What `argument` means to somebody who is in this folder: absolute when it begins with `/`;
    /// `//`, `./` and a trailing `/` mean nothing; `..` leads up, and at the root nowhere
    /// (RFC 959 leaves this to the server; POSIX says the same of `/..`).
    pub fn join(&self, argument: &[u8]) -> io::Result<VirtualPath> {
        let mut path = if argument.starts_with(b"/") { VirtualPath::root() } else { self.clone() };
        for name in argument.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(path.0.pop()),
                _ if name.contains(&0) => {
                    return Err(refused(ErrorKind::InvalidFilename, "a name cannot hold NUL"));
                }
                _ => path.0.push(name.to_vec()),
            }
        }
        if path.0.iter().map(|name| name.len() + 1).sum::<usize>() > PATH_LIMIT {
            return Err(refused(ErrorKind::InvalidFilename, "the path is too long"));
        }
        Ok(path)
    }

    /// The folder that holds it; the root's is the root.
    pub fn parent(&self) -> VirtualPath {
        let mut parent = self.clone();
        parent.0.pop();
        parent
    }

    /// Its last component; the root has none.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.last().map(Vec::as_slice)
    }

    /// The components, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// The file of this name in this folder; `name` must be a single component.
    pub fn child(&self, name: &[u8]) -> VirtualPath {
        let mut child = self.clone();
        child.0.push(name.to_vec());
        child
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &VirtualPath) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as bytes, `/` first.
    pub fn bytes(&self) -> Vec<u8> {
        if self.is_root() {
            return b"/".to_vec();
        }
        let mut bytes = Vec::new();
        for name in &self.0 {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        bytes
    }

    /// The path as a reply shows it: `?` for every control character.
    pub fn shown(&self) -> Vec<u8> {
        text::shown(&self.bytes()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(base: &str, argument: &str) -> String {
        let base = VirtualPath::root().join(base.as_bytes()).unwrap();
        String::from_utf8(base.join(argument.as_bytes()).unwrap().bytes()).unwrap()
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
                prop_assert_eq!(VirtualPath::root().join(&path.bytes()).unwrap(), path.clone());
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
