//! Who may connect, and who may do what.

pub(crate) mod dynsec;
pub(crate) mod jwt;
