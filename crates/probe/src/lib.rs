//! `plimsoll watch trace`: who holds the memory of a running, unmodified process.

mod options;
pub mod problem;
pub mod process;
mod program;
mod quantity;
pub mod scan;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod system;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod trace;

pub use options::Options;

#[cfg(test)]
mod fixture;
