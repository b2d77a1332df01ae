//! Configuration: `mosquitto.conf`, read by one typed table.
//!
//! `directives` is the table: one definition per directive gives parsing, bounds, default, scope,
//! help and the generated reference. `parse` reads files into a [`Config`], which is ready to use.

mod directives;
mod memory;
mod parse;
mod persistence;
mod reference;
mod retain;
#[cfg(test)]
mod tests;
mod value;

use std::path::PathBuf;

use ipnet::IpNet;

use plimsoll_engine::budgets::BudgetRules;
use plimsoll_engine::retained::RetainRules;
use plimsoll_engine::{ListenerSettings, Settings};
use plimsoll_ledger::Account;
use plimsoll_mqtt::topic::TopicLimits;
use plimsoll_mqtt::{QoS, Version};

pub(crate) use memory::MemoryLimit;
pub(crate) use parse::{Arguments, load, load_text};
pub(crate) use persistence::{Durability, Persistence};
pub(crate) use reference::reference;

use crate::access::plugins::{Builtin, Plugin};
use crate::broker::transport::proxy::Proxy;
use crate::log::Setup;
use crate::memory::Reporting;
use crate::process::ProcessConfig;
use crate::traces::Otlp;

/// Everything that the broker has been told, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The file that it came from.
    pub(crate) source: Option<PathBuf>,
    /// What the operator should know: directives without effect, and the like.
    pub(crate) warnings: Vec<String>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) log: Setup,
    pub(crate) process: ProcessConfig,
    pub(crate) persistence: Persistence,
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) connection_messages: bool,
    pub(crate) sys_interval: u32,
    pub(crate) reporting: Reporting,
    pub(crate) otlp: Otlp,
    pub(crate) io_threads: u8,
    /// Most memory that the process may hold; `None` is no limit.
    pub(crate) memory_limit: Option<MemoryLimit>,
    /// Most bytes of single accounts.
    pub(crate) memory_budgets: Vec<(Account, usize)>,
    /// Most bytes of users, and below topics.
    pub(crate) client_budgets: BudgetRules,
    pub(crate) set_tcp_nodelay: bool,
    pub(crate) connect_timeout: u32,
    pub(crate) global_max_connections: Option<usize>,
    /// Connections that have not sent CONNECT yet; `None` is no limit.
    pub(crate) max_handshakes: Option<usize>,
    /// Connections of one address; `None` is no limit.
    pub(crate) max_connections_per_address: Option<usize>,
    /// Networks for which that does not hold.
    pub(crate) addresses_exempt: Vec<IpNet>,
    /// Seconds in which a packet has to be whole; 0 is no limit.
    pub(crate) packet_timeout: u32,
    pub(crate) clientid_prefixes: Option<String>,
    /// File that the secrets of TLS connections are written to, to look into recordings.
    pub(crate) tls_keylog: Option<PathBuf>,
    /// A filter of which nothing may be read is refused in SUBACK.
    pub(crate) acl_subscribe_deny: bool,
    pub(crate) auth_failures_per_minute: u32,
    pub(crate) global_max_clients: u32,
    pub(crate) max_inflight_messages: u16,
    pub(crate) max_inflight_bytes: usize,
    pub(crate) max_queued_messages: u32,
    pub(crate) max_queued_bytes: usize,
    pub(crate) max_packet_size: u32,
    pub(crate) message_size_limit: u32,
    pub(crate) max_keepalive: u16,
    pub(crate) max_topic_length: u16,
    pub(crate) max_topic_levels: u16,
    pub(crate) max_user_properties: u16,
    pub(crate) max_filters_per_packet: u16,
    pub(crate) max_subscriptions_per_client: u32,
    pub(crate) queue_qos0_messages: bool,
    pub(crate) persistent_client_expiration: Option<u32>,
    pub(crate) retain_available: bool,
    /// Age limits and quotas of retained messages.
    pub(crate) retain_rules: RetainRules,
    pub(crate) allow_duplicate_messages: bool,
    pub(crate) upgrade_outgoing_qos: bool,
    pub(crate) slow_consumer_timeout: u32,
    pub(crate) max_output_bytes: u32,
    pub(crate) http: HttpConfig,
}

/// Who may come through a listener, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessConfig {
    /// What all topics of its clients begin with, unseen by them.
    pub(crate) mount_point: String,
    pub(crate) use_username_as_clientid: bool,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) acl_file: Option<PathBuf>,
    /// Versions that are let in; empty is all.
    pub(crate) versions: Vec<Version>,
}

