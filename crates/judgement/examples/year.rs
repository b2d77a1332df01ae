//! Simulated years of our own broker, second by second: alarms on honest residues, and how soon leaks are found.
//!
//! `cargo run --release -p plimsoll-judgement --example year [DAYS [SEEDS]]`

#[path = "../tests/random/mod.rs"]
mod random;
#[path = "../tests/residues/mod.rs"]
mod residues;

use plimsoll_judgement::{Event, ResidueJudge, ResidueSettings};
use residues::{Honest, KINDS, Leaky, Series, honest};

/// Alarms, and the first of them after `from`, seconds.
fn alarms(honest: Honest, seed: u64, days: f64, from: f64) -> (u32, Option<f64>) {
    let mut judge = ResidueJudge::new(ResidueSettings::default());
    let (mut raised, mut first) = (0, None);
    for balance in Series::new(honest, seed, days) {
        if let Some(Event::Raised(leak)) = judge.push(&balance) {
            raised += 1;
            if from == 0.0 {
                eprintln!(
                    "{} {seed}: alarm after {:.3} days, {:.0} B/h since {:.0} s before",
                    honest.kind,
                    balance.t / 86_400.0,
                    leak.bytes_per_hour,
                    balance.t - leak.since
                );
            }
            if balance.t >= from {
                first = first.or(Some(balance.t));
                if from > 0.0 {
                    break;
                }
            }
        }
    }
    (raised, first)
}

/// A time in a unit that fits.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn main() {
    let arguments: Vec<f64> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let days = arguments.first().copied().unwrap_or(365.25);
    let seeds = arguments.get(1).map_or(1, |seeds| *seeds as u64);

    println!("| broker | broker-years | false alarms |");
    println!("|---|---:|---:|");
    let (mut all, mut years) = (0, 0.0);
    for kind in KINDS {
        let raised: u32 =
            (1..=seeds).map(|seed| alarms(honest(kind, seed), seed, days, 0.0).0).sum();
        let span = days * seeds as f64 / 365.25;
        println!("| {kind} | {span:.2} | {raised} |");
        all += raised;
        years += span;
    }
    println!("| all | {years:.2} | {all} |");
    println!();

    let leaks = [
        ("48 B × 400/s", 48.0 * 400.0 * 3600.0),
        ("10 MB/h", 10e6),
        ("1 MB/h", 1e6),
        ("100 kB/h", 1e5),
    ];
    let ages = [("10 minutes", 600.0), ("2 hours", 7200.0), ("3 days", 3.0 * 86_400.0)];
    println!("| leak | begins after | found | median | slowest |");
    println!("|---|---|---:|---:|---:|");
    for (leak, bytes_per_hour) in leaks {
        for (age, onset) in ages {
            let mut times: Vec<f64> = Vec::new();
            let mut runs = 0;
            for kind in KINDS {
                for seed in 1..=seeds.max(2) {
                    let leak = Leaky {
                        onset,
                        bytes_per_hour,
                        driven: seed % 2 == 1 && bytes_per_hour < 60e6,
                    };
                    let mut broker = honest(kind, seed);
                    broker.leak = Some(leak);
                    let days = onset / 86_400.0 + (60e6 / bytes_per_hour).clamp(6.0, 240.0) / 24.0;
                    runs += 1;
                    times.push(
                        alarms(broker, seed + 1000, days, onset).1.map_or(9e9, |t| t - onset),
                    );
                }
            }
            eprintln!("{leak} {age} {:?}", times.iter().map(|t| span(*t)).collect::<Vec<_>>());
            times.sort_by(f64::total_cmp);
            let at = |index: usize| times.get(index).map_or("–".into(), |t| span(*t));
            println!(
                "| {leak} | {age} | {}/{runs} | {} | {} |",
                times.len(),
                at(times.len() / 2),
                at(times.len().saturating_sub(1)),
            );
        }
    }
}
