//! Alerts for Prometheus' Alertmanager (`POST /api/v2/alerts`).
//!
//! An alert stands as long as it is repeated: all that stand are sent each minute, and at each change, with an end four
//! minutes ahead, as Prometheus does. So one that was refused or lost is sent again, and one whose sender has
//! died ends.
//!
//! What does not run leaks no longer, whatever is known of its program: the alert of a target that is gone for longer than
//! a restart takes ends, and begins anew when it is back and still judged to leak.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plimsoll_judgement::outside::Verdict;
use serde_json::{Value, json};

use super::door::{Door, Refusal};
use super::mailbox::{Counts, Mailbox};
use super::sender::Courier;
use crate::describe::Sentence;
use crate::json;
use crate::output::Output;
use crate::watched::Watched;

/// How often alerts that stand are sent again.
const REPEAT: Duration = Duration::from_secs(60);

/// Repeats after which an alert of which nothing is heard ends by itself. So long is one that has ended told, too.
const REPEATS_MISSED: u32 = 4;

/// How long a target may be gone until its alert ends: restarts and upgrades are no reason to take it back.
pub(super) const GONE_MAX: Duration = Duration::from_secs(15 * 60);

/// A leak of a target, as it is known now.
#[derive(Clone, Debug, PartialEq)]
struct Alert {
    since: SystemTime,
    /// When the target was there last.
    there: Instant,
    /// Since when it leaks.
    leaks_since: SystemTime,
    /// When it was over; `None` while it stands.
    ended: Option<SystemTime>,
    sentence: String,
    reasons: String,
    /// Whether the target is there, and what that means for the alert.
    summary: &'static str,
}

/// What alerts there should be, by target.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(Arc<Mutex<BTreeMap<String, Alert>>>);

impl Wanted {
    fn look(&self) -> MutexGuard<'_, BTreeMap<String, Alert>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something has changed, or a minute has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due;

/// Sends what alerts there should be.
#[derive(Debug)]
pub(super) struct Alerts(pub(super) Wanted);

impl Courier for Alerts {
    type Item = Due;
    const BATCH_MAX: usize = 64;
    const IDLE: Duration = REPEAT;
    const PAUSES: &'static [Duration] =
        &[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];
    const FOR_EVER: bool = true;

    fn send(&mut self, door: &Door, items: &mut Vec<Due>, counts: &Counts) -> Result<(), Refusal> {
        let now = SystemTime::now();
        let wanted = self.0.look().clone();
        if !wanted.is_empty() {
            let alerts: Value = wanted.iter().map(|(target, one)| one.told(target, now)).collect();
            door.post("/api/v2/alerts", "application/json", alerts.to_string().as_bytes())?;
            Counts::add(&counts.sent, wanted.len());
        }
        // What has ended has been told, unless it has begun anew meanwhile.
        self.0.look().retain(|target, one| {
            one.ended.is_none() || wanted.get(target).is_none_or(|told| told.ended != one.ended)
        });
        items.clear();
        Ok(())
    }

    fn idle(&mut self) -> Vec<Due> {
        if self.0.look().is_empty() { Vec::new() } else { vec![Due] }
    }
}

impl Alert {
    fn told(&self, target: &str, now: SystemTime) -> Value {
        json!({
            "labels": { "alertname": "PlimsollWatchLeak", "target": target, "severity": "critical" },
            "annotations": {
                "summary": format!("{target} {}", self.summary),
                "description": self.sentence,
                "since": json::time(self.leaks_since),
                "reasons": self.reasons,
            },
            "startsAt": json::time(self.since),
            "endsAt": json::time(self.ended.unwrap_or(now + REPEAT * REPEATS_MISSED)),
        })
    }
}

/// What is said of a target that is there, one that is not, and one that has not been for long.
const LEAKS: &str = "leaks memory";
const GONE: &str = "has leaked memory, and is not there now";
const GONE_FOR_LONG: &str =
    "has leaked memory, and is not there: the alert ends, and comes back if it still leaks then";

/// Keeps what alerts there should be: one for each target that is judged to leak.
#[derive(Debug)]
pub(super) struct Alertmanager {
    pub(super) wanted: Wanted,
    pub(super) mailbox: Arc<Mailbox<Due>>,
    pub(super) farewell: Duration,
}

impl Alertmanager {
    /// What [`Output::round`] does, at this time; answers whether something has to be told at once.
    pub(super) fn update(&self, all: &[Watched], at: Instant) -> bool {
        let now = SystemTime::now();
        let mut wanted = self.wanted.look();
        let mut changed = false;
        for (target, alert) in wanted.iter_mut().filter(|(_, alert)| alert.ended.is_none()) {
            let one = all.iter().find(|one| one.target.name == *target);
            // Also of targets that are no longer watched.
            let leaks = one.is_some_and(|one| leak(one).is_some());
            let is_there = one.is_some_and(is_there);
            if is_there {
                alert.there = at;
            }
            let gone_for_long = at.saturating_duration_since(alert.there) >= GONE_MAX;
            if !leaks || gone_for_long {
                alert.ended = Some(now);
            }
            let summary = match leaks && !is_there {
                true if gone_for_long => GONE_FOR_LONG,
                true => GONE,
                false => LEAKS,
            };
            changed |= alert.ended.is_some() || alert.summary != summary;
            alert.summary = summary;
        }
        wanted.retain(|_, alert| {
            let over = alert.ended.and_then(|ended| now.duration_since(ended).ok());
            over.is_none_or(|over| over < REPEAT * REPEATS_MISSED)
        });
        for (watched, since) in all.iter().filter_map(|one| Some((one, leak(one)?))) {
            let leaks_since = UNIX_EPOCH + Duration::try_from_secs_f64(since).unwrap_or_default();
            let sentence = Sentence(&watched.verdict).to_string();
            let known = wanted.get_mut(&watched.target.name).filter(|one| one.ended.is_none());
            if let Some(alert) = known {
                (alert.sentence, alert.leaks_since) = (sentence, leaks_since);
                continue;
            }
            if !is_there(watched) {
                continue;
            }
            let reasons = watched.judge.reasons().join(" ");
            let alert = Alert {
                since: now,
                there: at,
                leaks_since,
                ended: None,
                sentence,
                reasons,
                summary: LEAKS,
            };
            wanted.insert(watched.target.name.clone(), alert);
            changed = true;
        }
        changed
    }
}

/// Since when a target leaks.
fn leak(watched: &Watched) -> Option<f64> {
    match &watched.verdict {
        Verdict::Leaking(leak) => Some(leak.since),
        _ => None,
    }
}

fn is_there(watched: &Watched) -> bool {
    watched.last.as_ref().is_some_and(|last| last.process.is_some())
}

impl Output for Alertmanager {
    fn round(&mut self, all: &[Watched]) {
        if self.update(all, Instant::now()) {
            self.mailbox.put(Due);
        }
    }

    fn end(&mut self) {
        self.mailbox.close(self.farewell);
    }
}
