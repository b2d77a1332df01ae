//! What a soak does and what it must come to: a file in TOML, with the figures of the incident as defaults.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Most retained topics.
const RETAINED_MAX: u32 = 5_000_000;

/// Most cycles.
const CYCLES_MAX: u32 = 1000;

/// The largest rate or limit.
const FIGURE_MAX: f64 = 1e12;

/// The defaults as a file, with which a scenario of one's own begins.
pub(crate) const TEMPLATE: &str = include_str!("scenario.toml");

/// Everything about a run but for where and how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) load: Load,
    pub(crate) cycle: Cycle,
    pub(crate) production: Production,
    pub(crate) limits: Limits,
}

/// How much of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Load {
    /// Topics with a retained message: twice the 82,000 of the incident's production.
    pub(crate) retained: u32,
    /// Plants that they are spread over; one of them is listened to all the time.
    pub(crate) plants: u32,
    /// Connections that publish.
    pub(crate) publishers: u32,
    /// Messages that each of them has under way at once.
    pub(crate) window: u32,
    /// Further connections that are held and do nothing.
    pub(crate) idle_connections: u32,
    /// Messages a second while latencies are measured: ten times the incident's rate.
    pub(crate) steady_per_second: u32,
    /// Clients that come and go at once.
    pub(crate) churners: u32,
    /// Clients that subscribe and unsubscribe.
    pub(crate) readers: u32,
    /// Sessions that are away while messages for them arrive.
    pub(crate) offline_sessions: u32,
    /// Messages for each of them; below Mosquitto's default of `max_queued_messages`, which is 1,000.
    pub(crate) offline_messages: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            retained: 164_000,
            plants: 14,
            publishers: 50,
            window: 64,
            idle_connections: 1000,
            steady_per_second: 6700,
            churners: 32,
            readers: 8,
            offline_sessions: 20,
            offline_messages: 200,
        }
    }
}

/// How a cycle is divided. Shares are of its time; what is missing to 1 is quiet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cycle {
    /// Cycles that are judged; 0 chooses by the duration.
    pub(crate) count: u32,
    pub(crate) updates: f64,
    pub(crate) steady: f64,
    pub(crate) connects: f64,
    pub(crate) subscriptions: f64,
    pub(crate) offline: f64,
    /// Quiet after the last cycle, seconds. Longer than the broker's longest timer for cleaning up, if what it
    /// gives back is to be seen.
    pub(crate) cool_down_s: f64,
}

impl Load {
    /// Clients that are connected at one time, at the most.
    pub(crate) fn clients(&self) -> u32 {
        self.idle_connections
            + self.publishers
            + self.readers
            + self.churners
            + self.offline_sessions
    }
}

impl Default for Cycle {
    fn default() -> Self {
        Self {
            count: 0,
            updates: 0.45,
            steady: 0.15,
            connects: 0.1,
            subscriptions: 0.08,
            offline: 0.07,
            cool_down_s: 5.0,
        }
    }
}

/// What production does in an hour: leaks per event become leaks per hour with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Production {
    /// Hours that the run stands for.
    pub(crate) hours: f64,
    pub(crate) updates_per_hour: f64,
    pub(crate) connects_per_hour: f64,
    pub(crate) subscriptions_per_hour: f64,
    pub(crate) queued_per_hour: f64,
}

impl Default for Production {
    fn default() -> Self {
        Self {
            hours: 72.0,
            updates_per_hour: 2_400_000.0,
            connects_per_hour: 12_000.0,
            subscriptions_per_hour: 12_000.0,
            queued_per_hour: 12_000.0,
        }
    }
}

/// What the broker must keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Leak at production's rate, MB (10⁶ bytes) per hour.
    pub(crate) leak_mb_per_hour: f64,
    /// 99th percentile from when a publish was due to its acknowledgement, ms.
    pub(crate) p99_publish_ms: f64,
    /// Messages lost, stale or doubled.
    pub(crate) lost: u64,
    /// Ends of the process.
    pub(crate) restarts: u64,
    /// Retained messages that would fit into `memory_gb`.
    pub(crate) retained_capacity: u64,
    /// That memory, GB (10⁹ bytes).
    pub(crate) memory_gb: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            leak_mb_per_hour: 0.2,
            p99_publish_ms: 89.0,
            lost: 0,
            restarts: 0,
            retained_capacity: 420_000,
            memory_gb: 4.0,
        }
    }
}

