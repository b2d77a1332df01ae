//! Retained messages by the first levels of their topics.
//!
//! In the store's order everything that has a prefix lies side by side, so one running sum is enough.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Charged, Ledger};

use super::{HOLDERS_MAX, Top};
use crate::retained::RetainedStore;
use crate::time::Time;

/// Retained messages looked at in one piece.
const PIECE_STEPS: usize = 1000;

/// Prefixes whose growth is followed, at most: the first ones in the store's order. They take 16
/// bytes each from one census to the next.
pub const GROWTH_PREFIXES_MAX: usize = 64 * 1024;

/// The messages whose topics begin with the same levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Those levels: a topic, or what is above several.
    pub prefix: Box<str>,
    /// Messages.
    pub count: u64,
    /// Bytes of their topics, properties and payloads; of those that wait, of their blocks.
    pub bytes: u64,
    /// How many bytes more or less than at the census before; `None` if it is not known.
    pub growth: Option<i64>,
}

/// Bytes of each prefix at the time of a census.
#[derive(Debug)]
pub struct PrefixBytes {
    /// When that census began.
    pub at: Time,
    /// Levels of its prefixes.
    pub depth: usize,
    /// A hash of each prefix, sorted, and its bytes.
    sums: Charged<Vec<(u64, u64)>>,
}

impl PrefixBytes {
    /// Bytes of a prefix at that time; `None` if it was not followed.
    fn bytes(&self, hash: u64) -> Option<u64> {
        match self.sums.binary_search_by_key(&hash, |&(hash, _)| hash) {
            Ok(at) => self.sums.get(at).map(|&(_, bytes)| bytes),
            // It is new, unless not all were followed.
            Err(_) => (self.sums.len() < GROWTH_PREFIXES_MAX).then_some(0),
        }
    }
}

/// A hash of a prefix (FNV-1a).
fn hash(key: &[u8]) -> u64 {
    let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    key.iter().fold(0xCBF2_9CE4_8422_2325, mix)
}

/// A census of retained messages. See [`Engine::prefix_census`](crate::Engine::prefix_census).
#[derive(Debug)]
pub struct PrefixCensus {
    depth: usize,
    /// The key looked at last.
    after: Vec<u8>,
    current: Running,
    before: Option<PrefixBytes>,
    now: PrefixBytes,
    /// Different prefixes seen.
    pub prefixes: u64,
    /// Those with the most bytes.
    pub by_bytes: Top<Prefix>,
    /// Those with the most messages.
    pub by_count: Top<Prefix>,
    /// Those that grew most since the census before.
    pub by_growth: Top<Prefix>,
}

#[derive(Debug, Default)]
struct Running {
    key: Vec<u8>,
    count: u64,
    bytes: u64,
}

impl PrefixCensus {
    /// One that has seen nothing yet: topics by their first `depth` levels, the first `most` of them.
    /// `before` is what an earlier one found ([`PrefixCensus::into_parts`]), to compare with; of
    /// another depth it says nothing.
    pub fn new(
        ledger: &'static Ledger,
        now: Time,
        depth: usize,
        most: usize,
        before: Option<PrefixBytes>,
    ) -> Self {
        let (most, depth) = (most.min(HOLDERS_MAX), depth.max(1));
        let sums = ledger.own(Account::Admin, Vec::new());
        Self {
            depth,
            before: before.filter(|before| before.depth == depth),
            now: PrefixBytes { at: now, depth, sums },
            after: Vec::new(),
            current: Running::default(),
            prefixes: 0,
            by_bytes: Top::new(most),
            by_count: Top::new(most),
            by_growth: Top::new(most),
        }
    }

    /// When the census that growth is measured from began.
    pub fn growth_since(&self) -> Option<Time> {
        self.before.as_ref().map(|before| before.at)
    }

    /// What this one has compared with, and what the next one may compare with.
    pub fn into_parts(self) -> (Option<PrefixBytes>, PrefixBytes) {
        let Self { before, mut now, .. } = self;
        now.sums.elements_mut().sort_unstable();
        (before, now)
    }

    pub(super) fn piece(&mut self, retained: &RetainedStore) -> bool {
        let mut after = core::mem::take(&mut self.after);
        let mut last = Vec::new();
        let end = retained.walk(&after, PIECE_STEPS, |key, bytes| {
            self.see(key, bytes as u64);
            last.clear();
            last.extend_from_slice(key);
        });
        if !last.is_empty() {
            after = last;
        }
        self.after = after;
        if end {
            self.finish_prefix();
        }
        end
    }

    fn see(&mut self, key: &[u8], bytes: u64) {
        let mut separators = key.iter().enumerate().filter(|(_, byte)| **byte == 0);
        let end = separators.nth(self.depth - 1).map_or(key.len(), |(at, _)| at);
        let prefix = key.get(..end).unwrap_or_default();
        if self.current.count == 0 || self.current.key != prefix {
            self.finish_prefix();
            self.current.key = prefix.into();
        }
        self.current.count += 1;
        self.current.bytes += bytes;
    }

    fn finish_prefix(&mut self) {
        let Running { key, count, bytes } = core::mem::take(&mut self.current);
        if count == 0 {
            return;
        }
        self.prefixes += 1;
        let hash = hash(&key);
        let before = self.before.as_ref().and_then(|before| before.bytes(hash));
        let growth = before.map(|before| bytes.cast_signed() - before.cast_signed());
        if self.now.sums.len() < GROWTH_PREFIXES_MAX {
            self.now.sums.edit().push((hash, bytes));
        }
        let prefix = || {
            let text = key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
            let prefix = String::from_utf8(text).unwrap_or_default().into_boxed_str();
            Prefix { prefix, count, bytes, growth }
        };
        self.by_bytes.offer(bytes, prefix);
        self.by_count.offer(count, prefix);
        if let Some(growth @ 1..) = growth {
            self.by_growth.offer(growth.cast_unsigned(), prefix);
        }
    }
}
