//! The newest entries, in memory: a skip list over chunks of bytes.
//!
//! Everything lies in a few large blocks, so that what it takes is known to the byte, is charged,
//! and goes back at once.

use plimsoll_ledger::{Account, Charge, Ledger, Measure, usable_size};

use crate::entries::{Entry, Kind};

/// The most bytes of a chunk; what is longer gets one of its own.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Chunks that a full memtable has at least.
const CHUNKS: usize = 16;
/// The most levels of the list; with one in four nodes a level higher, enough for 4^12 entries.
const HEIGHT_MAX: usize = 12;
/// The node before the first: it is never a next one, so it stands for the end.
const HEAD: u32 = 0;

/// Bytes somewhere in the chunks.
#[derive(Clone, Copy, Debug)]
struct Place {
    chunk: u32,
    at: u32,
    bytes: u32,
}

const NOWHERE: Place = Place { chunk: 0, at: 0, bytes: 0 };

#[derive(Clone, Copy, Debug)]
struct Node {
    key: Place,
    value: Place,
    /// Bytes that a new value may use in the old one's place.
    room: u32,
    /// Its first link; one per level.
    links: u32,
    height: u8,
    kind: Kind,
}

/// An ordered map of the newest entries.
#[derive(Debug)]
pub(crate) struct Memtable {
    chunks: Vec<Vec<u8>>,
    /// The chunk that small requests are taken from.
    open: usize,
    nodes: Vec<Node>,
    links: Vec<u32>,
    /// Bytes of a chunk.
    chunk_size: usize,
    random: u64,
    chunk_bytes: usize,
    /// Bytes in chunks that nothing refers to any more.
    garbage: usize,
    counts: Counts,
    charge: Charge,
    ledger: &'static Ledger,
}

/// How much of what lies in a memtable or a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Entries with a value.
    pub(crate) values: u64,
    /// Entries that say that a key is gone.
    pub(crate) deletes: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, kind: Kind) {
        *self.of(kind) += 1;
    }

    fn sub(&mut self, kind: Kind) {
        *self.of(kind) -= 1;
    }

    fn of(&mut self, kind: Kind) -> &mut u64 {
        if kind == Kind::Delete { &mut self.deletes } else { &mut self.values }
    }

    pub(crate) fn total(&self) -> u64 {
        self.values + self.deletes
    }
}

impl Memtable {
    /// An empty one that will be full at about `bytes_max`.
    pub(crate) fn new(ledger: &'static Ledger, bytes_max: usize) -> Self {
        let head = Node {
            key: NOWHERE,
            value: NOWHERE,
            room: 0,
            links: 0,
            height: HEIGHT_MAX as u8,
            kind: Kind::Delete,
        };
        let mut memtable = Self {
            chunks: Vec::new(),
            open: 0,
            nodes: vec![head],
            links: vec![HEAD; HEIGHT_MAX],
            chunk_size: (bytes_max / CHUNKS).clamp(256, CHUNK_BYTES_MAX),
            random: 0x9e37_79b9_7f4a_7c15,
            chunk_bytes: 0,
            garbage: 0,
            counts: Counts::default(),
            charge: ledger.charge(Account::Store, 0),
            ledger,
        };
        memtable.measure();
        memtable
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.total() == 0
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// Whether so much of it is left over from entries that are gone that a copy without that is
    /// cheaper than a run: it costs at most three bytes copied for one that is free then.
    pub(crate) fn has_much_garbage(&self) -> bool {
        self.garbage * 4 > self.chunk_bytes
    }

    /// Takes one entry up.
    pub(crate) fn apply(&mut self, entry: Entry<'_>) {
        let mut before = [HEAD; HEIGHT_MAX];
        let found = self.seek(entry.key, &mut before);
        if found != HEAD && self.bytes_of(self.node(found).key) == entry.key {
            self.change(found, entry, &before);
        } else {
            self.insert(entry, &before);
        }
        self.measure();
    }

    /// The entries from `key` on: the first one's position.
    pub(crate) fn first_from(&self, key: &[u8]) -> Position {
        Position(self.seek(key, &mut [HEAD; HEIGHT_MAX]))
    }

    /// The entry at a position, if that is not the end.
    pub(crate) fn entry(&self, at: Position) -> Option<Entry<'_>> {
        if at.0 == HEAD {
            return None;
        }
        let node = self.node(at.0);
        let (key, value) = (self.bytes_of(node.key), self.bytes_of(node.value));
        Some(Entry { kind: node.kind, key, value })
    }

