//! One page: entries in order, each a key and a record.
//!
//! ```text
//! entry   shared length (varint) · rest length (varint) · record length (varint) · rest · record
//! ```
//! The shared length is exactly that of the prefix that the key has in common with the one before
//! it in the page; the first one shares nothing. So a search compares each byte of its key once.

use alloc::vec::Vec;
use core::cmp::Ordering;

use plimsoll_ledger::{Measure, usable_size};

use super::key::shared_len;

/// Largest page with more than one entry, in bytes.
pub(super) const PAGE_BYTES_MAX: usize = 4096;

/// A page.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Not later than the first expiry in it; `u32::MAX` if nothing expires.
    expires_at: u32,
}

/// One entry, as it stands in the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) shared: usize,
    pub(super) rest: &'a [u8],
    pub(super) record: &'a [u8],
    start: usize,
    end: usize,
}

/// Where a key is in a page, or belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) found: bool,
    /// Offset of the entry, or of the first one with a greater key.
    at: usize,
    /// What the key shares with the one before that offset.
    shared: usize,
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_entry(out: &mut Vec<u8>, shared: usize, rest: &[u8], record: &[u8]) {
    write_varint(out, shared);
    write_varint(out, rest.len());
    write_varint(out, record.len());
    out.extend_from_slice(rest);
    out.extend_from_slice(record);
}

