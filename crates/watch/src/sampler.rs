//! Looks at one target.

use std::time::Instant;

use plimsoll_judgement::outside::Sample;

use crate::accounts::{Accounts, Poller};
use crate::cgroup::{Cgroup, host_pressure};
use crate::clock::Now;
use crate::figure::Figure;
use crate::oom::OomWatch;
use crate::procfs::{Identity, ProcessReading, Procfs, host_memory, ticks_per_second};
use crate::reading::{CgroupReading, Reading};
use crate::selector::{Found, Selector};
use crate::target::{Limits, Target};

/// How long what is dear to read is kept, seconds.
const DEAR_EVERY_S: f64 = 60.0;

/// How long to wait until a target that is dear to find is looked for again, seconds.
const FIND_EVERY_S: f64 = 2.0;

/// For how many times as long as it took it is not looked for again: a `systemctl` that hangs is asked once a minute.
const FIND_PAUSE: f64 = 60.0;

/// Looks at one target whenever it is asked to; its accounts are asked on threads of their own meanwhile.
#[derive(Debug)]
pub struct Sampler {
    selector: Selector,
    limits: Limits,
    procfs: Procfs,
    pollers: Vec<Poller>,
    host_memory: Option<f64>,
    current: Option<Current>,
    oom: OomWatch,
    /// The first process that was found.
    first: Option<Identity>,
    /// A process that was seen by a `watch` before this one, and its beginning.
    remembered: Option<(Identity, f64)>,
    absent: String,
    find_again_t: f64,
}

/// The process that is being looked at.
#[derive(Debug)]
struct Current {
    identity: Identity,
    start: f64,
    /// The cgroup is the target, not only where it lives.
    whole_cgroup: bool,
    cgroup: Option<Cgroup>,
    note: String,
    dear_t: f64,
    pss: Option<f64>,
    fds: Option<f64>,
}

impl Sampler {
    /// Begins to ask the target's sources. The target need not be there yet.
    pub fn new(target: &Target) -> Self {
        Self {
            selector: target.selector.clone(),
            limits: target.limits,
            procfs: Procfs::default(),
            pollers: target.accounts.iter().map(Poller::start).collect(),
            host_memory: host_memory(),
            current: None,
            oom: OomWatch::default(),
            first: None,
            remembered: None,
            absent: format!("{} was not looked for yet", target.selector),
            find_again_t: f64::NEG_INFINITY,
        }
    }

    /// What the target was found by, for people; `None` while it is not there.
    pub fn found(&self) -> Option<&str> {
        self.current.as_ref().map(|current| current.note.as_str())
    }

    /// The beginning of a process that was seen before on the same machine, as it was recorded: computed anew
    /// it would be off by what was done to the time of day since.
    pub fn remember(&mut self, identity: Identity, start: f64) {
        self.remembered = Some((identity, start));
    }

    /// Looks at the target. Takes some tens of microseconds; a few milliseconds once a minute, and while it is
    /// looked for by name.
    pub fn sample(&mut self, now: Now) -> Reading {
        let group_before = self.current.as_ref().and_then(|current| current.cgroup.clone());
        self.follow(now);
        let process = self.process(now);
        let group_now = self.current.as_ref().and_then(|current| current.cgroup.clone());
        // Once more after its end: whoever was killed for want of memory is counted there.
        let group = group_now.or(group_before);
        let oom_killed = self.oom.since(&mut self.procfs, group.as_ref());
        let cgroup = group.as_ref().and_then(|group| group.read(&mut self.procfs));
        if process.is_none() && self.current.take().is_some() {
            self.absent = format!("{} has ended", self.selector);
            self.find_again_t = now.t;
        }
        let mut accounts = Accounts::default();
        for poller in &self.pollers {
            poller.add_to(&mut accounts);
        }
        let pressure = group
            .and_then(|group| group.pressure(&mut self.procfs))
            .or_else(|| host_pressure(&mut self.procfs));
        let whole = self.current.as_ref().is_some_and(|current| current.whole_cgroup);
        let sample = process.as_ref().and_then(|process| {
            let cgroup = cgroup.as_ref();
            compose(now, process, if whole { Some(cgroup?) } else { None }, &accounts)
                .map(|sample| self.limited(sample, cgroup))
        });
        let absent = sample.is_none().then(|| match &process {
            None => self.absent.clone(),
            Some(_) if whole && cgroup.is_none() => format!("{} cannot be read", self.selector),
            Some(_) => format!("{} has no memory of its own", self.selector),
        });
        let (time, t) = (now.time, now.t);
        Reading { time, t, process, cgroup, oom_killed, pressure, accounts, sample, absent }
    }

    /// Finds the target, or the process that has taken its place.
    fn follow(&mut self, now: Now) {
        let alive = self.current.as_ref().is_some_and(|current| {
            self.procfs.identity(current.identity.pid) == Some(current.identity)
        });
        // A pid file may name another process while the old one still ends.
        let cheap = matches!(self.selector, Selector::PidFile(_));
        if (alive && !cheap) || (!alive && now.t < self.find_again_t) {
            return;
        }
        let began = Instant::now();
        let found = self.selector.find(&mut self.procfs);
        if self.selector.is_dear() {
            // The other targets wait meanwhile.
            let took_s = began.elapsed().as_secs_f64();
            self.find_again_t = now.t + FIND_EVERY_S.max(took_s * FIND_PAUSE);
        }
        match found {
            Ok(found) if self.is_strange(&found) => {
                self.current = None;
                self.absent = format!("{} has ended; another has its number", self.selector);
            }
            Ok(found) => {
                let known = self.first.is_some();
                self.first.get_or_insert(found.identity);
                if self.current.as_ref().is_some_and(|current| current.identity == found.identity) {
                    return;
                }
                // What the sources have said was of the process before.
                if known {
                    self.pollers.iter().for_each(Poller::forget);
                }
                let start = match self.remembered {
                    Some((identity, start)) if identity == found.identity => start,
                    _ => now.boot_t + found.identity.start_ticks as f64 / ticks_per_second(),
                };
                self.current = Some(Current::new(&mut self.procfs, found, start));
            }
            Err(absent) if !alive => {
                self.current = None;
                self.absent = absent;
            }
            Err(_) => {}
        }
    }

