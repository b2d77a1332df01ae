//! Managed heaps as their collectors make them: one of regions that expands what it asked for and leaves old garbage alone for
//! days, and one of many small allocators.

use super::random::Random;
use super::script::MIB;

/// A managed heap at one instant.
pub(crate) struct Heap {
    pub(crate) used: f64,
    pub(crate) committed: f64,
    /// What of it is resident.
    pub(crate) touched: f64,
}

/// A heap of regions (G1): young garbage goes every few minutes, old garbage when there is much of it.
pub(crate) struct Regions {
    committed: f64,
    touched: f64,
    garbage: f64,
    filled: f64,
    /// Bytes that are allocated in a minute, and what share of them outlives its youth.
    allocated: f64,
    promoted: f64,
    /// Share of what was asked for at which old garbage is looked for, and more is asked for.
    looks_at: f64,
    expands_at: f64,
    /// It takes so much soon.
    hasty: f64,
    /// How much of what was not touched yet is touched in a minute.
    wanders: f64,
}

impl Regions {
    pub(crate) fn new(live: f64, random: &mut Random) -> Self {
        let (large, hasty) = (random.chance(0.5), random.chance(0.4));
        let committed = if large { random.spread(2.5, 20.0) } else { random.between(1.6, 2.4) };
        let committed = (live * committed / (32.0 * MIB)).ceil() * 32.0 * MIB;
        Self {
            committed,
            touched: if random.chance(0.2) { committed } else { 0.0 },
            garbage: 0.0,
            filled: 0.0,
            allocated: random.spread(1.0, 60.0) * MIB,
            promoted: random.spread(0.0005, 0.01),
            hasty: if hasty { committed * random.between(1.5, 5.0) } else { 0.0 },
            looks_at: 0.45,
            expands_at: random.between(0.3, 0.45),
            wanders: if random.chance(0.5) { random.spread(1e-5, 1e-3) } else { 0.0 },
        }
    }

    fn expand(&mut self) {
        self.committed += (0.15 * self.committed / MIB).ceil() * MIB;
    }

    /// A minute later.
    pub(crate) fn minute(&mut self, live: f64, random: &mut Random) -> Heap {
        let young = (0.3 * self.committed).min(self.committed - live - self.garbage).max(4.0 * MIB);
        let allocated = self.allocated * random.between(0.7, 1.3);
        self.filled += allocated;
        // Short of time, a young heap takes more than it needs.
        if self.committed < self.hasty && random.chance(0.02) {
            self.expand();
        }
        if self.filled >= young {
            self.filled %= young;
            self.garbage += self.promoted * young;
            if live + self.garbage > self.looks_at * self.committed {
                self.garbage *= random.between(0.05, 0.3);
                if live + self.garbage > self.expands_at * self.committed {
                    self.expand();
                }
            }
        }
        let used = (live + self.garbage + self.filled).min(self.committed);
        self.touched = self.touched.max(used);
        self.touched += self.wanders * (self.committed - self.touched);
        Heap { used, committed: self.committed, touched: self.touched }
    }
}

/// A heap of many small allocators (BEAM): what was asked for follows what is in use, with slack.
pub(crate) struct Carriers {
    committed: f64,
    slack: f64,
}

impl Carriers {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { committed: 0.0, slack: random.between(1.1, 1.6) }
    }

    /// A minute later.
    pub(crate) fn minute(&mut self, live: f64, random: &mut Random) -> Heap {
        let used = live * (1.0 + 0.015 * random.normal().abs()) + 2.0 * MIB * random.unit();
        let wanted = self.slack * live;
        if used * 1.03 > self.committed {
            self.committed = wanted.max(used * 1.05);
        } else {
            self.committed += (wanted - self.committed) / 300.0;
        }
        Heap { used, committed: self.committed, touched: 0.97 * self.committed }
    }
}
