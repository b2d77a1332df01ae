//! Figures that a broker publishes: `$SYS` and the like.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use plimsoll_client::{Endpoint, Subscriber};
use plimsoll_mqtt::topic;

use super::Source;
use super::poller::Reader;
use super::url::Url;

/// How long connecting and each answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long one look listens: so fresh are figures, and so quickly is a look over.
const LISTEN: Duration = Duration::from_secs(1);

/// Subscribes to the topics of a source, and keeps what is retained on them.
pub(super) struct MqttReader {
    endpoint: Endpoint,
    every: Duration,
    filters: Vec<String>,
    connected: Option<Subscriber>,
    /// What was published last to each of `filters`, while the connection lasts: by topic, as a wildcard may
    /// stand for several nodes of a cluster.
    heard: Vec<Vec<(String, f64)>>,
    pulse: Pulse,
}

/// The topic that changes at each round of `$SYS`, whatever else does.
const PULSE: &str = "$SYS/broker/uptime";

/// How long a broker may be silent before it is known how often it speaks: its `sys_interval` may be minutes.
const PULSE_UNKNOWN: Duration = Duration::from_secs(300);

/// Rounds that may be missed.
const PULSES_MISSED: u32 = 3;

/// Whether a broker that publishes what has changed only still publishes.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    last: Option<Instant>,
    /// The second to last was that much before; the first one is retained, and of any age.
    gap: Option<Duration>,
    heard: u32,
}

impl Pulse {
    fn beat(&mut self, now: Instant) {
        if self.heard > 1 {
            self.gap = self.last.map(|last| now - last);
        }
        self.heard = self.heard.saturating_add(1);
        self.last = Some(now);
    }

    /// For how long it has been silent, if that is too long. One that was never heard is not waited for.
    fn is_missed(&self, now: Instant, every: Duration) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.last?);
        let patience = self.gap.map_or(PULSE_UNKNOWN, |gap| gap.max(every) * PULSES_MISSED);
        (silent > patience).then_some(silent)
    }
}

/// Most topics of one filter: a wildcard is for the nodes of a cluster.
const TOPICS_MAX: usize = 64;

impl MqttReader {
    pub(super) fn new(source: &Source) -> Result<Self, String> {
        let url = Url::parse(&source.url)?;
        let tls = match url.scheme {
            "mqtt" => None,
            "mqtts" => Some(source.tls.config()?),
            other => return Err(format!("`{other}://`: MQTT is mqtt:// or mqtts://")),
        };
        let port = url.port.unwrap_or(if tls.is_some() { 8883 } else { 1883 });
        let filters: Vec<String> = source.map.iter().map(|mapping| mapping.from.clone()).collect();
        Ok(Self {
            endpoint: Endpoint {
                host: url.host.to_owned(),
                port,
                tls,
                client_identifier: identifier(),
                user: source.credentials.user.clone().or_else(|| url.user()),
                password: source.credentials.password.clone().or_else(|| url.password()),
                timeout: TIMEOUT,
            },
            heard: vec![Vec::new(); filters.len()],
            filters,
            connected: None,
            pulse: Pulse::default(),
            every: source.every,
        })
    }

    fn connected(&mut self) -> Result<&mut Subscriber, String> {
        if self.connected.is_none() {
            self.heard.iter_mut().for_each(Vec::clear);
            self.pulse = Pulse::default();
            let mut filters: Vec<&str> = self.filters.iter().map(String::as_str).collect();
            filters.sort_unstable();
            filters.dedup();
            self.connected = Some(Subscriber::connect(&self.endpoint, &filters)?);
        }
        self.connected.as_mut().ok_or_else(|| "not connected".into())
    }
}

impl Reader for MqttReader {
    fn read(&mut self, values: &mut [Option<f64>]) -> Result<(), String> {
        let mut fresh = Vec::new();
        let listened = self.connected()?.listen(LISTEN, |name, payload| {
            if let Some(number) = number(payload) {
                fresh.push((name.to_owned(), number));
            }
        });
        if let Err(error) = listened {
            // What the broker has said until then may be another's by now.
            self.connected = None;
            return Err(error);
        }
        let now = Instant::now();
        if fresh.iter().any(|(name, _)| name == PULSE) {
            self.pulse.beat(now);
        }
        for (name, number) in fresh {
            for (filter, heard) in self.filters.iter().zip(&mut self.heard) {
                if topic::matches(filter, &name) {
                    keep(heard, &name, number);
                }
            }
        }
        if let Some(silent) = self.pulse.is_missed(now, self.every) {
            // What was heard may be of hours ago.
            let silent = silent.as_secs() / 60 * 60;
            return Err(format!("has not published {PULSE} for more than {silent} s"));
        }
        for (value, heard) in values.iter_mut().zip(&self.heard) {
            *value = (!heard.is_empty()).then(|| heard.iter().map(|(_, number)| number).sum());
        }
        Ok(())
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}

/// An identifier that no other source has, here or in another container: two with the same would take the
/// connection from each other for ever. Of letters and digits, and short: all brokers take that (MQTT3-3.1.3-5).
fn identifier() -> String {
    format!("watch{:016x}", RandomState::new().build_hasher().finish())
}

fn keep(heard: &mut Vec<(String, f64)>, name: &str, number: f64) {
    let room = heard.len() < TOPICS_MAX;
    match heard.iter_mut().find(|(other, _)| other == name) {
        Some((_, place)) => *place = number,
        None if room => heard.push((name.to_owned(), number)),
        None => {}
    }
}

/// The number at the front of a payload: some brokers write `1234 seconds`.
fn number(payload: &[u8]) -> Option<f64> {
    let text = str::from_utf8(payload).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_a_client_of_its_own() {
        let (one, other) = (identifier(), identifier());
        assert_ne!(one, other);
        assert!(one.len() <= 23 && one.chars().all(|c| c.is_ascii_alphanumeric()), "{one}");
    }

    #[test]
    fn a_broker_that_ceases_to_publish_is_missed() {
        let begun = Instant::now();
        let at = |second| begun + Duration::from_secs(second);
        let every = Duration::from_secs(10);
        let mut pulse = Pulse::default();
        assert_eq!(pulse.is_missed(at(9999), every), None, "it has no such topic");
        pulse.beat(at(0));
        pulse.beat(at(3));
        assert_eq!(pulse.is_missed(at(303), every), None, "how often is not known");
        assert_eq!(pulse.is_missed(at(304), every), Some(Duration::from_secs(301)));
        pulse.beat(at(63));
        assert_eq!(pulse.is_missed(at(243), every), None);
        assert!(pulse.is_missed(at(244), every).is_some(), "a minute, three times");
        pulse.beat(at(64));
        assert_eq!(pulse.is_missed(at(94), every), None);
        assert!(pulse.is_missed(at(95), every).is_some(), "not sooner than sources are asked");
    }

    #[test]
    fn a_payload_is_a_number_with_words_behind_it() {
        assert_eq!(number(b"1234"), Some(1234.0));
        assert_eq!(number(b" 12 seconds"), Some(12.0));
        assert_eq!(number(b"mosquitto version 2.0.11"), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(&[0xff]), None);
    }
}
