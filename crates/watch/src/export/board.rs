//! What is known of all targets now, for those who ask.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use plimsoll_judgement::outside::{Change, Verdict};

use crate::event::{Event, Happening};
use crate::history;
use crate::output::Output;
use crate::push::Counts;
use crate::reading::Reading;
use crate::trail::Trail;
use crate::watched::Watched;

/// How long reasons are kept while the judgement stays the same, seconds.
const REASONS_EVERY_S: f64 = 60.0;

/// Samples of a target that its page is drawn from: 600 KB.
const SAMPLES_MAX: usize = 2048;

/// Events that are shown of a target.
const EVENTS_SHOWN_MAX: usize = 32;

/// What is known of one target now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) name: String,
    /// How it was named to us.
    pub(crate) selector: String,
    pub(crate) last: Option<Reading>,
    pub(crate) readings: u64,
    /// Minutes that were recorded before.
    pub(crate) recorded: u64,
    pub(crate) restarts: u64,
    pub(crate) verdict: Verdict,
    pub(crate) verdict_since: SystemTime,
    pub(crate) reasons: Vec<String>,
    pub(crate) changes: Vec<Change>,
    /// What the judge looked at, less what explains it: times and bytes.
    pub(crate) left: Arc<[(f64, f64)]>,
    /// The last ones, oldest first.
    pub(crate) events: Vec<Event>,
    /// Shared with whoever draws it meanwhile.
    pub(crate) trail: Arc<Trail>,
    /// What was recorded of it is still being read.
    pub(crate) recalling: bool,
    reasons_t: f64,
}

impl Standing {
    fn new(watched: &Watched) -> Self {
        Self {
            name: watched.target.name.clone(),
            selector: watched.target.selector.to_string(),
            last: None,
            readings: 0,
            recorded: 0,
            restarts: 0,
            verdict: watched.verdict.clone(),
            verdict_since: SystemTime::now(),
            reasons: Vec::new(),
            changes: Vec::new(),
            left: Arc::new([]),
            events: Vec::new(),
            trail: Arc::new(Trail::new(SAMPLES_MAX)),
            recalling: watched.recalling,
            reasons_t: f64::NEG_INFINITY,
        }
    }

    /// What was seen before this watch began; without a history there is none.
    fn recall(&mut self, directory: &Path) {
        let trail = Arc::make_mut(&mut self.trail);
        for record in history::read(directory, &self.name, 0.0).into_iter().flatten() {
            trail.push(&record.sample);
            self.recorded += 1;
        }
    }

    fn update(&mut self, watched: &Watched) {
        self.readings = watched.readings;
        self.recalling = watched.recalling;
        self.last.clone_from(&watched.last);
        let Some(last) = &watched.last else { return };
        if let Some(sample) = &last.sample {
            Arc::make_mut(&mut self.trail).push(sample);
        }
        let changed = self.verdict.name() != watched.verdict.name();
        if changed {
            self.verdict_since = last.time;
        }
        self.verdict.clone_from(&watched.verdict);
        if changed || last.t >= self.reasons_t + REASONS_EVERY_S {
            self.reasons_t = last.t;
            self.reasons = watched.judge.reasons();
            self.changes = watched.judge.changes().copied().collect();
            self.left = watched.judge.explained().iter().map(|one| (one.t, one.left)).collect();
        }
    }
}

/// All targets. It is written each second, and read by the HTTP thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    targets: Arc<Mutex<Vec<Standing>>>,
    pushes: Arc<[Arc<Counts>]>,
    history: Option<Arc<Path>>,
}

impl Board {
    /// One without targets yet, that also shows what became of what was sent elsewhere.
    /// What is recorded in `history` is shown too.
    pub(crate) fn new(pushes: Vec<Arc<Counts>>, history: Option<&Path>) -> Self {
        Self { targets: Arc::default(), pushes: pushes.into(), history: history.map(Arc::from) }
    }

    /// What became of what was sent elsewhere, by destination.
    pub(crate) fn pushes(&self) -> &[Arc<Counts>] {
        &self.pushes
    }

    /// The targets, for as long as it takes to copy what is wanted of them: whoever samples waits meanwhile.
    pub(crate) fn look(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The targets as they are now; samples are shared.
    pub(crate) fn copy(&self) -> Vec<Standing> {
        self.look().clone()
    }
}

impl Output for Board {
    fn event(&mut self, watched: &Watched, event: &Event) {
        let mut board = self.look();
        let Some(own) = board.iter_mut().find(|one| one.name == watched.target.name) else {
            return;
        };
        own.restarts += u64::from(matches!(event.what, Happening::Restarted { .. }));
        if own.events.len() == EVENTS_SHOWN_MAX {
            own.events.remove(0);
        }
        own.events.push(event.clone());
    }

    fn round(&mut self, all: &[Watched]) {
        let mut board = self.look();
        board.retain(|one| all.iter().any(|watched| watched.target.name == one.name));
        for (place, watched) in all.iter().enumerate() {
            let name = &watched.target.name;
            match board.iter().position(|one| one.name == *name) {
                Some(at) => board.swap(at, place),
                None => {
                    let mut new = Standing::new(watched);
                    if let Some(directory) = &self.history {
                        new.recall(directory);
                    }
                    board.insert(place, new);
                }
            }
            if let Some(own) = board.get_mut(place) {
                own.update(watched);
            }
        }
    }
}
