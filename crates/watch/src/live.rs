//! `plimsoll watch` itself: looks, judges, records, tells.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_judgement::outside::Verdict;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock::{Clock, Now};
use crate::configuration::Plan;
use crate::describe::Span;
use crate::event::{Event, Happening};
use crate::happenings::happenings;
use crate::history::{self, History};
use crate::output::Output;
use crate::outputs::OutputOptions;
use crate::remark::remark;
use crate::sampler::Sampler;
use crate::target::Target;
use crate::watched::Watched;

/// How often the judge is asked, seconds: what it answers changes over minutes.
const JUDGE_EVERY_S: f64 = 10.0;

/// Nothing was watched.
pub(crate) const EXIT_NOT_STARTED: u8 = 2;

/// Something leaks at the end, and `--check` was given.
const EXIT_LEAKING: u8 = 1;

/// How much of a history is judged anew at the start, seconds: what is older changes no judgement of today.
const RECALL_S: f64 = 14.0 * 86_400.0;

/// How far ahead of the time of day a history may end, seconds: a clock that was corrected.
const AHEAD_MAX_S: f64 = 600.0;

/// Signals that may wait to be heard.
const WAKES_MAX: usize = 8;

/// What interrupts waiting.
enum Wake {
    Stop,
    Reload,
}

/// All that is watched.
pub(crate) struct Live {
    clock: Clock,
    every: Duration,
    history: Option<history::Place>,
    /// What `outputs` were made of.
    begun_with: OutputOptions,
    watched: Vec<Watched>,
    /// In the order of `watched`.
    eyes: Vec<Eye>,
    outputs: Vec<Box<dyn Output>>,
}

/// What looks at a target.
struct Eye {
    sampler: Sampler,
    history: Option<History>,
    judged_t: f64,
    /// That its history cannot be written was said.
    complained: bool,
}

impl Live {
    /// Begins to ask the sources of all targets, and reads what was recorded of them.
    pub(crate) fn new(plan: Plan, outputs: Vec<Box<dyn Output>>) -> Result<Self, String> {
        let history = plan.place();
        let Plan { every, targets, outputs: begun_with, .. } = plan;
        let mut live = Self {
            clock: Clock::new(),
            every,
            history,
            begun_with,
            watched: Vec::new(),
            eyes: Vec::new(),
            outputs,
        };
        for target in targets {
            live.add(target)?;
        }
        Ok(live)
    }

    /// Watches one more target: from where its history ends.
    fn add(&mut self, target: Target) -> Result<(), String> {
        let mut sampler = Sampler::new(&target);
        let mut watched = Watched::new(target);
        let history = match &self.history {
            None => None,
            Some(place) => {
                let history = place.open(&watched.target.name)?;
                self.recall(&history, &mut watched, &mut sampler)?;
                Some(history)
            }
        };
        self.watched.push(watched);
        let judged_t = f64::NEG_INFINITY;
        self.eyes.push(Eye { sampler, history, judged_t, complained: false });
        Ok(())
    }

    /// Judges what was recorded, as if it had been seen now.
    fn recall(
        &mut self,
        history: &History,
        watched: &mut Watched,
        sampler: &mut Sampler,
    ) -> Result<(), String> {
        let name = &watched.target.name;
        let failed = |error| format!("the history of {name} cannot be read: {error}");
        let Some(last) = history.last().map_err(failed)? else { return Ok(()) };
        let now = self.clock.now().t;
        if last.sample.t > now + AHEAD_MAX_S {
            return Err(format!(
                "the history of {name} ends {} from now: the clock was wrong then, or is now; move it away",
                Span(last.sample.t - now)
            ));
        }
        self.clock = self.clock.and_not_before(last.sample.t);
        let oldest = now - history.keep().as_secs_f64().min(RECALL_S);
        for sample in history.since(oldest).map_err(failed)? {
            watched.judge.push(&sample);
        }
        watched.verdict = watched.judge.verdict();
        watched.identity = Some(last.identity);
        sampler.remember(last.identity, last.sample.start);
        Ok(())
    }

    /// Looks at all targets once.
    pub(crate) fn round(&mut self) {
        for (watched, eye) in self.watched.iter_mut().zip(&mut self.eyes) {
            eye.look(watched, self.clock.now(), &mut self.outputs);
        }
        for output in &mut self.outputs {
            output.round(&self.watched);
        }
    }