    /// The position behind one.
    pub(crate) fn next(&self, at: Position) -> Position {
        Position(self.link(at.0, 0))
    }

    /// A copy without what is left over.
    pub(crate) fn compacted(&self) -> Self {
        let mut copy = Self::new(self.ledger, self.chunk_size * CHUNKS);
        let mut at = self.first_from(&[]);
        while let Some(entry) = self.entry(at) {
            copy.apply(entry);
            at = self.next(at);
        }
        copy
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn link(&self, at: u32, level: usize) -> u32 {
        self.links[self.node(at).links as usize + level]
    }

    fn set_link(&mut self, at: u32, level: usize, to: u32) {
        let link = self.node(at).links as usize + level;
        self.links[link] = to;
    }

    fn bytes_of(&self, place: Place) -> &[u8] {
        let (from, to) = (place.at as usize, place.at as usize + place.bytes as usize);
        self.chunks.get(place.chunk as usize).and_then(|c| c.get(from..to)).unwrap_or_default()
    }

    /// The first node whose key is not less, and on each level the last one before it.
    fn seek(&self, key: &[u8], before: &mut [u32; HEIGHT_MAX]) -> u32 {
        let mut at = HEAD;
        for level in (0..HEIGHT_MAX).rev() {
            loop {
                let next = self.link(at, level);
                if next == HEAD || self.bytes_of(self.node(next).key) >= key {
                    break;
                }
                at = next;
            }
            before[level] = at;
        }
        self.link(at, 0)
    }

    fn change(&mut self, at: u32, entry: Entry<'_>, before: &[u32; HEIGHT_MAX]) {
        let node = *self.node(at);
        self.counts.sub(node.kind);
        let kind = match (node.kind, entry.kind) {
            (Kind::Insert, Kind::Delete) => return self.unlink(at, before),
            (_, Kind::Delete) => Kind::Delete,
            (Kind::Insert, _) => Kind::Insert,
            _ => Kind::Put,
        };
        self.counts.add(kind);
        let (value, room) = self.replace(&node, entry.value);
        self.nodes[at as usize] = Node { value, room, kind, ..node };
    }

    /// Puts a new value in the old one's place if it fits there.
    fn replace(&mut self, node: &Node, value: &[u8]) -> (Place, u32) {
        if value.len() <= node.room as usize {
            let place = Place { bytes: value.len() as u32, ..node.value };
            if !value.is_empty() {
                let from = place.at as usize;
                self.chunks[place.chunk as usize][from..from + value.len()].copy_from_slice(value);
            }
            return (place, node.room);
        }
        self.garbage += node.room as usize;
        (self.keep(value), value.len() as u32)
    }

    fn unlink(&mut self, at: u32, before: &[u32; HEIGHT_MAX]) {
        let node = *self.node(at);
        for (level, &previous) in before.iter().enumerate().take(node.height as usize) {
            let next = self.link(at, level);
            self.set_link(previous, level, next);
        }
        self.garbage += node.key.bytes as usize + node.room as usize;
        // With the last entry all the rest goes as well.
        if self.is_empty() {
            *self = Self::new(self.ledger, self.chunk_size * CHUNKS);
        }
    }

    fn insert(&mut self, entry: Entry<'_>, before: &[u32; HEIGHT_MAX]) {
        let height = self.random_height();
        let at = self.nodes.len() as u32;
        let links = self.links.len() as u32;
        let (key, value) = (self.keep(entry.key), self.keep(entry.value));
        let (room, kind) = (value.bytes, entry.kind);
        self.nodes.push(Node { key, value, room, links, height: height as u8, kind });
        for (level, &previous) in before.iter().enumerate().take(height) {
            self.links.push(self.link(previous, level));
            self.set_link(previous, level, at);
        }
        self.counts.add(kind);
    }

    fn random_height(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // Two bits per level, so one in four goes up.
        (self.random.trailing_zeros() as usize / 2 + 1).min(HEIGHT_MAX)
    }

    fn keep(&mut self, bytes: &[u8]) -> Place {
        if bytes.is_empty() {
            return NOWHERE;
        }
        let chunk = self.chunk_for(bytes.len());
        let at = self.chunks[chunk].len() as u32;
        self.chunks[chunk].extend_from_slice(bytes);
        Place { chunk: chunk as u32, at, bytes: bytes.len() as u32 }
    }

    fn chunk_for(&mut self, bytes: usize) -> usize {
        let fits = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= bytes;
        // A large one gets a chunk of its own, so that little of the open one is wasted.
        let is_large = bytes > self.chunk_size / 4;
        if !is_large && self.chunks.get(self.open).is_some_and(fits) {
            return self.open;
        }
        let capacity = if is_large { bytes } else { self.chunk_size };
        let chunk = Vec::with_capacity(capacity);
        self.chunk_bytes += chunk.heap_bytes();
        self.chunks.push(chunk);
        if !is_large {
            self.open = self.chunks.len() - 1;
        }
        self.chunks.len() - 1
    }

    fn measure(&mut self) {
        let chunks = usable_size(self.chunks.capacity() * size_of::<Vec<u8>>(), 8);
        let bytes = self.chunk_bytes + chunks + self.nodes.heap_bytes() + self.links.heap_bytes();
        self.charge.set(bytes);
    }
}

/// A place in the order of a [`Memtable`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position(u32);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ledger() -> &'static Ledger {
        Box::leak(Box::default())
    }

    fn entries(memtable: &Memtable) -> Vec<(Vec<u8>, Kind, Vec<u8>)> {
        let mut all = Vec::new();
        let mut at = memtable.first_from(&[]);
        while let Some(entry) = memtable.entry(at) {
            all.push((entry.key.to_vec(), entry.kind, entry.value.to_vec()));
            at = memtable.next(at);
        }
        all
    }

    #[test]
    fn it_agrees_with_an_ordered_map() {
        let ledger = ledger();
        let mut memtable = Memtable::new(ledger, 4 << 20);
        let mut model = BTreeMap::new();
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = format!("{}", (random >> 40) % 3000).into_bytes();
            let value = vec![(random >> 33) as u8; (random >> 50) as usize % 100];
            let kind = if random >> 63 == 0 { Kind::Put } else { Kind::Delete };
            let value = if kind == Kind::Put { value } else { Vec::new() };
            memtable.apply(Entry { kind, key: &key, value: &value });
            model.insert(key, (kind, value));
        }
        let expected: Vec<_> =
            model.iter().map(|(k, (kind, v))| (k.clone(), *kind, v.clone())).collect();
        assert_eq!(entries(&memtable), expected);
        assert_eq!(entries(&memtable.compacted()), expected);
        assert_eq!(memtable.counts().total(), model.len() as u64);
        let from = memtable.entry(memtable.first_from(b"15")).unwrap().key.to_vec();
        assert_eq!(Some(&from), model.range(b"15".to_vec()..).next().map(|(key, _)| key));
        assert_eq!(ledger.bytes(Account::Store), memtable.bytes());
        drop(memtable);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn an_insert_and_its_delete_leave_nothing_behind() {
        let mut memtable = Memtable::new(ledger(), 4 << 20);
        let empty = memtable.bytes();
        for n in 0..1000u32 {
            memtable.apply(Entry { kind: Kind::Insert, key: &n.to_be_bytes(), value: &[1; 100] });
        }
        memtable.apply(Entry { kind: Kind::Put, key: &7u32.to_be_bytes(), value: b"later" });
        for n in 0..1000u32 {
            memtable.apply(Entry { kind: Kind::Delete, key: &n.to_be_bytes(), value: &[] });
        }
        assert!(memtable.is_empty());
        assert_eq!(memtable.bytes(), empty);
        memtable.apply(Entry { kind: Kind::Delete, key: b"x", value: &[] });
        assert_eq!(memtable.counts(), Counts { values: 0, deletes: 1 });
    }

    #[test]
    fn values_of_the_same_length_are_overwritten_in_place() {
        let mut memtable = Memtable::new(ledger(), 4 << 20);
        memtable.apply(Entry { kind: Kind::Put, key: b"a", value: &[1; 1000] });
        let bytes = memtable.bytes();
        for n in 0..=255u8 {
            memtable.apply(Entry { kind: Kind::Put, key: b"a", value: &[n; 1000] });
        }
        assert_eq!(memtable.bytes(), bytes);
        memtable.apply(Entry { kind: Kind::Put, key: b"a", value: &vec![9; 100_000] });
        assert_eq!(memtable.entry(memtable.first_from(b"a")).unwrap().value, vec![9; 100_000]);
    }
}
