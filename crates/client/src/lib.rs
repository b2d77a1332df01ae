//! MQTT client connections of Plimsoll's tools: fleets, soaks, and readers of `$SYS`.
pub mod authorities;
mod connection;

pub use connection::Connection;
