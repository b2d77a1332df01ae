//! Log lines: the engine's and the shell's events in the words that Mosquitto's readers know.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use plimsoll_engine::budgets::BudgetOf;
use plimsoll_engine::{Cause, Event, Limit, Loss, Step};
use plimsoll_mqtt::{ReasonCode, Version};

use super::transport::Handshake;
use super::transport::certificate::Certificate;
use crate::config::Listener;
use crate::log::{About, Kind, Log};

/// The log, as the broker writes it.
#[derive(Debug)]
pub(crate) struct EventLog {
    log: Log,
    connection_messages: AtomicBool,
    /// What the log calls each listener, by number.
    listeners: RwLock<Vec<String>>,
}

/// The connection that a line is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whence {
    /// `None` for a unix socket, and where there is no connection.
    pub(crate) peer: Option<SocketAddr>,
    /// The listener's number.
    pub(crate) listener: Option<u16>,
}

impl EventLog {
    pub(crate) fn new(log: Log, connection_messages: bool) -> Self {
        let connection_messages = AtomicBool::new(connection_messages);
        Self { log, connection_messages, listeners: RwLock::default() }
    }

    /// The listeners of a configuration that holds from now on.
    pub(crate) fn set_listeners(&self, listeners: &[Listener]) {
        let names = listeners.iter().map(Listener::named).collect();
        *self.listeners.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Writes a line about a connection, and about its client if that has a name.
    fn about(&self, kind: Kind, line: &str, whence: Whence, client: &str) {
        if !self.log.is_json() {
            return self.log.write(kind, line);
        }
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let listener = whence.listener.and_then(|number| listeners.get(usize::from(number)));
        let about = About {
            client: Some(client).filter(|client| !client.is_empty()),
            peer: whence.peer,
            listener: listener.map(String::as_str),
        };
        self.log.write_about(kind, line, about);
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
    pub(crate) fn denied(&self, whence: Whence, why: &str) {
        if self.connections_wanted() {
            let ip = whence.peer.map_or_else(|| from(None), |peer| unmapped(peer).to_string());
            let line = format!("Client connection from {ip} denied: {why}.");
            self.about(Kind::Notice, &line, whence, "");
        }
    }

    /// A connection was accepted.
    pub(crate) fn connection(&self, whence: Whence, place: &str) {
        if self.connections_wanted() {
            let line = format!("New connection from {} on {place}.", from(whence.peer));
            self.about(Kind::Notice, &line, whence, "");
        }
    }

    /// A layer below MQTT gave up.
    pub(crate) fn transport_failed(&self, whence: Whence, error: &std::io::Error) {
        if self.connections_wanted() {
            let line = format!("Client connection from {} ended: {error}.", from(whence.peer));
            self.about(Kind::Notice, &line, whence, "");
        }
    }

    /// A proxy has said who a connection comes from.
    pub(crate) fn proxied(&self, proxy: Whence, source: SocketAddr) {
        if self.connections_wanted() {
            let line = format!(
                "New connection from {} by the proxy {}.",
                from(Some(source)),
                from(proxy.peer)
            );
            self.about(Kind::Notice, &line, Whence { peer: Some(source), ..proxy }, "");
        }
    }

    /// A connection has begun a packet and does not end it.
    pub(crate) fn too_slow(&self, whence: Whence) {
        if self.connections_wanted() {
            let peer = from(whence.peer);
            let line = format!("Client connection from {peer} did not end its packet in time.");
            self.about(Kind::Notice, &line, whence, "");
        }
    }

    /// A TLS handshake is over.
    pub(crate) fn handshake(&self, whence: Whence, handshake: &Handshake) {
        if self.log.enabled(Kind::Debug) {
            let subject = handshake.certificate.as_ref().map_or("no certificate", |c| &c.subject);
            let (version, cipher) = (handshake.version, &handshake.cipher);
            let peer = from(whence.peer);
            let line = format!("TLS with {peer}: {version}, {cipher}, {subject}.");
            self.about(Kind::Debug, &line, whence, "");
        }
    }

    /// A client has shown a certificate that ends soon.
    pub(crate) fn expiring(&self, whence: Whence, certificate: &Certificate, days: u64) {
        let (subject, peer) = (&certificate.subject, from(whence.peer));
        let line = format!("The certificate of {subject} (from {peer}) expires in {days} day(s).");
        self.about(Kind::Warning, &line, whence, "");
    }

    fn connections_wanted(&self) -> bool {
        self.connection_messages.load(Ordering::Relaxed) && self.log.enabled(Kind::Notice)
    }

    /// Something that the engine says of a connection.
    pub(crate) fn event(&self, whence: Whence, event: &Event) {
        match event {
            Event::Connected { client, version, clean_start, keep_alive, username } => {
                if !self.connections_wanted() {
                    return;
                }
                let from = from(whence.peer);
                let version = match version {
                    Version::V31 => 1,
                    Version::V311 => 2,
                    Version::V5 => 5,
                };
                let clean = u8::from(*clean_start);
                let user =
                    username.as_ref().map_or_else(String::new, |user| format!(", u'{user}'"));
                let line = format!(
                    "New client connected from {from} as {client} (p{version}, c{clean}, k{keep_alive}{user})."
                );
                self.about(Kind::Notice, &line, whence, client);
            }
            Event::Refused { client, reason } => self.refused(client, whence, *reason),
            Event::Disconnected { client, cause } => self.disconnected(client, whence, *cause),
            Event::SessionExpired { client } => {
                let line = format!("Expiring client {client} due to timeout.");
                self.about(Kind::Notice, &line, whence, client);
            }
            Event::Dropped { client, total, limit } => {
                let why = limit_text(*limit);
                let line = format!(
                    "Outgoing messages are being dropped for client {client}: {total} so far, {why}."
                );
                self.about(Kind::Notice, &line, whence, client);
            }
            Event::RetainRefused { filter, topic, total } => {
                self.warning(&format!(
                    "Retained messages are refused by retain_limit {filter}: {total} so far, the last one on {topic}."
                ));
            }
            Event::Subscribed { client, filter, qos } => {
                let line = format!("{client} {} {filter}", *qos as u8);
                self.about(Kind::Subscribe, &line, whence, client);
            }
            Event::Unsubscribed { client, filter } => {
                self.about(Kind::Unsubscribe, &format!("{client} {filter}"), whence, client);
            }
            // The shard hands them on.
            Event::Control { .. } | Event::Traced(_) => {}
            Event::LoadLine { step, entered, used, limit } => {
                self.load_line(*step, *entered, *used, *limit);
            }
            Event::Budget { of, step, used, limit, total } => {
                let (name, held) = (step.name(), used / 1024);
                let percent = *used as u128 * 100 / (*limit).max(1) as u128;
                self.warning(&format!(
                    "{}: {name}, {held} KiB or {percent} % are used ({total} times so far).",
                    budget_text(of)
                ));
            }
            Event::Packet { line } => self.about(Kind::Debug, line, whence, ""),
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

    fn refused(&self, client: &str, whence: Whence, reason: ReasonCode) {
        if !self.connections_wanted() {
            return;
        }
        let name = client;
        let client = if client.is_empty() { "<unknown>" } else { client };
        let line = match reason {
            ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD => {
                format!("Client {client} disconnected, not authorised.")
            }
            reason => {
                let from =
                    whence.peer.map_or_else(|| "?".to_owned(), |peer| unmapped(peer).to_string());
                format!("Client {client} from {from} refused: {reason}.")
            }
        };
        self.about(Kind::Notice, &line, whence, name);
    }

    fn disconnected(&self, client: &str, whence: Whence, cause: Cause) {
        if !self.connections_wanted() {
            return;
        }
        let name = client;
        let named;
        let client = if client.is_empty() {
            named = whence
                .peer
                .map_or_else(|| "<unknown>".to_owned(), |peer| unmapped(peer).to_string());
            named.as_str()
        } else {
            client
        };
        let line = match cause {
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
        };
        self.about(Kind::Notice, &line, whence, name);
    }
}

/// A budget as the configuration has it.
fn budget_text(of: &BudgetOf) -> String {
    match of {
        // Its number is that of the API's list; a port may be that of several.
        BudgetOf::Listener(number) => format!("listener_memory_budget of listener {number}"),
        BudgetOf::User(Some(name)) => format!("memory_budget_user {name}"),
        BudgetOf::User(None) => "memory_budget_user \"\"".into(),
        BudgetOf::Topic(prefix) => format!("memory_budget_topic {prefix}"),
    }
}

/// Why a message was dropped.
pub(crate) fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::QueueFull => "max_queued_messages or max_queued_bytes reached while it was away",
        Limit::SlowConsumer => {
            "its queue is full and it has made no progress (slow_consumer_timeout)"
        }
        Limit::OutputFull => "QoS 0 while its output is held up",
        Limit::Memory => "QoS 0 while memory is short (memory_limit) and its output is held up",
        Limit::Budget => {
            "a memory budget of its listener, its user or the topic is used up, and it takes nothing (listener_memory_budget, memory_budget_user, memory_budget_topic)"
        }
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
