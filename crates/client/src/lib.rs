//! MQTT client connections of Plimsoll's tools: fleets, soaks, and readers of `$SYS`.
mod connection;

pub use connection::Connection;
