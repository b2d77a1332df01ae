//! Hashes of topic levels: seeded, and combined one level after the other.

/// What makes the hashes of one index its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    start: u64,
    multiplier: u64,
}

/// Most levels that a shape can describe.
pub(super) const LEVELS_MAX: usize = 32;

impl Seed {
    pub(super) fn new(seed: u64) -> Self {
        let start = fold(seed ^ 0x2D35_8DCC_AA6C_78A5, 0x8BB8_4B93_962E_ACC9);
        // Odd, so that nothing is lost in the multiplication.
        Self { start, multiplier: fold(start, 0x4B33_A62E_D433_D4A3) | 1 }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Hash of one level's bytes.
    #[inline]
    pub(super) fn level(&self, bytes: &[u8]) -> u64 {
        let mut state = self.start ^ bytes.len() as u64;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            state = fold(state ^ u64::from_le_bytes(word), self.multiplier);
        }
        let mut tail = 0u64;
        for &byte in chunks.remainder() {
            tail = tail << 8 | u64::from(byte);
        }
        fold(state ^ tail, self.multiplier)
    }

    /// Hash of a path that goes on with `level`.
    #[inline]
    pub(super) fn combine(&self, path: u64, level: u64) -> u64 {
        fold(path.rotate_left(23) ^ level, self.multiplier)
    }
}

/// The folded multiplication of wyhash (Wang Yi 2019): both halves of the 128-bit product.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The hashes of a topic's levels.
pub(super) struct Levels {
    hashes: [u64; LEVELS_MAX],
    len: usize,
}

impl Levels {
    /// `None` if there are more than [`LEVELS_MAX`].
    pub(super) fn of(topic: &str, seed: &Seed) -> Option<Self> {
        let levels = Self::front_of(topic, seed);
        let whole = levels.len < LEVELS_MAX
            || topic.bytes().filter(|&byte| byte == b'/').count() < LEVELS_MAX;
        whole.then_some(levels)
    }

    /// The first levels, as many as fit.
    pub(super) fn front_of(topic: &str, seed: &Seed) -> Self {
        let mut levels = Self { hashes: [0; LEVELS_MAX], len: 0 };
        let places = levels.hashes.iter_mut();
        for (place, level) in places.zip(topic.as_bytes().split(|&byte| byte == b'/')) {
            *place = seed.level(level);
            levels.len += 1;
        }
        levels
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn hashes(&self) -> &[u64] {
        self.hashes.get(..self.len).unwrap_or_default()
    }
}
