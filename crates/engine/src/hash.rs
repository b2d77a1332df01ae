//! Hashing of names that peers choose: seeded, so that they cannot choose collisions.

use core::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// A hash function of its own for each engine.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(SeedableRandomState);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()))
    }

    pub(crate) fn hash(&self, text: &str) -> u64 {
        self.0.hash_one(text)
    }
}
