//! `docs/configuration.md`, made from the table.

use std::fmt::Write;

use super::directives::{Directive, Scope, Status, all};

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
    text.truncate(text.trim_end().len());
    text.push('\n');
    text + TAIL
}

fn status(status: Status) -> String {
    match status {
        Status::Done | Status::Structure => "done".into(),
        Status::NotYet(release) => format!("warning; comes with {release}"),
        Status::Unsupported(because) => format!("error: {because}"),
        Status::NotNeeded(because) => format!("not needed: {because}"),
    }
}
