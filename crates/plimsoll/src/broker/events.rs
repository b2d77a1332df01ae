//! Log lines: the engine's and the shell's events in the words that Mosquitto's readers know.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use plimsoll_engine::{Cause, Event, Limit, Loss, Step};
use plimsoll_mqtt::{ReasonCode, Version};

use super::transport::Handshake;
use super::transport::certificate::Certificate;
use crate::log::{Kind, Log};

/// The log, as the broker writes it.
#[derive(Debug)]
pub(crate) struct EventLog {
    log: Log,
    connection_messages: AtomicBool,
}

impl EventLog {
    pub(crate) fn new(log: Log, connection_messages: bool) -> Self {
        Self { log, connection_messages: AtomicBool::new(connection_messages) }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn set_connection_messages(&self, on: bool) {
        self.connection_messages.store(on, Ordering::Relaxed);
    }

    pub(crate) fn error(&self, line: &str) {
        self.log.write(Kind::Error, line);
    }

    pub(crate) fn warning(&self, line: &str) {
        self.log.write(Kind::Warning, line);
    }

    pub(crate) fn notice(&self, line: &str) {
        self.log.write(Kind::Notice, line);
    }

    pub(crate) fn information(&self, line: &str) {
        self.log.write(Kind::Information, line);
    }

    /// A connection was refused before it could say anything.
    pub(crate) fn denied(&self, peer: Option<SocketAddr>, why: &str) {
        if self.connections_wanted() {
            let ip = peer.map_or_else(|| from(None), |peer| unmapped(peer).to_string());
            self.notice(&format!("Client connection from {ip} denied: {why}."));
        }
    }

    /// A connection was accepted.
    pub(crate) fn connection(&self, peer: Option<SocketAddr>, place: &str) {
        if self.connections_wanted() {
            self.notice(&format!("New connection from {} on {place}.", from(peer)));
        }
    }

    /// A layer below MQTT gave up.
    pub(crate) fn transport_failed(&self, peer: Option<SocketAddr>, error: &std::io::Error) {
        if self.connections_wanted() {
            self.notice(&format!("Client connection from {} ended: {error}.", from(peer)));
        }
    }

    /// A proxy has said who a connection comes from.
    pub(crate) fn proxied(&self, proxy: Option<SocketAddr>, source: SocketAddr) {
        if self.connections_wanted() {
            let (source, proxy) = (from(Some(source)), from(proxy));
            self.notice(&format!("New connection from {source} by the proxy {proxy}."));
        }
    }

    /// A connection has begun a packet and does not end it.
    pub(crate) fn too_slow(&self, peer: Option<SocketAddr>) {
        if self.connections_wanted() {
            self.notice(&format!(
                "Client connection from {} did not end its packet in time.",
                from(peer)
            ));
        }
    }

    /// A TLS handshake is over.
    pub(crate) fn handshake(&self, peer: Option<SocketAddr>, handshake: &Handshake) {
        if self.log.enabled(Kind::Debug) {
            let subject = handshake.certificate.as_ref().map_or("no certificate", |c| &c.subject);
            let (version, cipher) = (handshake.version, &handshake.cipher);
            self.log.write(
                Kind::Debug,
                &format!("TLS with {}: {version}, {cipher}, {subject}.", from(peer)),
            );
        }
    }

    /// A client has shown a certificate that ends soon.
    pub(crate) fn expiring(&self, peer: Option<SocketAddr>, certificate: &Certificate, days: u64) {
        self.warning(&format!(
            "The certificate of {} (from {}) expires in {days} day(s).",
            certificate.subject,
            from(peer)
        ));
    }

    fn connections_wanted(&self) -> bool {
        self.connection_messages.load(Ordering::Relaxed) && self.log.enabled(Kind::Notice)
    }

    /// Something that the engine says of a connection.
    pub(crate) fn event(&self, peer: Option<SocketAddr>, event: &Event) {
        match event {
            Event::Connected { client, version, clean_start, keep_alive, username } => {
                if !self.connections_wanted() {
                    return;
                }
                let from = from(peer);
                let version = match version {
                    Version::V31 => 1,
                    Version::V311 => 2,
                    Version::V5 => 5,
                };
                let clean = u8::from(*clean_start);
                let user =
                    username.as_ref().map_or_else(String::new, |user| format!(", u'{user}'"));
                self.notice(&format!(
                    "New client connected from {from} as {client} (p{version}, c{clean}, k{keep_alive}{user})."
                ));
            }
            Event::Refused { client, reason } => self.refused(client, peer, *reason),
            Event::Disconnected { client, cause } => self.disconnected(client, peer, *cause),
            Event::SessionExpired { client } => {
                self.notice(&format!("Expiring client {client} due to timeout."));
            }
            Event::Dropped { client, total, limit } => {
                self.notice(&format!(
                    "Outgoing messages are being dropped for client {client}: {total} so far, {}.",
                    limit_text(*limit)
                ));
            }
            Event::RetainRefused { filter, topic, total } => {
                self.warning(&format!(
                    "Retained messages are refused by retain_limit {filter}: {total} so far, the last one on {topic}."
                ));
            }
            Event::Subscribed { client, filter, qos } => {
                self.log.write(Kind::Subscribe, &format!("{client} {} {filter}", *qos as u8));
            }
            Event::Unsubscribed { client, filter } => {
                self.log.write(Kind::Unsubscribe, &format!("{client} {filter}"));
            }
            // The shard hands it on.
            Event::Control { .. } => {}
            Event::LoadLine { step, entered, used, limit } => {
                self.load_line(*step, *entered, *used, *limit);
            }
            Event::Packet { line } => self.log.write(Kind::Debug, line),
        }
    }

    /// A step of the load line begins or ends.
    fn load_line(&self, step: Step, entered: bool, used: usize, limit: usize) {
        let (name, held) = (step.name(), used / 1024);
        let percent = used as u128 * 100 / limit.max(1) as u128;
        let line = match (entered, limit) {
            (true, _) => {
                format!("memory_limit: {name} begins, {held} KiB or {percent} % are used.")
            }
            (false, 0) => format!("memory_limit: {name} ends, there is no limit any more."),
            (false, _) => format!("memory_limit: {name} ends, {held} KiB or {percent} % are used."),
        };
        let warns = entered && step >= Step::SlowPublishers;
        self.log.write(if warns { Kind::Warning } else { Kind::Notice }, &line);
    }

    fn refused(&self, client: &str, peer: Option<SocketAddr>, reason: ReasonCode) {
        if !self.connections_wanted() {
            return;
        }
        let client = if client.is_empty() { "<unknown>" } else { client };
        self.notice(&match reason {
            ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD => {
                format!("Client {client} disconnected, not authorised.")
            }
            reason => {
                let from = peer.map_or_else(|| "?".to_owned(), |peer| unmapped(peer).to_string());
                format!("Client {client} from {from} refused: {reason}.")
            }
        });
    }

    fn disconnected(&self, client: &str, peer: Option<SocketAddr>, cause: Cause) {
        if !self.connections_wanted() {
            return;
        }
        let named;
        let client = if client.is_empty() {
            named = peer.map_or_else(|| "<unknown>".to_owned(), |peer| unmapped(peer).to_string());
            named.as_str()
        } else {
            client
        };
        self.notice(&match cause {
            Cause::Client(_) => format!("Client {client} disconnected."),
            Cause::Broker(ReasonCode::KEEP_ALIVE_TIMEOUT) => {
                format!("Client {client} has exceeded timeout, disconnecting.")
            }
            Cause::Broker(ReasonCode::SESSION_TAKEN_OVER) => {
                format!("Client {client} already connected, closing old connection.")
            }
            Cause::Broker(ReasonCode::PROTOCOL_ERROR) => {
                format!("Client {client} disconnected due to protocol error.")
            }
            Cause::Broker(ReasonCode::MALFORMED_PACKET) => {
                format!("Client {client} disconnected due to malformed packet.")
            }
            Cause::Broker(ReasonCode::PACKET_TOO_LARGE) => {
                format!("Client {client} disconnected due to oversize packet.")
            }
            Cause::Broker(reason) => format!("Client {client} disconnected: {reason}."),
            Cause::Network(Loss::ClosedByPeer) => format!("Client {client} closed its connection."),
            Cause::Network(Loss::HandshakeTimeout) => {
                format!("Client {client} sent no CONNECT in time, disconnecting.")
            }
            Cause::Network(_) => format!("Client {client} disconnected: connection lost."),
        });
    }
}

fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::QueueFull => "max_queued_messages or max_queued_bytes reached while it was away",
        Limit::SlowConsumer => {
            "its queue is full and it has made no progress (slow_consumer_timeout)"
        }
        Limit::OutputFull => "QoS 0 while its output is held up",
        Limit::Memory => "QoS 0 while memory is short (memory_limit) and its output is held up",
        Limit::PacketTooLarge => "larger than its maximum packet size",
    }
}

/// Where somebody comes from, with the port.
pub(crate) fn from(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(
        || "a unix socket".to_owned(),
        |peer| format!("{}:{}", unmapped(peer), peer.port()),
    )
}

/// An IPv4 address as such, also if it came to an IPv6 socket.
fn unmapped(peer: SocketAddr) -> std::net::IpAddr {
    peer.ip().to_canonical()
}
