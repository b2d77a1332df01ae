//! What lies between a socket and MQTT: nothing for plain TCP, else layers that are state machines of
//! their own, bytes in and bytes out. An idle connection owns no buffer in any of them.

pub(crate) mod certificate;
pub(crate) mod ciphers;
pub(crate) mod key_log;
mod layers;
mod socket;
pub(crate) mod tls;
pub(crate) mod tls_files;

pub(crate) use layers::{Layers, Outcome, Scratch};
pub(crate) use socket::Socket;
pub(crate) use tls::Handshake;

use std::sync::Arc;

use tls_files::TlsSettings;

/// The layers that a listener's connections have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    pub(crate) tls: Option<Arc<TlsSettings>>,
}

impl Transport {
    /// Whether there are none.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }
}
