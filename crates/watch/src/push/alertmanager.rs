//! Alerts for Prometheus' Alertmanager (`POST /api/v2/alerts`).
//!
//! An alert stands as long as it is repeated: it is sent each minute with an end four minutes ahead, as
//! Prometheus does, so that one whose sender has died is not kept for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plimsoll_judgement::outside::Verdict;
use serde_json::{Value, json};

use super::door::{Door, Refusal};
use super::mailbox::{Counts, Mailbox};
use super::sender::Courier;
use crate::describe::Sentence;
use crate::event::{Event, Happening};
use crate::json;
use crate::output::Output;
use crate::watched::Watched;

/// How often an alert that stands is sent again.
const REPEAT: Duration = Duration::from_secs(60);

/// Repeats after which an alert of which nothing is heard ends by itself.
const REPEATS_MISSED: u32 = 4;

/// What an alert says, or that there is none any longer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    target: String,
    /// `None`: it leaks no longer.
    said: Option<Said>,
    at: SystemTime,
}

#[derive(Clone, Debug, PartialEq)]
struct Said {
    sentence: String,
    reasons: String,
}

/// Sends alerts, and repeats those that stand.
#[derive(Default)]
pub(super) struct Alerts {
    /// By target: since when, and what was said last.
    standing: BTreeMap<String, (SystemTime, Said)>,
}

impl Courier for Alerts {
    type Item = News;
    const BATCH_MAX: usize = 64;
    const IDLE: Duration = REPEAT;
    const PAUSES: &'static [Duration] =
        &[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];
    const FOR_EVER: bool = true;

    fn send(&mut self, door: &Door, items: &mut Vec<News>, counts: &Counts) -> Result<(), Refusal> {
        let now = SystemTime::now();
        let alerts: Vec<Value> = items.iter().map(|news| self.alert(news, now)).collect();
        door.post(
            "/api/v2/alerts",
            "application/json",
            Value::from(alerts).to_string().as_bytes(),
        )?;
        Counts::add(&counts.sent, items.len());
        for news in items.drain(..) {
            match news.said {
                Some(said) => {
                    let since =
                        self.standing.get(&news.target).map_or(news.at, |(since, _)| *since);
                    self.standing.insert(news.target, (since, said));
                }
                None => drop(self.standing.remove(&news.target)),
            }
        }
        Ok(())
    }

    fn idle(&mut self) -> Vec<News> {
        let at = SystemTime::now();
        let repeat = |(target, (_, said)): (&String, &(SystemTime, Said))| News {
            target: target.clone(),
            said: Some(said.clone()),
            at,
        };
        self.standing.iter().map(repeat).collect()
    }
}

impl Alerts {
    fn alert(&self, news: &News, now: SystemTime) -> Value {
        let known = self.standing.get(&news.target);
        let since = known.map_or(news.at, |(since, _)| *since);
        let said = news.said.as_ref().or(known.map(|(_, said)| said));
        let ends = if news.said.is_some() { now + REPEAT * REPEATS_MISSED } else { news.at };
        json!({
            "labels": { "alertname": "PlimsollWatchLeak", "target": news.target, "severity": "critical" },
            "annotations": {
                "summary": format!("{} leaks memory", news.target),
                "description": said.map(|said| said.sentence.as_str()).unwrap_or_default(),
                "reasons": said.map(|said| said.reasons.as_str()).unwrap_or_default(),
            },
            "startsAt": json::time(since),
            "endsAt": json::time(ends),
        })
    }
}

/// Puts what is said of leaks into the mailbox.
#[derive(Debug)]
pub(super) struct Alertmanager {
    pub(super) mailbox: Arc<Mailbox<News>>,
    pub(super) farewell: Duration,
}

impl Output for Alertmanager {
    fn event(&mut self, watched: &Watched, event: &Event) {
        let Happening::Judged { before, now } = &event.what else { return };
        let said = match (before, now) {
            (_, Verdict::Leaking(_)) => Some(Said {
                sentence: Sentence(now).to_string(),
                reasons: watched.judge.reasons().join(" "),
            }),
            (Verdict::Leaking(_), _) => None,
            _ => return,
        };
        self.mailbox.put(News { target: watched.target.name.clone(), said, at: event.time });
    }

    fn end(&mut self) {
        self.mailbox.close(self.farewell);
    }
}
