//! The table of directives: every one of Mosquitto 2.1, and a few of our own.

use plimsoll_mqtt::QoS;

use super::value::{Kind, Value};
use super::{Config, Listener};

/// What a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The whole broker.
    Global,
    /// The listener above it, or the default one.
    Listener,
    /// A listener with `per_listener_settings true`, else the whole broker.
    Security,
    /// The bridge above it.
    Bridge,
    /// The plugin above it.
    Plugin,
}

/// What this release does with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    /// It has effect.
    Done,
    /// It comes with a later release; until then it has no effect.
    NotYet(&'static str),
    /// It comes with a later release, and without it the broker would be open where the operator
    /// wants it closed: an error.
    Refused(&'static str),
    /// It is not needed.
    NotNeeded(&'static str),
    /// The parser itself deals with it.
    Structure,
}

/// How a value reaches the configuration.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    Nothing,
    Global(fn(&mut Config, &Value)),
    Listener(fn(&mut Listener, &Value)),
}

/// One directive.
pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    pub(super) status: Status,
    pub(super) apply: Apply,
}

const ANY: i64 = i64::MAX;
const U16: i64 = 65_535;
const U32: i64 = 4_294_967_295;

/// Largest remaining length of a packet.
const PACKET: i64 = 268_435_455;

const DURABILITY: &str = "durability";
const DOORS: &str = "doors (TLS, identities, rules, WebSockets)";
const LEDGER: &str = "the load line";
const BRIDGES: &str = "bridges";

const fn done(
    name: &'static str,
    scope: Scope,
    kind: Kind,
    default: &'static str,
    help: &'static str,
    apply: Apply,
) -> Directive {
    Directive { name, scope, kind, default, help, status: Status::Done, apply }
}

const fn known(
    name: &'static str,
    scope: Scope,
    kind: Kind,
    help: &'static str,
    status: Status,
) -> Directive {
    Directive { name, scope, kind, default: "", help, status, apply: Apply::Nothing }
}

const fn bridge(name: &'static str, kind: Kind, help: &'static str) -> Directive {
    known(name, Scope::Bridge, kind, help, Status::NotYet(BRIDGES))
}

const fn tls(name: &'static str, kind: Kind, help: &'static str) -> Directive {
    known(name, Scope::Listener, kind, help, Status::Refused(DOORS))
}

use Apply::{Global, Listener as OnListener};
use Kind::{Flag, Number, Span, Text, Word, Words};

