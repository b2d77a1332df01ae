//! Drives the clients of a soak and looks at the broker meanwhile.

use std::io;
use std::time::{Duration, Instant};

use plimsoll_watch::{Clock, Sampler, Selector, Source, Target};

use super::broker::Broker;
use super::figures::Figures;
use super::growth::median;
use super::latencies::{Latencies, Windows};
use super::outcome::{Point, Span, View};
use super::progress::{Progress, State};
use super::scenario::Scenario;
use super::world::{Mode, Role, World};
use crate::interrupts::Interrupts;
use crate::load::{Endpoint, Swarm};

/// Time between two looks at the process.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Most points kept; the time between them is doubled when there are more.
const POINTS_MAX: usize = 20_000;

/// Handshakes under way at one time.
const CONNECTING_MAX: usize = 200;

/// How long clients may take to connect, or to get what is under way.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long what is left behind may take to be taken away.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long the first clients are tried again if they are refused.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait until a lost client connects again.
const REDIAL_AFTER: Duration = Duration::from_millis(200);

/// Keep alive of all clients, seconds: long enough that none need be sent in a run of minutes.
const KEEP_ALIVE_S: u16 = 3600;

/// Why a run ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Somebody does not want to wait.
    Interrupted,
    /// The broker's process has ended.
    Died(String),
    /// It could not go on.
    Broken(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A run's state.
pub(super) struct Driver<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) swarm: Swarm,
    pub(super) world: World,
    pub(super) begin: Instant,
    pub(super) points: Vec<Point>,
    pub(super) spans: Vec<Span>,
    pub(super) windows: Windows,
    /// What sources say that the broker holds, in quiet.
    pub(super) figures: Figures,
    /// The cycle that is under way, and how many there are.
    pub(super) cycle: (u32, u32),
    pub(super) progress: Progress,
    pub(super) phase: &'static str,
    broker: Broker,
    sampler: Sampler,
    clock: Clock,
    interrupts: Interrupts,
    sampled: Instant,
    sample_every: Duration,
    lost_at: Option<Instant>,
    /// Why the last look at the process has seen nothing.
    unseen: Option<String>,
    /// Part of all client identifiers, so that runs do not meet.
    name: String,
    pinged: Instant,
}

