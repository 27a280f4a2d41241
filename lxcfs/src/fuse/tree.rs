//! Directories and files by their numbers: the same in every container, so that nothing has to be remembered.
//!
//! What is there once for each processor or node stands in the tree once. Its number is that of its place and, further up, of the
//! processor or node.

use cgroup::CpuList;

use crate::files::{FILES, WHOLE};

/// The number of the root directory.
pub const ROOT: u64 = 1;

/// How many places there may be; the numbers of processors and nodes are counted above, from one.
const PLACES: u64 = 1 << 10;

/// What stands under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, by its place in the table.
    File(usize),
}

/// What there can be several of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Several {
    /// Processors.
    Cpus,
    /// Nodes.
    Nodes,
}

/// What a container has, beside the tree.
pub trait Has {
    /// Tells whether the host has something by this path from the root.
    fn path(&mut self, path: &str) -> bool;

    /// Returns the numbers of those that the container has.
    fn several(&mut self, which: Several) -> CpuList;
}

/// One directory or file. Its number is its place, counted from [`ROOT`].
#[derive(Debug)]
struct Node {
    parent: usize,
    /// With `#` at its end there is one for each.
    name: String,
    kind: Kind,
    /// It, or a directory above it, is there once for each of these.
    of: Option<Several>,
}

impl Node {
    /// Returns what stands before the number in its name, where there are several of it.
    fn stem(&self) -> Option<&str> {
        self.name.strip_suffix('#')
    }
}

/// All of them.
#[derive(Debug)]
pub struct Tree(Vec<Node>);

impl Tree {
    /// Makes the tree of the table.
    pub fn new() -> Self {
        let root = Node { parent: 0, name: String::new(), kind: Kind::Directory, of: None };
        let mut tree = Self(vec![root]);
        for (at, file) in FILES.iter().enumerate() {
            tree.add(&file.path, Kind::File(at));
        }
        tree
    }

    fn add(&mut self, path: &str, kind: Kind) {
        let mut parent = 0;
        let last = path.matches('/').count();
        for (at, name) in path.split('/').enumerate() {
            let there = self
                .0
                .iter()
                .enumerate()
                .skip(1)
                .find(|(_, node)| node.parent == parent && node.name == name);
            parent = match there {
                Some((place, _)) => place,
                None => self.push(parent, name, if at == last { kind } else { Kind::Directory }),
            };
        }
    }

    fn push(&mut self, parent: usize, name: &str, kind: Kind) -> usize {
        let of = match name {
            "cpu#" => Some(Several::Cpus),
            "node#" => Some(Several::Nodes),
            _ => self.0[parent].of,
        };
        self.0.push(Node { parent, name: name.to_owned(), kind, of });
        self.0.len() - 1
    }

    /// Returns what a number stands for: a place, and the number of a processor or node where it is of one.
    fn place(&self, number: u64) -> Option<(usize, &Node, Option<u32>)> {
        let place = usize::try_from(number.checked_sub(ROOT)? % PLACES).ok()?;
        let node = self.0.get(place)?;
        let of = match ((number - ROOT) / PLACES).checked_sub(1) {
            Some(of) => Some(u32::try_from(of).ok()?),
            None => None,
        };
        (node.of.is_some() == of.is_some()).then_some((place, node, of))
    }

    fn number(place: usize, of: Option<u32>) -> u64 {
        ROOT + place as u64 + of.map_or(0, |of| (u64::from(of) + 1) * PLACES)
    }

    /// Returns what stands under a number.
    pub fn kind(&self, number: u64) -> Option<Kind> {
        self.place(number).map(|(_, node, _)| node.kind)
    }

    /// Returns of what a number's file or directory is one: what, and which.
    pub fn of(&self, number: u64) -> Option<(Several, u32)> {
        let (_, node, of) = self.place(number)?;
        Some((node.of?, of?))
    }

    /// Returns the path of what stands under a number.
    pub fn path(&self, number: u64) -> Option<String> {
        let (mut place, _, of) = self.place(number)?;
        let mut names = Vec::new();
        while place > 0 {
            let node = &self.0[place];
            names.push(match (node.stem(), of) {
                (Some(stem), Some(of)) => format!("{stem}{of}"),
                _ => node.name.clone(),
            });
            place = node.parent;
        }
        names.reverse();
        Some(names.join("/"))
    }

    /// Finds a name in a directory.
    pub fn find(&self, parent: u64, name: &[u8], has: &mut dyn Has) -> Option<u64> {
        let (place, _, of) = self.place(parent)?;
        let inside = |(_, node): &(usize, &Node)| node.parent == place;
        let found =
            self.0.iter().enumerate().skip(1).filter(inside).find_map(|(place, node)| match node.stem() {
                Some(stem) => {
                    let text = std::str::from_utf8(name).ok()?.strip_prefix(stem)?;
                    let which: u32 = text.parse().ok().filter(|which: &u32| which.to_string() == text)?;
                    has.several(node.of?).contains(which).then(|| Self::number(place, Some(which)))
                }
                None => (node.name.as_bytes() == name).then(|| Self::number(place, of)),
            })?;
        has.path(&self.path(found)?).then_some(found)
    }

