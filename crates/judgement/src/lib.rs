//! Leak, or just more state? Samples in, judgement out: no clock, no files, no threads, no randomness.
mod csv;
mod daily;
mod driver;
mod growth;
mod history;
mod judge;
mod reasons;
mod sample;
mod settings;
mod signal;
mod trend;
mod window;

pub use csv::{Header, Malformed};
pub use judge::{Driver, Event, Judge, Leak, Verdict};
pub use sample::Sample;
pub use settings::Settings;
pub use signal::Signal;
pub use trend::{Slope, mann_kendall, mann_kendall_z, theil_sen};
