//! Named kinds of process, with parameters drawn from a seed.

use super::{Drive, Leaky, Process, Random, Sources, Unseen, Where};

const HOUR: f64 = 3600.0;

/// Kinds that do not leak.
pub(crate) const CLASSES: [&str; 24] = [
    "flat",
    "daily",
    "weekend",
    "warmup_log",
    "cache",
    "cache_linear",
    "retained_growth",
    "fleet_growth",
    "retained_steps",
    "growth_no_account",
    "gc",
    "gc_state",
    "gc_no_columns",
    "jvm_warmup",
    "storms",
    "outage",
    "lag",
    "creep",
    "deploys",
    "gaps",
    "rss_daily",
    "rss_cache",
    "rss_flat",
    "old_daily",
];

/// Kinds that leak.
pub(crate) const LEAKS: [&str; 17] = [
    "leak_tiny_daily",
    "leak_updates",
    "leak_shift",
    "leak_account",
    "leak_connects",
    "leak_restarts",
    "leak_restarts_short",
    "leak_late",
    "leak_native",
    "leak_direct",
    "leak_gc",
    "leak_fast",
    "leak_rss",
    "leak_with_growth",
    "leak_with_cache",
    "leak_old_storms",
    "leak_account_growth",
];

fn broker(random: &mut Random, seed: u64) -> Process {
    let connections = random.scale(200.0, 9000.0);
    Process {
        seed,
        days: 7.0,
        step_s: 60.0,
        updates: random.scale(5.0, 300.0),
        connects: connections * random.scale(2e-5, 3e-4),
        swing: 0.02,
        weekend: 1.0,
        base: random.scale(2e6, 30e6),
        connections,
        per_connection: random.scale(1_500.0, 9_000.0),
        retained: random.scale(300.0, 40_000.0),
        per_retained: random.scale(150.0, 1_500.0),
        retained_growth: 0.0,
        connection_growth: 0.0,
        growth_steps: 0.0,
        overhead: random.range(1.03, 1.25),
        returned: if random.chance(0.4) { 1.0 } else { random.range(0.0, 0.6) },
        decay: if random.chance(0.5) { 0.0 } else { random.range(0.0, 0.2) },
        unseen: vec![Unseen::Saturating(random.scale(3e5, 8e6), random.range(0.2, 1.0) * HOUR)],
        storms: 0.0,
        outage: None,
        heap: None,
        direct: None,
        restarts: 0.0,
        age: 0.0,
        noise: random.scale(15e3, 150e3),
        noise_s: random.scale(60.0, 3600.0),
        lag: 0.0,
        gaps: 0.0,
        sources: Sources::All,
        leak: None,
    }
}

fn daily(process: &mut Process, random: &mut Random) {
    process.swing = random.range(0.1, 0.5);
    process.weekend = if random.chance(0.5) { random.range(0.6, 0.95) } else { 1.0 };
}

fn jvm(process: &mut Process, random: &mut Random) {
    let floor = random.scale(60e6, 250e6);
    process.heap =
        Some((floor, floor * random.range(0.5, 2.0), random.scale(0.5, 14.0) * HOUR, true));
    process.direct = Some((random.scale(32e6, 160e6), random.range(0.5, 5.0) * HOUR, 4_194_304.0));
    process.unseen =
        vec![Unseen::Saturating(random.scale(20e6, 60e6), random.range(2.0, 8.0) * HOUR)];
}

fn gc(process: &mut Process, random: &mut Random) {
    let floor = random.scale(30e6, 150e6);
    process.heap =
        Some((floor, floor * random.range(0.5, 2.5), random.scale(0.5, 14.0) * HOUR, false));
}

