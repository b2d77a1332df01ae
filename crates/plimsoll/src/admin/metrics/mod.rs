//! `/metrics`: every figure, for Prometheus.

mod budgets;
mod process;

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use plimsoll_engine::{Counters, Engine, LoadState, Step};
use plimsoll_watch::exposition::{Figure, Form, Text};

use super::alarms::{self, Alarm};
use super::routes::Context;
use crate::broker::shared::Shared;

/// In the form that is accepted.
pub(super) async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Form::of(accept.unwrap_or_default());
    let mut text = Text::new(form);
    let mut counters = context.look(Engine::quick_counters);
    counters.messages_stored = context.messages_held().await;
    write_memory(&mut text, &context.shared);
    write_load_line(&mut text, &context.look(Engine::load_line));
    let all_budgets = context.budgets().await;
    budgets::write(&mut text, &all_budgets);
    write_alarms(&mut text, &alarms::current(&context.shared, &all_budgets));
    write_clients(&mut text, &counters);
    write_messages(&mut text, &counters, &context.shared);
    write_broker(&mut text, &context.shared);
    write_http(&mut text, &context);
    write_traces(&mut text, &context.shared);
    process::write(&mut text);
    ([(header::CONTENT_TYPE, form.content_type())], text.finish()).into_response()
}

fn write_memory(text: &mut Text, shared: &Shared) {
    let water = shared.memory.waterfall();
    let figures = [
        ("rss", water.rss_bytes, "Resident set of the process, as the system counts it."),
        ("rss_file", water.rss_file_bytes, "Its part that is mapped from files."),
        ("resident", water.resident_bytes, "Bytes of the allocator's that are in memory."),
        ("metadata", water.metadata_bytes, "The allocator's own tables."),
        ("active", water.active_bytes, "Pages of the allocator's with blocks in use."),
        ("slack", water.slack_bytes, "Room within those pages that nobody uses."),
        ("allocated", water.allocated_bytes, "Blocks in use."),
        ("cached", water.cached_bytes, "Blocks that threads keep at hand."),
        ("accounted", water.accounted_bytes, "Sum of all accounts."),
    ];
    for (name, bytes, help) in figures {
        text.gauge(&format!("plimsoll_memory_{name}_bytes"), help, bytes);
    }
    text.gauge(
        "plimsoll_memory_baseline_bytes",
        "What was held beside the accounts at the start.",
        water.baseline_bytes as f64,
    );
    text.gauge(
        "plimsoll_memory_residue_bytes",
        "What is held and nobody has said so; one that grows is a leak.",
        water.residue_bytes as f64,
    );
    let accounts: Vec<_> =
        water.accounts.iter().map(|line| ([("account", line.name)], line)).collect();
    text.gauges(
        "plimsoll_memory_account_bytes",
        "Bytes that each account holds.",
        accounts.iter().map(|(label, line)| (&label[..], line.bytes.into())),
    );
    text.gauges(
        "plimsoll_memory_account_budget_bytes",
        "Bytes that each account may hold.",
        accounts
            .iter()
            .filter_map(|(label, line)| Some((&label[..], Figure::from(line.budget_bytes?)))),
    );
}

fn write_load_line(text: &mut Text, state: &LoadState) {
    text.known(
        "plimsoll_memory_limit_bytes",
        "Most bytes that the process may hold (memory_limit).",
        state.limit,
    );
    text.gauge(
        "plimsoll_load_line_step",
        "The step of the load line in force; 0 is that there is room.",
        state.step as u64,
    );
    let actions = state.counts().map(|(action, count)| ([("action", action)], count));
    text.counters(
        "plimsoll_load_line_actions",
        "What the load line has done so that the limit holds.",
        actions.iter().map(|(label, count)| (&label[..], (*count).into())),
    );
    let steps = Step::ALL.map(|step| [("step", step.name())]);
    text.counters(
        "plimsoll_load_line_entered",
        "How often each step of the load line was entered.",
        steps
            .iter()
            .zip(state.counts.entered)
            .map(|(label, count)| (&label[..], Figure::from(count))),
    );
    text.counters(
        "plimsoll_load_line_seconds",
        "For how long each step of the load line has been in force.",
        steps
            .iter()
            .zip(state.in_force_millis)
            .map(|(label, millis)| (&label[..], Figure::from(millis as f64 / 1000.0))),
    );
}

