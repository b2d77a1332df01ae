//! What was measured: the form of `--json`, which `soak compare` reads again.

use serde::{Deserialize, Serialize};

use super::growth::Growth;
use super::scenario::Scenario;
use super::world::Events;

/// Version of this form.
pub(crate) const FORMAT: u32 = 1;

/// Everything about one run against one broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Version of this form.
    pub(crate) format: u32,
    /// What the broker is called in tables.
    pub(crate) name: String,
    /// `pass`, `fail`, `partial` (cut short, nothing found until then) or `unjudged` (whether it leaks could not be
    /// judged).
    pub(crate) verdict: Judgement,
    /// Why the run ended: `as planned`, `interrupted`, or what happened.
    pub(crate) ending: String,
    pub(crate) criteria: Vec<Criterion>,
    pub(crate) leaks: Vec<Leak>,
    pub(crate) broker: BrokerFacts,
    pub(crate) environment: Environment,
    pub(crate) scenario: Scenario,
    pub(crate) events: Events,
    /// Production hours that the updates stand for.
    pub(crate) hours: f64,
    pub(crate) loss: Loss,
    pub(crate) memory: Memory,
    pub(crate) steady: Quantiles,
    pub(crate) end_to_end: Quantiles,
    pub(crate) flood: Quantiles,
    /// `steady` of those cycles alone in which this tool was on time.
    #[serde(default)]
    pub(crate) punctual: Quantiles,
    pub(crate) tool: Tool,
    pub(crate) cycles: Vec<CycleRecord>,
    pub(crate) series: Vec<Point>,
    #[serde(default)]
    pub(crate) windows: Vec<Window>,
    pub(crate) spans: Vec<Span>,
}

/// The whole judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Judgement {
    Pass,
    Fail,
    Partial,
    Unjudged,
}

/// How one figure stands against its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Pass,
    Fail,
    /// It could not be judged, for the reason in the note.
    Skipped,
}

/// One figure that is judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Criterion {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    pub(crate) measured: String,
    pub(crate) limit: String,
    pub(crate) note: String,
}

/// Where growth was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum View {
    /// Memory of the process in the system's eyes.
    Resident,
    /// What the broker says that it holds.
    Account,
    /// Its managed heap in use.
    Heap,
    /// Counted memory beside the managed heap.
    Direct,
}

impl View {
    /// In the order of reports.
    pub(crate) const ALL: [Self; 4] = [Self::Resident, Self::Account, Self::Heap, Self::Direct];

    /// Those that sources are asked for.
    pub(crate) const ASKED: [Self; 3] = [Self::Account, Self::Heap, Self::Direct];

    /// Whose word it is, for people.
    pub(crate) fn by(self) -> &'static str {
        match self {
            Self::Resident => "the process's memory",
            Self::Account => "the broker's own account",
            Self::Heap => "its managed heap",
            Self::Direct => "its direct memory",
        }
    }
}

/// What memory grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Driver {
    Updates,
    Connects,
    Subscriptions,
    Queued,
    /// Time alone: something that goes on whatever clients do; per event is per second then.
    Time,
    /// Several; per event is per cycle then.
    Mixed,
}

/// Growth in one view, or the lack of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Leak {
    pub(crate) view: View,
    pub(crate) driver: Driver,
    pub(crate) growth: Growth,
    /// At production's rate, bytes per hour.
    pub(crate) per_hour: f64,
    pub(crate) per_hour_low: f64,
    pub(crate) per_hour_high: f64,
    /// What would have been seen, bytes per hour.
    pub(crate) resolution_per_hour: f64,
    /// What was added in an hour of the clock, at the pace of this run: of a leak that goes with time, the truth.
    #[serde(default)]
    pub(crate) clock_per_hour: f64,
    /// What would have been seen of other events.
    #[serde(default)]
    pub(crate) others: Vec<Seen>,
}

/// What would have been seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) driver: Driver,
    /// Bytes.
    pub(crate) per_event: f64,
    /// Bytes, at production's rate.
    pub(crate) per_hour: f64,
}

/// What is known of the broker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BrokerFacts {
    pub(crate) command: Option<String>,
    pub(crate) program: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) pid: u32,
    /// Whether it was seen that this process accepts the connections.
    #[serde(default)]
    pub(crate) seen: bool,
    pub(crate) address: String,
}

