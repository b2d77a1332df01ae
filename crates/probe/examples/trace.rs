//! `plimsoll watch trace` without the rest of the binary: for trying probes and scans by hand.

use std::process::ExitCode;

use clap::Parser;

/// The command line.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: plimsoll_probe::Options,
}

fn main() -> ExitCode {
    Cli::parse().options.run()
}
