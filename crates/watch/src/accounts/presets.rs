//! Sources of well-known brokers and runtimes: where they are, and what is what in them.

use std::time::Duration;

use plimsoll_client::TlsFiles;

use super::source::{Credentials, Kind, Mapping, Source};
use super::url::Url;
use crate::configuration::Login;

/// A source that has a name.
#[derive(Debug)]
pub(crate) struct Preset {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    kind: Kind,
    /// Where it is if nothing is said.
    url: &'static str,
    /// The path, if an address has none.
    path: &'static str,
    map: &'static [&'static str],
}

/// How often a source is asked if nothing is said: brokers publish `$SYS` as often.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// Mosquitto's names. All packets received stand for PUBLISH ones: until 2.0.14 it counts none with the retain flag or
/// QoS 2 as published (<https://github.com/eclipse-mosquitto/mosquitto/issues/2448>), and a fleet that retains
/// everything would seem to be silent. Plimsoll, `FlashMQ` and others publish them too. What is stored and not retained is queued.
const SYS: &[&str] = &[
    "account=$SYS/broker/heap/current",
    "retained=$SYS/broker/retained messages/count",
    "connections=$SYS/broker/clients/connected",
    "sessions=$SYS/broker/clients/total",
    "subscriptions=$SYS/broker/subscriptions/count",
    "queued=$SYS/broker/store/messages/count",
    "queued=$SYS/broker/retained messages/count * -1",
    "published_total=$SYS/broker/messages/received",
    "store_bytes=$SYS/broker/store/messages/bytes",
    "uptime_seconds=$SYS/broker/uptime",
];

/// A JVM by its management beans. `MaxDirectMemorySize` is an option, which an operation answers; it is 0 if nobody
/// has set it, and then as much as the heap's limit (`Runtime.maxMemory`) holds.
const BEANS: &[&str] = &[
    "heap_used=java.lang:type=Memory/HeapMemoryUsage/used",
    "heap_committed=java.lang:type=Memory/HeapMemoryUsage/committed",
    "direct=java.nio:type=BufferPool,name=direct/MemoryUsed",
    "heap_limit=java.lang:type=Memory/HeapMemoryUsage/max",
    "direct_limit=com.sun.management:type=HotSpotDiagnostic/getVMOption(MaxDirectMemorySize)/value",
    "nonheap_used=java.lang:type=Memory/NonHeapMemoryUsage/used",
    "jvm_threads=java.lang:type=Threading/ThreadCount",
];

/// A JVM by Micrometer's metrics. What Netty's allocator holds is in the JVM's pool if Netty has it from
/// `ByteBuffer.allocateDirect`, as it does since JDK 9 unless it is allowed more, and is beside it otherwise: so the larger
/// one is taken. Of Netty it knows by `NettyAllocatorMetrics` or by Reactor Netty's meters.
const MICROMETER: &[&str] = &[
    r#"heap_used=jvm_memory_used_bytes{area="heap"}"#,
    r#"heap_committed=jvm_memory_committed_bytes{area="heap"}"#,
    r#"direct=jvm_buffer_memory_used_bytes{id="direct"}"#,
    r#"direct>=netty_allocator_memory_used{memory_type="direct"}"#,
    "direct>=reactor_netty_bytebuf_allocator_used_direct_memory",
    r#"heap_limit=jvm_memory_max_bytes{area="heap"}"#,
    r#"nonheap_used=jvm_memory_used_bytes{area="nonheap"}"#,
    "jvm_threads=jvm_threads_live_threads",
];

/// EMQX 5 and 6: `apps/emqx_prometheus/src/emqx_prometheus.erl` of emqx/emqx. The Erlang machine's memory is said by a
/// collector of prometheus.erl that is not always switched on (`vm_memory`), as `…_bytes_total` by kind; the
/// documentation of EMQX 6.3 calls it `…_bytes`.
const EMQX: &[&str] = &[
    "heap_used=erlang_vm_memory_bytes_total",
    "heap_used>=erlang_vm_memory_bytes",
    "retained=emqx_retained_count",
    "connections=emqx_live_connections_count",
    "sessions=emqx_sessions_count",
    "subscriptions=emqx_subscriptions_count",
    "published_total=emqx_packets_publish_received",
    "connected_total=emqx_client_connected",
];

/// `HiveMQ` with its extension for Prometheus, which writes `_` for what is neither letter nor digit: `HiveMQMetrics.java`
/// and `JvmMetricsRegistry.java` of hivemq/hivemq-community-edition, the latter with the gauges of Dropwizard's
/// `metrics-jvm`.
const HIVEMQ: &[&str] = &[
    "heap_used=com_hivemq_jvm_memory_heap_used",
    "heap_committed=com_hivemq_jvm_memory_heap_committed",
    "heap_limit=com_hivemq_jvm_memory_heap_max",
    "direct=com_hivemq_jvm_buffer_pool_direct_used",
    "retained=com_hivemq_messages_retained_current",
    "connections=com_hivemq_networking_connections_current",
    "sessions=com_hivemq_sessions_overall_current",
    "subscriptions=com_hivemq_subscriptions_overall_current",
    "published_total=com_hivemq_messages_incoming_publish_count",
    "connected_total=com_hivemq_messages_incoming_connect_count",
];

