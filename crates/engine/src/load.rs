//! The load line: what the engine leaves off, step by step, as the process nears its limit.
//!
//! The shell says how large the limit is and how much the process holds beside the ledger
//! ([`Input::LoadLine`](crate::Input::LoadLine)). The rest the engine sees itself: it weighs the
//! ledger after each input, so that a flood between two readings finds it ready. Up the steps it goes
//! whenever it sees reason to; down at readings alone.

mod refusal;
mod step;
mod sweep;

use alloc::vec::Vec;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};

use crate::dispatch::Outgoing;
use crate::engine::Engine;
use crate::event::Event;
use crate::settings::Settings;
use crate::time::Time;

pub(crate) use refusal::{Overload, Refusals};
pub use step::Step;
use sweep::Sweep;

/// How much memory there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLine {
    /// Most bytes that the process may hold.
    pub limit: usize,
    /// Bytes that it holds beside what the ledger knows.
    pub beside: usize,
}

/// What the load line has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// How often each step was entered, by [`Step`].
    pub entered: [u64; Step::ALL.len()],
    /// Queues that were left to the store.
    pub queues_spilled: u64,
    /// Pauses of publishers.
    pub publishers_slowed: u64,
    /// Messages that were not retained: on a new topic, or larger than the one there.
    pub retained_refused: u64,
    /// Subscriptions that were refused.
    pub subscriptions_refused: u64,
    /// Messages that were refused since they would have been queued in memory.
    pub publishes_refused: u64,
    /// Connections that were refused.
    pub connections_refused: u64,
    /// QoS 0 messages that were dropped.
    pub qos0_dropped: u64,
    /// Clients that were disconnected.
    pub disconnected: u64,
}

/// The load line as metrics show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadState {
    /// The step in force.
    pub step: Step,
    /// Most bytes that the process may hold; `None` is no limit.
    pub limit: Option<usize>,
    /// Bytes that it holds, as far as is known between two readings.
    pub used: usize,
    /// What has been done.
    pub counts: LoadCounts,
    /// For how long each step has been in force so far, in milliseconds, by [`Step`]; a later one goes
    /// on with all before it.
    pub in_force_millis: [u64; Step::ALL.len()],
}

impl LoadCounts {
    /// Everything that is counted, with its name in metrics.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("queues_spilled", self.queues_spilled),
            ("publishers_slowed", self.publishers_slowed),
            ("retained_refused", self.retained_refused),
            ("subscriptions_refused", self.subscriptions_refused),
            ("publishes_refused", self.publishes_refused),
            ("connections_refused", self.connections_refused),
            ("qos0_dropped", self.qos0_dropped),
            ("disconnected", self.disconnected),
        ]
    }
}

impl LoadState {
    /// Everything that is counted, with its name in metrics.
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        self.counts.named()
    }
}

/// How long a publisher is not read from after each turn in which it published.
const SLOW_MILLIS: u64 = 50;

/// The same from [`Step::RefuseNew`] on.
const SLOWER_MILLIS: u64 = 200;

/// The part of the room that is left which one run of publishes may take if every client gets it: the
/// ledger is weighed again behind each run.
const RUN_PART: usize = 4;

/// The engine's side of the load line.
#[derive(Debug)]
pub(crate) struct Approach {
    line: Option<LoadLine>,
    pub(crate) step: Step,
    /// The settings as they were given, for when there is room again.
    configured: Settings,
    /// Sessions that are not read from for a moment, with their connection's number.
    slowed: Charged<Vec<(u32, u32)>>,
    pub(crate) resume_at: Time,
    /// Most bytes of publishes that are routed at once.
    pub(crate) run_bytes_max: usize,
    in_force_millis: [u64; Step::ALL.len()],
    /// When the step in force was entered.
    since: Time,
    sweep: Sweep,
}

impl Approach {
    pub(crate) fn new(settings: Settings, ledger: &'static Ledger) -> Self {
        Self {
            line: None,
            step: Step::Clear,
            configured: settings,
            slowed: ledger.own(Account::Sessions, Vec::new()),
            resume_at: Time::NEVER,
            run_bytes_max: usize::MAX,
            in_force_millis: Default::default(),
            since: Time::NEVER,
            sweep: Sweep::default(),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slowed.heap_bytes()
    }

    /// For how long each step has been in force.
    fn in_force_at(&self, now: Time) -> [u64; Step::ALL.len()] {
        let mut millis = self.in_force_millis;
        if self.since != Time::NEVER {
            let present = now.as_millis().saturating_sub(self.since.as_millis());
            millis.iter_mut().take(self.step as usize + 1).for_each(|total| *total += present);
        }
        millis
    }
}

impl Engine {
    /// The step of the load line that is in force.
    pub fn step(&self) -> Step {
        self.load.step
    }

    /// The load line as it is now.
    pub fn load_line(&self) -> LoadState {
        LoadState {
            step: self.load.step,
            limit: self.load.line.map(|line| line.limit),
            used: self.load.line.map_or(0, |line| self.used(line)),
            counts: self.dispatch.counters.load.clone(),
            in_force_millis: self.load.in_force_at(self.dispatch.now),
        }
    }

