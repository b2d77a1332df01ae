//! mosquitto-go-auth's backends `files`, `http` and `jwt`, built in and under their option names.
//!
//! What can be told from files is told at once. The rest is asked for by a few worker threads with a
//! bounded queue between, and what they hear is kept for a while: no I/O thread ever waits for it.

mod answers;
mod backends;
mod files;
mod hash;
mod http;
mod workers;

#[cfg(test)]
mod tests;

pub(crate) use backends::Login;
pub(crate) use workers::{GoAuth, Loaded, LoginAnswer};
