//! `plimsoll watch` itself: looks, judges, records, tells.

use std::mem;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_judgement::outside::Verdict;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock::{Clock, Now};
use crate::configuration::Plan;
use crate::event::{Event, Happening};
use crate::happenings::happenings;
use crate::history::{self, History};
use crate::output::Output;
use crate::outputs::OutputOptions;
use crate::procfs::{Identity, Procfs};
use crate::reading::Reading;
use crate::recall::{self, Job, Past, Recall};
use crate::remark::remark;
use crate::sampler::Sampler;
use crate::selector::Selector;
use crate::target::Target;
use crate::watched::Watched;

/// How often the judge is asked, seconds: what it answers changes over minutes.
const JUDGE_EVERY_S: f64 = 10.0;

/// Nothing was watched.
pub(crate) const EXIT_NOT_STARTED: u8 = 2;

/// Something leaks at the end, and `--check` was given.
const EXIT_LEAKING: u8 = 1;

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
    /// The judge still reads what was recorded.
    recall: Option<Recall>,
    judged_t: f64,
    /// That its history cannot be written was said.
    complained: bool,
}

/// A target of which all that could fail is done.
struct Ready {
    target: Target,
    /// `None` also if the target is a changed one, whose file is open already.
    history: Option<History>,
    past: Option<Past>,
}

