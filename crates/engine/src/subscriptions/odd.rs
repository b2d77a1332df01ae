//! Filters that do not fit into the shape hash: a trie by levels.
//!
//! A topic visits at most two nodes for each node of the level above (the literal one and `+`), so
//! a match costs by the topic's depth and not by the number of filters.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use plimsoll_ledger::{Measure, usable_size};

use super::FilterKey;
use super::levels::Seed;

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

#[derive(Debug)]
struct Node {
    /// The level that leads here.
    level: Box<str>,
    parent: u32,
    /// Nodes below, and filters that end here: at 0 the node goes.
    uses: u32,
    /// The filter that ends here.
    filter: u32,
    /// The filter that ends here with `/#`.
    open: u32,
}

/// The trie.
#[derive(Debug)]
pub(super) struct OddFilters {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Nodes by parent and level.
    edges: HashTable<u32>,
    seed: Seed,
    len: usize,
    level_bytes: usize,
}

impl Measure for OddFilters {
    fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes()
            + self.free.heap_bytes()
            + usable_size(self.edges.allocation_size(), 16)
            + self.level_bytes
    }
}

impl OddFilters {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            edges: HashTable::new(),
            seed: Seed::new(seed.rotate_left(17)),
            len: 0,
            level_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    fn hash(&self, parent: u32, level: &str) -> u64 {
        self.seed.combine(u64::from(parent), self.seed.level(level.as_bytes()))
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let same = |&number: &u32| {
            self.node(number).is_some_and(|node| node.parent == parent && *node.level == *level)
        };
        self.edges.find(self.hash(parent, level), same).copied()
    }

    /// The node that a filter ends at, and whether it ends there with `#`.
    fn locate(&self, filter: &str) -> Option<(u32, bool)> {
        let mut at = ROOT;
        for level in filter.split('/') {
            if level == "#" {
                return Some((at, true));
            }
            at = self.child(at, level)?;
        }
        Some((at, false))
    }

    pub(super) fn find(&self, filter: &str) -> Option<FilterKey> {
        if self.is_empty() {
            return None;
        }
        let (at, open) = self.locate(filter)?;
        let node = self.node(at)?;
        let key = if open { node.open } else { node.filter };
        (key != NONE).then_some(FilterKey(key))
    }

    /// Adds a filter that is not there.
    pub(super) fn insert(&mut self, filter: &str, key: FilterKey) {
        if self.nodes.is_empty() {
            self.new_node(NONE, "");
        }
        let (mut at, mut open) = (ROOT, false);
        for level in filter.split('/') {
            if level == "#" {
                open = true;
                break;
            }
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.grow(at, level),
            };
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            *(if open { &mut node.open } else { &mut node.filter }) = key.0;
            node.uses += 1;
        }
        self.len += 1;
    }

    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        let number = self.new_node(parent, level);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.uses += 1;
        }
        let hash = self.hash(parent, level);
        let (nodes, seed) = (&self.nodes, &self.seed);
        let rehash = |&number: &u32| {
            let node = nodes.get(number as usize);
            node.map_or(0, |n| seed.combine(u64::from(n.parent), seed.level(n.level.as_bytes())))
        };
        self.edges.insert_unique(hash, number, rehash);
        number
    }

    fn new_node(&mut self, parent: u32, level: &str) -> u32 {
        let node = Node { level: Box::from(level), parent, uses: 0, filter: NONE, open: NONE };
        self.level_bytes += node.level.heap_bytes();
        match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.nodes.get_mut(number as usize) {
                    *place = node;
                }
                number
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    /// Takes a filter out, and prunes what leads nowhere any more.
    pub(super) fn remove(&mut self, filter: &str) {
        let Some((mut at, open)) = self.locate(filter) else { return };
        let Some(node) = self.nodes.get_mut(at as usize) else { return };
        *(if open { &mut node.open } else { &mut node.filter }) = NONE;
        node.uses -= 1;
        self.len -= 1;
        while at != ROOT {
            let Some(node) = self.nodes.get_mut(at as usize).filter(|node| node.uses == 0) else {
                break;
            };
            let (parent, level) = (node.parent, core::mem::take(&mut node.level));
            self.level_bytes -= level.heap_bytes();
            let hash = self.hash(parent, &level);
            if let Ok(edge) = self.edges.find_entry(hash, |&number| number == at) {
                edge.remove();
            }
            self.free.push(at);
            if let Some(parent) = self.nodes.get_mut(parent as usize) {
                parent.uses -= 1;
            }
            at = parent;
        }
        if self.len == 0 {
            self.nodes = Vec::new();
            self.free = Vec::new();
            self.edges = HashTable::new();
            self.level_bytes = 0;
        }
    }

    /// Calls `each` with every filter that matches.
    pub(super) fn matches(&self, topic: &str, mut each: impl FnMut(FilterKey)) {
        let mut give = |key: u32| {
            if key != NONE {
                each(FilterKey(key));
            }
        };
        let dollar = topic.starts_with('$'); // MQTT-4.7.2-1
        let mut here = alloc::vec![ROOT];
        let mut below = Vec::new();
        for (depth, level) in topic.split('/').enumerate() {
            for &number in &here {
                let Some(node) = self.node(number) else { continue };
                let hidden = dollar && depth == 0;
                if !hidden {
                    give(node.open);
                    below.extend(self.child(number, "+"));
                }
                below.extend(self.child(number, level));
            }
            core::mem::swap(&mut here, &mut below);
            below.clear();
        }
        for number in here {
            if let Some(node) = self.node(number) {
                give(node.filter);
                give(node.open); // MQTT 5.0, 4.7.1.2: `#` matches the parent level too.
            }
        }
    }

    /// The same as [`Measure::heap_bytes`], by walking.
    pub(super) fn recount(&self) -> usize {
        let levels: usize = self.nodes.iter().map(|node| node.level.heap_bytes()).sum();
        self.nodes.heap_bytes()
            + self.free.heap_bytes()
            + usable_size(self.edges.allocation_size(), 16)
            + levels
    }
}
