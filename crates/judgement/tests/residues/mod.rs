//! Synthetic balances of our own broker, second by second: what is allocated, and the honest residue.
//!
//! Deterministic: the same kind and seed give the same series.

use plimsoll_judgement::Balance;

use crate::random::Random;

const MIB: f64 = 1024.0 * 1024.0;
const DAY: f64 = 86_400.0;
/// How often the slow parts are drawn, seconds; they are straight in between.
const STEP: f64 = 60.0;

/// A leak to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaky {
    pub(crate) onset: f64,
    pub(crate) bytes_per_hour: f64,
    /// Whether it follows the load.
    pub(crate) driven: bool,
}

/// An honest broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Honest {
    pub(crate) kind: &'static str,
    /// Daily swing of load, and load at weekends.
    swing: f64,
    weekend: f64,
    clients: f64,
    per_client: f64,
    retained: f64,
    per_retained: f64,
    /// Growth of state in a day, as a share of what there was at first.
    growth: f64,
    /// Mean days between mass deletes, reconnect storms, outages of a consumer, late fills, transients; 0 is never.
    deletes: f64,
    storms: f64,
    outages: f64,
    fills: f64,
    transients: f64,
    /// By what share of the total the accounts are wrong.
    follows: f64,
    /// Noise in MiB, and how long it remembers, seconds: a fast and a slow one.
    fast: (f64, f64),
    slow: (f64, f64),
    /// The same as a share of the total.
    wide: (f64, f64),
    /// Start-up: MiB, time constant in seconds.
    warm: (f64, f64),
    /// A swing of the residue of its own in a day, MiB.
    tide: f64,
    pub(crate) leak: Option<Leaky>,
}

/// The kinds of year.
pub(crate) const KINDS: [&str; 11] = [
    "quiet",
    "fleet",
    "overcharged",
    "storms",
    "growth",
    "deletes",
    "fills",
    "noisy",
    "large",
    "tide",
    "all",
];

/// A broker of a kind.
pub(crate) fn honest(kind: &'static str, seed: u64) -> Honest {
    let mut r = Random::new(seed ^ 0xBA1A_4CE5);
    let r = &mut r;
    let mut h = Honest {
        kind,
        swing: r.range(0.2, 0.6),
        weekend: r.range(0.5, 1.0),
        clients: r.scale(500.0, 12_000.0),
        per_client: r.scale(3e3, 12e3),
        retained: r.scale(2e3, 100e3),
        per_retained: r.scale(150.0, 800.0),
        growth: 0.0,
        deletes: 0.0,
        storms: 30.0,
        outages: 30.0,
        fills: 0.0,
        transients: 5.0,
        follows: r.range(-0.02, 0.02),
        fast: (r.range(0.02, 0.2), r.scale(2.0, 120.0)),
        slow: (r.range(0.02, 0.15), r.scale(600.0, 20_000.0)),
        wide: (0.0, 60.0),
        warm: (r.range(0.1, 1.5), r.scale(60.0, 20_000.0)),
        tide: 0.0,
        leak: None,
    };
    match kind {
        "quiet" => {
            (h.swing, h.storms, h.outages, h.transients) = (0.02, 0.0, 0.0, 0.0);
            h.fast.0 = 0.005;
            h.slow.0 = 0.0;
        }
        "fleet" => h.follows = 0.02,
        "overcharged" => h.follows = -0.02,
        "storms" => (h.storms, h.clients) = (0.5, 12_000.0),
        "growth" => h.growth = 0.1,
        "deletes" => (h.growth, h.deletes, h.retained) = (0.3, 10.0, 200e3),
        "fills" => h.fills = 4.0,
        "noisy" => (h.fast.0, h.slow.0) = (0.6, 0.6),
        "large" => {
            (h.clients, h.per_client) = (15_000.0, 40e3);
            h.wide = (0.007, r.scale(5.0, 300.0));
        }
        "tide" => h.tide = r.range(0.4, 1.2),
        _ => {
            (h.growth, h.deletes, h.storms, h.outages) = (0.1, 20.0, 3.0, 10.0);
            (h.fills, h.tide, h.transients) = (10.0, 0.3, 2.0);
            (h.fast.0, h.slow.0) = (0.2, 0.3);
        }
    }
    h
}

/// Noise that remembers.
#[derive(Clone, Copy, Debug, Default)]
struct Memory(f64);

impl Memory {
    fn next(&mut self, random: &mut Random, (size, seconds): (f64, f64), step: f64) -> f64 {
        let keep = (-step / seconds).exp();
        self.0 = self.0 * keep + random.normal() * size * (1.0 - keep * keep).sqrt();
        self.0
    }
}

/// What changes slowly, drawn once a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Slow {
    connected: f64,
    retained: f64,
    queued: f64,
    rest: f64,
    load: f64,
}

/// The series, one balance a second for so many days.
pub(crate) struct Series {
    honest: Honest,
    random: Random,
    phase: f64,
    until: f64,
    t: f64,
    slow: Memory,
    fast: Memory,
    wide: Memory,
    /// The share of clients that is there after a storm, backlog, and unseen fills: bytes, begin, seconds.
    present: f64,
    retained: f64,
    outage_until: f64,
    queued: f64,
    fill: (f64, f64, f64),
    transient: (f64, f64),
    before: Slow,
    after: Slow,
    leaked: f64,
    published: f64,
    connects: f64,
}

