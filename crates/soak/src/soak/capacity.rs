//! `plimsoll soak capacity`: how much fits into a memory limit, and what the broker does when it is full.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use plimsoll_mqtt::Version;
use serde_json::json;

use super::broker::Broker;
use super::cgroup::Cgroup;
use super::filler::{Filler, What};
use crate::interrupts::Interrupts;
use crate::load::{Endpoint, Place, Swarm, raise_file_limit};
use crate::quantity::{count, duration, size};
use plimsoll_watch::units::bytes;

/// Links that publish.
const LINKS: usize = 4;

/// Refusals in a row after which the broker is said to refuse.
const REFUSALS: u64 = 200;

/// Without anything taken for so long, it is said to have degraded.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Latency (99th percentile of a second, ms) from which it counts as degraded, if it lasts for `SLOW_SECS`.
const SLOW_MS: f64 = 1000.0;
const SLOW_SECS: u32 = 5;

/// Handshakes under way at once.
const CONNECTING_MAX: u64 = 100;

/// Sessions that messages are queued for: no broker's limit for a single one shall decide.
const SESSIONS: u32 = 500;

/// Open files beside those of connections.
const OTHER_FILES: u64 = 64;

/// Find out how much fits into a memory limit, and what happens then
///
/// Starts the broker in a memory cgroup, and fills it up until it refuses, degrades or dies. Needs root or a delegated
/// cgroup.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  plimsoll soak capacity --broker-cmd 'mosquitto -c m.conf' --limit 256MiB
  plimsoll soak capacity --broker-cmd 'plimsoll -c p.conf' --limit 4GB --what queued --json

Exit code: 0 it was found out, 2 it could not run, 130 interrupted.")]
pub(super) struct Options {
    /// Starts this broker and ends it afterwards
    #[arg(long, value_name = "COMMAND")]
    broker_cmd: String,
    #[command(flatten)]
    place: Place,
    /// Memory that it may have
    #[arg(long, default_value = "256MiB", value_parser = bytes)]
    limit: u64,
    /// What to fill it with
    #[arg(long, value_enum, default_value = "retained")]
    what: What,
    /// Not more than this many
    #[arg(long, default_value_t = 100_000_000)]
    at_most: u64,
    /// Not longer than this
    #[arg(long = "for", default_value = "10m", value_parser = duration)]
    length: Duration,
    /// Speak MQTT 3.1.1 instead of 5.0, in which brokers say why they refuse
    #[arg(long)]
    old: bool,
    /// Directory of the cgroup to make it in; else the root of the hierarchy
    #[arg(long, value_name = "DIRECTORY")]
    cgroup: Option<PathBuf>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Refuses(String),
    Degrades(String),
    Dies(String),
    /// It took all that was asked for.
    Holds(&'static str),
}

impl End {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Refuses(why) => ("refuses", why),
            Self::Degrades(why) => ("degrades", why),
            Self::Dies(why) => ("dies", why),
            Self::Holds(why) => ("holds", why),
        }
    }
}

/// One attempt.
struct Attempt<'o> {
    options: &'o Options,
    swarm: Swarm,
    filler: Filler,
    broker: Broker,
    cgroup: Cgroup,
    interrupts: Interrupts,
    idle: u64,
    files: u64,
    identifier: u64,
}

