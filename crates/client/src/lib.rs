//! MQTT client connections of Plimsoll's tools: fleets, soaks, and readers of `$SYS`.
pub mod authorities;
mod connection;
mod layer;
mod subscriber;
mod tls;

pub use connection::Connection;
pub use subscriber::{Endpoint, Subscriber};
pub use tls::TlsFiles;
