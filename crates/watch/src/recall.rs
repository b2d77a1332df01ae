//! What was recorded before `watch` began, judged on a thread of its own: days of it take seconds, and looks do not
//! wait for that.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use plimsoll_judgement::outside::{Judge, Sample, Settings};

use crate::describe::Span;
use crate::history::{History, Record};
use crate::remark::remark;

/// How much of a history is judged anew, seconds: what is older changes no judgement of today.
const RECALL_S: f64 = 14.0 * 86_400.0;

/// How far ahead of the time of day a history may end, seconds: a clock that was corrected.
const AHEAD_MAX_S: f64 = 600.0;

/// Samples that may wait for the judge: a quarter of an hour at ten a second. They take 3 MB at the most.
const WAITING_MAX: usize = 10_000;

/// What was recorded of a target.
pub(crate) struct Past {
    /// The newest record.
    pub(crate) last: Record,
    samples: Box<dyn Iterator<Item = Sample> + Send>,
}

/// Samples that are to be judged, and where the judge goes then.
pub(crate) struct Job {
    judge: Judge,
    samples: Box<dyn Iterator<Item = Sample> + Send>,
    done: SyncSender<Judge>,
}

/// A judge that still reads what was recorded, and what was seen meanwhile.
#[derive(Debug)]
pub(crate) struct Recall {
    settings: Settings,
    judged: Receiver<Judge>,
    arrived: Option<Judge>,
    waiting: VecDeque<Sample>,
}

impl Past {
    /// Opens what was recorded; `None` if nothing was. `now_t` is the present.
    ///
    /// # Errors
    ///
    /// It cannot be read, or ends in the future.
    pub(crate) fn read(history: &History, name: &str, now_t: f64) -> Result<Option<Self>, String> {
        let failed = |error| format!("the history of {name} cannot be read: {error}");
        let Some(last) = history.last().map_err(failed)? else { return Ok(None) };
        if last.sample.t > now_t + AHEAD_MAX_S {
            return Err(format!(
                "the history of {name} ends {} from now: the clock was wrong then, or is now; move it away",
                Span(last.sample.t - now_t)
            ));
        }
        let oldest = now_t - history.keep().as_secs_f64().min(RECALL_S);
        let samples = Box::new(history.since(oldest).map_err(failed)?);
        Ok(Some(Self { last, samples }))
    }

    /// What there is to do, and what waits for it.
    pub(crate) fn judged(self, settings: Settings) -> (Job, Recall) {
        let (done, judged) = sync_channel(1);
        let job = Job { judge: Judge::new(settings), samples: self.samples, done };
        (job, Recall { settings, judged, arrived: None, waiting: VecDeque::new() })
    }
}

/// Does jobs on a thread, one after the other.
pub(crate) fn start(jobs: Vec<Job>) {
    if jobs.is_empty() {
        return;
    }
    let body = move || {
        for Job { mut judge, samples, done } in jobs {
            samples.for_each(|sample| judge.push(&sample));
            // Who waited for it may be gone: the configuration was read again.
            let _ = done.send(judge);
        }
    };
    if let Err(error) = thread::Builder::new().name("recall".into()).spawn(body) {
        remark(format_args!(
            "Warning: what was recorded is not judged: no thread can be started: {error}."
        ));
    }
}

impl Recall {
    /// Keeps a sample until the judge has come so far. Of too many the oldest is dropped.
    pub(crate) fn keep(&mut self, sample: &Sample) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(*sample);
    }

    /// The judge, when it has come to the present; if it never will, one that knows only what was seen since.
    pub(crate) fn judge(&mut self) -> Option<Judge> {
        let mut judge = match self.arrived.take() {
            Some(judge) => judge,
            None => match self.judged.try_recv() {
                Ok(judge) => judge,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Judge::new(self.settings),
            },
        };
        self.waiting.drain(..).for_each(|sample| judge.push(&sample));
        Some(judge)
    }

    /// Waits until [`Recall::judge`] has an answer.
    pub(crate) fn wait(&mut self) {
        if self.arrived.is_none() {
            self.arrived = Some(self.judged.recv().unwrap_or_else(|_| Judge::new(self.settings)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(minute: u32) -> Sample {
        let t = f64::from(minute) * 60.0;
        Sample { t, rss: 1e7, ..Sample::default() }
    }

    fn record() -> Record {
        Record {
            sample: sample(299),
            identity: crate::Identity::default(),
            swap: None,
            pss: None,
            threads: None,
            fds: None,
            cpu_s: None,
            pressure: None,
        }
    }

    #[test]
    fn what_was_seen_meanwhile_is_judged_behind_what_was_recorded() {
        let settings = Settings::default();
        let past = || Past { last: record(), samples: Box::new((0..300).map(sample)) };
        let (job, mut recall) = past().judged(settings);
        assert!(recall.judge().is_none(), "nobody has begun yet");
        recall.keep(&sample(300));
        start(vec![job]);
        recall.wait();
        let judge = recall.judge().unwrap();
        assert_eq!(judge.verdict().name(), "stable", "{:?}", judge.verdict());
        let mut all = Judge::new(settings);
        (0..=300).for_each(|minute| all.push(&sample(minute)));
        assert_eq!(judge.reasons(), all.reasons());
        // Whose thread has died begins anew.
        let (job, mut recall) = past().judged(settings);
        recall.keep(&sample(300));
        drop(job);
        assert_eq!(recall.judge().unwrap().verdict().name(), "insufficient_data");
    }

    #[test]
    fn what_waits_has_a_bound() {
        let past = Past { last: record(), samples: Box::new(std::iter::empty()) };
        let (_job, mut recall) = past.judged(Settings::default());
        (0..20_000).for_each(|minute| recall.keep(&sample(minute)));
        assert_eq!(recall.waiting.len(), WAITING_MAX);
        assert_eq!(recall.waiting.front(), Some(&sample(10_000)));
    }
}
