//! What an account's folder should hold, beside what it holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The content of a file, or none for a folder.
pub type Content = Option<Arc<Vec<u8>>>;
/// Paths from the top of the tree, each with what is known of its file or folder.
pub type Tree<T = Content> = BTreeMap<String, T>;

/// All below a folder, apart from what `skips` says of a path from the top.
pub fn read_tree_without(top: &Path, skips: impl Fn(&str) -> bool) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(top.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if skips(&path) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                waiting.push(path.clone());
                tree.insert(path, None);
            } else {
                tree.insert(path, Some(Arc::new(fs::read(entry.path()).unwrap())));
            }
        }
    }
    tree
}

/// All below a folder.
pub fn read_tree(top: &Path) -> Tree {
    read_tree_without(top, |_| false)
}

/// Names and lengths, because whole contents would fill the screen.
pub fn lengths(tree: &Tree) -> Vec<String> {
    let length = |(path, content): (&String, &Content)| match content {
        Some(content) => format!("{path}: {}", content.len()),
        None => format!("{path}/"),
    };
    tree.iter().map(length).collect()
}

/// Whether a path is inside a folder.
pub fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a path is `top` or inside it.
pub fn is_within(path: &str, top: &str) -> bool {
    path == top || is_below(path, top)
}

/// The tree with one more file or folder, or with another one at that path.
pub fn with<T: Clone>(tree: &Tree<T>, path: &str, node: T) -> Tree<T> {
    let mut tree = tree.clone();
    tree.insert(path.to_string(), node);
    tree
}

/// The tree without a file, or without a folder and all in it.
pub fn without<T: Clone>(tree: &Tree<T>, top: &str) -> Tree<T> {
    let mut tree = tree.clone();
    tree.retain(|path, _| !is_within(path, top));
    tree
}

/// The tree after `from` and all in it were copied to `to`, in place of what was there.
pub fn copied<T: Clone>(tree: &Tree<T>, from: &str, to: &str) -> Tree<T> {
    let copies = tree.iter().filter(|(path, _)| is_within(path, from));
    let copies: Tree<T> =
        copies.map(|(path, node)| (format!("{to}{}", &path[from.len()..]), node.clone())).collect();
    let mut tree = without(tree, to);
    tree.extend(copies);
    tree
}

/// The tree after `from` and all in it were moved to `to`, in place of what was there.
pub fn moved<T: Clone>(tree: &Tree<T>, from: &str, to: &str) -> Tree<T> {
    without(&copied(tree, from, to), from)
}