    /// Returns the numbers, names and kinds of what is in a directory.
    pub fn children(&self, parent: u64, has: &mut dyn Has) -> Vec<(u64, String, Kind)> {
        let Some((place, _, of)) = self.place(parent) else { return Vec::new() };
        let mut found = Vec::new();
        for (place, node) in self.0.iter().enumerate().skip(1).filter(|(_, node)| node.parent == place) {
            match (node.stem(), node.of) {
                (Some(stem), Some(which)) => {
                    let each = has.several(which);
                    let numbered = |of| (Self::number(place, Some(of)), format!("{stem}{of}"), node.kind);
                    found.extend(each.numbers().map(numbered));
                }
                _ => found.push((Self::number(place, of), node.name.clone(), node.kind)),
            }
        }
        found.retain(|(number, ..)| self.path(*number).is_some_and(|path| has.path(&path)));
        found
    }

    /// Returns the directory above one.
    pub fn parent(&self, number: u64) -> u64 {
        let Some((_, node, of)) = self.place(number) else { return ROOT };
        Self::number(node.parent, if self.0[node.parent].of.is_some() { of } else { None })
    }

    /// Returns the paths of what covers something in a container: files, and directories that are its own as a whole.
    pub fn covers(&self) -> impl Iterator<Item = &'static str> {
        let in_whole = |path: &str| WHOLE.iter().any(|whole| path.starts_with(whole));
        let alone = FILES.iter().map(|file| file.path.as_str()).filter(move |path| !in_whole(path));
        alone.chain(WHOLE)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A container that has processors 1 and 2, node 0, and all files but one.
    pub(in super::super) struct Some12;

    impl Has for Some12 {
        fn path(&mut self, path: &str) -> bool {
            path != "proc/pressure/irq"
        }

        fn several(&mut self, which: Several) -> CpuList {
            CpuList::parse(if which == Several::Cpus { "1-2" } else { "0" }).unwrap_or_default()
        }
    }

    fn walk(tree: &Tree, path: &str) -> Option<u64> {
        path.split('/').try_fold(ROOT, |parent, name| tree.find(parent, name.as_bytes(), &mut Some12))
    }

    #[test]
    fn numbers_stay_since_containers_keep_them_whichever_process_serves() {
        let tree = Tree::new();
        let above = |place: usize| (place > 0).then(|| tree.0[place].parent);
        let path = |place| {
            let places = std::iter::successors(Some(place), |place| above(*place));
            let mut names: Vec<&str> = places.map(|place| tree.0[place].name.as_str()).collect();
            names.reverse();
            names.join("/")
        };
        let lines = (1..tree.0.len()).map(|place| format!("{} {}\n", Tree::number(place, None), path(place)));
        let numbers: String = lines.collect();
        // What is new stands at the end; any other change needs another first line of `types::Serve`.
        assert_eq!(numbers, include_str!("numbers.txt"), "{numbers}");
    }

    #[test]
    fn every_file_is_found_by_its_path_and_knows_it() {
        let tree = Tree::new();
        assert!((tree.0.len() as u64) < PLACES);
        for (at, file) in FILES.iter().enumerate().filter(|(_, file)| file.path != "proc/pressure/irq") {
            let path = file.path.replace("cpu#", "cpu2").replace("node#", "node0");
            let number = walk(&tree, &path).unwrap_or_else(|| panic!("no {path}"));
            assert_eq!((tree.kind(number), tree.path(number)), (Some(Kind::File(at)), Some(path.clone())));
            let above = path.rsplit_once('/').and_then(|(above, _)| walk(&tree, above));
            assert_eq!(Some(tree.parent(number)), above, "{path}");
        }
    }

    #[test]
    fn a_directory_has_what_the_host_has_and_of_several_those_of_the_container() {
        let tree = Tree::new();
        let names = |path: &str| -> Vec<String> {
            let found = tree.children(walk(&tree, path).unwrap(), &mut Some12);
            found.into_iter().map(|(_, name, _)| name).collect()
        };
        assert_eq!(names("proc/pressure"), ["cpu", "io", "memory"]);
        let cpus: Vec<String> =
            names("sys/devices/system/cpu").into_iter().filter(|name| name.starts_with("cpu")).collect();
        assert_eq!(cpus, ["cpuidle", "cpu1", "cpu2"]);
        assert!(names("sys/devices/system/cpu/cpu1/topology").contains(&"core_id".to_owned()));
        for missing in [
            "sys/devices/system/cpu/cpu0",
            "sys/devices/system/cpu/cpu01",
            "sys/devices/system/cpu/cpu#",
            "proc/pressure/irq",
        ] {
            assert_eq!(walk(&tree, missing), None, "{missing}");
        }
        let number = walk(&tree, "sys/devices/system/cpu/cpu2/online").unwrap();
        assert_eq!(tree.of(number), Some((Several::Cpus, 2)));
    }

    #[test]
    fn what_covers_is_a_file_or_a_whole_directory() {
        let covers: Vec<&str> = Tree::new().covers().collect();
        assert!(covers.contains(&"proc/meminfo") && covers.contains(&"sys/devices/system/cpu"));
        assert!(!covers.iter().any(|path| path.contains('#') || path.ends_with("online")), "{covers:?}");
    }

    #[test]
    fn numbers_that_nothing_has_are_nothing() {
        let tree = Tree::new();
        assert_eq!([0, PLACES, ROOT + PLACES, u64::MAX].map(|number| tree.kind(number)), [None; 4]);
        assert_eq!(tree.find(ROOT, b"", &mut Some12), None);
        assert_eq!(tree.find(ROOT, b"meminfo", &mut Some12), None);
        assert_eq!(tree.parent(ROOT), ROOT);
    }
}