impl Page {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), expires_at: u32::MAX }
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of its block.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes()
    }

    /// Not later than the first expiry in it, seconds.
    pub(super) fn expires_at(&self) -> u32 {
        self.expires_at
    }

    pub(super) fn expire_by(&mut self, second: u32) {
        self.expires_at = self.expires_at.min(second);
    }

    pub(super) fn set_expires_at(&mut self, second: u32) {
        self.expires_at = second;
    }

    /// The entry at an offset.
    pub(super) fn entry(&self, start: usize) -> Option<Entry<'_>> {
        let mut at = start;
        let shared = read_varint(&self.bytes, &mut at)?;
        let rest_len = read_varint(&self.bytes, &mut at)?;
        let record_len = read_varint(&self.bytes, &mut at)?;
        let rest = self.bytes.get(at..at + rest_len)?;
        let end = at + rest_len + record_len;
        let record = self.bytes.get(at + rest_len..end)?;
        Some(Entry { shared, rest, record, start, end })
    }

    /// The entry behind another.
    pub(super) fn after(&self, entry: &Entry<'_>) -> Option<Entry<'_>> {
        self.entry(entry.end)
    }

    /// The first key, which stands there in full.
    pub(super) fn first_key(&self) -> &[u8] {
        self.entry(0).map_or(&[], |entry| entry.rest)
    }

    /// The record that a search found.
    pub(super) fn record(&self, spot: &Spot) -> &[u8] {
        self.entry(spot.at).map_or(&[], |entry| entry.record)
    }

    /// Finds a key, or where it belongs.
    pub(super) fn find(&self, key: &[u8]) -> Spot {
        let mut matched = 0;
        let mut at = 0;
        while let Some(entry) = self.entry(at) {
            match entry.shared.cmp(&matched) {
                // It has more in common with the key before it than ours has: still smaller.
                Ordering::Greater => {}
                // It left the path where ours goes on: greater.
                Ordering::Less => return Spot { found: false, at, shared: matched },
                Ordering::Equal => {
                    let ours = key.get(matched..).unwrap_or_default();
                    let common = shared_len(ours, entry.rest);
                    match (ours.get(common), entry.rest.get(common)) {
                        (None, None) => return Spot { found: true, at, shared: matched },
                        (Some(ours), Some(theirs)) if ours > theirs => matched += common,
                        (Some(_), None) => matched += common,
                        _ => return Spot { found: false, at, shared: matched },
                    }
                }
            }
            at = entry.end;
        }
        Spot { found: false, at, shared: matched }
    }

    /// Replaces the record at a found spot.
    pub(super) fn replace(&mut self, spot: &Spot, record: &[u8]) {
        let Some(entry) = self.entry(spot.at) else { return };
        let (start, end, old_len) = (entry.start, entry.end, entry.record.len());
        if old_len == record.len() {
            if let Some(place) = self.bytes.get_mut(end - old_len..end) {
                place.copy_from_slice(record);
            }
            return;
        }
        let mut fresh = Vec::with_capacity(end - start + record.len());
        write_entry(&mut fresh, entry.shared, entry.rest, record);
        self.splice(start, end, &fresh);
    }

    /// Inserts an entry at a spot where it was not found.
    pub(super) fn insert(&mut self, spot: &Spot, key: &[u8], record: &[u8]) {
        let rest = key.get(spot.shared..).unwrap_or_default();
        let mut fresh = Vec::with_capacity(rest.len() + record.len() + 64);
        write_entry(&mut fresh, spot.shared, rest, record);
        let mut end = spot.at;
        if let Some(next) = self.entry(spot.at) {
            // The next key has at least as much in common with the new one as with the one before.
            let more = shared_len(key.get(next.shared..).unwrap_or_default(), next.rest);
            if more > 0 {
                let rest = next.rest.get(more..).unwrap_or_default();
                write_entry(&mut fresh, next.shared + more, rest, next.record);
                end = next.end;
            }
        }
        self.splice(spot.at, end, &fresh);
    }

    /// Removes the entry at a found spot.
    pub(super) fn remove(&mut self, spot: &Spot) {
        let Some(entry) = self.entry(spot.at) else { return };
        let mut fresh = Vec::new();
        let mut end = entry.end;
        if let Some(next) = self.entry(entry.end)
            && next.shared > entry.shared
        {
            // What the next key shared with this one only, it must say itself now.
            let shared = entry.rest.get(..next.shared - entry.shared).unwrap_or_default();
            let mut rest = Vec::from(shared);
            rest.extend_from_slice(next.rest);
            write_entry(&mut fresh, entry.shared, &rest, next.record);
            end = next.end;
        }
        let start = entry.start;
        self.splice(start, end, &fresh);
    }

    /// Replaces bytes, in a block of the class that fits.
    fn splice(&mut self, start: usize, end: usize, fresh: &[u8]) {
        let len = self.bytes.len() - (end - start) + fresh.len();
        let class = usable_size(len, 1);
        if self.bytes.capacity() == class
            || self.bytes.capacity() > class && len > 0 && !self.wasteful(class)
        {
            self.bytes.splice(start..end, fresh.iter().copied());
            return;
        }
        let mut bytes = Vec::with_capacity(class);
        bytes.extend_from_slice(self.bytes.get(..start).unwrap_or_default());
        bytes.extend_from_slice(fresh);
        bytes.extend_from_slice(self.bytes.get(end..).unwrap_or_default());
        self.bytes = bytes;
    }

    /// Whether the block is more than two classes larger than it need be.
    fn wasteful(&self, class: usize) -> bool {
        self.bytes.capacity() > class + class / 2
    }

    /// Cuts a page in two of about the same size. Answers the second half; `None` if there is only
    /// one entry.
    pub(super) fn split(&mut self) -> Option<Self> {
        let half = self.bytes.len() / 2;
        let mut key = Vec::new();
        let mut at = 0;
        let middle = loop {
            let entry = self.entry(at)?;
            key.truncate(entry.shared);
            key.extend_from_slice(entry.rest);
            if at > 0 && entry.end > half {
                break entry;
            }
            at = entry.end;
        };
        let mut second = Vec::new();
        write_entry(&mut second, 0, &key, middle.record);
        second.extend_from_slice(self.bytes.get(middle.end..).unwrap_or_default());
        self.resize_to(at);
        let mut page = Self { bytes: second, expires_at: self.expires_at };
        let len = page.bytes.len();
        page.resize_to(len);
        Some(page)
    }

    /// Appends a page whose keys are all greater.
    pub(super) fn append(&mut self, other: &Self) {
        let Some(first) = other.entry(0) else { return };
        let mut last = Vec::new();
        self.for_each(|key, _| {
            last.clear();
            last.extend_from_slice(key);
        });
        let shared = shared_len(&last, first.rest);
        let mut fresh = Vec::with_capacity(other.bytes.len());
        write_entry(&mut fresh, shared, first.rest.get(shared..).unwrap_or_default(), first.record);
        fresh.extend_from_slice(other.bytes.get(first.end..).unwrap_or_default());
        let end = self.bytes.len();
        self.splice(end, end, &fresh);
        self.expires_at = self.expires_at.min(other.expires_at);
    }

    fn resize_to(&mut self, len: usize) {
        let mut bytes = Vec::with_capacity(usable_size(len, 1));
        bytes.extend_from_slice(self.bytes.get(..len).unwrap_or_default());
        self.bytes = bytes;
    }

    /// Calls `each` with every key and record.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let mut key = Vec::new();
        let mut at = 0;
        while let Some(entry) = self.entry(at) {
            key.truncate(entry.shared);
            key.extend_from_slice(entry.rest);
            each(&key, entry.record);
            at = entry.end;
        }
    }
}
