//! `$SYS`: Mosquitto's names, and the ledger's accounts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll_engine::{Counters, Input, LoadState, Step};

use super::certificates;
use super::shared::Shared;

/// Bytes over the network, counted by the shards.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) sockets: AtomicU64,
}

/// Publishes figures every `sys_interval`.
#[derive(Debug)]
pub(crate) struct Sys {
    interval: Option<Duration>,
    last: Instant,
    /// What was said last, so that only changes are said.
    said: HashMap<String, String>,
    loads: Vec<Load>,
    heap_maximum: usize,
}

/// An exponentially weighted rate per minute over 1, 5 and 15 minutes, as Mosquitto counts it.
#[derive(Debug)]
struct Load {
    name: &'static str,
    count: fn(&Counters, &Shared) -> u64,
    before: u64,
    averages: [f64; 3],
}

const MINUTES: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

impl Load {
    fn new(name: &'static str, count: fn(&Counters, &Shared) -> u64) -> Self {
        Self { name, count, before: 0, averages: [0.0; 3] }
    }

    fn update(&mut self, total: u64, secs: f64) {
        let rate = total.saturating_sub(self.before) as f64 * 60.0 / secs.max(0.001);
        self.before = total;
        for (average, (_, minutes)) in self.averages.iter_mut().zip(MINUTES) {
            let weight = (-secs / (60.0 * minutes)).exp();
            *average = rate + weight * (*average - rate);
        }
    }
}

impl Sys {
    pub(crate) fn new() -> Self {
        Self {
            interval: None,
            last: Instant::now(),
            said: HashMap::new(),
            loads: vec![
                Load::new("messages/received", |counters, _| counters.packets_received),
                Load::new("messages/sent", |counters, _| counters.packets_sent),
                Load::new("publish/dropped", |counters, _| counters.publishes_dropped),
                Load::new("publish/received", |counters, _| counters.publishes_received),
                Load::new("publish/sent", |counters, _| counters.publishes_sent),
                Load::new("bytes/received", |_, shared| {
                    shared.traffic.received.load(Ordering::Relaxed)
                }),
                Load::new("bytes/sent", |_, shared| shared.traffic.sent.load(Ordering::Relaxed)),
                Load::new("sockets", |_, shared| shared.traffic.sockets.load(Ordering::Relaxed)),
                Load::new("connections", |counters, _| counters.connects),
            ],
            heap_maximum: 0,
        }
    }

    /// Time until the next figures.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let due = self.last + self.interval?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Publishes what has changed, if it is time. A new interval holds at once; 0 is never.
    pub(crate) fn tick(&mut self, shared: &Shared, interval_secs: u32) {
        self.interval = (interval_secs > 0).then(|| Duration::from_secs(u64::from(interval_secs)));
        let Some(due) = self.due_in() else { return };
        let first = self.said.is_empty();
        if !first && due > Duration::ZERO {
            return;
        }
        let secs = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        let counters = shared.engine().counters();
        let mut figures = figures(&counters, shared);
        for load in &mut self.loads {
            if !first {
                load.update((load.count)(&counters, shared), secs);
            }
            for (average, (minutes, _)) in load.averages.iter().zip(MINUTES) {
                figures.push((format!("load/{}/{minutes}", load.name), format!("{average:.2}")));
            }
        }
        self.memory(shared, &mut figures);
        self.publish(shared, figures);
    }

    fn memory(&mut self, shared: &Shared, figures: &mut Vec<(String, String)>) {
        let waterfall = shared.memory.waterfall();
        self.heap_maximum = self.heap_maximum.max(waterfall.allocated_bytes);
        figures.push(("heap/current".to_owned(), waterfall.allocated_bytes.to_string()));
        figures.push(("heap/maximum".to_owned(), self.heap_maximum.to_string()));
        figures.push(("memory/leaks".to_owned(), shared.memory.standing().to_string()));
        for (name, bytes) in waterfall.figures() {
            figures.push((format!("memory/{name}"), bytes.to_string()));
        }
        load_line(&shared.engine().load_line(), figures);
    }

    fn publish(&mut self, shared: &Shared, figures: Vec<(String, String)>) {
        let mut changed = Vec::new();
        for (name, value) in figures {
            let topic = format!("$SYS/broker/{name}");
            if self.said.get(&topic) != Some(&value) {
                self.said.insert(topic.clone(), value.clone());
                changed.push((topic, value));
            }
        }
        let inputs: Vec<Input<'_>> = changed
            .iter()
            .map(|(topic, value)| Input::Publish { topic, payload: value.as_bytes(), retain: true })
            .collect();
        shared.tell(&inputs);
    }
}

