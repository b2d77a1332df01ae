//! Entries, and the body that holds a sequence of them: of a journal frame and of a run's block.
//!
//! Each entry has a checksum of its own, and a table behind the entries says where each begins, so
//! that damage costs what it touches: a broken entry is stepped over by the table, a broken table
//! by the entries' own lengths. Checksums start from a seed that names the batch or the run, so
//! that the bytes of another time are never taken for these. The layout is in `docs/formats.md`.

use std::ops::Range;

use crate::numbers::{checksum, checksum_from, u32_at};

/// Bytes of an entry before its key.
pub(crate) const ENTRY_HEADER_BYTES: usize = 13;
/// Bytes of a body's table without the offsets.
const TABLE_END_BYTES: usize = 8;
/// Bytes of one offset in the table.
pub(crate) const OFFSET_BYTES: usize = 4;
/// The longest body: offsets have four bytes, and a gigabyte is enough for one batch.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 30;
/// The version of an entry, in the upper half of its kind.
const ENTRY_VERSION: u8 = 0x10;

/// What an entry says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The key has this value; older entries of the key may lie below.
    Put = 1,
    /// The key has this value, and no older entry of it lies below.
    Insert = 2,
    /// The key is gone; older entries of it may lie below.
    Delete = 3,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte ^ ENTRY_VERSION {
            1 => Some(Self::Put),
            2 => Some(Self::Insert),
            3 => Some(Self::Delete),
            _ => None,
        }
    }
}

/// One entry, borrowed from where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Entry<'_> {
    /// Bytes that it takes in a body, with its offset in the table.
    pub(crate) fn encoded_bytes(&self) -> usize {
        ENTRY_HEADER_BYTES + self.key.len() + self.value.len() + OFFSET_BYTES
    }
}

/// Where checksums start for a batch with this sequence number, or a run with this number.
pub(crate) fn seed(number: u64) -> u32 {
    checksum(&number.to_le_bytes())
}

/// Writes a body at the end of a buffer.
#[derive(Debug, Default)]
pub(crate) struct BodyWriter {
    start: usize,
    seed: u32,
    offsets: Vec<u32>,
}

impl BodyWriter {
    /// Begins a body at the present end of `out`.
    pub(crate) fn begin(&mut self, out: &[u8], seed: u32) {
        self.start = out.len();
        self.seed = seed;
        self.offsets.clear();
    }

    /// How many entries the body has so far.
    pub(crate) fn count(&self) -> usize {
        self.offsets.len()
    }

    /// Bytes of the body so far, as if it ended here.
    pub(crate) fn bytes(&self, out: &[u8]) -> usize {
        out.len() - self.start + self.offsets.len() * OFFSET_BYTES + TABLE_END_BYTES
    }

    pub(crate) fn push(&mut self, out: &mut Vec<u8>, entry: Entry<'_>) {
        let at = out.len();
        self.offsets.push((at - self.start) as u32);
        out.extend_from_slice(&[0; 4]);
        out.push(entry.kind as u8 | ENTRY_VERSION);
        out.extend_from_slice(&(entry.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(entry.value.len() as u32).to_le_bytes());
        out.extend_from_slice(entry.key);
        out.extend_from_slice(entry.value);
        let crc = checksum_from(self.seed, &out[at + 4..]);
        out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Ends the body with its table.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let table = out.len();
        for offset in &self.offsets {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.extend_from_slice(&(self.offsets.len() as u32).to_le_bytes());
        let crc = checksum_from(self.seed, &out[table..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Bytes of heap that it owns.
    pub(crate) fn heap_bytes(&self) -> usize {
        plimsoll_ledger::Measure::heap_bytes(&self.offsets)
    }
}

/// A sound entry's place in the bytes of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    kind: Kind,
    key: u32,
    value: u32,
    end: u32,
}

impl Placed {
    /// The entry itself, from the body that it was found in.
    pub(crate) fn entry<'a>(&self, body: &'a [u8]) -> Entry<'a> {
        let cut = |from: u32, to: u32| body.get(from as usize..to as usize).unwrap_or_default();
        Entry { kind: self.kind, key: cut(self.key, self.value), value: cut(self.value, self.end) }
    }
}

/// What lies in a body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The sound entries, in order.
    pub(crate) entries: Vec<Placed>,
    /// What is damaged, as ranges of the body's bytes.
    pub(crate) damaged: Vec<Range<usize>>,
}

impl Body {
    /// Whether nothing is damaged.
    pub(crate) fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }

    /// Reads all of `bytes`, which are one body with its table.
    pub(crate) fn read(&mut self, bytes: &[u8], seed: u32) {
        self.entries.clear();
        self.damaged.clear();
        match table(bytes, seed) {
            Some(table) => self.read_by_table(bytes, table, seed),
            None => {
                let end = self.walk(bytes, seed);
                self.damaged.push(end..bytes.len());
            }
        }
    }

    fn read_by_table(&mut self, bytes: &[u8], table: Range<usize>, seed: u32) {
        let count = table.len() / OFFSET_BYTES;
        let start = |at: usize| {
            if at == count { table.start } else { u32_at(bytes, table.start + at * 4) as usize }
        };
        for at in 0..count {
            let range = start(at)..start(at + 1);
            match entry_at(bytes, range.start, seed) {
                Some(placed) if placed.end as usize == range.end => self.entries.push(placed),
                _ => self.damaged.push(range),
            }
        }
    }

    /// Reads entries one behind the other from the front, without a table, until there is no sound
    /// one; says where that is.
    pub(crate) fn walk(&mut self, bytes: &[u8], seed: u32) -> usize {
        let mut at = 0;
        while let Some(placed) = entry_at(bytes, at, seed) {
            at = placed.end as usize;
            self.entries.push(placed);
        }
        at
    }

    /// Bytes of heap that it owns.
    pub(crate) fn heap_bytes(&self) -> usize {
        use plimsoll_ledger::Measure;
        self.entries.heap_bytes() + self.damaged.heap_bytes()
    }
}

/// Where the offsets of a sound table lie.
fn table(bytes: &[u8], seed: u32) -> Option<Range<usize>> {
    let end = bytes.len().checked_sub(TABLE_END_BYTES)?;
    let count = u32_at(bytes, end) as usize;
    let start = end.checked_sub(count.checked_mul(OFFSET_BYTES)?)?;
    let sound = checksum_from(seed, &bytes[start..end + 4]) == u32_at(bytes, end + 4);
    sound.then_some(start..end)
}

fn entry_at(bytes: &[u8], at: usize, seed: u32) -> Option<Placed> {
    let rest = bytes.get(at..)?;
    if rest.len() < ENTRY_HEADER_BYTES {
        return None;
    }
    let kind = Kind::of(rest[4])?;
    let value = ENTRY_HEADER_BYTES.checked_add(u32_at(rest, 5) as usize)?;
    let end = value.checked_add(u32_at(rest, 9) as usize)?;
    let checked = rest.get(4..end)?;
    if checksum_from(seed, checked) != u32_at(rest, 0) {
        return None;
    }
    let key = (at + ENTRY_HEADER_BYTES) as u32;
    Some(Placed { kind, key, value: (at + value) as u32, end: (at + end) as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (Kind, Vec<u8>, Vec<u8>);

    fn sample() -> (Vec<u8>, Vec<Owned>) {
        let entries = vec![
            (Kind::Put, b"a".to_vec(), b"one".to_vec()),
            (Kind::Insert, b"bb".to_vec(), vec![7; 40]),
            (Kind::Delete, b"ccc".to_vec(), Vec::new()),
            (Kind::Put, Vec::new(), b"x".to_vec()),
        ];
        let mut out = Vec::new();
        let mut writer = BodyWriter::default();
        writer.begin(&out, seed(5));
        for (kind, key, value) in &entries {
            writer.push(&mut out, Entry { kind: *kind, key, value });
        }
        let bytes = writer.bytes(&out);
        writer.finish(&mut out);
        assert_eq!(out.len(), bytes);
        (out, entries)
    }

    #[test]
    fn a_body_is_read_back_under_its_own_seed_only() {
        let (out, entries) = sample();
        let mut body = Body::default();
        body.read(&out, seed(5));
        assert!(body.is_whole());
        let read = body.entries.iter().map(|placed| placed.entry(&out));
        assert!(read.eq(entries.iter().map(|(kind, key, value)| Entry {
            kind: *kind,
            key,
            value
        })));
        body.read(&out, seed(6));
        assert!(body.entries.is_empty() && !body.is_whole());
    }

    #[test]
    fn a_flipped_byte_costs_one_entry_at_most() {
        let (out, entries) = sample();
        for at in 0..out.len() {
            let mut out = out.clone();
            out[at] ^= 0x40;
            let mut body = Body::default();
            body.read(&out, seed(5));
            assert!(!body.is_whole(), "{at}");
            assert!(body.entries.len() >= entries.len() - 1, "{at}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let (out, _) = sample();
        let mut body = Body::default();
        for end in 0..out.len() {
            body.read(&out[..end], seed(5));
            assert!(!body.is_whole());
            body.read(&vec![0xff; end], seed(5));
        }
    }
}
