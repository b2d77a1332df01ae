//! Runs seeds: `plimsoll-sim --seeds 500`, or one with every step: `plimsoll-sim --seed 7 --trace`.

use std::process::ExitCode;

const HELP: &str = "usage: plimsoll-sim [--seeds COUNT] [--from SEED]   run many (500 from 0)
       plimsoll-sim --seed SEED [--trace]          replay one";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = value("--seed") {
        let trace = arguments.iter().any(|argument| argument == "--trace");
        return match plimsoll_sim::run(seed, trace) {
            Ok(summary) => {
                println!("seed {seed}: {summary:?}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("seed {seed}: {violation}");
                ExitCode::FAILURE
            }
        };
    }
    many(value("--from").unwrap_or(0), value("--seeds").unwrap_or(500))
}

fn many(from: u64, count: u64) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let mut total = plimsoll_sim::Summary::default();
    for seed in from..from + count {
        match plimsoll_sim::run(seed, false) {
            Ok(summary) => {
                passed += 1;
                total.published += summary.published;
                total.received += summary.received;
                total.connections += summary.connections;
                total.dropped += summary.dropped;
                total.crashes += summary.crashes;
                total.steps |= summary.steps;
                total.budget_steps |= summary.budget_steps;
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed}: {violation}\n  replay: plimsoll-sim --seed {seed} --trace");
            }
        }
    }
    println!(
        "{} published, {} received, {} connections, limits reached {} times, the broker died {} times, {} steps of the load line and {} of budgets",
        total.published,
        total.received,
        total.connections,
        total.dropped,
        total.crashes,
        total.steps.count_ones(),
        total.budget_steps.count_ones()
    );
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
