//! A year of ordinary load, a sample a second, and how often [`Accounted`] is wrong about it; then leaks, and how
//! soon each is found.
//!
//! `cargo run --release -p plimsoll-judgement --example year [-- SEEDS]`
//!
//! The residue follows state by up to 2 %, drifts within ± max(1 %, 1 MiB) with an hour's memory, jumps when
//! tables double, and has quick noise. State has a warm-up, a daily and a weekly swing, growth of 40 % over the
//! year, reconnect storms, mass deletes and caches that fill.

use plimsoll_judgement::{Accounted, Bounds, Change, Observation};

const DAY: f64 = 86_400.0;
const MIB: f64 = 1024.0 * 1024.0;

/// xorshift64*: the same numbers at each run.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A broker under ordinary load.
struct Broker {
    random: Random,
    base: f64,
    /// Share of the state that is not in the books.
    wrong: f64,
    drift: f64,
    storm_until: f64,
    deleted: f64,
    step: f64,
}

impl Broker {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let base = 10.0 * MIB * (random.unit() * 6.0).exp();
        let wrong = 0.04 * random.unit() - 0.02;
        Self { random, base, wrong, drift: 0.0, storm_until: 0.0, deleted: 0.0, step: 0.0 }
    }

    /// State and residue at `t`.
    fn at(&mut self, t: f64) -> (f64, f64) {
        let random = &mut self.random;
        if random.unit() < 1.0 / (3.0 * DAY) {
            self.storm_until = t + 600.0 * random.unit();
        }
        if random.unit() < 1.0 / (10.0 * DAY) {
            self.deleted = 0.5 * random.unit();
        }
        self.deleted *= 1.0 - 1.0 / (2.0 * DAY);
        if random.unit() < 1.0 / (20.0 * DAY) {
            self.step = 0.5 * MIB * random.unit();
        }
        let swing = 0.25 * (t / DAY * std::f64::consts::TAU).sin()
            + 0.05 * (t / (7.0 * DAY) * std::f64::consts::TAU).sin();
        let warm = 1.0 - (-t / 1800.0).exp();
        let cache = 0.2 * (1.0 - (-t / (2.0 * DAY)).exp());
        let growth = 0.4 * t / (365.0 * DAY);
        let storm = if t < self.storm_until { 0.4 } else { 0.0 };
        let shape = (1.0 + swing + cache + growth + storm - self.deleted) * warm;
        let state = self.base * shape.max(0.05);
        let bound = (0.02 * state).max(2.0 * MIB);
        // An Ornstein–Uhlenbeck walk with an hour's memory, a third of the bound wide, cut at the bound.
        let hour = 3600.0;
        self.drift += -self.drift / hour + bound / 3.0 * (2.0_f64 / hour).sqrt() * random.normal();
        self.drift = self.drift.clamp(-bound, bound);
        let quick = 20_000.0 * random.normal();
        (state, self.wrong * state + self.drift / 2.0 + self.step + quick)
    }
}

fn observe(t: f64, state: f64, residue: f64) -> Observation {
    Observation { t, value: residue, total: state, reference: state, explains: 0.04 }
}

fn main() {
    let seeds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8);
    let mut alarms = 0;
    for seed in 1..=seeds {
        let mut broker = Broker::new(seed);
        let mut judge = Accounted::new(Bounds::default());
        for second in 0..365 * 86_400u32 {
            let t = f64::from(second);
            let (state, residue) = broker.at(t);
            if let Some(Change::Raised(growth)) = judge.push(&observe(t, state, residue)) {
                alarms += 1;
                println!("seed {seed}: day {:.2}: {growth:?}", t / DAY);
            }
        }
    }
    println!("{alarms} false alarms in {seeds} years of ordinary load");
    println!(
        "\n| leak, bytes/s | state, MiB | found of {seeds} | median | worst |\n|---|---|---|---|---|"
    );
    for rate in [19_200.0, 2_000.0, 200.0, 40.0] {
        for size in [10.0, 100.0, 1000.0] {
            let mut found: Vec<f64> =
                (1..=seeds).filter_map(|seed| leak(seed, rate, size * MIB)).collect();
            found.sort_by(f64::total_cmp);
            let at = |index: usize| found.get(index).map_or("–".to_owned(), |s| span(*s));
            println!(
                "| {rate} | {size} | {} | {} | {} |",
                found.len(),
                at(found.len() / 2),
                at(found.len().wrapping_sub(1))
            );
        }
    }
}

/// Seconds until a leak is found that begins on the third day; 30 days are waited for.
fn leak(seed: u64, rate: f64, base: f64) -> Option<f64> {
    let mut broker = Broker::new(seed);
    broker.base = base;
    let mut judge = Accounted::new(Bounds::default());
    let onset = 3.0 * DAY;
    for second in 0..33 * 86_400u32 {
        let t = f64::from(second);
        let (state, residue) = broker.at(t);
        let leaked = (t - onset).max(0.0) * rate;
        if let Some(Change::Raised(_)) = judge.push(&observe(t, state, residue + leaked))
            && t > onset
        {
            return Some(t - onset);
        }
    }
    None
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s if s < 2.0 * DAY => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / DAY),
    }
}