/// The load line: the step in force, and what has been done at each.
fn load_line(state: &LoadState, figures: &mut Vec<(String, String)>) {
    let mut say = |name: &str, value: String| {
        figures.push((format!("memory/load_line/{name}"), value));
    };
    say("step", state.step.name().to_owned());
    say("limit", state.limit.unwrap_or(0).to_string());
    say("used", state.used.to_string());
    for (name, count) in state.counts() {
        say(name, count.to_string());
    }
    for (step, (entered, millis)) in
        Step::ALL.iter().zip(state.counts.entered.iter().zip(state.in_force_millis)).skip(1)
    {
        say(&format!("entered/{}", step.name()), entered.to_string());
        say(&format!("seconds/{}", step.name()), (millis / 1000).to_string());
    }
}

fn figures(counters: &Counters, shared: &Shared) -> Vec<(String, String)> {
    let disconnected = counters.clients_total.saturating_sub(counters.clients_connected);
    let (received, sent) = (
        shared.traffic.received.load(Ordering::Relaxed),
        shared.traffic.sent.load(Ordering::Relaxed),
    );
    let numbers: [(&str, u64); 25] = [
        ("clients/total", counters.clients_total),
        ("clients/maximum", counters.clients_maximum),
        ("clients/connected", counters.clients_connected),
        ("clients/active", counters.clients_connected),
        ("clients/disconnected", disconnected),
        ("clients/inactive", disconnected),
        ("clients/expired", counters.sessions_expired),
        ("connections/socket/count", shared.connections() as u64),
        ("messages/received", counters.packets_received),
        ("messages/sent", counters.packets_sent),
        ("messages/stored", counters.messages_stored + counters.retained),
        ("bytes/received", received),
        ("bytes/sent", sent),
        ("publish/bytes/received", counters.publish_bytes_received),
        ("publish/bytes/sent", counters.publish_bytes_sent),
        ("publish/messages/received", counters.publishes_received),
        ("publish/messages/sent", counters.publishes_sent),
        ("publish/messages/dropped", counters.publishes_dropped),
        ("packet/out/count", counters.packets_sent),
        ("packet/out/bytes", counters.bytes_sent),
        ("retained messages/count", counters.retained),
        ("store/messages/count", counters.messages_stored + counters.retained),
        ("store/messages/bytes", counters.stored_payload_bytes),
        ("subscriptions/count", counters.subscriptions),
        ("shared_subscriptions/count", counters.shared_subscriptions),
    ];
    let mut figures: Vec<(String, String)> =
        numbers.iter().map(|(name, number)| ((*name).to_owned(), number.to_string())).collect();
    figures
        .push(("version".into(), concat!("plimsoll version ", env!("CARGO_PKG_VERSION")).into()));
    if shared.storage().is_some() {
        let health = shared.store_health().unwrap_or_else(|| "ok".to_owned());
        figures.push(("store/health".into(), health));
    }
    let limits = shared.limits();
    let own = limits.tls().flat_map(|tls| &tls.own).map(|(_, end)| *end).min();
    let lists = limits.tls().flat_map(|tls| &tls.lists).map(|(_, end)| *end).min();
    for (name, first) in [("certificate", own), ("revocation_list", lists)] {
        if let Some(first) = first {
            let days = certificates::days_until(first);
            figures.push((format!("tls/{name}/first_ends_in_days"), days.to_string()));
        }
    }
    let (certificates, first) = shared.certificates.summary();
    figures.push(("tls/client_certificates/count".into(), certificates.to_string()));
    if let Some(days) = first {
        figures.push(("tls/client_certificates/first_ends_in_days".into(), days.to_string()));
    }
    let reloads = &shared.reloads;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed).to_string();
    figures.push(("reload/succeeded".into(), count(&reloads.succeeded)));
    figures.push(("reload/failed".into(), count(&reloads.failed)));
    figures.push(("reload/health".into(), reloads.trouble().unwrap_or_else(|| "ok".into())));
    figures.push(("uptime".into(), format!("{} seconds", shared.clock.uptime().as_secs())));
    figures
}
