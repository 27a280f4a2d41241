//! Directories and files by their numbers: the same in every container, so that nothing has to be remembered.

use crate::files::FILES;

/// The number of the root directory.
pub const ROOT: u64 = 1;

/// What stands under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, by its place in the table.
    File(usize),
}

/// One directory or file. Its number is its place, counted from [`ROOT`].
#[derive(Debug)]
struct Node {
    parent: u64,
    name: &'static str,
    kind: Kind,
}

/// All of them.
#[derive(Debug)]
pub struct Tree(Vec<Node>);

impl Tree {
    /// Makes the tree of those files that are on.
    pub fn new() -> Self {
        let mut tree = Self(vec![Node { parent: ROOT, name: "", kind: Kind::Directory }]);
        for (at, file) in FILES.iter().enumerate().filter(|(_, file)| file.on) {
            tree.add(file.path, Kind::File(at));
        }
        tree
    }

    fn add(&mut self, path: &'static str, kind: Kind) {
        let mut parent = ROOT;
        for (at, name) in path.split('/').enumerate() {
            let is_last = at == path.matches('/').count();
            parent = match self.find(parent, name.as_bytes()) {
                Some(node) => node,
                None => self.push(Node { parent, name, kind: if is_last { kind } else { Kind::Directory } }),
            };
        }
    }

    fn push(&mut self, node: Node) -> u64 {
        self.0.push(node);
        self.0.len() as u64
    }

    fn node(&self, number: u64) -> Option<&Node> {
        self.0.get(usize::try_from(number.checked_sub(ROOT)?).ok()?)
    }

    /// Returns what stands under a number.
    pub fn kind(&self, number: u64) -> Option<Kind> {
        self.node(number).map(|node| node.kind)
    }

    /// Finds a name in a directory.
    pub fn find(&self, parent: u64, name: &[u8]) -> Option<u64> {
        self.children(parent).find(|(_, found, _)| found.as_bytes() == name).map(|(number, ..)| number)
    }

    /// Returns the numbers, names and kinds of what is in a directory.
    pub fn children(&self, parent: u64) -> impl Iterator<Item = (u64, &'static str, Kind)> {
        let numbered = (ROOT..).zip(&self.0).skip(1);
        numbered
            .filter(move |(_, node)| node.parent == parent)
            .map(|(number, node)| (number, node.name, node.kind))
    }

    /// Returns the directory above one.
    pub fn parent(&self, number: u64) -> u64 {
        self.node(number).map_or(ROOT, |node| node.parent)
    }

    /// Returns the paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter_map(|node| match node.kind {
            Kind::File(at) => FILES.get(at).map(|file| file.path),
            Kind::Directory => None,
        })
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_on_is_found_by_its_path() {
        let tree = Tree::new();
        for (at, file) in FILES.iter().enumerate() {
            let found =
                file.path.split('/').try_fold(ROOT, |parent, name| tree.find(parent, name.as_bytes()));
            assert_eq!(
                found.and_then(|number| tree.kind(number)),
                file.on.then_some(Kind::File(at)),
                "{}",
                file.path
            );
        }
        assert_eq!(tree.paths().count(), FILES.iter().filter(|file| file.on).count());
    }

    #[test]
    fn numbers_that_nothing_has_are_nothing() {
        let tree = Tree::new();
        assert_eq!([0, 9999, u64::MAX].map(|number| tree.kind(number)), [None; 3]);
        assert_eq!(tree.find(ROOT, b""), None);
        assert_eq!(tree.find(ROOT, b"meminfo"), None);
        assert_eq!(tree.parent(ROOT), ROOT);
    }
}
