//! Retained messages by the first levels of their topics.
//!
//! In the store's order everything that has a prefix lies side by side, so one running sum is enough.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{HOLDERS_MAX, Top};
use crate::retained::RetainedStore;

/// Retained messages looked at in one piece.
const PIECE_STEPS: usize = 1000;

/// The retained messages whose topics begin with the same levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Those levels: a topic, or what is above several.
    pub prefix: Box<str>,
    /// Messages.
    pub count: u64,
    /// Bytes of their topics, properties and payloads.
    pub bytes: u64,
}

/// A census of retained messages. See [`Engine::prefix_census`](crate::Engine::prefix_census).
#[derive(Debug)]
pub struct PrefixCensus {
    depth: usize,
    /// The key looked at last.
    after: Vec<u8>,
    current: Running,
    /// Different prefixes seen.
    pub prefixes: u64,
    /// Those with the most bytes.
    pub by_bytes: Top<Prefix>,
    /// Those with the most messages.
    pub by_count: Top<Prefix>,
}

#[derive(Debug, Default)]
struct Running {
    key: Vec<u8>,
    count: u64,
    bytes: u64,
}

impl PrefixCensus {
    /// One that has seen nothing yet: topics by their first `depth` levels, the first `most` of them.
    pub fn new(depth: usize, most: usize) -> Self {
        let most = most.min(HOLDERS_MAX);
        Self {
            depth: depth.max(1),
            after: Vec::new(),
            current: Running::default(),
            prefixes: 0,
            by_bytes: Top::new(most),
            by_count: Top::new(most),
        }
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
        let prefix = || {
            let text = key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
            let prefix = String::from_utf8(text).unwrap_or_default().into_boxed_str();
            Prefix { prefix, count, bytes }
        };
        self.by_bytes.offer(bytes, prefix);
        self.by_count.offer(count, prefix);
    }
}