/// A process of a kind.
pub(crate) fn shape(class: &str, seed: u64) -> Process {
    let mut random =
        Random::new(seed ^ class.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte)));
    let r = &mut random;
    let mut p = broker(r, seed);
    if r.chance(0.5) {
        daily(&mut p, r);
    }
    match class {
        "daily" => daily(&mut p, r),
        "weekend" => {
            daily(&mut p, r);
            p.weekend = r.range(0.5, 0.8);
        }
        "warmup_log" => {
            p.unseen = vec![Unseen::Logarithm(r.scale(2e6, 12e6), r.range(0.1, 1.0) * HOUR)]
        }
        "cache" => {
            p.unseen.push(Unseen::Saturating(r.scale(10e6, 150e6), r.range(3.0, 22.0) * HOUR))
        }
        "cache_linear" => {
            p.unseen.push(Unseen::Linear(r.scale(5e6, 100e6), r.range(1.0, 30.0) * HOUR))
        }
        "retained_growth" => p.retained_growth = r.scale(0.02, 5.0),
        "fleet_growth" => p.connection_growth = r.scale(0.01, 0.15),
        "retained_steps" => {
            p.retained_growth = r.scale(0.05, 0.5);
            p.growth_steps = r.range(0.3, 2.0);
        }
        "growth_no_account" => {
            p.sources = Sources::Counts;
            p.retained_growth = r.scale(0.02, 0.5);
        }
        "gc" => gc(&mut p, r),
        "gc_state" => {
            gc(&mut p, r);
            p.retained_growth = r.scale(0.05, 0.5);
        }
        "gc_no_columns" => {
            gc(&mut p, r);
            p.sources = Sources::Memory;
        }
        "jvm_warmup" => jvm(&mut p, r),
        "storms" => p.storms = r.scale(3.0, 48.0) * HOUR,
        "outage" => {
            p.outage = Some((
                r.range(6.0, 100.0) * HOUR,
                r.range(4.0, 60.0) * HOUR,
                r.scale(1e4, 3e5),
                r.scale(100.0, 1000.0),
            ))
        }
        "lag" => {
            daily(&mut p, r);
            p.lag = r.scale(120.0, 3600.0);
            p.retained_growth = r.scale(0.02, 0.3);
        }
        "creep" => {
            daily(&mut p, r);
            p.unseen.push(Unseen::Logarithm(r.scale(0.3e6, 3e6), r.range(2.0, 12.0) * HOUR));
            p.returned = r.range(0.0, 0.3);
        }
        "deploys" => p.restarts = r.range(12.0, 80.0) * HOUR,
        "gaps" => {
            daily(&mut p, r);
            p.gaps = r.range(0.1, 0.6);
        }
        "rss_daily" => {
            daily(&mut p, r);
            p.sources = if r.chance(0.5) { Sources::Rss } else { Sources::Memory };
        }
        "rss_cache" => {
            p.sources = Sources::Memory;
            p.unseen.push(Unseen::Saturating(r.scale(5e6, 60e6), r.range(3.0, 20.0) * HOUR));
        }
        "rss_flat" => {
            p.swing = 0.03;
            p.sources = if r.chance(0.5) { Sources::Rss } else { Sources::Memory };
        }
        "old_daily" => {
            daily(&mut p, r);
            p.age = r.scale(24.0, 2000.0) * HOUR;
        }
        _ => {}
    }
    if class.starts_with("leak") {
        leak(class, &mut p, r);
    }
    p
}

fn leak(class: &str, p: &mut Process, r: &mut Random) {
    let mut leak = Leaky {
        bytes_per_hour: r.scale(0.2e6, 3e6),
        onset: 0.0,
        drive: Drive::Clock,
        counted: Where::Nowhere,
    };
    match class {
        "leak_tiny_daily" => {
            daily(p, r);
            leak.bytes_per_hour = r.range(0.17e6, 0.25e6);
            leak.onset = r.range(20.0, 60.0) * HOUR;
        }
        "leak_updates" => leak.drive = Drive::Updates,
        "leak_shift" => leak.drive = Drive::Shift,
        "leak_account" => {
            leak.counted = Where::Account;
            leak.drive = Drive::Updates;
        }
        "leak_connects" => {
            leak.drive = Drive::Connects;
            leak.bytes_per_hour = r.scale(0.05e6, 0.5e6);
        }
        "leak_restarts" => {
            p.restarts = r.range(18.0, 30.0) * HOUR;
            leak.bytes_per_hour = r.scale(1e6, 3e6);
        }
        "leak_restarts_short" => {
            p.restarts = r.range(5.0, 12.0) * HOUR;
            leak.bytes_per_hour = r.scale(0.5e6, 3e6);
        }
        "leak_late" => leak.onset = r.range(50.0, 110.0) * HOUR,
        "leak_native" => jvm(p, r),
        "leak_direct" => {
            jvm(p, r);
            leak.counted = Where::Direct;
            leak.drive = Drive::Updates;
            leak.bytes_per_hour = r.scale(2e6, 10e6);
        }
        "leak_gc" => {
            gc(p, r);
            leak.counted = Where::Heap;
            leak.bytes_per_hour = r.scale(1e6, 3e6);
        }
        "leak_fast" => {
            leak.bytes_per_hour = r.scale(5e6, 60e6);
            leak.onset = r.range(5.0, 110.0) * HOUR;
        }
        "leak_rss" => {
            p.sources = Sources::Memory;
            leak.bytes_per_hour = r.scale(0.4e6, 2e6);
        }
        "leak_with_growth" => p.retained_growth = r.scale(0.02, 0.3),
        "leak_with_cache" => {
            p.unseen.push(Unseen::Saturating(r.scale(10e6, 80e6), r.range(3.0, 20.0) * HOUR))
        }
        "leak_old_storms" => {
            p.age = r.scale(24.0, 1000.0) * HOUR;
            p.storms = r.scale(6.0, 48.0) * HOUR;
        }
        "leak_account_growth" => {
            p.retained_growth = r.scale(0.02, 0.2);
            leak.counted = Where::Account;
        }
        _ => {}
    }
    p.leak = Some(leak);
}