fn limit(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// Every directive, sorted by subject.
pub(super) static DIRECTIVES: &[Directive] = &[
    // --- listeners ---
    known(
        "listener",
        Scope::Global,
        Words,
        "Port, and optionally address, of a listener. What follows belongs to it.",
        Status::Structure,
    ),
    known(
        "port",
        Scope::Global,
        Number(0, U16),
        "Port of the default listener; `listener` is the newer word.",
        Status::Structure,
    ),
    known(
        "bind_address",
        Scope::Global,
        Text,
        "Address of the default listener.",
        Status::Structure,
    ),
    known(
        "protocol",
        Scope::Listener,
        Word(&["mqtt", "mqttsn", "websockets", "http_api"]),
        "Protocol of the listener.",
        Status::Structure,
    ),
    known(
        "socket_domain",
        Scope::Listener,
        Word(&["ipv4", "ipv6"]),
        "Restricts a listener without address to one kind of addresses.",
        Status::Structure,
    ),
    known(
        "bind_interface",
        Scope::Listener,
        Text,
        "Network interface to listen on.",
        Status::Refused(DOORS),
    ),
    known(
        "mount_point",
        Scope::Listener,
        Text,
        "Prefix of all topics of the listener's clients.",
        Status::Refused(DOORS),
    ),
    known(
        "enable_proxy_protocol",
        Scope::Listener,
        Number(1, 2),
        "The PROXY protocol's version that connections begin with.",
        Status::Refused(DOORS),
    ),
    known(
        "proxy_protocol_v2_require_tls",
        Scope::Listener,
        Flag,
        "Only connections that were encrypted before the proxy.",
        Status::Refused(DOORS),
    ),
    done(
        "max_connections",
        Scope::Listener,
        Number(-1, ANY),
        "-1",
        "Connections of the listener at one time; -1 is no limit.",
        OnListener(|l, v| l.max_connections = limit(v)),
    ),
    done(
        "max_qos",
        Scope::Listener,
        Number(0, 2),
        "2",
        "Highest QoS that the listener's clients may use.",
        OnListener(|l, v| l.max_qos = QoS::try_from(v.number::<u8>()).unwrap_or_default()),
    ),
    done(
        "maximum_qos",
        Scope::Listener,
        Number(0, 2),
        "2",
        "The same as `max_qos`.",
        OnListener(|l, v| l.max_qos = QoS::try_from(v.number::<u8>()).unwrap_or_default()),
    ),
    done(
        "max_topic_alias",
        Scope::Listener,
        Number(0, U16),
        "10",
        "Topic aliases that a client may use.",
        OnListener(|l, v| l.max_topic_alias = v.number()),
    ),
    done(
        "max_topic_alias_broker",
        Scope::Listener,
        Number(0, U16),
        "10",
        "Topic aliases that the broker uses towards a client, at most.",
        OnListener(|l, v| l.max_topic_alias_broker = v.number()),
    ),
    known(
        "use_username_as_clientid",
        Scope::Listener,
        Flag,
        "The user name takes the place of the client identifier.",
        Status::Refused(DOORS),
    ),
    known(
        "accept_protocol_versions",
        Scope::Listener,
        Text,
        "Versions of MQTT that are accepted: 3, 4, 5.",
        Status::Refused(DOORS),
    ),
    done(
        "set_tcp_nodelay",
        Scope::Global,
        Flag,
        "true",
        "Send small packets at once. Mosquitto's default is false; here one write carries all that is due, so nothing is gained by waiting.",
        Global(|c, v| c.set_tcp_nodelay = v.flag()),
    ),
    known(
        "http_dir",
        Scope::Listener,
        Text,
        "Directory that a websockets listener serves.",
        Status::NotYet(DOORS),
    ),
    known(
        "websockets_origin",
        Scope::Listener,
        Text,
        "Origins that WebSocket clients may come from.",
        Status::Refused(DOORS),
    ),
    known(
        "websockets_log_level",
        Scope::Global,
        Number(0, ANY),
        "Log level of libwebsockets.",
        Status::NotNeeded("there is no libwebsockets in Plimsoll"),
    ),
    known(
        "websockets_headers_size",
        Scope::Global,
        Number(0, ANY),
        "Header buffer of libwebsockets.",
        Status::NotNeeded("there is no libwebsockets in Plimsoll"),
    ),
    known(
        "packet_buffer_size",
        Scope::Global,
        Number(0, ANY),
        "Packet buffer of a connection.",
        Status::NotNeeded("connections own no buffers in Plimsoll"),
    ),
    // --- who may connect ---
    known(
        "per_listener_settings",
        Scope::Global,
        Flag,
        "Security settings belong to listeners instead of the whole broker.",
        Status::Structure,
    ),
    done(
        "allow_anonymous",
        Scope::Security,
        Flag,
        "true without a listener, else false",
        "Whether clients without user name are let in.",
        OnListener(|l, v| l.allow_anonymous = v.flag()),
    ),
    done(
        "listener_allow_anonymous",
        Scope::Listener,
        Flag,
        "",
        "`allow_anonymous` of this listener.",
        OnListener(|l, v| l.allow_anonymous = v.flag()),
    ),
    done(
        "allow_zero_length_clientid",
        Scope::Security,
        Flag,
        "true",
        "Whether a client without identifier is given one.",
        OnListener(|l, v| l.allow_zero_length_clientid = v.flag()),
    ),
    done(
        "auto_id_prefix",
        Scope::Security,
        Text,
        "auto-",
        "What identifiers given by the broker begin with.",
        OnListener(|l, v| v.text().clone_into(&mut l.auto_id_prefix)),
    ),
    done(
        "listener_auto_id_prefix",
        Scope::Listener,
        Text,
        "",
        "`auto_id_prefix` of this listener.",
        OnListener(|l, v| v.text().clone_into(&mut l.auto_id_prefix)),
    ),
    known(
        "password_file",
        Scope::Security,
        Text,
        "User names and password hashes.",
        Status::NotYet(DOORS),
    ),
    known(
        "acl_file",
        Scope::Security,
        Text,
        "Who may read and write which topics.",
        Status::Refused(DOORS),
    ),
    known("psk_file", Scope::Security, Text, "Pre-shared keys.", Status::Refused(DOORS)),
    known(
        "psk_hint",
        Scope::Listener,
        Text,
        "Hint sent to clients for pre-shared keys.",
        Status::Refused(DOORS),
    ),
    known(
        "clientid_prefixes",
        Scope::Global,
        Text,
        "Client identifiers must begin with this.",
        Status::Refused(DOORS),
    ),
    known(
        "check_retain_source",
        Scope::Global,
        Flag,
        "Check again who published a retained message before it is sent.",
        Status::NotYet(DOORS),
    ),
    known("plugin", Scope::Plugin, Text, "A plugin to load.", Status::Refused(DOORS)),
    known(
        "global_plugin",
        Scope::Plugin,
        Text,
        "A plugin for all listeners.",
        Status::Refused(DOORS),
    ),
    known("plugin_load", Scope::Plugin, Words, "A plugin with a name.", Status::Refused(DOORS)),
    known(
        "plugin_use",
        Scope::Plugin,
        Text,
        "A plugin that was loaded by name.",
        Status::Refused(DOORS),
    ),
    known("auth_plugin", Scope::Plugin, Text, "An authentication plugin.", Status::Refused(DOORS)),
    known(
        "auth_plugin_deny_special_chars",
        Scope::Plugin,
        Flag,
        "Deny user names and identifiers with + and #.",
        Status::NotYet(DOORS),
    ),
    known("enable_control_api", Scope::Global, Flag, "The $CONTROL topics.", Status::NotYet(DOORS)),
    // --- TLS ---
    tls("cafile", Text, "Certificates of authorities."),
    tls("capath", Text, "Directory of certificates of authorities."),
    tls("certfile", Text, "The broker's certificate."),
    tls("keyfile", Text, "The broker's private key."),
    tls("crlfile", Text, "Revoked certificates."),
    tls("require_certificate", Flag, "Clients must have a certificate."),
    tls("use_identity_as_username", Flag, "The certificate's common name is the user name."),
    tls("use_subject_as_username", Flag, "The certificate's subject is the user name."),
    tls("tls_version", Text, "Lowest version of TLS."),
    tls("ciphers", Text, "Ciphers of TLS 1.2."),
    tls("ciphers_tls1.3", Text, "Ciphers of TLS 1.3."),
    known(
        "dhparamfile",
        Scope::Listener,
        Text,
        "Diffie-Hellman parameters.",
        Status::NotNeeded("rustls chooses safe groups itself"),
    ),
    known(
        "tls_engine",
        Scope::Listener,
        Text,
        "OpenSSL engine.",
        Status::NotNeeded("there is no OpenSSL in Plimsoll"),
    ),
    known(
        "tls_engine_kpass_sha1",
        Scope::Listener,
        Text,
        "Password of an OpenSSL engine's key.",
        Status::NotNeeded("there is no OpenSSL in Plimsoll"),
    ),
    known(
        "tls_keyform",
        Scope::Listener,
        Text,
        "Form of the private key.",
        Status::NotNeeded("there is no OpenSSL in Plimsoll"),
    ),
    known(
        "disable_client_cert_date_checks",
        Scope::Listener,
        Flag,
        "Let expired client certificates in.",
        Status::Refused(DOORS),
    ),
    // --- queues and limits ---
    done(
        "max_inflight_messages",
        Scope::Global,
        Number(0, U16),
        "20",
        "QoS 1 and 2 messages in flight to a client, and from one (Receive Maximum); 0 is no limit.",
        Global(|c, v| c.max_inflight_messages = v.number()),
    ),
    done(
        "max_inflight_bytes",
        Scope::Global,
        Number(0, ANY),
        "0",
        "Bytes in flight to a client; 0 is no limit.",
        Global(|c, v| c.max_inflight_bytes = v.number()),
    ),
    done(
        "max_queued_messages",
        Scope::Global,
        Number(0, U32),
        "1000",
        "QoS 1 and 2 messages waiting for a client beyond those in flight; 0 is no limit. For a connected client that makes progress, further ones are held back with their acknowledgement instead of being dropped.",
        Global(|c, v| c.max_queued_messages = v.number()),
    ),
    done(
        "max_queued_bytes",
        Scope::Global,
        Number(0, ANY),
        "0",
        "Bytes waiting for a client beyond those in flight; 0 is no limit.",
        Global(|c, v| c.max_queued_bytes = v.number()),
    ),
    done(
        "max_packet_size",
        Scope::Global,
        Number(0, PACKET),
        "2000000",
        "Largest packet that is taken, in bytes; announced to 5.0 clients; 0 is the protocol's own limit.",
        Global(|c, v| c.max_packet_size = v.number()),
    ),
    done(
        "message_size_limit",
        Scope::Global,
        Number(0, PACKET),
        "0",
        "Largest payload that is taken, in bytes; 0 is no limit.",
        Global(|c, v| c.message_size_limit = v.number()),
    ),
    done(
        "max_keepalive",
        Scope::Global,
        Number(0, U16),
        "65535",
        "Longest keep alive, seconds. 5.0 clients are told; 3.x clients with a longer one are refused. 0 allows none at all, which is 65535.",
        Global(|c, v| c.max_keepalive = v.number()),
    ),
    done(
        "global_max_connections",
        Scope::Global,
        Number(-1, ANY),
        "-1",
        "Connections of all listeners; -1 is no limit.",
        Global(|c, v| c.global_max_connections = limit(v)),
    ),
    done(
        "global_max_clients",
        Scope::Global,
        Number(-1, U32),
        "-1",
        "Sessions, connected or not; -1 is no limit.",
        Global(|c, v| c.global_max_clients = v.number()),
    ),
    done(
        "queue_qos0_messages",
        Scope::Global,
        Flag,
        "false",
        "Queue QoS 0 messages for sessions that are not connected.",
        Global(|c, v| c.queue_qos0_messages = v.flag()),
    ),
    done(
        "persistent_client_expiration",
        Scope::Global,
        Span,
        "never",
        "Life of a session that is not connected; also the most that a 5.0 client may ask for.",
        Global(|c, v| c.persistent_client_expiration = Some(v.number())),
    ),
    done(
        "retain_available",
        Scope::Global,
        Flag,
        "true",
        "Whether retained messages are supported.",
        Global(|c, v| c.retain_available = v.flag()),
    ),
    done(
        "retain_expiry_interval",
        Scope::Global,
        Number(0, U32),
        "0",
        "Age limit of retained messages, seconds; 0 is none.",
        Global(|c, v| c.retain_expiry_interval = v.number()),
    ),
    done(
        "allow_duplicate_messages",
        Scope::Global,
        Flag,
        "true",
        "Whether a 3.x client with overlapping subscriptions gets a message once for each. A 5.0 client gets it once, with all subscription identifiers.",
        Global(|c, v| c.allow_duplicate_messages = v.flag()),
    ),
    done(
        "upgrade_outgoing_qos",
        Scope::Global,
        Flag,
        "false",
        "Deliver at the subscription's QoS, even if published at a lower one.",
        Global(|c, v| c.upgrade_outgoing_qos = v.flag()),
    ),
    done(
        "slow_consumer_timeout",
        Scope::Global,
        Number(1, U32),
        "10",
        "(Plimsoll) Seconds without progress after which messages for a connected client with a full queue are dropped.",
        Global(|c, v| c.slow_consumer_timeout = v.number()),
    ),
    done(
        "max_output_bytes",
        Scope::Global,
        Number(4096, U32),
        "1048576",
        "(Plimsoll) Bytes sent to a connection and not yet taken by the network; beyond it QoS 0 is dropped and QoS 1 and 2 wait in the queue.",
        Global(|c, v| c.max_output_bytes = v.number()),
    ),
    done(
        "connect_timeout",
        Scope::Global,
        Number(1, U32),
        "30",
        "(Plimsoll) Seconds in which a new connection must have sent CONNECT.",
        Global(|c, v| c.connect_timeout = v.number()),
    ),
    done(
        "max_topic_levels",
        Scope::Global,
        Number(1, U16),
        "200",
        "(Plimsoll) Levels of a topic name or filter.",
        Global(|c, v| c.max_topic_levels = v.number()),
    ),
    done(
        "max_user_properties",
        Scope::Global,
        Number(0, U16),
        "1000",
        "(Plimsoll) User properties of a packet.",
        Global(|c, v| c.max_user_properties = v.number()),
    ),
    done(
        "max_filters_per_packet",
        Scope::Global,
        Number(1, U16),
        "10000",
        "(Plimsoll) Topic filters of a SUBSCRIBE or UNSUBSCRIBE.",
        Global(|c, v| c.max_filters_per_packet = v.number()),
    ),
    done(
        "max_subscriptions_per_client",
        Scope::Global,
        Number(1, U32),
        "100000",
        "(Plimsoll) Subscriptions of a client.",
        Global(|c, v| c.max_subscriptions_per_client = v.number()),
    ),
    known(
        "memory_limit",
        Scope::Global,
        Number(0, ANY),
        "Most memory that the broker may use.",
        Status::NotYet(LEDGER),
    ),
    known(
        "retry_interval",
        Scope::Global,
        Number(0, ANY),
        "Seconds between retries.",
        Status::NotNeeded("MQTT forbids retries on a live connection; Mosquitto has none either"),
    ),
    // --- the process ---
    done(
        "io_threads",
        Scope::Global,
        Number(0, 8),
        "0",
        "(Plimsoll) Threads for connections; 0 is automatic, which is one: for plain TCP more threads move fewer messages.",
        Global(|c, v| c.io_threads = v.number()),
    ),
    done(
        "pid_file",
        Scope::Global,
        Text,
        "",
        "File to write the process's number to.",
        Global(|c, v| c.process.pid_file = Some(v.text().into())),
    ),
    done(
        "user",
        Scope::Global,
        Text,
        "mosquitto, else nobody",
        "User to become when started as root.",
        Global(|c, v| c.process.user = Some(v.text().to_owned())),
    ),
    done(
        "sys_interval",
        Scope::Global,
        Number(0, U16),
        "10",
        "Seconds between the figures of $SYS; 0 is off.",
        Global(|c, v| c.sys_interval = v.number()),
    ),
    known(
        "include_dir",
        Scope::Global,
        Text,
        "Directory whose *.conf files are read, sorted.",
        Status::Structure,
    ),
    // --- logging ---
    known(
        "log_dest",
        Scope::Global,
        Words,
        "stdout, stderr, syslog, topic, file PATH, dlt or none; may be given several times.",
        Status::Structure,
    ),
    known(
        "log_type",
        Scope::Global,
        Text,
        "error, warning, notice, information, debug, subscribe, unsubscribe, websockets, none or all; may be given several times.",
        Status::Structure,
    ),
    known("log_timestamp", Scope::Global, Flag, "Stamp each line.", Status::Structure),
    known(
        "log_timestamp_format",
        Scope::Global,
        Text,
        "Stamp as strftime(3) writes it, in local time.",
        Status::Structure,
    ),
    known(
        "log_facility",
        Scope::Global,
        Number(0, 7),
        "Facility local0 to local7 of the system log.",
        Status::Structure,
    ),
    done(
        "connection_messages",
        Scope::Global,
        Flag,
        "true",
        "Log when clients connect and disconnect.",
        Global(|c, v| c.connection_messages = v.flag()),
    ),
    // --- persistence ---
    known(
        "persistence",
        Scope::Global,
        Flag,
        "Keep sessions and messages over a restart.",
        Status::NotYet(DURABILITY),
    ),
    known(
        "retained_persistence",
        Scope::Global,
        Flag,
        "The same as `persistence`.",
        Status::NotYet(DURABILITY),
    ),
    known(
        "persistence_file",
        Scope::Global,
        Text,
        "Name of the persistence file.",
        Status::NotYet(DURABILITY),
    ),
    done(
        "persistence_location",
        Scope::Global,
        Text,
        "./plimsoll-data",
        "Directory of what is kept (comes with durability).",
        Global(|c, v| c.persistence_location = v.text().into()),
    ),
    known(
        "autosave_interval",
        Scope::Global,
        Number(0, ANY),
        "Seconds between saves.",
        Status::NotYet(DURABILITY),
    ),
    known(
        "autosave_on_changes",
        Scope::Global,
        Flag,
        "`autosave_interval` counts changes.",
        Status::NotYet(DURABILITY),
    ),
    // --- bridges ---
    bridge("connection", Text, "Name of a bridge. What follows belongs to it."),
    bridge("address", Words, "Addresses of the remote broker."),
    bridge("addresses", Words, "The same as `address`."),
    bridge("topic", Words, "Topics that are bridged, with direction, QoS and prefixes."),
    bridge(
        "bridge_attempt_unsubscribe",
        Flag,
        "Unsubscribe from topics that are no longer bridged.",
    ),
    bridge("bridge_bind_address", Text, "Local address."),
    bridge("bridge_max_packet_size", Number(0, PACKET), "Largest packet over the bridge."),
    bridge("bridge_max_topic_alias", Number(0, U16), "Topic aliases over the bridge."),
    bridge("bridge_outgoing_retain", Flag, "Keep the RETAIN flag of outgoing messages."),
    bridge("bridge_protocol_version", Text, "Version of MQTT of the bridge."),
    bridge("bridge_receive_maximum", Number(1, U16), "Receive Maximum of the bridge."),
    bridge(
        "bridge_reload_type",
        Word(&["lazy", "immediate"]),
        "When a changed bridge takes effect.",
    ),
    bridge(
        "bridge_session_expiry_interval",
        Number(0, U32),
        "Session Expiry Interval of the bridge.",
    ),
    bridge("bridge_tcp_keepalive", Words, "TCP keep alive of the bridge."),
    bridge("bridge_tcp_user_timeout", Number(0, ANY), "TCP user timeout of the bridge."),
    bridge("bridge_alpn", Text, "Application protocol of TLS."),
    bridge("bridge_cafile", Text, "Certificates of authorities."),
    bridge("bridge_capath", Text, "Directory of certificates of authorities."),
    bridge("bridge_certfile", Text, "The bridge's certificate."),
    bridge("bridge_keyfile", Text, "The bridge's private key."),
    bridge("bridge_ciphers", Text, "Ciphers of TLS 1.2."),
    bridge("bridge_ciphers_tls1.3", Text, "Ciphers of TLS 1.3."),
    bridge("bridge_identity", Text, "Identity for pre-shared keys."),
    bridge("bridge_psk", Text, "Pre-shared key."),
    bridge("bridge_insecure", Flag, "Do not check the remote's host name."),
    bridge("bridge_require_ocsp", Flag, "Require a stapled OCSP response."),
    bridge("bridge_tls_use_os_certs", Flag, "Use the system's authorities."),
    bridge("bridge_tls_version", Text, "Version of TLS."),
    bridge("cleansession", Flag, "Clean session of the bridge."),
    bridge("local_cleansession", Flag, "Clean session on the local side."),
    bridge("clientid", Text, "Client identifier on the remote side."),
    bridge("remote_clientid", Text, "Client identifier on the remote side."),
    bridge("local_clientid", Text, "Client identifier on the local side."),
    bridge("username", Text, "User name on the remote side."),
    bridge("remote_username", Text, "User name on the remote side."),
    bridge("local_username", Text, "User name on the local side."),
    bridge("password", Text, "Password on the remote side."),
    bridge("remote_password", Text, "Password on the remote side."),
    bridge("local_password", Text, "Password on the local side."),
    bridge("keepalive_interval", Number(5, U16), "Keep alive of the bridge."),
    bridge("idle_timeout", Number(0, ANY), "Seconds after which an idle lazy bridge closes."),
    bridge("notifications", Flag, "Publish the bridge's state."),
    bridge("notifications_local_only", Flag, "Publish the bridge's state here only."),
    bridge("notification_topic", Text, "Topic of the bridge's state."),
    bridge("restart_timeout", Words, "Seconds before a bridge reconnects."),
    bridge("round_robin", Flag, "Take the addresses in turn."),
    bridge(
        "start_type",
        Word(&["automatic", "lazy", "once", "manual"]),
        "When the bridge connects.",
    ),
    bridge("threshold", Number(1, ANY), "Messages that wake a lazy bridge."),
    bridge("try_private", Flag, "Say to the remote broker that this is a bridge."),
];

/// Directives that begin with these belong to a plugin, whatever follows.
pub(super) const PLUGIN_PREFIXES: [&str; 2] = ["plugin_opt_", "auth_opt_"];

/// The directive of a name.
pub(super) fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name == name)
}

/// The known name that is nearest to a mistyped one.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let most = name.len() / 3 + 1;
    let candidates =
        DIRECTIVES.iter().map(|directive| (distance(name, directive.name), directive.name));
    candidates.filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let substituted = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = substituted.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