impl BrokerFacts {
    /// The name of its program.
    pub(crate) fn name(&self) -> String {
        let program = self.program.as_deref().and_then(|program| program.rsplit('/').next());
        // The kernel says so behind a file that was replaced meanwhile.
        let name = program.map(|name| name.trim_end_matches(" (deleted)").to_owned());
        name.unwrap_or_else(|| format!("process {}", self.pid))
    }
}

/// Where it ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Version of this tool.
    pub(crate) tool: String,
    pub(crate) started: String,
    pub(crate) system: String,
    pub(crate) processors: usize,
    pub(crate) memory: f64,
    pub(crate) seed: u64,
    /// Planned and real duration, seconds.
    pub(crate) duration_s: f64,
    pub(crate) took_s: f64,
}

/// What should not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// Acknowledged updates that did not reach the witness.
    pub(crate) lost: u64,
    /// Queued messages that did not reach their session.
    pub(crate) queued_lost: u64,
    /// Retained messages that were older than what had been acknowledged.
    pub(crate) stale: u64,
    /// Retained messages that did not come.
    pub(crate) unknown: u64,
    /// Updates that were never acknowledged.
    pub(crate) unacknowledged: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// Stored sessions that were not there any more.
    pub(crate) forgotten: u64,
    /// Connections that ended though nobody meant it.
    pub(crate) disconnected: u64,
    /// Clients that could not do what they came for.
    pub(crate) failed: u64,
    /// Retained messages that were left after all were deleted.
    pub(crate) left_behind: u64,
    /// Packets that do not belong here.
    pub(crate) strange: u64,
    /// Ends of the broker's process.
    pub(crate) restarts: u64,
    /// Retained messages that were read and checked.
    pub(crate) checked: u64,
    /// Updates that were listened to, and arrived.
    #[serde(default)]
    pub(crate) listened: u64,
}

impl Loss {
    /// Messages lost, stale or doubled, and connections that failed.
    pub(crate) fn total(&self) -> u64 {
        self.lost
            + self.queued_lost
            + self.stale
            + self.unknown
            + self.unacknowledged
            + self.duplicated
            + self.out_of_order
            + self.forgotten
            + self.disconnected
            + self.failed
            + self.left_behind
            + self.strange
    }
}

/// Memory of the process, bytes: anonymous and swapped, or resident where that is not known.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// With no client.
    pub(crate) started: f64,
    /// With all idle connections.
    pub(crate) connected: f64,
    /// With all retained messages.
    pub(crate) filled: f64,
    /// The most at any time.
    pub(crate) peak: f64,
    /// After the last cycle.
    pub(crate) cycled: f64,
    /// After everything was deleted and everybody had left.
    pub(crate) cleared: f64,
    pub(crate) per_connection: f64,
    pub(crate) per_retained: f64,
    /// The broker's own figure of its heap after the last cycle, if it has one.
    pub(crate) account: Option<f64>,
}

/// Latencies in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

impl From<&crate::load::Latency> for Quantiles {
    fn from(latency: &crate::load::Latency) -> Self {
        Self {
            p50: latency.quantile_ms(0.5),
            p90: latency.quantile_ms(0.9),
            p99: latency.quantile_ms(0.99),
            p999: latency.quantile_ms(0.999),
            max: latency.max_ms(),
            count: latency.count(),
        }
    }
}

/// What the tool itself was like.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tool {
    /// Shares of the time of the update phases: on a core, and waiting for one.
    pub(crate) cpu: f64,
    pub(crate) waited: f64,
    /// Whether it could not have driven more.
    pub(crate) bottleneck: bool,
    /// How late it was with what was due in the steady phases, ms.
    pub(crate) late: Quantiles,
}

/// One cycle.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CycleRecord {
    /// Whether it counts, or was for warming up.
    pub(crate) judged: bool,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    /// Events in it, and from the beginning to its end.
    pub(crate) events: Events,
    pub(crate) events_total: Events,
    /// Memory in quiet: before, and after updates, connects, subscriptions, absent sessions.
    pub(crate) quiet: [f64; 5],
    /// When that was, seconds since the beginning.
    #[serde(default)]
    pub(crate) quiet_s: [f64; 5],
    /// The most in it.
    pub(crate) peak: f64,
    /// Updates a second in the update phase.
    pub(crate) updates_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) end_to_end_p99_ms: f64,
    pub(crate) late_p99_ms: f64,
    /// Share of the steady phase in which threads of the broker could have run, and others had the cores.
    #[serde(default)]
    pub(crate) broker_waited: f64,
    /// Processor time of the broker in its update phase, µs per update.
    pub(crate) cpu_us_per_update: f64,
}

