//! `plimsoll watch`: leak, or just more state? The memory of any broker, judged from outside.
//!
//! [`Sampler`] looks at a [`Target`] and answers with a [`Reading`]; [`Watched`] keeps what was seen and what is thought
//! of it; an [`Output`] is told.
mod accounts;
mod cgroup;
mod clock;
pub mod describe;
mod event;
pub mod exposition;
mod figure;
pub mod json;
mod options;
mod output;
pub mod plot;
mod procfs;
mod reading;
mod replay;
mod sampler;
mod selector;
mod series;
mod target;
pub mod units;
mod watched;

pub use accounts::{
    Accounts, Credentials, EXTRAS_MAX, Kind, Mapping, Name, Source, SourceState, Tls,
};
pub use clock::{Clock, Now};
pub use event::{Event, Happening};
pub use figure::Figure;
pub use options::Options;
pub use output::Output;
pub use procfs::{Identity, ProcessReading};
pub use reading::{CgroupReading, Pressure, Reading};
pub use sampler::Sampler;
pub use selector::Selector;
pub use series::{Series, SeriesError};
pub use target::Target;
pub use watched::{EVENTS_MAX, Watched};