fn write_alarms(text: &mut Text, alarms: &[Alarm]) {
    let names = ["leak", "load_line", "budget", "store", "reload", "certificate"]
        .map(|name| [("name", name)]);
    text.gauges(
        "plimsoll_alarms",
        "What somebody should look at (/api/v1/alarms), by kind.",
        names.iter().map(|label| {
            let standing = alarms.iter().filter(|alarm| alarm.name == label[0].1).count();
            (&label[..], standing.into())
        }),
    );
    let leaks: Vec<_> = alarms.iter().filter_map(|alarm| alarm.leak.as_deref()).collect();
    let labels: Vec<_> = leaks.iter().map(|leak| [("subject", leak.subject.as_str())]).collect();
    text.gauges(
        "plimsoll_memory_leak_bytes_per_hour",
        "How fast a leak that is known grows.",
        labels.iter().zip(&leaks).map(|(label, leak)| (&label[..], leak.bytes_per_hour.into())),
    );
    text.gauges(
        "plimsoll_memory_leak_since_timestamp_seconds",
        "Since when it has grown at the latest, seconds since 1970.",
        labels.iter().zip(&leaks).map(|(label, leak)| (&label[..], leak.since.into())),
    );
}

fn write_clients(text: &mut Text, counters: &Counters) {
    let away = counters.clients_total.saturating_sub(counters.clients_connected);
    text.gauges(
        "plimsoll_clients",
        "Sessions, by whether their client is connected.",
        [
            (&[("state", "connected")][..], counters.clients_connected.into()),
            (&[("state", "disconnected")][..], away.into()),
        ],
    );
    text.gauge(
        "plimsoll_clients_maximum",
        "The most sessions at one time.",
        counters.clients_maximum,
    );
    text.counter("plimsoll_connects", "CONNECT packets that were accepted.", counters.connects);
    text.counter("plimsoll_sessions_expired", "Sessions that expired.", counters.sessions_expired);
    text.gauges(
        "plimsoll_subscriptions",
        "Subscriptions by kind.",
        [
            (&[("kind", "plain")][..], counters.subscriptions.into()),
            (&[("kind", "shared")][..], counters.shared_subscriptions.into()),
        ],
    );
}

fn write_messages(text: &mut Text, counters: &Counters, shared: &Shared) {
    let traffic = |received: u64, sent: u64| {
        [
            (&[("direction", "received")][..], received.into()),
            (&[("direction", "sent")][..], sent.into()),
        ]
    };
    let network = (
        shared.traffic.received.load(Ordering::Relaxed),
        shared.traffic.sent.load(Ordering::Relaxed),
    );
    text.counters(
        "plimsoll_network_bytes",
        "Bytes over the network.",
        traffic(network.0, network.1),
    );
    text.counters(
        "plimsoll_packets",
        "MQTT packets of all kinds.",
        traffic(counters.packets_received, counters.packets_sent),
    );
    text.counters(
        "plimsoll_publishes",
        "PUBLISH packets.",
        traffic(counters.publishes_received, counters.publishes_sent),
    );
    text.counters(
        "plimsoll_publish_payload_bytes",
        "Payload bytes of PUBLISH packets.",
        traffic(counters.publish_bytes_received, counters.publish_bytes_sent),
    );
    text.counter(
        "plimsoll_publishes_dropped",
        "Messages that a limit dropped for a client.",
        counters.publishes_dropped,
    );
    text.gauge(
        "plimsoll_messages_held",
        "Messages queued or in flight, summed over sessions.",
        counters.messages_stored,
    );
    text.gauge("plimsoll_retained_messages", "Retained messages.", counters.retained);
    text.gauge(
        "plimsoll_retained_payload_bytes",
        "Payload bytes of retained messages.",
        counters.stored_payload_bytes,
    );
    text.gauge(
        "plimsoll_retained_bytes",
        "Bytes of retained messages: topics, properties and payloads.",
        counters.retained_bytes,
    );
    text.counter(
        "plimsoll_retained_refused",
        "Retained messages that were not stored because of retain_limit.",
        counters.retained_refused,
    );
    text.counter(
        "plimsoll_retained_expired",
        "Retained messages that expired.",
        counters.retained_expired,
    );
    text.counter(
        "plimsoll_retained_deleted",
        "Retained messages that were deleted by a filter.",
        counters.retained_deleted,
    );
}