/// Certificates and what is asked of clients'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    pub(crate) cafile: Option<PathBuf>,
    pub(crate) capath: Option<PathBuf>,
    /// The broker's own certificates; the name that a client asks for decides.
    pub(crate) certfiles: Vec<PathBuf>,
    /// Their keys, in the same order.
    pub(crate) keyfiles: Vec<PathBuf>,
    pub(crate) crlfile: Option<PathBuf>,
    pub(crate) require_certificate: bool,
    pub(crate) use_identity_as_username: bool,
    pub(crate) use_subject_as_username: bool,
    pub(crate) disable_client_cert_date_checks: bool,
    pub(crate) tls_version: Option<String>,
    pub(crate) ciphers: Option<String>,
    pub(crate) ciphers_tls13: Option<String>,
}

impl TlsConfig {
    /// Whether a client's certificate says who it is.
    pub(crate) fn is_identity(&self) -> bool {
        self.use_identity_as_username || self.use_subject_as_username
    }

    /// Whether nothing is said, so that the listener is not encrypted.
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

/// A listener that speaks WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebConfig {
    /// Where pages that connect may come from; empty is anywhere.
    pub(crate) origins: Vec<String>,
}

/// Bounds of each listener that speaks HTTP (`protocol http_api`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    /// Connections at one time.
    pub(crate) max_connections: usize,
    /// Bytes of a request's line and headers.
    pub(crate) max_header_bytes: usize,
    /// Bytes of a request's body.
    pub(crate) max_body_bytes: usize,
    /// Seconds in which a handshake, a request and taking its answer have to be over.
    pub(crate) timeout: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 64,
            max_header_bytes: 16 * 1024,
            max_body_bytes: 64 * 1024,
            timeout: 30,
        }
    }
}

/// A listener.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// Where it was defined, for messages.
    pub(crate) place: String,
    pub(crate) port: u16,
    /// Addresses or names; `None` is every address.
    pub(crate) hosts: Vec<Option<String>>,
    /// A unix socket in their place.
    pub(crate) path: Option<PathBuf>,
    /// `bind_interface`
    pub(crate) interface: Option<String>,
    /// Connections per second that are accepted; `None` is no limit.
    pub(crate) max_connection_rate: Option<u32>,
    pub(crate) max_connections: Option<usize>,
    /// Most bytes that its clients may hold together; `None` is no limit.
    pub(crate) memory_budget: Option<usize>,
    pub(crate) allow_anonymous: bool,
    pub(crate) max_qos: QoS,
    pub(crate) max_topic_alias: u16,
    pub(crate) max_topic_alias_broker: u16,
    pub(crate) allow_zero_length_clientid: bool,
    pub(crate) auto_id_prefix: String,
    pub(crate) access: AccessConfig,
    pub(crate) tls: TlsConfig,
    /// Version of the PROXY protocol that connections begin with.
    pub(crate) proxy_protocol: Option<u8>,
    pub(crate) proxy_require_tls: bool,
    /// `protocol websockets`.
    pub(crate) web: Option<WebConfig>,
    /// `protocol http_api`.
    pub(crate) http: bool,
    /// A reload took it out: its number is kept for those who came through it.
    pub(crate) closed: bool,
}

impl Listener {
    /// What the log calls it.
    pub(crate) fn named(&self) -> String {
        match &self.path {
            Some(path) => format!("path {}", path.display()),
            None => format!("port {}", self.port),
        }
    }

    /// A listener as it is if nothing more is said.
    pub(crate) fn at(place: String, port: u16, hosts: Vec<Option<String>>) -> Self {
        let settings = ListenerSettings::default();
        Self {
            place,
            port,
            hosts,
            path: None,
            interface: None,
            max_connection_rate: None,
            max_connections: None,
            memory_budget: None,
            allow_anonymous: false,
            max_qos: settings.max_qos,
            max_topic_alias: settings.max_topic_alias,
            max_topic_alias_broker: settings.max_topic_alias_broker,
            allow_zero_length_clientid: settings.allow_zero_length_clientid,
            auto_id_prefix: settings.auto_id_prefix,
            access: AccessConfig::default(),
            tls: TlsConfig::default(),
            proxy_protocol: None,
            proxy_require_tls: false,
            web: None,
            http: false,
            closed: false,
        }
    }

