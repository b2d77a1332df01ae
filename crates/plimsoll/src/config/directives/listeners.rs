//! What listens, and who may connect.

use plimsoll_mqtt::Version;

use super::{
    ANY, Apply, AtLeast, Directive, Flag, Global, List, Number, OnListener, QoS, Scope, Status,
    Text, U16, U32, Value, Word, Words, done, known, limit,
};

/// The directives of this subject.
pub(super) static DIRECTIVES: &[Directive] = &[
    // --- listeners ---
    known(
        "listener",
        Scope::Global,
        Words,
        "Port, and optionally address, of a listener; `0 PATH` is a unix socket, which the broker's user and group may use. What follows belongs to it.",
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
        "Protocol of the listener. `http_api` serves metrics, an API and a page (docs/http-api.md).",
        Status::Structure,
    ),
    known(
        "socket_domain",
        Scope::Listener,
        Word(&["ipv4", "ipv6"]),
        "Restricts a listener without address to one kind of addresses.",
        Status::Structure,
    ),
    done(
        "bind_interface",
        Scope::Listener,
        Text,
        "",
        "Network interface to listen on.",
        OnListener(|l, v| l.interface = Some(v.text().to_owned())),
    ),
    done(
        "mount_point",
        Scope::Listener,
        Text,
        "",
        "Prefix of all topics of the listener's clients, which they do not see.",
        OnListener(|l, v| v.text().clone_into(&mut l.access.mount_point)),
    ),
    done(
        "enable_proxy_protocol",
        Scope::Listener,
        Number(1, 2),
        "",
        "The version of the PROXY protocol that every connection has to begin with; it says who the client is.",
        OnListener(|l, v| l.proxy_protocol = Some(v.number())),
    ),
    done(
        "proxy_protocol_v2_require_tls",
        Scope::Listener,
        Flag,
        "false",
        "Only connections of which the proxy says that the client's side is encrypted.",
        OnListener(|l, v| l.proxy_require_tls = v.flag()),
    ),
    done(
        "max_connections",
        Scope::Listener,
        AtLeast(-1, ANY),
        "-1",
        "Connections of the listener at one time; -1 or 0 is no limit.",
        OnListener(|l, v| l.max_connections = limit(v)),
    ),
    done(
        "max_connection_rate",
        Scope::Listener,
        AtLeast(0, U32),
        "0",
        "(Plimsoll) Connections per second that the listener takes in, with a second's worth saved up; others wait in the system's queue. 0 is no limit.",
        OnListener(|l, v| l.max_connection_rate = Some(v.number()).filter(|rate| *rate > 0)),
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
    done(
        "use_username_as_clientid",
        Scope::Listener,
        Flag,
        "false",
        "The user name takes the place of the client identifier; who has none is refused.",
        OnListener(|l, v| l.access.use_username_as_clientid = v.flag()),
    ),
    done(
        "accept_protocol_versions",
        Scope::Listener,
        List(&["3", "4", "5"]),
        "3, 4, 5",
        "Versions of MQTT that are let in, with commas between: 3 is 3.1, 4 is 3.1.1, 5 is 5.0.",
        OnListener(|l, v| l.access.versions = versions(v)),
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
        Status::NotNeeded(
            "a broker is no web server: let nginx or the like serve pages, and send what wants the upgrade on to this listener; a listener with `protocol http_api` has its page built in",
        ),
    ),
    done(
        "http_max_connections",
        Scope::Global,
        Number(1, 4096),
        "64",
        "(Plimsoll) Connections of each listener with `protocol http_api`; others wait in the system's queue. Such a listener's own `max_connections` turns away.",
        Global(|c, v| c.http.max_connections = v.number()),
    ),
    done(
        "http_max_header_bytes",
        Scope::Global,
        Number(8192, 1 << 20),
        "16384",
        "(Plimsoll) Bytes of an HTTP request's line and headers; a longer one is answered with 431.",
        Global(|c, v| c.http.max_header_bytes = v.number()),
    ),
    done(
        "http_max_body_bytes",
        Scope::Global,
        Number(0, 1 << 24),
        "65536",
        "(Plimsoll) Bytes of an HTTP request's body; a longer one is answered with 413.",
        Global(|c, v| c.http.max_body_bytes = v.number()),
    ),
    done(
        "http_timeout",
        Scope::Global,
        Number(1, 3600),
        "30",
        "(Plimsoll) Seconds in which an HTTP client's handshake, its next request, and its taking of the answer have each to be over; then the connection is closed.",
        Global(|c, v| c.http.timeout = v.number()),
    ),
    done(
        "websockets_origin",
        Scope::Listener,
        Text,
        "",
        "An origin, such as `https://plant.example`, that pages with WebSocket clients may come from; may be given several times. Without it they may come from anywhere.",
        OnListener(|l, v| {
            l.web.get_or_insert_default().origins.push(v.text().to_owned());
        }),
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
    done(
        "password_file",
        Scope::Security,
        Text,
        "",
        "User names and password hashes (`plimsoll passwd` makes it, `mosquitto_passwd` too).",
        OnListener(|l, v| l.access.password_file = Some(v.text().into())),
    ),
    done(
        "acl_file",
        Scope::Security,
        Text,
        "",
        "Who may read and write which topics; without it, and without a plugin that says so, everybody may do everything.",
        OnListener(|l, v| l.access.acl_file = Some(v.text().into())),
    ),
    done(
        "acl_subscribe_deny",
        Scope::Global,
        Flag,
        "true",
        "A topic filter of which a client may read nothing is refused in SUBACK (0x87, or 0x80 for 3.x). `false` is Mosquitto's way: it is granted, and brings nothing. Not in Mosquitto.",
        Global(|c, v| c.acl_subscribe_deny = v.flag()),
    ),
    known("psk_file", Scope::Security, Text, "Pre-shared keys.", Status::Unsupported(PSK)),
    known(
        "psk_hint",
        Scope::Listener,
        Text,
        "Hint sent to clients for pre-shared keys.",
        Status::Unsupported(PSK),
    ),
    done(
        "clientid_prefixes",
        Scope::Global,
        Text,
        "",
        "Client identifiers must begin with this; others are refused.",
        Global(|c, v| c.clientid_prefixes = Some(v.text().to_owned()).filter(|p| !p.is_empty())),
    ),
    done(
        "auth_failures_per_minute",
        Scope::Global,
        AtLeast(0, U32),
        "600",
        "Wrong passwords that an address (IPv4, or a /64 of IPv6) may try in a minute before nobody there is listened to until it has been quiet (CONNACK 0x9F, or 3 for 3.x); 0 is no limit. Not in Mosquitto.",
        Global(|c, v| c.auth_failures_per_minute = v.number()),
    ),
    known(
        "check_retain_source",
        Scope::Global,
        Flag,
        "Check again who published a retained message before it is sent.",
        Status::NotNeeded(
            "retained messages do not remember who published them; delete those of a publisher that has lost its rights",
        ),
    ),
    known(
        "plugin",
        Scope::Plugin,
        Text,
        "A plugin by its file's name; Plimsoll has the common ones built in (docs/plugins.md) and loads no others.",
        Status::Structure,
    ),
    known(
        "global_plugin",
        Scope::Plugin,
        Text,
        "The same, for all listeners even with `per_listener_settings true`.",
        Status::Structure,
    ),
    known(
        "plugin_load",
        Scope::Plugin,
        Words,
        "The same, with a name: `plugin_load NAME PATH`.",
        Status::Structure,
    ),
    known(
        "plugin_use",
        Scope::Plugin,
        Text,
        "Uses a plugin that was loaded by name.",
        Status::Structure,
    ),
    known("auth_plugin", Scope::Plugin, Text, "The same as `plugin`.", Status::Structure),
    known(
        "auth_plugin_deny_special_chars",
        Scope::Plugin,
        Flag,
        "Deny topics to clients with `+`, `#` or `/` in user name or identifier (go-auth; true if not said).",
        Status::Structure,
    ),
    known(
        "enable_control_api",
        Scope::Global,
        Flag,
        "The topics below $CONTROL/broker: listeners and plugins. Dynamic security has its own, without it.",
        Status::NotYet("the window"),
    ),
    // --- TLS ---
    tls(
        "cafile",
        "Certificates of the authorities that clients' certificates come from (PEM).",
        OnListener(|l, v| l.tls.cafile = Some(v.text().into())),
    ),
    tls(
        "capath",
        "Directory of such certificates; every file in it is read, hashed names are not needed.",
        OnListener(|l, v| l.tls.capath = Some(v.text().into())),
    ),
    tls(
        "certfile",
        "The broker's certificate, its chain behind it (PEM). With it the listener is encrypted. May be given several times, each with its `keyfile`: the name that the client asks for (SNI) decides, and the first is for all others.",
        OnListener(|l, v| l.tls.certfiles.push(v.text().into())),
    ),
    tls(
        "keyfile",
        "The private key of `certfile` (PEM, not encrypted).",
        OnListener(|l, v| l.tls.keyfiles.push(v.text().into())),
    ),
    tls(
        "crlfile",
        "Revoked certificates (PEM). There has to be a list of each issuer that still holds.",
        OnListener(|l, v| l.tls.crlfile = Some(v.text().into())),
    ),
    tls_flag(
        "require_certificate",
        "Clients must have a certificate of `cafile` or `capath`.",
        OnListener(|l, v| l.tls.require_certificate = v.flag()),
    ),
    tls_flag(
        "use_identity_as_username",
        "The common name of the client's certificate is its user name, and no password is asked for.",
        OnListener(|l, v| l.tls.use_identity_as_username = v.flag()),
    ),
    tls_flag(
        "use_subject_as_username",
        "The subject of the client's certificate (RFC 2253) is its user name, and no password is asked for.",
        OnListener(|l, v| l.tls.use_subject_as_username = v.flag()),
    ),
    tls_flag(
        "disable_client_cert_date_checks",
        "Let clients in whose certificate has expired.",
        OnListener(|l, v| l.tls.disable_client_cert_date_checks = v.flag()),
    ),
    tls(
        "tls_version",
        "Lowest version of TLS: tlsv1.2 or tlsv1.3. Older ones are not to be had.",
        OnListener(|l, v| l.tls.tls_version = Some(v.text().to_owned())),
    ),
    tls(
        "ciphers",
        "Ciphers of TLS 1.2, by OpenSSL's names; those that are not there are passed over, and if none is left it is an error.",
        OnListener(|l, v| l.tls.ciphers = Some(v.text().to_owned())),
    ),
    tls(
        "ciphers_tls1.3",
        "Ciphers of TLS 1.3.",
        OnListener(|l, v| l.tls.ciphers_tls13 = Some(v.text().to_owned())),
    ),
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
];

const PSK: &str = "rustls has no pre-shared keys; give each device a certificate (`require_certificate`) or a password";

const fn tls(name: &'static str, help: &'static str, apply: Apply) -> Directive {
    done(name, Scope::Listener, Text, "", help, apply)
}

const fn tls_flag(name: &'static str, help: &'static str, apply: Apply) -> Directive {
    done(name, Scope::Listener, Flag, "false", help, apply)
}

/// The versions of a list of protocol levels.
fn versions(value: &Value) -> Vec<Version> {
    let version = |word: &str| match word.trim() {
        "3" => Some(Version::V31),
        "4" => Some(Version::V311),
        "5" => Some(Version::V5),
        _ => None,
    };
    value.text().split(',').filter_map(version).collect()
}