impl Scenario {
    /// Reads a file. Errors name the file, the line and what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let scenario: Self = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        scenario.check().map_err(|error| format!("{name}: {error}"))?;
        Ok(scenario)
    }

    /// Whether it can be carried out.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Load {
            retained,
            plants,
            publishers,
            window,
            readers,
            churners,
            offline_messages,
            offline_sessions,
            idle_connections,
            steady_per_second,
        } = self.load;
        let within = |name: &str, value: u32, least: u32, most: u32| match value {
            value if (least..=most).contains(&value) => Ok(()),
            value => Err(format!("load.{name} is {value}; {least} to {most} is possible")),
        };
        within("plants", plants, 2, 100)?;
        within("retained", retained, plants * super::topics::TOPICS_PER_LINE, RETAINED_MAX)?;
        within("publishers", publishers, 1, 10_000)?;
        within("window", window, 1, 10_000)?;
        within("readers", readers, 1, 1000)?;
        within("churners", churners, 1, 10_000)?;
        within("offline_messages", offline_messages, 1, 100_000)?;
        within("offline_sessions", offline_sessions, 0, 10_000)?;
        within("idle_connections", idle_connections, 0, 1_000_000)?;
        within("steady_per_second", steady_per_second, 1, 1_000_000)?;
        self.check_cycle()?;
        self.check_figures()
    }

    fn check_cycle(&self) -> Result<(), String> {
        let cycle = &self.cycle;
        let shares =
            [cycle.updates, cycle.steady, cycle.connects, cycle.subscriptions, cycle.offline];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share))
            || shares.iter().sum::<f64>() > 0.95
        {
            return Err(
                "the shares of a cycle must be from 0 to 1 and leave 5 % of it quiet".into()
            );
        }
        if cycle.updates <= 0.0 {
            return Err("cycle.updates must be more than 0".into());
        }
        let least = u32::try_from(super::growth::POINTS_MIN).unwrap_or(u32::MAX);
        if (1..least).contains(&cycle.count) || cycle.count > CYCLES_MAX {
            return Err(format!(
                "cycle.count is {}; 0 (by the duration) or {least} to {CYCLES_MAX} is possible",
                cycle.count
            ));
        }
        Ok(())
    }

    /// Rates and limits are numbers that something can be compared with.
    fn check_figures(&self) -> Result<(), String> {
        let (production, limits) = (&self.production, &self.limits);
        let figures = [
            ("cycle.cool_down_s", self.cycle.cool_down_s, 0.0),
            ("production.hours", production.hours, f64::MIN_POSITIVE),
            ("production.updates_per_hour", production.updates_per_hour, 1.0),
            ("production.connects_per_hour", production.connects_per_hour, 0.0),
            ("production.subscriptions_per_hour", production.subscriptions_per_hour, 0.0),
            ("production.queued_per_hour", production.queued_per_hour, 0.0),
            ("limits.leak_mb_per_hour", limits.leak_mb_per_hour, 0.0),
            ("limits.p99_publish_ms", limits.p99_publish_ms, f64::MIN_POSITIVE),
            ("limits.memory_gb", limits.memory_gb, f64::MIN_POSITIVE),
        ];
        for (name, value, least) in figures {
            if !(least..=FIGURE_MAX).contains(&value) {
                return Err(format!("{name} is {value}; a number from {least:?} up is wanted"));
            }
        }
        match limits.restarts {
            0 => Ok(()),
            _ => {
                Err("limits.restarts can only be 0: the run ends with the broker's process".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_incident() {
        let scenario = Scenario::default();
        assert_eq!(scenario.check(), Ok(()));
        let production = &scenario.production;
        assert!((production.hours * production.updates_per_hour - 172.8e6).abs() < 1.0);
        assert_eq!(toml::from_str(TEMPLATE), Ok(scenario));
        // All figures are in it.
        let named = |text: &str| text.lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(named(TEMPLATE), named(&toml::to_string(&Scenario::default()).expect("TOML")));
    }

    #[test]
    fn mistakes_are_named() {
        let place = std::env::temp_dir().join(format!("scenario-{}.toml", std::process::id()));
        for (text, part) in [
            ("[load]\nretainde = 1\n", "retainde"),
            ("[load]\nretained = 10\n", "load.retained is 10"),
            ("[cycle]\nupdates = 0.99\n", "quiet"),
            ("[cycle]\ncount = 3\n", "6 to 1000"),
            ("[limits]\nleak_mb_per_hour = nan\n", "leak_mb_per_hour is NaN"),
            ("[production]\nupdates_per_hour = 0.0\n", "production.updates_per_hour"),
            ("[load]\nidle_connections = 4294967295\n", "load.idle_connections"),
            ("[limits]\nrestarts = 1\n", "can only be 0"),
            ("[limits]\nlost = \"many\"\n", "line 2"),
        ] {
            std::fs::write(&place, text).expect("a file");
            let error = Scenario::read(&place).expect_err(text);
            assert!(error.contains(part) && error.contains("scenario-"), "{error}");
        }
        std::fs::remove_file(&place).expect("removed");
    }
}