    /// What its connections begin with.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        match self.proxy_protocol {
            Some(1) => Some(Proxy::V1),
            Some(_) => Some(Proxy::V2 { require_tls: self.proxy_require_tls }),
            None => None,
        }
    }

    /// Whether both listen at the same place, whatever else differs.
    pub(crate) fn is_at_the_place_of(&self, other: &Self) -> bool {
        let place = |listener: &Self| {
            (
                listener.port,
                listener.hosts.clone(),
                listener.path.clone(),
                listener.interface.clone(),
                // Others wait at its door.
                listener.http,
            )
        };
        place(self) == place(other)
    }
}

impl Default for Config {
    /// What holds where nothing is said. The table's defaults are the same, which a test checks.
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            source: None,
            warnings: Vec::new(),
            listeners: Vec::new(),
            log: Setup::default(),
            process: ProcessConfig::default(),
            persistence: Persistence::default(),
            plugins: Vec::new(),
            connection_messages: true,
            sys_interval: 10,
            reporting: Reporting::default(),
            otlp: Otlp::default(),
            io_threads: 0,
            memory_limit: None,
            memory_budgets: Vec::new(),
            client_budgets: BudgetRules::default(),
            set_tcp_nodelay: true,
            connect_timeout: 30,
            global_max_connections: None,
            max_handshakes: Some(4096),
            max_connections_per_address: None,
            addresses_exempt: Vec::new(),
            packet_timeout: 120,
            clientid_prefixes: None,
            tls_keylog: None,
            acl_subscribe_deny: true,
            auth_failures_per_minute: 600,
            global_max_clients: settings.global_max_clients,
            max_inflight_messages: settings.max_inflight_messages,
            max_inflight_bytes: settings.max_inflight_bytes,
            max_queued_messages: settings.max_queued_messages,
            max_queued_bytes: settings.max_queued_bytes,
            max_packet_size: settings.max_packet_size,
            message_size_limit: settings.message_size_limit,
            max_keepalive: settings.max_keepalive,
            max_topic_length: TopicLimits::DEFAULT.bytes_max,
            max_topic_levels: TopicLimits::DEFAULT.levels_max,
            max_user_properties: 1000,
            max_filters_per_packet: 10_000,
            max_subscriptions_per_client: settings.subscriptions_max,
            queue_qos0_messages: settings.queue_qos0_messages,
            persistent_client_expiration: None,
            retain_available: settings.retain_available,
            retain_rules: settings.retain_rules,
            allow_duplicate_messages: settings.allow_duplicate_messages,
            upgrade_outgoing_qos: settings.upgrade_outgoing_qos,
            slow_consumer_timeout: settings.slow_consumer_timeout,
            max_output_bytes: settings.output_bytes_max,
            http: HttpConfig::default(),
        }
    }
}

impl Config {
    /// The engine's part of it.
    pub(crate) fn settings(&self) -> Settings {
        let listener = |listener: &Listener| ListenerSettings {
            max_qos: listener.max_qos,
            max_topic_alias: listener.max_topic_alias,
            max_topic_alias_broker: listener.max_topic_alias_broker,
            allow_zero_length_clientid: listener.allow_zero_length_clientid,
            auto_id_prefix: listener.auto_id_prefix.clone(),
            mount_point: listener.access.mount_point.clone(),
            memory_budget: listener.memory_budget,
        };
        Settings {
            listeners: self.listeners.iter().map(listener).collect(),
            max_inflight_messages: self.max_inflight_messages,
            max_inflight_bytes: self.max_inflight_bytes,
            max_queued_messages: self.max_queued_messages,
            max_queued_bytes: self.max_queued_bytes,
            max_packet_size: self.max_packet_size,
            message_size_limit: self.message_size_limit,
            max_keepalive: self.max_keepalive,
            queue_qos0_messages: self.queue_qos0_messages,
            persistent_client_expiration: self.persistent_client_expiration,
            retain_available: self.retain_available,
            retain_rules: self.retain_rules.clone(),
            budgets: self.client_budgets.clone(),
            allow_duplicate_messages: self.allow_duplicate_messages,
            upgrade_outgoing_qos: self.upgrade_outgoing_qos,
            slow_consumer_timeout: self.slow_consumer_timeout,
            output_bytes_max: self.max_output_bytes,
            subscriptions_max: self.max_subscriptions_per_client,
            global_max_clients: self.global_max_clients,
            persistence: self.persistence.engine(),
            control: self.plugins.iter().any(|plugin| plugin.builtin == Builtin::DynamicSecurity),
            trace: self.log.kinds & crate::log::Kind::Debug as u16 != 0,
            ..Settings::default()
        }
    }
}
