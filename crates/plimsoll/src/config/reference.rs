//! `docs/configuration.md`, made from the table.

use std::fmt::Write;

use super::directives::{Directive, Scope, Status, all, find};

const HEAD: &str = "# Configuration

Made by `plimsoll config-reference` from the table in `crates/plimsoll/src/config/directives/`; do not edit.

Plimsoll reads `mosquitto.conf`. Every directive of Mosquitto 2.1 is known. One that has no effect in
this release says so as a warning; one without which the broker would be more open than the file asks
for is an error. Directives marked (Plimsoll) are ours.

";

const TAIL: &str = "
## Where Plimsoll differs from Mosquitto

- Tabs separate words, and comments may be indented: Mosquitto refuses both.
- All mistakes of a file are reported at once, each with file, line and the nearest known name.
- A full queue of a connected client holds back the publisher's acknowledgement instead of dropping
  what was acknowledged (`max_queued_messages`, `slow_consumer_timeout`).
- QoS 0 for a connected client is bounded by `max_output_bytes`, not by the queue's limits.
- A 5.0 client with overlapping subscriptions gets one copy with all identifiers.
- A session takeover publishes the Will Message and tells a 5.0 client why (MQTT-3.1.2-8, MQTT-3.1.4-3).
- A Will Message survives a DISCONNECT with any reason but 0x00 (MQTT-3.14.4-3).
- A client that exceeds Receive Maximum is disconnected with 0x93.
- PUBREL and PUBCOMP say 0x92 to a 5.0 client where the packet identifier is not known.
- `set_tcp_nodelay` is on.
- `max_queued_bytes` and `max_inflight_bytes` count all that a message holds, not its payload alone.
- A payload beyond `message_size_limit` ends the connection; Mosquitto acknowledges and drops it.
- A default listener that an option such as `max_connections` makes (no `listener` or `port` above it)
  is reached from everywhere, so it lets anonymous clients in only if `allow_anonymous true` says so.
";

/// The reference as Markdown.
pub(crate) fn reference() -> String {
    let mut text = String::from(HEAD);
    let sections = [
        (Scope::Global, "The whole broker"),
        (Scope::Listener, "A listener (what follows `listener`, or the default one)"),
        (Scope::Security, "A listener if `per_listener_settings true`, else the whole broker"),
        (Scope::Plugin, "Plugins"),
        (Scope::Bridge, "Bridges"),
    ];
    for (scope, title) in sections {
        let _ = writeln!(
            text,
            "## {title}\n\n| directive | values | default | meaning | status |\n|---|---|---|---|---|"
        );
        let mut directives: Vec<&Directive> = all().filter(|d| d.scope == scope).collect();
        directives.sort_by_key(|directive| directive.name);
        for directive in directives {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                directive.name,
                directive.kind.describe(),
                directive.default,
                directive.help,
                status(directive.status),
            );
        }
        text.push('\n');
    }
    limits(&mut text);
    text + TAIL
}

/// What a peer or a client can make grow, and what happens at the bound of it.
const LIMITS: [(&str, &str); 26] = [
    ("max_connections", "the connection is closed, and logged"),
    ("global_max_connections", "the connection is closed, and logged"),
    ("max_connections_per_address", "the connection is closed, and logged"),
    ("max_connection_rate", "it waits in the system's queue for its turn"),
    (
        "max_handshakes",
        "it waits in the system's queue; who takes longer than 5 s is closed to make room",
    ),
    ("connect_timeout", "the connection is closed, and logged"),
    ("packet_timeout", "the connection is closed, and logged"),
    ("auth_failures_per_minute", "CONNACK 0x9F (3.x: 3), without a look at the password"),
    ("global_max_clients", "CONNACK 0x97 (3.x: 3)"),
    ("max_keepalive", "5.0: Server Keep Alive; 3.x: CONNACK 2"),
    ("max_packet_size", "DISCONNECT 0x95; announced in CONNACK"),
    ("message_size_limit", "PUBACK or PUBREC 0x97, or DISCONNECT; QoS 0 is dropped"),
    ("max_topic_length", "DISCONNECT 0x90 or 0x8F"),
    ("max_topic_levels", "DISCONNECT 0x90 or 0x8F"),
    ("max_user_properties", "DISCONNECT 0x97"),
    ("max_filters_per_packet", "DISCONNECT 0x97"),
    ("max_subscriptions_per_client", "SUBACK 0x97 (3.x: 0x80)"),
    ("max_topic_alias", "DISCONNECT 0x94; announced in CONNACK"),
    ("max_qos", "DISCONNECT 0x9B; announced in CONNACK"),
    ("max_inflight_messages", "towards a client messages wait; from a 5.0 client DISCONNECT 0x93"),
    ("max_inflight_bytes", "messages wait"),
    (
        "max_queued_messages",
        "connected: the publisher's acknowledgement waits; absent: dropped, counted, 0x97 to a 5.0 publisher",
    ),
    ("max_queued_bytes", "the same"),
    ("max_output_bytes", "QoS 0 is dropped and counted, QoS 1 and 2 wait"),
    ("slow_consumer_timeout", "messages for this client are dropped and counted"),
    ("persistent_client_expiration", "the session of an absent client ends"),
];

/// The bounds in one table.
fn limits(text: &mut String) {
    let _ = writeln!(
        text,
        "## Limits\n\nEverything that a peer can send or make grow is bounded; the defaults are safe for the open internet.\n\n| limit | default | at the limit |\n|---|---|---|"
    );
    for (name, reached) in LIMITS {
        let default = find(name).map_or("", |directive| directive.default);
        let default = if default.is_empty() { "none" } else { default };
        let _ = writeln!(text, "| `{name}` | {default} | {reached} |");
    }
}

fn status(status: Status) -> String {
    match status {
        Status::Done | Status::Structure => "done".into(),
        Status::NotYet(release) => format!("warning; comes with {release}"),
        Status::Unsupported(because) => format!("error: {because}"),
        Status::NotNeeded(because) => format!("not needed: {because}"),
    }
}