/// A sample for plots.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Seconds since the beginning.
    pub(crate) t: f64,
    pub(crate) rss: f64,
    /// What is judged, bytes.
    pub(crate) memory: f64,
    pub(crate) account: Option<f64>,
    /// Managed heap in use, and counted memory beside it; of `--accounts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heap: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) direct: Option<f64>,
    pub(crate) cpu_s: f64,
    pub(crate) updates: u64,
    #[serde(default, skip_serializing_if = "Woes::is_none")]
    pub(crate) woes: Woes,
}

impl Point {
    /// What a source has said.
    pub(crate) fn said(&self, view: View) -> Option<f64> {
        match view {
            View::Resident => None,
            View::Account => self.account,
            View::Heap => self.heap,
            View::Direct => self.direct,
        }
    }
}

/// What had gone wrong until a moment; what was only late may yet be taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Woes {
    /// Messages of which later ones of the same topic have come.
    pub(crate) missing: u64,
    /// Messages that came again, or after a later one.
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    /// Retained messages that were older than what had been acknowledged, or did not come.
    pub(crate) stale: u64,
    /// Connections that ended, sessions that were forgotten, clients that were turned away.
    pub(crate) cut_off: u64,
}

impl Woes {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Latencies of a short time within a phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    /// `steady` or `updates`.
    pub(crate) phase: String,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) publish: Quantiles,
    pub(crate) listener_p99_ms: f64,
    /// How late the tool itself was, in steady phases.
    pub(crate) late_p99_ms: f64,
}

/// A phase's time, seconds since the beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) phase: String,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run of eight quiet cycles.
    pub(in crate::soak) fn sample() -> Outcome {
        let cycles: Vec<CycleRecord> = (0..9u32)
            .map(|index| CycleRecord {
                judged: index > 0,
                from_s: f64::from(index) * 10.0,
                to_s: f64::from(index) * 10.0 + 10.0,
                events: Events { updates: 500_000, ..Events::default() },
                events_total: Events {
                    updates: 500_000 * u64::from(index + 1),
                    ..Events::default()
                },
                quiet: [40e6; 5],
                quiet_s: [0.0; 5],
                peak: 41e6,
                updates_per_s: 50_000.0,
                p50_ms: 1.0,
                p99_ms: 5.0,
                end_to_end_p99_ms: 6.0,
                late_p99_ms: 0.1,
                broker_waited: 0.01,
                cpu_us_per_update: 8.0,
            })
            .collect();
        let scenario = Scenario::default();
        let mut outcome = Outcome {
            format: FORMAT,
            name: "broker".into(),
            verdict: Judgement::Partial,
            ending: "as planned".into(),
            criteria: Vec::new(),
            leaks: super::super::leak::leaks(
                &cycles,
                &super::super::figures::Figures::default(),
                &scenario.production,
            ),
            broker: BrokerFacts::default(),
            environment: Environment { took_s: 100.0, ..Environment::default() },
            events: Events { updates: 4_500_000, ..Events::default() },
            hours: 1.9,
            loss: Loss::default(),
            memory: Memory {
                started: 1e6,
                connected: 2e6,
                filled: 40e6,
                per_retained: 230.0,
                ..Memory::default()
            },
            steady: Quantiles { p50: 1.0, p99: 5.0, count: 1000, ..Quantiles::default() },
            end_to_end: Quantiles::default(),
            flood: Quantiles::default(),
            punctual: Quantiles::default(),
            tool: Tool::default(),
            series: (0..100u32)
                .map(|t| Point { t: f64::from(t), rss: 42e6, memory: 40e6, ..Point::default() })
                .collect(),
            windows: Vec::new(),
            spans: vec![Span { phase: "filling".into(), from_s: 0.0, to_s: 2.0 }],
            cycles,
            scenario,
        };
        (outcome.criteria, outcome.verdict) = super::super::verdict::judge(&outcome);
        outcome
    }

    #[test]
    fn an_outcome_is_read_back() {
        let outcome = sample();
        let text = serde_json::to_string(&outcome).expect("JSON");
        let again: Outcome = serde_json::from_str(&text).expect("an outcome");
        assert_eq!(serde_json::to_string(&again).expect("JSON"), text);
    }
}
