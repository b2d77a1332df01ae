//! `plimsoll soak`: the events of days in minutes, against any broker, with a verdict.
//!
//! [`run`](self::run()) drives clients (`world`, `publisher`, `reader`, `churner`, `absent`) through phases (`phases`) in cycles,
//! looks at the broker's process meanwhile (`driver`), and judges (`growth`, `leak`, `verdict`) what was measured
//! (`outcome`).

mod absent;
mod books;
mod broker;
mod capacity;
mod cgroup;
mod charts;
mod churner;
mod compare;
mod driver;
mod figures;
mod filler;
mod growth;
mod html;
mod junit;
mod latencies;
mod leak;
mod listening;
mod options;
mod outcome;
mod phases;
mod progress;
mod publisher;
mod reader;
mod run;
mod scenario;
mod text;
mod topics;
mod verdict;
mod world;

use std::path::Path;
use std::process::ExitCode;

pub use options::Options;
use options::{Command, RunOptions};
use outcome::{Judgement, Outcome};
use run::Plan;
use scenario::{Scenario, TEMPLATE};

use crate::interrupts::{EXIT_INTERRUPTED, Interrupts};
use crate::load::Endpoint;

/// Exit code of a broker that leaks, loses or misses another limit.
const EXIT_FAILED: u8 = 1;

/// Exit code of a run that could not be carried out.
const EXIT_NOT_RUN: u8 = 2;

/// Does what `options` say.
pub fn run(options: &Options) -> ExitCode {
    let result =
        match &options.command {
            None => soak(&options.run),
            Some(Command::Compare(options)) => compare(options),
            Some(Command::Capacity(options)) => watch_interrupts()
                .and_then(|interrupts| capacity::run(options, &interrupts))
                .map(|interrupted| {
                    if interrupted { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS }
                }),
            Some(Command::Scenario) => {
                print!("{TEMPLATE}");
                Ok(ExitCode::SUCCESS)
            }
        };
    result.unwrap_or_else(|error| {
        eprintln!("Error: {error}");
        ExitCode::from(EXIT_NOT_RUN)
    })
}

fn watch_interrupts() -> Result<Interrupts, String> {
    Interrupts::watch().map_err(|error| format!("cannot watch signals: {error}"))
}

/// Soaks as asked for. Of a run that could not be carried out, the `JUnit` report says why, and no other is left.
fn soak(options: &RunOptions) -> Result<ExitCode, String> {
    options.try_files()?;
    carry_out(options).inspect_err(|why| {
        for path in [&options.json, &options.report].into_iter().flatten() {
            if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
                // If it cannot be removed, it is empty at least.
                let _ = std::fs::remove_file(path);
            }
        }
        if let Some(path) = &options.junit
            && std::fs::metadata(path).is_ok_and(|file| file.len() == 0)
            && let Err(error) = write(path, &junit::not_run(why))
        {
            eprintln!("Error: {error}");
        }
    })
}

fn carry_out(options: &RunOptions) -> Result<ExitCode, String> {
    let scenario = options.scenario()?;
    let interrupts = watch_interrupts()?;
    let endpoint = options.place.endpoint_of_many()?;
    let first = one(options, options.broker_cmd.as_deref(), endpoint, &scenario, &interrupts)?;
    let (mut outcomes, mut failed) = (vec![first], None);
    if options.vs.is_some() && !interrupts.seen() {
        let place = match &options.vs_connect {
            Some(connect) => options.place.elsewhere(connect),
            None => options.place.clone(),
        };
        let second = place.endpoint_of_many().and_then(|endpoint| {
            one(options, options.vs.as_deref(), endpoint, &scenario, &interrupts)
        });
        match second {
            Ok(second) => outcomes.push(second),
            Err(error) => failed = Some(format!("the second broker: {error}")),
        }
    }
    for outcome in &outcomes {
        print!("{}", text::text(outcome));
    }
    let outcomes: Vec<&Outcome> = outcomes.iter().collect();
    if let [first, second] = outcomes.as_slice() {
        print!("{}", compare::text(first, second));
    }
    write_files(options, &outcomes)?;
    // What the first one has come to is written all the same.
    failed.map_or_else(|| Ok(exit_code(&outcomes)), Err)
}

/// Writes what is asked for beside standard output.
fn write_files(options: &RunOptions, outcomes: &[&Outcome]) -> Result<(), String> {
    if let (Some(path), Some(first)) = (&options.json, outcomes.first()) {
        write(path, &to_json(first)?)?;
        if let Some(second) = outcomes.get(1) {
            let mut name = path.clone().into_os_string();
            name.push(".vs.json");
            write(Path::new(&name), &to_json(second)?)?;
        }
    }
    if let Some(path) = &options.junit {
        write(path, &junit::junit(outcomes))?;
    }
    if let Some(path) = &options.report {
        write(path, &html::report(outcomes))?;
    }
    Ok(())
}

fn compare(options: &compare::Options) -> Result<ExitCode, String> {
    let (first, second) = (compare::read(&options.first)?, compare::read(&options.second)?);
    print!("{}", compare::text(&first, &second));
    if let Some(path) = &options.report {
        write(path, &html::report(&[&first, &second]))?;
    }
    Ok(exit_code(&[&second]))
}

/// Soaks one broker.
fn one(
    options: &RunOptions,
    command: Option<&str>,
    endpoint: Endpoint,
    scenario: &Scenario,
    interrupts: &Interrupts,
) -> Result<Outcome, String> {
    let plan = Plan {
        name: options.name.clone(),
        command,
        pid: options.pid,
        endpoint,
        scenario,
        duration: options.duration,
        seed: options.seed,
        accounts: options.accounts()?,
    };
    run::run(&plan, interrupts)
}

fn exit_code(outcomes: &[&Outcome]) -> ExitCode {
    let any = |judgement: Judgement| outcomes.iter().any(|outcome| outcome.verdict == judgement);
    match () {
        () if any(Judgement::Fail) => ExitCode::from(EXIT_FAILED),
        () if any(Judgement::Partial) => ExitCode::from(EXIT_INTERRUPTED),
        () if any(Judgement::Unjudged) => ExitCode::from(EXIT_NOT_RUN),
        () => ExitCode::SUCCESS,
    }
}

fn to_json(outcome: &Outcome) -> Result<String, String> {
    serde_json::to_string(outcome).map_err(|error| format!("cannot write JSON: {error}"))
}

/// Writes a file. Errors name it.
fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