    /// New settings were given: they hold within the present step.
    pub(crate) fn tighten(&mut self, settings: Settings) {
        self.dispatch.settings = self.load.step.tightened(&settings);
        self.load.configured = settings;
    }

    fn used(&self, line: LoadLine) -> usize {
        line.beside.saturating_add(self.ledger().total())
    }

    /// A new reading of the process.
    pub(crate) fn handle_load_line(&mut self, line: Option<LoadLine>) {
        self.load.line = line;
        self.dispatch.journal.bound(line.map_or(usize::MAX, |line| line.limit / 16));
        let Some(line) = line else {
            self.load.run_bytes_max = usize::MAX;
            return self.go_to(Step::Clear, LoadLine { limit: 0, beside: 0 });
        };
        self.go_to(self.load.step.after(self.used(line), line.limit), line);
        self.weigh();
        if self.load.step >= Step::ShrinkCaches {
            self.targets = Vec::new();
            self.dispatch.shrink();
        }
        if self.load.step >= Step::Spill {
            self.sweep();
        }
    }

    /// Looks at the ledger and goes up to the step that follows.
    pub(crate) fn weigh(&mut self) {
        let Some(line) = self.load.line else { return };
        for outbox in &mut self.dispatch.outboxes {
            outbox.settle();
        }
        let used = self.used(line);
        self.go_to(self.load.step.max(Step::Clear.after(used, line.limit)), line);
        let clients = self.dispatch.counters.clients_connected as usize;
        self.load.run_bytes_max = line.limit.saturating_sub(used) / RUN_PART / clients.max(1);
    }

    fn go_to(&mut self, step: Step, line: LoadLine) {
        let before = self.load.step;
        let now = self.dispatch.now;
        if step == before {
            if self.load.since == Time::NEVER {
                self.load.since = now;
            }
            return;
        }
        self.load.in_force_millis = self.load.in_force_at(now);
        (self.load.step, self.load.since) = (step, now);
        self.dispatch.settings = step.tightened(&self.load.configured);
        self.dispatch.drops_qos0 = step >= Step::DropQos0;
        self.dispatch.holds_publishers = step >= Step::SlowPublishers;
        let (used, limit) = (self.used(line), line.limit);
        let event = |step, entered| Event::LoadLine { step, entered, used, limit };
        for each in Step::ALL.into_iter().filter(|&each| each > before && each <= step) {
            if let Some(count) = self.dispatch.counters.load.entered.get_mut(each as usize) {
                *count += 1;
            }
            self.dispatch.event(None, event(each, true));
        }
        for each in Step::ALL.into_iter().rev().filter(|&each| each <= before && each > step) {
            self.dispatch.event(None, event(each, false));
        }
    }

    /// A publisher has had its turn: it waits a moment for the next.
    /// `topic`: the step of its topic's budget. Answers whether it waits.
    pub(crate) fn slow_publisher(&mut self, slot: u32, run: &[Outgoing<'_>], topic: Step) -> bool {
        // Whoever deletes gives memory back.
        let deletes = |sent: &Outgoing<'_>| sent.parts.retain && sent.parts.payload.is_empty();
        let gives = !run.is_empty() && run.iter().all(deletes);
        let Some(session) = self.sessions.get(slot) else { return false };
        let own = self.dispatch.budgets.step(session);
        let step = self.load.step.max(own).max(topic);
        if step < Step::SlowPublishers || gives {
            return false;
        }
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let Some(link) = session.link else { return false };
        if session.flags.slowed {
            return false;
        }
        session.flags.slowed = true;
        if self.load.step >= Step::SlowPublishers {
            self.dispatch.counters.load.publishers_slowed += 1;
        }
        let slowed = Step::SlowPublishers;
        self.dispatch.budgets.count(session, slowed, |counts| counts.publishers_slowed += 1);
        if let Some(outbox) = self.dispatch.outbox(link) {
            outbox.pause_reading(link);
        }
        self.load.slowed.edit().push((slot, session.epoch));
        let slower = step >= Step::RefuseNew;
        let pause = if slower { SLOWER_MILLIS } else { SLOW_MILLIS };
        self.load.resume_at = self.load.resume_at.min(self.dispatch.now.plus_millis(pause));
        true
    }

    /// Reads again from publishers that have waited long enough.
    pub(crate) fn resume_slowed(&mut self) {
        if self.load.resume_at > self.dispatch.now {
            return;
        }
        self.load.resume_at = Time::NEVER;
        for (slot, epoch) in core::mem::take(&mut *self.load.slowed.edit()) {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.epoch != epoch || !session.flags.slowed {
                continue;
            }
            session.flags.slowed = false;
            session.seen_at = self.dispatch.now; // It was not read from.
            if let (Some(link), false) = (session.link, session.flags.paused)
                && let Some(outbox) = self.dispatch.outbox(link)
            {
                outbox.resume_reading(link);
            }
        }
    }
}
