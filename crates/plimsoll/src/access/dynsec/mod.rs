//! Mosquitto's dynamic security, built in: clients, groups and roles that are changed over
//! `$CONTROL/dynamic-security/v1` while the broker runs, and kept in its JSON file.

mod commands;
mod decide;
mod file;
mod model;
mod password;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use commands::Kick;
pub(crate) use decide::Identified;
pub(crate) use service::{Command, Done, Dynsec, Loaded};

/// Where commands are published to.
pub(crate) const TOPIC: &str = "$CONTROL/dynamic-security/v1";

/// Where answers come from.
pub(crate) const RESPONSE_TOPIC: &str = "$CONTROL/dynamic-security/v1/response";
