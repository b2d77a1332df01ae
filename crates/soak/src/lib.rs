//! `plimsoll fleet` and `plimsoll soak`: a fleet's traffic, and 72 hours of it in minutes, against any broker.
//!
//! [`fleet`] simulates sensors and their control system in real time or faster. `load` is what it stands
//! on: many client connections on one thread, and counts of what became of each message.
pub mod fleet;
mod interrupts;
mod load;
mod quantity;
pub mod soak;
