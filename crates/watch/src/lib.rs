//! `plimsoll watch`: leak, or just more state? The memory of any broker, judged from outside.
//!
//! [`Sampler`] looks at a [`Target`] and answers with a [`Reading`]; [`Watched`] keeps what was seen and what is thought
//! of it; an [`Output`] is told.
mod accounts;
mod cgroup;
mod clock;
mod configuration;
pub mod describe;
mod event;
mod export;
pub mod exposition;
mod figure;
mod happenings;
pub mod history;
mod journal;
pub mod json;
mod lines;
mod live;
mod oom;
mod options;
mod output;
mod outputs;
pub mod plot;
mod procfs;
mod push;
mod reading;
mod recall;
mod remark;
mod replay;
mod report;
mod sampler;
mod selector;
mod series;
mod target;
mod terminal;
mod trail;
pub mod units;
mod watched;

pub use accounts::{Accounts, Credentials, EXTRAS_MAX, Kind, Mapping, Name, Source, SourceState};
pub use clock::{Clock, Now};
pub use event::{Event, Happening};
pub use export::ExportOptions;
pub use figure::Figure;
pub use options::Options;
pub use output::Output;
pub use outputs::{OutputOptions, Outputs};
pub use plimsoll_client::TlsFiles;
pub use procfs::{Identity, ProcessReading};
pub use push::{PushOptions, Trouble};
pub use reading::{CgroupReading, Pressure, Reading};
pub use report::{Head as PageHead, page};
pub use sampler::Sampler;
pub use selector::Selector;
pub use series::{Series, SeriesError};
pub use target::{Limits, Target};
pub use terminal::TerminalOptions;
pub use watched::{EVENTS_MAX, Watched};