/// Fills the broker and prints what came of it. Answers whether it was interrupted.
pub(super) fn run(options: &Options, interrupts: &Interrupts) -> Result<bool, String> {
    let mut endpoint = options.place.endpoint_of_many()?;
    endpoint.version = if options.old { Version::V311 } else { Version::V5 };
    let files = raise_file_limit(options.at_most.min(1_000_000) + OTHER_FILES);
    let cgroup = Cgroup::with_limit(options.limit, options.cgroup.as_deref())?;
    let broker = Broker::start(&options.broker_cmd, endpoint.address, Some(cgroup.directory()))?;
    let mut attempt = Attempt {
        options,
        filler: Filler::new(options.what, endpoint.version, SESSIONS)?,
        swarm: Swarm::new(endpoint).map_err(|error| format!("cannot poll: {error}"))?,
        broker,
        cgroup,
        interrupts: interrupts.clone(),
        idle: 0,
        files,
        identifier: 0,
    };
    attempt.prepare()?;
    let before = attempt.cgroup.current();
    let end = attempt.fill()?;
    let (taken, after) = (attempt.filler.taken, attempt.cgroup.current());
    let arrived = match (options.what, &end) {
        (What::Queued, End::Dies(_)) | (What::Retained | What::Connections, _) => None,
        (What::Queued, _) => Some(attempt.drain()?),
    };
    let each = if taken > 0 { (after - before) / taken as f64 } else { 0.0 };
    print(options, &end, taken, arrived, each);
    Ok(attempt.interrupts.seen())
}

fn print(options: &Options, end: &End, taken: u64, arrived: Option<u64>, each: f64) {
    let (how, why) = end.parts();
    let what = match options.what {
        What::Retained => "retained messages",
        What::Connections => "connections",
        What::Queued => "queued messages",
    };
    if options.json {
        let json = json!({
            "what": what, "limit_bytes": options.limit, "taken": taken, "arrived": arrived,
            "end": how, "why": why, "bytes_each": each,
        });
        println!("{json}");
        return;
    }
    println!(
        "{} {what} were taken in {}; then it {how}: {why}",
        count(taken),
        size(options.limit as f64)
    );
    println!("{} each, by the cgroup's count", size(each));
    if let Some(arrived) = arrived {
        println!("{} of them arrived when their sessions were back", count(arrived));
    }
}