    /// Whether it is another process behind a number that was meant to be one process.
    fn is_strange(&self, found: &Found) -> bool {
        let other = self.first.is_some_and(|first| first != found.identity);
        matches!(self.selector, Selector::Pid(_)) && other
    }

    fn process(&mut self, now: Now) -> Option<ProcessReading> {
        let current = self.current.as_mut()?;
        let mut process = self.procfs.process(current.identity).ok()?;
        if now.t - current.dear_t >= DEAR_EVERY_S {
            current.dear_t = now.t;
            (current.pss, current.fds) =
                self.procfs.dear(current.identity.pid, process.fds.is_none());
        }
        process.start = current.start;
        process.pss = current.pss;
        process.fds = process.fds.or(current.fds);
        Some(process)
    }

    fn limited(&self, mut sample: Sample, cgroup: Option<&CgroupReading>) -> Sample {
        self.limits.apply(&mut sample);
        let around = cgroup.and_then(|cgroup| cgroup.limit);
        let host = [around, self.host_memory].into_iter().flatten().reduce(f64::min);
        sample.limit = sample.limit.or(host);
        sample
    }
}

impl Current {
    fn new(procfs: &mut Procfs, found: Found, start: f64) -> Self {
        let Found { identity, cgroup, note } = found;
        Self {
            identity,
            start,
            whole_cgroup: cgroup.is_some(),
            cgroup: cgroup.or_else(|| Cgroup::of_process(procfs, identity.pid)),
            note,
            dear_t: f64::NEG_INFINITY,
            pss: None,
            fds: None,
        }
    }
}

/// What is judged: the process, or the whole cgroup, and what they say of themselves.
fn compose(
    now: Now,
    process: &ProcessReading,
    cgroup: Option<&CgroupReading>,
    accounts: &Accounts,
) -> Option<Sample> {
    let mut sample = Sample { t: now.t, start: process.start, ..Sample::default() };
    match cgroup {
        Some(cgroup) => {
            sample.rss = cgroup.held;
            sample.anon = cgroup.anon;
        }
        None => {
            sample.rss = process.rss;
            sample.anon = Some(process.anon + process.swap);
            sample.file = Some(process.file);
        }
    }
    for figure in Figure::ALL {
        *figure.place(&mut sample) = accounts.get(figure);
    }
    // A kernel thread, or one that ends just now, has no memory.
    (sample.rss > 0.0).then_some(sample)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command};

    use super::*;
    use crate::clock::Clock;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_new_process_is_told_from_an_old_one() {
        let clock = Clock::new();
        let path = std::env::temp_dir().join(format!("watch-sampler-{}", std::process::id()));
        let mut sampler = Sampler::new(&Target::new("it", Selector::PidFile(path.clone())));
        let nothing = sampler.sample(clock.now());
        assert!(nothing.sample.is_none() && nothing.absent.unwrap().contains("No such file"));

        let first = sleeper();
        fs::write(&path, first.id().to_string()).unwrap();
        let seen = sampler.sample(clock.now());
        let process = seen.process.unwrap();
        assert_eq!(process.identity.pid, first.id());
        assert!((process.start - seen.t).abs() < 5.0, "{} {}", process.start, seen.t);
        let sample = seen.sample.unwrap();
        // It may have begun just now, and have little yet.
        assert!(sample.rss > 0.0 && sample.limit.unwrap() > sample.rss);
        assert_eq!(sampler.sample(clock.now()).sample.map(|next| next.start), Some(sample.start));

        end(first);
        let gone = sampler.sample(clock.now());
        assert!(gone.process.is_none() && gone.absent.unwrap().contains("there is no process"));
        let second = sleeper();
        fs::write(&path, second.id().to_string()).unwrap();
        assert_eq!(sampler.sample(clock.now()).process.unwrap().identity.pid, second.id());
        // The file may name a third while the second is still there.
        let third = sleeper();
        fs::write(&path, third.id().to_string()).unwrap();
        assert_eq!(sampler.sample(clock.now()).process.unwrap().identity.pid, third.id());
        end(second);
        end(third);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_process_keeps_the_start_that_was_recorded() {
        let child = sleeper();
        let clock = Clock::new();
        let target = Target::new("it", Selector::Pid(child.id()));
        let identity = Procfs::default().identity(child.id()).unwrap();
        let mut sampler = Sampler::new(&target);
        sampler.remember(identity, 12.0);
        assert_eq!(sampler.sample(clock.now()).sample.map(|sample| sample.start), Some(12.0));
        let mut other = Sampler::new(&target);
        other.remember(Identity { start_ticks: 1, ..identity }, 12.0);
        assert!(other.sample(clock.now()).sample.unwrap().start > 1e9);
        end(child);
    }
}