fn write_broker(text: &mut Text, shared: &Shared) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.gauges("plimsoll_build_info", "What runs.", [(&version[..], 1u64.into())]);
    text.gauge(
        "plimsoll_uptime_seconds",
        "Seconds since the broker was started.",
        shared.clock.uptime().as_secs_f64(),
    );
    text.gauge(
        "plimsoll_network_connections",
        "Network connections of MQTT clients.",
        shared.connections(),
    );
    text.counter(
        "plimsoll_sockets_accepted",
        "Connections that were accepted at all.",
        shared.traffic.sockets.load(Ordering::Relaxed),
    );
    let settings = shared.admin.settings();
    let listeners: Vec<_> = settings
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| !listener.closed)
        .map(|(number, listener)| {
            (
                listener.place(),
                listener.protocol,
                shared.listener_connections(number),
                number.to_string(),
            )
        })
        .collect();
    let labels: Vec<_> = listeners
        .iter()
        .map(|(place, protocol, connections, number)| {
            let labels =
                [("listener", place.as_str()), ("protocol", protocol), ("number", number.as_str())];
            (labels, *connections)
        })
        .collect();
    text.gauges(
        "plimsoll_listener_connections",
        "Connections of each listener.",
        labels.iter().map(|(labels, connections)| (&labels[..], (*connections).into())),
    );
    let reloads = &shared.reloads;
    text.counters(
        "plimsoll_reloads",
        "Reloads of the configuration, by what came of them.",
        [
            (&[("result", "succeeded")][..], reloads.succeeded.load(Ordering::Relaxed).into()),
            (&[("result", "failed")][..], reloads.failed.load(Ordering::Relaxed).into()),
        ],
    );
    text.gauge(
        "plimsoll_reload_last_succeeded",
        "Whether the last reload took effect (1 too if there was none).",
        shared.reloads.trouble().is_none(),
    );
    if shared.storage().is_some() {
        text.gauge(
            "plimsoll_store_healthy",
            "Whether the store can write.",
            shared.store_health().is_none(),
        );
    }
    let limits = shared.limits();
    let ends = |ends: Option<u64>| ends.map(|end| end as f64);
    text.known(
        "plimsoll_tls_certificate_expiry_timestamp_seconds",
        "When the first of the broker's own certificates ends, seconds since 1970.",
        ends(limits.tls().flat_map(|tls| &tls.own).map(|(_, end)| *end).min()),
    );
    text.known(
        "plimsoll_tls_revocation_list_expiry_timestamp_seconds",
        "When the first revocation list ends, seconds since 1970.",
        ends(limits.tls().flat_map(|tls| &tls.lists).map(|(_, end)| *end).min()),
    );
}

fn write_traces(text: &mut Text, shared: &Shared) {
    let (exported, dropped) = shared.traces.exporter.counts();
    text.counters(
        "plimsoll_trace_spans",
        "Spans for the collector (otlp_endpoint), by whether it has taken them.",
        [
            (&[("result", "exported")][..], exported.into()),
            (&[("result", "dropped")][..], dropped.into()),
        ],
    );
}

fn write_http(text: &mut Text, context: &Context) {
    let admin = &context.shared.admin;
    for (name, help, durations) in [
        (
            "plimsoll_http_engine_wait_seconds",
            "How long HTTP waited for the engine, as an I/O thread would have (at least a sample each second).",
            &context.looks.waits,
        ),
        (
            "plimsoll_http_engine_hold_seconds",
            "How long HTTP kept the engine from others.",
            &context.looks.holds,
        ),
    ] {
        text.histogram(name, help, &durations.counts(), durations.sum());
    }
    text.gauge(
        "plimsoll_http_connections",
        "Connections of the HTTP listeners.",
        admin.connections.load(Ordering::Relaxed),
    );
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| [("code", class)]);
    text.counters(
        "plimsoll_http_requests",
        "Requests by the class of their answer.",
        classes
            .iter()
            .zip(&admin.answers)
            .map(|(label, count)| (&label[..], count.load(Ordering::Relaxed).into())),
    );
}
