//! `fleet` and `soak` without the broker: builds in seconds.
//!
//! ```sh
//! cargo run --release -p plimsoll-soak --example soak -- fleet --sensors 100 --for 10s
//! ```
use std::process::ExitCode;

use clap::Parser;
use plimsoll_soak::{fleet, soak};

/// The load tools of Plimsoll.
#[derive(Parser)]
enum CommandLine {
    Fleet(Box<fleet::Options>),
    Soak(Box<soak::Options>),
}

fn main() -> ExitCode {
    match CommandLine::parse() {
        CommandLine::Fleet(options) => fleet::run(&options),
        CommandLine::Soak(options) => soak::run(&options),
    }
}