impl Live {
    /// Begins to ask the sources of all targets, and to read what was recorded of them.
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
        let ready: Vec<Ready> =
            targets.into_iter().map(|target| live.ready(target)).collect::<Result<_, _>>()?;
        let mut jobs = Vec::new();
        for one in ready {
            live.add(one, &mut jobs);
        }
        recall::start(jobs);
        Ok(live)
    }

    /// Opens what a target needs. Nothing is changed by it.
    fn ready(&mut self, target: Target) -> Result<Ready, String> {
        let Some(place) = &self.history else {
            return Ok(Ready { target, history: None, past: None });
        };
        let (name, now_t) = (&target.name, self.clock.now().t);
        let at = self.watched.iter().position(|one| one.target.name == *name);
        let (history, past) = match at.and_then(|at| self.eyes.get_mut(at)?.history.as_mut()) {
            Some(open) => {
                let failed = |error| format!("the history of {name} cannot be written: {error}");
                open.finish().map_err(failed)?;
                (None, Past::read(open, name, now_t)?)
            }
            None => {
                let history = place.open(name)?;
                let past = Past::read(&history, name, now_t)?;
                (Some(history), past)
            }
        };
        Ok(Ready { target, history, past })
    }

    /// Watches one more target, from where its history ends; what that takes to judge goes to `jobs`.
    fn add(&mut self, ready: Ready, jobs: &mut Vec<Job>) {
        let Ready { target, history, past } = ready;
        let mut sampler = Sampler::new(&target);
        let mut watched = Watched::new(target);
        let past = past.filter(|past| {
            let strange = is_strange(&watched.target, past.last.identity);
            if strange {
                let name = &watched.target.name;
                remark(format_args!("Warning: the history of {name} is of another process that had its number: it is not judged."));
            }
            !strange
        });
        let recall = past.map(|past| {
            let last = past.last;
            self.clock = self.clock.and_not_before(last.sample.t);
            watched.identity = Some(last.identity);
            watched.recalling = true;
            sampler.remember(last.identity, last.sample.start);
            let (job, recall) = past.judged(watched.target.judgement);
            jobs.push(job);
            recall
        });
        self.watched.push(watched);
        let judged_t = f64::NEG_INFINITY;
        self.eyes.push(Eye { sampler, history, recall, judged_t, complained: false });
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

    /// Looks again and again, until a signal or `length` has passed. `reload` reads the configuration anew; without it,
    /// a terminal that hangs up ends it.
    pub(crate) fn run(
        &mut self,
        length: Option<Duration>,
        reload: Option<&dyn Fn() -> Result<Plan, String>>,
    ) -> Result<(), String> {
        let wakes = signals(reload.is_some())?;
        let began = Instant::now();
        let mut next = began;
        loop {
            self.round();
            if self.is_over() {
                break;
            }
            next = (next + self.every).max(Instant::now());
            let end = length.map(|length| began + length);
            if end.is_some_and(|end| end <= next) {
                thread::sleep(end.unwrap_or(next).saturating_duration_since(Instant::now()));
                self.eyes.iter_mut().filter_map(|eye| eye.recall.as_mut()).for_each(Recall::wait);
                self.round();
                break;
            }
            match wakes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Wake::Reload) => {
                    let plan = reload.map(|reload| reload());
                    match plan.unwrap_or_else(|| Err("there is none".into())) {
                        Ok(plan) => self.reload(plan),
                        Err(error) => remark(format_args!("Error: {error}. All stays as it was.")),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.end();
        Ok(())
    }

    /// Whether nobody is left who is told anything.
    fn is_over(&self) -> bool {
        self.outputs.iter().any(|output| output.is_over())
            || (!self.outputs.is_empty() && self.outputs.iter().all(|output| output.is_broken()))
    }

    fn reload(&mut self, plan: Plan) {
        match self.take_over(plan) {
            Ok(()) => {
                self.outputs.iter_mut().for_each(|output| output.reopen());
                remark("The configuration was read again.");
            }
            Err(error) => remark(format_args!("Error: {error}. All stays as it was.")),
        }
    }

    /// Goes on with another configuration: targets that are as they were are not disturbed.
    fn take_over(&mut self, plan: Plan) -> Result<(), String> {
        let another = plan.place() != self.history || plan.outputs != self.begun_with;
        let mut ready = Vec::new();
        for target in &plan.targets {
            if !self.watched.iter().any(|one| one.target == *target) {
                ready.push(self.ready(target.clone())?);
            }
        }
        // From here on nothing can fail.
        if another {
            remark("Warning: another history and other outputs hold from the next start on.");
        }
        self.every = plan.every;
        let (mut jobs, mut ready) = (Vec::new(), ready.into_iter());
        let (mut watched, mut eyes) = (mem::take(&mut self.watched), mem::take(&mut self.eyes));
        for target in plan.targets {
            if let Some(at) = watched.iter().position(|one| one.target == target) {
                self.watched.push(watched.remove(at));
                self.eyes.push(eyes.remove(at));
                continue;
            }
            let Some(mut ready) = ready.next() else { continue };
            if let Some(at) = watched.iter().position(|one| one.target.name == target.name) {
                // A changed one: it goes on with the same file.
                let old = watched.remove(at);
                self.outputs.iter_mut().for_each(|output| output.gone(&old));
                ready.history = ready.history.or(eyes.remove(at).history);
            }
            self.add(ready, &mut jobs);
        }
        for old in &watched {
            self.outputs.iter_mut().for_each(|output| output.gone(old));
        }
        for (old, mut eye) in watched.iter().zip(eyes) {
            eye.finish(&old.target.name);
        }
        recall::start(jobs);
        Ok(())
    }

    fn end(&mut self) {
        for (watched, eye) in self.watched.iter().zip(&mut self.eyes) {
            eye.finish(&watched.target.name);
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
        if let Some(process) = &reading.process {
            watched.identity = Some(process.identity);
        }
        happened.extend(self.judge(watched, &reading));
        if let Some(Err(error)) = self.history.as_mut().map(|history| history.push(&reading)) {
            self.complain(&watched.target.name, &error);
        }
        let (time, t) = (reading.time, reading.t);
        watched.readings += 1;
        watched.last = Some(reading.clone());
        for what in happened {
            let event = Event { time, t, what };
            watched.happened(event.clone());
            for output in outputs.iter_mut() {
                output.event(watched, &event);
            }
        }
        for output in outputs.iter_mut() {
            output.reading(watched, &reading);
        }
    }

    /// Shows the judge what was seen, and asks it from time to time. Answers what it thinks now, if it is not what it
    /// thought before: also what was thought when the last `watch` ended, which outputs do not know.
    fn judge(&mut self, watched: &mut Watched, reading: &Reading) -> Option<Happening> {
        if let Some(recall) = &mut self.recall {
            if let Some(sample) = &reading.sample {
                recall.keep(sample);
            }
            watched.judge = recall.judge()?;
            watched.recalling = false;
            self.recall = None;
            self.judged_t = f64::NEG_INFINITY;
        } else if let Some(sample) = &reading.sample {
            watched.judge.push(sample);
        }
        if reading.t - self.judged_t < JUDGE_EVERY_S {
            return None;
        }
        self.judged_t = reading.t;
        let now = watched.judge.verdict();
        let before = mem::replace(&mut watched.verdict, now.clone());
        (before.name() != now.name()).then_some(Happening::Judged { before, now })
    }

    /// Writes the minute that has begun.
    fn finish(&mut self, name: &str) {
        if let Some(Err(error)) = self.history.as_mut().map(History::finish) {
            self.complain(name, &error);
        }
    }

    fn complain(&mut self, name: &str, error: &std::io::Error) {
        if !self.complained {
            self.complained = true;
            remark(format_args!("Warning: the history of {name} cannot be written: {error}."));
        }
    }
}

/// Whether what was recorded is of another process that had the number which names the target.
fn is_strange(target: &Target, recorded: Identity) -> bool {
    let Selector::Pid(pid) = target.selector else { return false };
    let now = Procfs::default().identity(pid);
    target.name == target.selector.name() && now.is_some_and(|now| now != recorded)
}

/// Signals, heard on a thread of their own. SIGHUP reads the configuration again if there is one, else it ends `watch`;
/// under nohup(1) it is not heard.
fn signals(reloads: bool) -> Result<Receiver<Wake>, String> {
    let failed = |error| format!("cannot wait for signals: {error}");
    let heard: &[i32] = match reloads || !ignores_hangups() {
        true => &[SIGTERM, SIGINT, SIGHUP],
        false => &[SIGTERM, SIGINT],
    };
    let mut signals = Signals::new(heard).map_err(failed)?;
    let (sender, receiver) = sync_channel(WAKES_MAX);
    let body = move || {
        for signal in &mut signals {
            let wake = if signal == SIGHUP && reloads { Wake::Reload } else { Wake::Stop };
            if sender.send(wake).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(body).map_err(failed)?;
    Ok(receiver)
}

/// Whether who started us has SIGHUP ignored (`SigIgn` of `proc_pid_status(5)`).
fn ignores_hangups() -> bool {
    let mut procfs = Procfs::default();
    let status = procfs.read("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}
