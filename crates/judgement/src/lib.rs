//! Leak, or just more state? Samples in, judgement out: no clock, no files, no threads, no randomness.
//!
//! [`Accounted`] judges a series of a process that accounts for its memory from within, in minutes;
//! [`outside`] judges any process by what can be seen of it, in hours.
mod accounted;
pub mod outside;
mod trend;

pub use accounted::{Accounted, Bounds, Change, Growth, Observation};
pub use trend::{Slope, mann_kendall, theil_sen};
