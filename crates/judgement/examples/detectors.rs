//! How good are detectors of leaks? One table over labelled series: the detectors of the seeds, three of the textbook, and ours.
//!
//! `cargo run --release -p plimsoll-judgement --example detectors -- DIRECTORY|made:SEED [CLASS…] [--each] [--ours]`
//!
//! `DIRECTORY` holds `labels.json` and series as `NAME.csv.gz` (read through `zcat`); `made:SEED` makes two series
//! of each class of [`shapes`] instead. `--each` prints what ours said of each series,
//! `--ours` leaves the other detectors out, which is quicker.
//!
//! What counts. *Found*: an alarm begins after the onset of the leak. *Median*: time from onset to the begin of
//! that alarm, of those that were found. *Fast*: leaks of 3 MB/h or more whose alarm begins within 4 hours.
//! *False alarm*: an alarm that begins in a series without a leak, or before the onset; told per year of time without a
//! leak. An alarm that has ended and begins again counts again.

#![allow(clippy::print_stdout, clippy::allow_attributes, reason = "a tool that prints a table")]

#[path = "detectors/baselines.rs"]
mod baselines;
#[path = "detectors/collectors.rs"]
mod collectors;
#[path = "detectors/corpus.rs"]
mod corpus;
#[path = "detectors/random.rs"]
mod random;
#[path = "detectors/score.rs"]
mod score;
#[path = "detectors/script.rs"]
mod script;
#[path = "detectors/shapes.rs"]
mod shapes;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use corpus::{Corpus, Labelled};
use score::{Outcome, Score, watch};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let from = arguments.next().unwrap_or_else(|| "../shared/leak-series".to_owned());
    let rest: Vec<String> = arguments.collect();
    let each = rest.iter().any(|word| word == "--each");
    let only: Vec<&str> =
        rest.iter().filter(|word| !word.starts_with("--")).map(String::as_str).collect();
    let corpus = match Corpus::open(&from) {
        Ok(corpus) => corpus,
        Err(error) => {
            eprintln!("Error: {from}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ours_only = rest.iter().any(|word| word == "--ours");
    let outcomes = judge_all(&corpus, &only, ours_only);
    if each {
        print_each(&outcomes);
    }
    print_table(&outcomes, ours_only);
    ExitCode::SUCCESS
}

/// Runs all detectors over all series, on two threads.
fn judge_all(corpus: &Corpus, only: &[&str], ours_only: bool) -> Vec<(Labelled, Vec<Outcome>)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = corpus.name(index) else { break };
            if !only.is_empty() && !only.iter().any(|word| name.contains(word)) {
                continue;
            }
            match corpus.read(index) {
                Ok(series) => {
                    let seen = watch(&series, ours_only);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push((index, Labelled { samples: Vec::new(), ..series }, seen));
                    }
                }
                Err(error) => eprintln!("{name}: {error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|(index, ..)| *index);
    outcomes.into_iter().map(|(_, series, seen)| (series, seen)).collect()
}

fn print_each(outcomes: &[(Labelled, Vec<Outcome>)]) {
    for (series, seen) in outcomes {
        let Some(ours) = seen.last() else { continue };
        let delay = ours.delay_h(series).map_or("-".to_owned(), |hours| format!("{hours:.1} h"));
        let right = match (series.onset, ours.false_alarms(series)) {
            (Some(_), _) if ours.delay_h(series).is_none() => "MISSED",
            (_, 0) => "",
            _ => "FALSE ALARM",
        };
        let rate = series.rate / 1e6;
        println!("{} {} {rate:.3} MB/h {delay} {right} {}", series.name, series.class, ours.end);
        for alarm in &ours.alarms {
            let to = alarm.to.map_or(String::new(), |to| format!("{:.1}", to / 3600.0));
            println!("    {:.1} … {to} h: {}", alarm.from / 3600.0, alarm.said);
        }
    }
}

fn print_table(outcomes: &[(Labelled, Vec<Outcome>)], ours_only: bool) {
    println!("| detector | found | median | ≥ 3 MB/h within 4 h | false alarms per broker-year |");
    println!("|---|---|---|---|---|");
    let skipped = if ours_only { baselines::NAMES.len() - 1 } else { 0 };
    for (index, name) in baselines::NAMES.iter().enumerate().skip(skipped) {
        let mut score = Score::default();
        for (series, seen) in outcomes {
            if let Some(outcome) = seen.get(index) {
                score.add(series, outcome);
            }
        }
        println!("| {name} | {score} |");
    }
}