impl<'s> Driver<'s> {
    pub(super) fn new(
        scenario: &'s Scenario,
        broker: Broker,
        endpoint: Endpoint,
        interrupts: Interrupts,
        planned: Duration,
        seed: u64,
        accounts: &[Source],
    ) -> Result<Self, String> {
        let begin = Instant::now();
        let mut target = Target::new("broker", Selector::Pid(broker.pid()));
        target.accounts = accounts.to_vec();
        let sampler = Sampler::new(&target);
        Ok(Self {
            scenario,
            swarm: Swarm::new(endpoint).map_err(|error| format!("cannot poll: {error}"))?,
            world: World::new(&scenario.load, seed, begin)?,
            begin,
            points: Vec::new(),
            spans: Vec::new(),
            windows: Windows::new(planned.as_secs_f64())?,
            figures: Figures::default(),
            cycle: (0, 0),
            progress: Progress::new(planned),
            phase: "start",
            broker,
            sampler,
            clock: Clock::new(),
            interrupts,
            sampled: begin,
            sample_every: SAMPLE_EVERY,
            lost_at: None,
            unseen: None,
            name: run_name(begin),
            pinged: begin,
        })
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Seconds since the beginning.
    pub(super) fn elapsed_s(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// A phase begins; the one before ends.
    pub(super) fn enter(&mut self, phase: &'static str) {
        let now = self.elapsed_s();
        if let Some(span) = self.spans.last_mut() {
            span.to_s = now;
        }
        self.phase = phase;
        self.spans.push(Span { phase: phase.into(), from_s: now, to_s: now });
        self.windows.begin(now, &mut self.world.latencies);
    }

    /// The latencies of the phase, which has ended.
    pub(super) fn latencies(&mut self) -> &Latencies {
        let now = self.elapsed_s();
        self.windows.end(self.phase, now, &mut self.world.latencies)
    }

    /// One turn: what is queued is sent, what comes in is taken, the process looked at if it is time again.
    pub(super) fn turn(&mut self, wait: Duration) -> Result<(), Stop> {
        self.swarm.turn(wait, &mut self.world)?;
        while let Some(link) = self.world.closing.pop() {
            self.swarm.close(link);
        }
        if !self.world.redial.is_empty() {
            self.redial()?;
        }
        if self.pinged.elapsed() >= Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2) {
            self.pinged = Instant::now();
            self.swarm.ping();
        }
        if self.sampled.elapsed() >= self.sample_every {
            self.sample()?;
            let now = self.elapsed_s();
            self.windows.look(self.phase, now, &mut self.world.latencies);
        }
        Ok(())
    }

    /// Turns until `done`, or until the time is over. Answers whether it was done.
    pub(super) fn turn_until(
        &mut self,
        patience: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Stop> {
        let deadline = Instant::now() + patience;
        while !done(self) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.turn(Duration::from_millis(5))?;
        }
        Ok(true)
    }

    /// Who has lost its connection connects again, a moment later.
    fn redial(&mut self) -> Result<(), Stop> {
        let since = *self.lost_at.get_or_insert_with(Instant::now);
        if since.elapsed() < REDIAL_AFTER {
            return Ok(());
        }
        self.lost_at = None;
        for role in std::mem::take(&mut self.world.redial) {
            self.dial(role)?;
        }
        Ok(())
    }

    /// Looks at the process.
    fn sample(&mut self) -> Result<(), Stop> {
        self.sampled = Instant::now();
        if let Some(how) = self.broker.ended() {
            return Err(Stop::Died(format!("{how}{}", self.broker.last_words())));
        }
        if self.interrupts.seen() {
            return Err(Stop::Interrupted);
        }
        let reading = self.sampler.sample(self.clock.now());
        self.unseen = reading.absent;
        if let (Some(process), Some(sample)) = (reading.process, reading.sample) {
            self.points.push(Point {
                t: self.elapsed_s(),
                rss: sample.rss,
                memory: sample.anon.unwrap_or(sample.rss),
                account: sample.account.or(self.world.books.account),
                heap: sample.heap_used,
                direct: sample.direct,
                cpu_s: process.cpu_s,
                updates: self.world.events.updates,
                woes: self.world.woes(),
            });
        }
        if self.points.len() > POINTS_MAX {
            self.sample_every *= 2;
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        self.progress.look(State {
            phase: self.phase,
            cycle: self.cycle,
            elapsed: self.begin.elapsed(),
            updates: self.world.events.updates,
            memory: self.points.last().map_or(0.0, |point| point.rss),
        });
        Ok(())
    }

    /// Begins to connect a client.
    pub(super) fn dial(&mut self, role: Role) -> Result<usize, Stop> {
        let (kind, clean) = match role {
            Role::Publisher(number) => (format!("publisher-{number}"), true),
            Role::Reader(number) => (format!("reader-{number}"), true),
            Role::Absent(session) => (format!("absent-{session}"), false),
            Role::Witness => ("witness".into(), true),
            Role::Courier => ("courier".into(), true),
            Role::Books => ("books".into(), true),
            Role::Inspector => ("inspector".into(), true),
            Role::Idle(number) => (format!("idle-{number}"), true),
            Role::Churner(number) => (format!("churn-{number}"), true),
            Role::Nobody => ("nobody".into(), true),
        };
        self.dial_as(role, &kind, clean)
    }

    /// Begins to connect a client of a name, which gets the run's before it.
    pub(super) fn dial_as(&mut self, role: Role, kind: &str, clean: bool) -> Result<usize, Stop> {
        let endpoint = self.swarm.endpoint().clone();
        let link = self
            .swarm
            .dial(endpoint.greeting(&format!("{}-{kind}", self.name), clean, KEEP_ALIVE_S))
            .map_err(|error| Stop::Broken(format!("cannot connect a client: {error}")))?;
        self.world.own(link, role);
        Ok(link)
    }

    /// Connects clients and waits until they are ready.
    pub(super) fn connect(&mut self, roles: &[Role]) -> Result<(), Stop> {
        let before = self.world.settled;
        for (index, role) in roles.iter().enumerate() {
            self.dial(*role)?;
            self.turn(Duration::ZERO)?;
            self.settle(before, index.saturating_sub(CONNECTING_MAX), roles.len())?;
        }
        self.settle(before, roles.len(), roles.len())
    }

    /// Waits until `wanted` more clients are ready than `before`.
    fn settle(&mut self, before: usize, wanted: usize, all: usize) -> Result<(), Stop> {
        let (begin, nobody) = (Instant::now(), self.world.settled == 0);
        let settled = self.turn_until(PATIENCE, |driver| {
            // Who refuses even the first one will refuse all.
            let refused = nobody && driver.world.settled == 0 && driver.world.refused.is_some();
            driver.world.settled >= before + wanted || (refused && begin.elapsed() > FIRST_PATIENCE)
        })?;
        let there = self.world.settled - before;
        if settled && there >= wanted {
            return Ok(());
        }
        let why = self.world.refused.clone().unwrap_or_else(|| "no answer".into());
        Err(Stop::Broken(format!(
            "{there} of {all} clients could connect within {:.0} s: {why}",
            begin.elapsed().as_secs_f64()
        )))
    }

    /// Is quiet for a while. Answers the memory then, bytes: the middle of the later looks.
    pub(super) fn quiet(&mut self, span: Duration) -> Result<f64, Stop> {
        self.enter("quiet");
        self.world.mode = Mode::Quiet;
        let begin = self.elapsed_s();
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            self.turn(Duration::from_millis(20))?;
        }
        self.sample()?;
        let from = begin + 0.5 * span.as_secs_f64();
        let later = || self.points.iter().rev().take_while(|point| point.t >= from);
        let events = self.world.events;
        for view in View::ASKED {
            let said: Vec<f64> = later().filter_map(|point| point.said(view)).collect();
            if !said.is_empty() {
                self.figures.note(view, events, median(&said));
            }
        }
        let looks: Vec<f64> = later().map(|point| point.memory).collect();
        if looks.is_empty() {
            let why = self.unseen.as_deref().unwrap_or("there is no figure of it");
            return Err(Stop::Broken(format!(
                "the memory of process {} cannot be read: {why}",
                self.broker.pid()
            )));
        }
        Ok(median(&looks))
    }

    /// Ends the stored sessions, and closes all connections.
    pub(super) fn leave(&mut self) {
        self.forget_sessions();
        self.swarm.close_all();
    }

    /// Sessions that a broker would keep for the next run end when their clients come with a clean one. If they cannot,
    /// the run is over all the same.
    fn forget_sessions(&mut self) {
        for session in 0..self.world.absent.links.len() {
            if let Some(link) = self.world.absent.links.get(session).copied().flatten() {
                self.world.disown(link);
                self.swarm.close(link);
            }
            let _ = self.dial_as(Role::Nobody, &format!("absent-{session}"), true);
        }
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline
            && self.swarm.turn(Duration::from_millis(5), &mut self.world).is_ok()
        {}
    }
}

/// A name of the run that no other has.
fn run_name(begin: Instant) -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_else(|_| begin.elapsed()).as_secs();
    format!("soak-{:x}-{:x}", since & 0xFF_FFFF, std::process::id())
}
