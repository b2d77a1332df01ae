//! `plimsoll fleet`: a plant's sensors, each with a connection of its own, and the control system
//! that reads them all. It counts what it sent, what was acknowledged and what arrived.

mod control;
mod device;
mod fleet_state;
mod options;
mod report;
mod schedule;
mod sensor;
mod traffic;
mod wave;

use std::process::ExitCode;

pub use options::Options;
use report::Ending;

use crate::interrupts::EXIT_INTERRUPTED;

/// Exit code of a run in which something was lost or doubled.
const EXIT_BROKEN_PROMISE: u8 = 1;

/// Exit code of a run that could not be carried out.
const EXIT_NOT_RUN: u8 = 2;

/// Runs a fleet as `options` say and prints what came of it.
pub fn run(options: &Options) -> ExitCode {
    match traffic::run(options) {
        Ok(report) => {
            report.print(options.json);
            match report.ending {
                _ if !report.is_sound() => ExitCode::from(EXIT_BROKEN_PROMISE),
                Ending::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
                _ => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(EXIT_NOT_RUN)
        }
    }
}
