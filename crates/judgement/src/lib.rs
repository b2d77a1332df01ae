//! Leak, or just more state? Samples in, judgement out: no clock, no files, no threads, no randomness.
#![expect(
    clippy::cast_sign_loss,
    reason = "indexes are computed from lengths and spans of time, which are not negative"
)]
#![expect(clippy::needless_pass_by_value, reason = "iterators are taken by value and cloned")]

mod csv;
mod daily;
mod driver;
mod growth;
mod history;
mod judge;
mod reasons;
mod residue;
mod sample;
mod settings;
mod signal;
mod trend;
mod window;

pub use csv::{Header, Malformed};
pub use judge::{Driver, Event, Judge, Leak, Verdict};
pub use residue::{Balance, ResidueJudge, ResidueSettings};
pub use sample::Sample;
pub use settings::Settings;
pub use signal::Signal;
pub use trend::{Slope, mann_kendall, mann_kendall_z, theil_sen};
