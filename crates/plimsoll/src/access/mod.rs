//! Who may connect, and who may do what.

pub(crate) mod dynsec;
pub(crate) mod go_auth;
pub(crate) mod jwt;
pub(crate) mod options;
pub(crate) mod plugins;