impl Series {
    pub(crate) fn new(honest: Honest, seed: u64, days: f64) -> Series {
        let mut random = Random::new(seed);
        let phase = random.range(0.0, 7.0);
        let mut series = Series {
            honest,
            random,
            phase,
            until: days * DAY,
            t: -1.0,
            slow: Memory::default(),
            fast: Memory::default(),
            wide: Memory::default(),
            present: 0.0,
            retained: honest.retained,
            outage_until: 0.0,
            queued: 0.0,
            fill: (0.0, 0.0, 1.0),
            transient: (0.0, 0.0),
            before: Slow::default(),
            after: Slow::default(),
            leaked: 0.0,
            published: 0.0,
            connects: 0.0,
        };
        series.after = series.draw(0.0);
        series
    }

    fn happens(&mut self, days: f64) -> bool {
        days > 0.0 && self.random.chance(STEP / (days * DAY))
    }

    fn draw(&mut self, t: f64) -> Slow {
        let h = self.honest;
        let day = t / DAY + self.phase;
        let weekday = if day.rem_euclid(7.0) >= 5.0 { h.weekend } else { 1.0 };
        let load = weekday * (1.0 + h.swing * (day * std::f64::consts::TAU).sin());
        if self.happens(h.storms) {
            self.present = 0.1;
        }
        // Clients come back within some minutes.
        self.present += (1.0 - self.present) * 0.3;
        self.retained += h.growth * h.retained * STEP / DAY;
        if self.happens(h.deletes) || self.retained > 20.0 * h.retained {
            self.retained *= self.random.range(0.05, 0.5);
        }
        if self.happens(h.outages) {
            self.outage_until = t + self.random.scale(600.0, 20_000.0);
        }
        self.queued = if t < self.outage_until {
            (self.queued + 50.0 * load * STEP).min(200e3)
        } else {
            self.queued * 0.6
        };
        if self.happens(h.fills) {
            // The one before is given back, or stays.
            self.fill = (self.random.range(0.2, 1.8) * MIB, t, self.random.scale(20.0, 40_000.0));
        }
        let (fill, begin, seconds) = self.fill;
        let filled = fill * (1.0 - (-(t - begin) / seconds).exp());
        let slow = self.slow.next(&mut self.random, h.slow, STEP) * MIB;
        let tide = h.tide * MIB * (day * std::f64::consts::TAU + 1.0).sin();
        let (warm, seconds) = h.warm;
        let warm = warm * MIB * (1.0 - (-t / seconds).exp());
        let rest = (filled + slow + tide + warm).clamp(-1.9 * MIB, 1.9 * MIB);
        let connected = h.clients * load * self.present;
        Slow { connected, retained: self.retained, queued: self.queued, rest, load }
    }
}

impl Iterator for Series {
    type Item = Balance;

    fn next(&mut self) -> Option<Balance> {
        self.t += 1.0;
        let (t, h) = (self.t, self.honest);
        if t > self.until {
            return None;
        }
        if t % STEP == 0.0 {
            self.before = self.after;
            self.after = self.draw(t + STEP);
            self.published += 400.0 * self.before.load * STEP;
            self.connects += (self.after.connected - self.before.connected).max(0.0) + 5.0;
            if self.happens(h.transients) {
                // A heap profile, a recount: much, and gone in seconds.
                self.transient =
                    (t + self.random.scale(1.0, 40.0), self.random.scale(1.0, 60.0) * MIB);
            }
        }
        let share = (t % STEP) / STEP;
        let at = |pick: fn(&Slow) -> f64| {
            pick(&self.before) + (pick(&self.after) - pick(&self.before)) * share
        };
        let (retained, queued) = (at(|s| s.retained), at(|s| s.queued));
        // Tables double.
        let table =
            |entries: f64, size: f64| (entries * 8.0 / 7.0).max(8.0).log2().ceil().exp2() * size;
        let total = 8.0 * MIB
            + at(|s| s.connected) * h.per_client
            + retained * h.per_retained
            + table(retained, 24.0)
            + table(queued, 16.0)
            + queued * 220.0;
        let fast = (self.fast.next(&mut self.random, h.fast, 1.0) * MIB).clamp(-MIB, MIB);
        let wide = if h.wide.0 > 0.0 {
            self.wide.next(&mut self.random, h.wide, 1.0).clamp(-0.018, 0.018) * total
        } else {
            0.0
        };
        if let Some(leak) = h.leak.filter(|leak| t >= leak.onset) {
            let load = if leak.driven { at(|s| s.load) } else { 1.0 };
            self.leaked += leak.bytes_per_hour / 3600.0 * load;
        }
        let transient = if t < self.transient.0 { self.transient.1 } else { 0.0 };
        let band = (2.0 * MIB).max(0.02 * total);
        let noise = (at(|s| s.rest) + fast + wide).clamp(-band, band);
        Some(Balance {
            t,
            residue: (h.follows * total + noise + transient + self.leaked).round(),
            total: (total * (1.0 + h.follows) + noise + transient + self.leaked).round(),
            resident: None,
            published_total: Some((self.published + 400.0 * at(|s| s.load) * share * STEP).floor()),
            connects_total: Some(self.connects.floor()),
        })
    }
}
