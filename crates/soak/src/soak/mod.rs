//! `plimsoll soak`: the events of days in minutes, against any broker, with a verdict.
//!
//! [`run`](self::run()) drives clients (`world`, `publisher`, `reader`, `churner`, `absent`) through phases (`phases`) in cycles
//! (`cycles`), looks at the broker's process meanwhile (`driver`), and judges (`growth`, `leak`, `verdict`) what was measured
//! (`outcome`).

mod absent;
mod books;
mod broker;
mod churner;
mod driver;
mod growth;
mod leak;
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
use scenario::Scenario;

use crate::interrupts::{EXIT_INTERRUPTED, Interrupts};
use crate::load::Endpoint;

/// Exit code of a broker that leaks, loses or misses another limit.
const EXIT_FAILED: u8 = 1;

/// Exit code of a run that could not be carried out.
const EXIT_NOT_RUN: u8 = 2;

/// Does what `options` say.
pub fn run(options: &Options) -> ExitCode {
    let result = match &options.command {
        None => soak(&options.run),
        Some(Command::Scenario) => Scenario::template().map(|text| {
            print!("{text}");
            ExitCode::SUCCESS
        }),
    };
    result.unwrap_or_else(|error| {
        eprintln!("Error: {error}");
        ExitCode::from(EXIT_NOT_RUN)
    })
}

fn soak(options: &RunOptions) -> Result<ExitCode, String> {
    let scenario = options.scenario()?;
    let interrupts =
        Interrupts::watch().map_err(|error| format!("cannot watch signals: {error}"))?;
    let endpoint = options.place.endpoint()?;
    let outcome = one(options, options.broker_cmd.as_deref(), endpoint, &scenario, &interrupts)?;
    print!("{}", text::text(&outcome));
    if let Some(path) = &options.json {
        write(path, &to_json(&outcome)?)?;
    }
    Ok(exit_code(&[&outcome]))
}

/// Soaks one broker.
fn one(
    options: &RunOptions,
    command: Option<&str>,
    endpoint: Endpoint,
    scenario: &Scenario,
    interrupts: &Interrupts,
) -> Result<Outcome, String> {
    let program = command.and_then(|command| command.split_whitespace().next());
    let short = program
        .and_then(|program| Path::new(program).file_name())
        .map(|name| name.to_string_lossy().into_owned());
    let name = options
        .name
        .clone()
        .or(short)
        .unwrap_or_else(|| format!("process {}", options.pid.unwrap_or(0)));
    let plan = Plan {
        name,
        command,
        pid: options.pid,
        endpoint,
        scenario,
        duration: options.duration,
        seed: options.seed,
    };
    run::run(&plan, interrupts)
}

fn exit_code(outcomes: &[&Outcome]) -> ExitCode {
    let any = |judgement: Judgement| outcomes.iter().any(|outcome| outcome.verdict == judgement);
    match () {
        () if any(Judgement::Fail) => ExitCode::from(EXIT_FAILED),
        () if any(Judgement::Partial) => ExitCode::from(EXIT_INTERRUPTED),
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