    /// Looks again and again, until a signal or `length` has passed. `reload` reads the configuration anew.
    pub(crate) fn run(
        &mut self,
        length: Option<Duration>,
        reload: impl Fn() -> Result<Plan, String>,
    ) -> Result<(), String> {
        let wakes = signals()?;
        let began = Instant::now();
        let mut next = began;
        loop {
            self.round();
            if self.outputs.iter().any(|output| output.is_broken()) {
                break;
            }
            next = (next + self.every).max(Instant::now());
            let end = length.map(|length| began + length);
            if end.is_some_and(|end| end <= next) {
                thread::sleep(end.unwrap_or(next).saturating_duration_since(Instant::now()));
                self.round();
                break;
            }
            match wakes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Wake::Reload) => match reload().map(|plan| self.take_over(plan)) {
                    Ok(Ok(())) => remark("The configuration was read again."),
                    Ok(Err(error)) => remark(format_args!("Error: {error}.")),
                    Err(error) => remark(format_args!("Error: {error}. All stays as it was.")),
                },
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.end();
        Ok(())
    }

    /// Goes on with another configuration: targets that are as they were are not disturbed.
    fn take_over(&mut self, plan: Plan) -> Result<(), String> {
        let (mut kept, place) = (Vec::new(), plan.place());
        let old = self.watched.drain(..).zip(self.eyes.drain(..)).collect::<Vec<_>>();
        let mut new = plan.targets;
        for (watched, eye) in old {
            // Of those that go the history is closed, so that another may open it.
            if let Some(at) = new.iter().position(|target| *target == watched.target) {
                new.remove(at);
                kept.push((watched, eye));
            } else {
                self.outputs.iter_mut().for_each(|output| output.gone(&watched));
            }
        }
        (self.watched, self.eyes) = kept.into_iter().unzip();
        self.every = plan.every;
        if place != self.history || plan.outputs != self.begun_with {
            remark("Warning: another history and other outputs hold from the next start on.");
        }
        new.into_iter().try_for_each(|target| self.add(target))
    }

    fn end(&mut self) {
        for (watched, eye) in self.watched.iter().zip(&mut self.eyes) {
            if let Some(Err(error)) = eye.history.as_mut().map(History::finish) {
                eye.complain(&watched.target.name, &error);
            }
        }
        for output in &mut self.outputs {
            output.end();
        }
    }

    /// The exit code: with `check` it says whether something leaks.
    pub(crate) fn exit_code(&self, check: bool) -> ExitCode {
        let leaks = |watched: &Watched| matches!(watched.verdict, Verdict::Leaking(_));
        let leaking = check && self.watched.iter().any(leaks);
        ExitCode::from(if leaking { EXIT_LEAKING } else { 0 })
    }
}

impl Eye {
    fn look(&mut self, watched: &mut Watched, now: Now, outputs: &mut [Box<dyn Output>]) {
        let reading = self.sampler.sample(now);
        let found = self.sampler.found();
        let mut happened = happenings(watched.last.as_ref(), watched.identity, &reading, found);
        if watched.readings == 0 && !matches!(watched.verdict, Verdict::InsufficientData { .. }) {
            // What was thought when the last `watch` ended still holds, and outputs do not know it.
            let (before, now) =
                (Verdict::InsufficientData { more_s: 0.0 }, watched.verdict.clone());
            happened.push(Happening::Judged { before, now });
        }
        if let Some(process) = &reading.process {
            watched.identity = Some(process.identity);
        }
        if let Some(sample) = &reading.sample {
            watched.judge.push(sample);
        }
        if reading.t - self.judged_t >= JUDGE_EVERY_S {
            self.judged_t = reading.t;
            let now = watched.judge.verdict();
            let before = std::mem::replace(&mut watched.verdict, now.clone());
            if before.name() != now.name() {
                happened.push(Happening::Judged { before, now });
            }
        }
        if let Some(Err(error)) = self.history.as_mut().map(|history| history.push(&reading)) {
            self.complain(&watched.target.name, &error);
        }
        for output in outputs.iter_mut() {
            output.reading(watched, &reading);
        }
        let (time, t) = (reading.time, reading.t);
        watched.last = Some(reading);
        watched.readings += 1;
        for what in happened {
            let event = Event { time, t, what };
            watched.happened(event.clone());
            for output in outputs.iter_mut() {
                output.event(watched, &event);
            }
        }
    }

    fn complain(&mut self, name: &str, error: &std::io::Error) {
        if !self.complained {
            self.complained = true;
            remark(format_args!("Warning: the history of {name} cannot be written: {error}."));
        }
    }
}

/// Signals, heard on a thread of their own.
fn signals() -> Result<Receiver<Wake>, String> {
    let failed = |error| format!("cannot wait for signals: {error}");
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let (sender, receiver) = sync_channel(WAKES_MAX);
    let body = move || {
        for signal in &mut signals {
            let wake = if signal == SIGHUP { Wake::Reload } else { Wake::Stop };
            if sender.send(wake).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(body).map_err(failed)?;
    Ok(receiver)
}
