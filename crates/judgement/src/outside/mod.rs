//! The judgement from outside: a process seen through `/proc`, and what it says of itself.
//!
//! [`Judge`] takes [`Sample`]s as they come and answers with a [`Verdict`].

mod bend;
mod bucket;
mod changes;
mod columns;
mod counted;
mod driver;
mod explain;
mod floors;
mod judge;
mod lives;
mod onset;
mod past;
mod reasons;
mod rules;
mod sample;
mod state;
#[cfg(test)]
mod tests;
mod verdict;
mod views;
mod window;

pub use changes::{Change, ChangeKind};
pub use judge::{Judge, Settings};
pub use sample::Sample;
pub use verdict::{Driver, Explained, Leak, Verdict, View};
