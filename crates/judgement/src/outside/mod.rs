//! The judgement from outside: a process seen through `/proc`, and what it says of itself.
//!
//! [`Judge`] takes [`Sample`]s as they come and answers with a [`Verdict`].

mod judge;
mod sample;
mod verdict;

pub use judge::{Judge, Settings};
pub use sample::Sample;
pub use verdict::{Driver, Leak, Verdict, View};
