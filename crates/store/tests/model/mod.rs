//! What the tests share: a sequence of random numbers, small options, a ledger per test.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use plimsoll_ledger::Ledger;
use plimsoll_store::{Disk, Options, Store};

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// Options with which a few hundred entries see all that there is.
pub const SMALL: Options = Options {
    syncs: true,
    segment_bytes: 16 * 1024,
    memtable_bytes: 24 * 1024,
    block_bytes: 512,
    journal_bytes_max: 64 * 1024,
    unsynced_bytes_max: 32 * 1024,
    merge_runs: 3,
    inline: true,
};

pub fn leaked_ledger() -> &'static Ledger {
    Box::leak(Box::default())
}

/// Everything that a store holds.
pub fn content_of<D: Disk>(store: &Store<D>) -> Content {
    let mut content = Content::new();
    let scanned = store.scan(&[], |key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    content
}

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next() as u8).collect()
    }
}