impl Attempt<'_> {
    fn endpoint(&self) -> Endpoint {
        self.swarm.endpoint().clone()
    }

    fn dial(&mut self, name: &str, clean: bool) -> Result<usize, String> {
        let endpoint = self.endpoint();
        let mut greeting = endpoint.greeting(name, clean, u16::MAX);
        // Session Expiry Interval of a day (MQTT 5.0, 3.1.2.11.2); before 5.0 it is for ever.
        let mut properties = plimsoll_mqtt::PropertiesBuf::default();
        if !clean && endpoint.version.is_v5() {
            properties.session_expiry_interval(86_400);
            greeting.properties = properties.view();
        }
        self.swarm.dial(greeting).map_err(|error| format!("cannot connect: {error}"))
    }

    /// Sessions that go away, for messages to be queued for.
    fn prepare(&mut self) -> Result<(), String> {
        if self.options.what == What::Queued {
            let mut links = Vec::new();
            for session in 0..SESSIONS {
                links.push(self.dial(&format!("soak-absent-{session}"), false)?);
                let wanted = u64::from(session) + 1;
                self.wait(|filler| filler.ready >= wanted)?;
            }
            // The last subscription is on its way.
            self.pause(Duration::from_millis(300))?;
            for link in links {
                self.swarm.close(link);
            }
            self.pause(Duration::from_millis(300))?;
        }
        if self.options.what != What::Connections {
            self.filler.active = true;
            let wanted = self.filler.ready + LINKS as u64;
            for number in 0..LINKS {
                self.dial(&format!("soak-filler-{number}"), true)?;
            }
            self.wait(|filler| filler.ready >= wanted)?;
        }
        Ok(())
    }

    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        self.swarm.turn(wait, &mut self.filler).map_err(|error| format!("cannot poll: {error}"))
    }

    fn pause(&mut self, span: Duration) -> Result<(), String> {
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn wait(&mut self, done: impl Fn(&Filler) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + STANDSTILL;
        while !done(&self.filler) {
            self.turn(Duration::from_millis(5))?;
            if Instant::now() > deadline {
                return Err(format!("clients could not connect: {}", self.filler.reason));
            }
        }
        Ok(())
    }

    /// Fills until it ends.
    fn fill(&mut self) -> Result<End, String> {
        let begin = Instant::now();
        let (mut taken, mut moved, mut second, mut slow) = (0, Instant::now(), Instant::now(), 0);
        loop {
            if self.options.what == What::Connections {
                self.more_connections()?;
            }
            self.turn(Duration::from_millis(5))?;
            if let Some(end) = self.ended(begin) {
                return Ok(end);
            }
            if self.filler.taken > taken {
                (taken, moved) = (self.filler.taken, Instant::now());
            } else if moved.elapsed() > STANDSTILL {
                return Ok(End::Degrades(format!(
                    "nothing was taken for {} s",
                    STANDSTILL.as_secs()
                )));
            }
            if second.elapsed() > Duration::from_secs(1) {
                second = Instant::now();
                let p99 = self.filler.latency_us.quantile_ms(0.99);
                self.filler.latency_us.clear();
                slow = if p99 > SLOW_MS { slow + 1 } else { 0 };
                if slow >= SLOW_SECS {
                    return Ok(End::Degrades(format!(
                        "p99 of publishing was above {SLOW_MS:.0} ms for {SLOW_SECS} s"
                    )));
                }
            }
        }
    }

    fn more_connections(&mut self) -> Result<(), String> {
        let settled = self.filler.taken + self.filler.closed;
        while self.idle.saturating_sub(settled) < CONNECTING_MAX
            && self.idle < self.options.at_most
            && self.idle + OTHER_FILES < self.files
        {
            self.identifier += 1;
            self.dial(&format!("soak-idle-{}", self.identifier), true)?;
            self.idle += 1;
        }
        Ok(())
    }

    /// Whether it is over.
    fn ended(&mut self, begin: Instant) -> Option<End> {
        let kills = self.cgroup.oom_kills();
        if let Some(how) = self.broker.ended() {
            let why = if kills > 0 {
                "the kernel has killed it for want of memory".into()
            } else {
                format!("its process has ended ({how}){}", self.broker.last_words())
            };
            return Some(End::Dies(why));
        }
        if kills > 0 {
            return Some(End::Dies(
                "the kernel has killed a process of it for want of memory".into(),
            ));
        }
        if self.filler.refused >= REFUSALS
            || (self.options.what != What::Connections && self.filler.closed > 0)
        {
            // A process that dies closes its connections first.
            std::thread::sleep(Duration::from_millis(500));
            if self.broker.ended().is_some() {
                return Some(End::Dies(if self.cgroup.oom_kills() > 0 {
                    "the kernel has killed it for want of memory".into()
                } else {
                    "its process has ended".into()
                }));
            }
            return Some(End::Refuses(self.filler.reason.clone()));
        }
        match () {
            () if self.filler.taken >= self.options.at_most => {
                Some(End::Holds("as many as --at-most"))
            }
            () if self.options.what == What::Connections
                && self.filler.taken + OTHER_FILES >= self.files =>
            {
                Some(End::Holds("this tool may not open more files (ulimit -n)"))
            }
            () if begin.elapsed() > self.options.length => Some(End::Holds("until --for was over")),
            () if self.interrupts.seen() => Some(End::Holds("until it was interrupted")),
            () => None,
        }
    }

    /// Lets the sessions come back, and counts what they get.
    fn drain(&mut self) -> Result<u64, String> {
        self.filler.active = false;
        for session in 0..SESSIONS {
            self.dial(&format!("soak-absent-{session}"), false)?;
            self.turn(Duration::ZERO)?;
        }
        let (mut got, mut moved) = (0, Instant::now());
        while moved.elapsed() < Duration::from_secs(3) && self.broker.ended().is_none() {
            self.turn(Duration::from_millis(20))?;
            if self.filler.got > got {
                (got, moved) = (self.filler.got, Instant::now());
            }
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_a_word_and_a_reason() {
        assert_eq!(End::Refuses("Quota exceeded".into()).parts(), ("refuses", "Quota exceeded"));
        assert_eq!(End::Dies("killed".into()).parts().0, "dies");
        assert_eq!(End::Degrades("slow".into()).parts().0, "degrades");
        assert_eq!(End::Holds("as many as --at-most").parts().0, "holds");
    }
}