/// Plimsoll's own, over HTTP: the sum of its ledger.
const PLIMSOLL: &[&str] = &[
    "account=plimsoll_memory_accounted_bytes",
    "allocated=plimsoll_memory_allocated_bytes",
    "residue=plimsoll_memory_residue_bytes",
    "retained=plimsoll_retained_messages",
    r#"connections=plimsoll_clients{state="connected"}"#,
    "sessions=plimsoll_clients",
    "subscriptions=plimsoll_subscriptions",
    "queued=plimsoll_messages_held",
    r#"published_total=plimsoll_publishes_total{direction="received"}"#,
    "connected_total=plimsoll_connects_total",
];

/// All presets.
pub(crate) const PRESETS: [Preset; 9] = [
    mqtt("mosquitto", SYS),
    http("plimsoll", Kind::Prometheus, "http://127.0.0.1:8080", "/metrics", PLIMSOLL),
    http("jolokia", Kind::Jolokia, "http://127.0.0.1:8778", "/jolokia/", BEANS),
    http("actuator", Kind::Prometheus, "http://127.0.0.1:8080", "/actuator/prometheus", MICROMETER),
    http("emqx", Kind::Prometheus, "http://127.0.0.1:18083", "/api/v5/prometheus/stats", EMQX),
    http("hivemq", Kind::Prometheus, "http://127.0.0.1:9399", "/metrics", HIVEMQ),
    // Without names of their own: what is what is said with --map.
    mqtt("mqtt", &[]),
    http("prometheus", Kind::Prometheus, "http://127.0.0.1:9090", "/metrics", &[]),
    http("json", Kind::Json, "http://127.0.0.1:8080", "/", &[]),
];

const fn mqtt(name: &'static str, map: &'static [&'static str]) -> Preset {
    Preset { name, kind: Kind::Mqtt, url: "mqtt://127.0.0.1:1883", path: "", map }
}

const fn http(
    name: &'static str,
    kind: Kind,
    url: &'static str,
    path: &'static str,
    map: &'static [&'static str],
) -> Preset {
    Preset { name, kind, url, path, map }
}

/// The source that `PRESET` or `PRESET=URL` means.
pub(crate) fn source(text: &str) -> Result<Source, String> {
    let (name, url) = match text.split_once('=') {
        Some((name, url)) => (name, Some(url)),
        None => (text, None),
    };
    let preset = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names = PRESETS.map(|preset| preset.name).join(", ");
        format!("`{name}` is not one of {names}; write PRESET or PRESET=URL")
    })?;
    preset.source(url)
}

impl Preset {
    fn source(&self, url: Option<&str>) -> Result<Source, String> {
        let given = url.unwrap_or(self.url);
        let mut url = given.to_owned();
        if matches!(Url::parse(given)?.path, "" | "/") && !self.path.is_empty() {
            url = format!("{}{}", given.trim_end_matches('/'), self.path);
        }
        let map = self.map.iter().map(|mapping| mapping.parse());
        Ok(Source {
            kind: self.kind,
            url,
            credentials: Credentials::default(),
            tls: TlsFiles::default(),
            every: EVERY,
            map: map.collect::<Result<_, String>>()?,
        })
    }
}

/// A source as the command line describes it, checked: `PRESET[=URL]`, mappings, who asks.
pub(crate) fn described(preset: &str, map: &[String], login: &Login) -> Result<Source, String> {
    let mut source = source(preset)?;
    let own = map.iter().map(|mapping| mapping.parse());
    override_map(&mut source, own.collect::<Result<_, String>>()?);
    login.apply(&mut source)?;
    source.check()?;
    Ok(source)
}

/// Takes mappings of the user's instead of a preset's: those for the same figure go.
pub(crate) fn override_map(source: &mut Source, own: Vec<Mapping>) {
    source.map.retain(|mapping| own.iter().all(|other| other.name != mapping.name));
    source.map.extend(own);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_presets_can_be_read() {
        for preset in &PRESETS {
            let mut source = source(preset.name).unwrap();
            assert_eq!(source.map.is_empty(), preset.map.is_empty(), "{}", preset.name);
            if source.map.is_empty() {
                let place = if preset.kind == Kind::Json { "retained=/x" } else { "retained=x" };
                override_map(&mut source, vec![place.parse().unwrap()]);
            }
            assert_eq!(source.check(), Ok(()), "{}", preset.name);
        }
        assert!(source("rabbit").unwrap_err().contains("mosquitto, plimsoll"));
    }

    #[test]
    fn an_address_without_a_path_gets_the_usual_one() {
        let at = |text: &str| source(text).unwrap().url;
        assert_eq!(at("jolokia=https://jvm:8778/"), "https://jvm:8778/jolokia/");
        assert_eq!(
            at("actuator=http://jvm:9000/manage/prometheus"),
            "http://jvm:9000/manage/prometheus"
        );
        assert_eq!(at("mosquitto=mqtts://ops@broker"), "mqtts://ops@broker");
    }

    #[test]
    fn own_mappings_take_the_place_of_a_presets() {
        let mut source = source("mosquitto").unwrap();
        let own = vec!["queued=$SYS/queued".parse().unwrap(), "busy=$SYS/busy".parse().unwrap()];
        override_map(&mut source, own);
        let queued: Vec<&str> = source
            .map
            .iter()
            .filter(|mapping| mapping.name.to_string() == "queued")
            .map(|mapping| mapping.from.as_str())
            .collect();
        assert_eq!(queued, ["$SYS/queued"]);
        assert_eq!(source.map.len(), SYS.len() - 2 + 2);
    }
}
