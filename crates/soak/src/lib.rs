//! `plimsoll fleet` and `plimsoll soak`: a fleet's traffic, and 72 hours of it in minutes, against any broker.
pub mod fleet;
