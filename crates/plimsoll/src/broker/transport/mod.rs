//! What lies between a socket and MQTT: nothing for plain TCP, else layers that are state machines of
//! their own, bytes in and bytes out. An idle connection owns no buffer in any of them.

pub(crate) mod certificate;
pub(crate) mod ciphers;
pub(crate) mod key_log;
mod layers;
pub(crate) mod proxy;
mod socket;
pub(crate) mod tls;
pub(crate) mod tls_files;
mod version1;
pub(crate) mod websocket;

pub(crate) use layers::{Layers, Outcome, Scratch};
pub(crate) use socket::Socket;
pub(crate) use tls::Handshake;

use std::sync::Arc;

use proxy::Proxy;
use tls_files::TlsSettings;

/// The layers that a listener's connections have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    /// What connections begin with.
    pub(crate) proxy: Option<Proxy>,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    /// WebSocket: the origins that pages may come from, anywhere if there are none.
    pub(crate) web: Option<Arc<[String]>>,
}

impl Transport {
    /// Whether there are none.
    pub(crate) fn is_plain(&self) -> bool {
        self.proxy.is_none() && self.tls.is_none() && self.web.is_none()
    }
}
