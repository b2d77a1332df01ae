//! Plimsoll: an MQTT broker for device fleets that knows who holds its memory.
//!
//! The program is [`run`]. It is a library so that the fuzz targets reach what reads bytes from
//! outside ([`fuzzing`]); nothing else is for others to use.

mod access;
mod admin;
mod broker;
mod cli;
mod config;
mod ctl;
pub mod fuzzing;
mod log;
mod measure;
mod memory;
mod mosquitto_db;
mod process;
mod state;
mod traces;

pub use cli::run;

/// The allocator whose size classes the ledger counts in. Fuzz targets keep their own one, which
/// finds what is read behind its end.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
