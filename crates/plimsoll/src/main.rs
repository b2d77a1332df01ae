//! Plimsoll: an MQTT broker for device fleets that knows who holds its memory.

mod access;
mod broker;
mod cli;
mod config;
mod fleet;
mod log;
mod mosquitto_db;
mod process;
mod state;

use std::process::ExitCode;

/// The allocator whose size classes the ledger counts in.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(&std::env::args_os().collect::<Vec<_>>())
}
