//! Looks each second, and says what leaks.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_engine::{Audit, Presence};
use plimsoll_ledger::Ledger;

use super::alarm::{Alarm, Detector, News, Subject};
use super::heap::HeapProfile;
use super::owners::{Owner, Profiles};
use super::{Memory, now};

/// How often a heap profile is kept for comparison.
const PROFILE_EVERY: Duration = Duration::from_secs(60);

/// The first one is taken when the start-up is over.
const PROFILE_FIRST: Duration = Duration::from_secs(20);

/// How often the owners of a leak that stands are looked for again: more samples name them better.
const NAMED_EVERY: Duration = Duration::from_secs(300);

/// Where sessions are made.
const SESSIONS: &str = "engine::sessions::";

/// Call stacks named in an alarm.
const OWNERS: usize = 5;

/// Owns everything that looking needs; lives on the thread that reconciles.
#[derive(Debug)]
pub(crate) struct Watchman {
    detector: Detector,
    profiles: Profiles,
    profile_at: Duration,
    named_at: Duration,
}

impl Watchman {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            detector: Detector::new(ledger),
            profiles: Profiles::new(ledger),
            profile_at: PROFILE_FIRST,
            named_at: Duration::ZERO,
        }
    }

    /// Reconciles, `uptime` after the start, and answers what has to be said: alarms that are new, and those that
    /// are over.
    pub(crate) fn look(
        &mut self,
        uptime: Duration,
        memory: &Memory,
        state: &Presence,
        audit: Option<&Audit>,
    ) -> Vec<Arc<Alarm>> {
        let waterfall = memory.reconcile();
        let mut news = self.detector.look(uptime.as_secs_f64(), &waterfall, state);
        news.extend(
            audit.into_iter().flat_map(|audit| self.detector.audited(uptime.as_secs_f64(), audit)),
        );
        if uptime >= self.profile_at {
            self.profile_at = uptime + PROFILE_EVERY;
            if let Ok(profile) = HeapProfile::take() {
                self.profiles.keep(uptime, &profile);
            }
        }
        let said = news.into_iter().filter_map(|news| self.tell(uptime, memory, news)).collect();
        self.name_again(uptime, memory);
        said
    }

    fn tell(&mut self, uptime: Duration, memory: &Memory, news: News) -> Option<Arc<Alarm>> {
        let alarm = match news {
            News::Grows(subject, growth) => {
                let since = Duration::from_secs_f64(growth.since.max(0.0));
                self.named_at = uptime;
                Alarm {
                    bytes_per_hour: growth.bytes_per_hour,
                    bytes_per_hour_low: growth.low,
                    bytes_per_hour_high: growth.high,
                    grown: growth.grown_bytes,
                    owners: self.owners(since),
                    ..alarm(subject, uptime, since)
                }
            }
            News::Found(subject, count, none_at) => {
                let since = Duration::from_secs_f64(none_at.max(0.0));
                // Of all that has grown since, only what makes sessions can have made these.
                let mut owners = self.owners(since);
                owners.retain(|owner| owner.calls.iter().any(|call| call.starts_with(SESSIONS)));
                Alarm { grown: count as f64, owners, ..alarm(subject, uptime, since) }
            }
            News::Over(subject) => {
                let subject = subject.to_string();
                let alarms = memory.alarms();
                let stood = alarms
                    .iter()
                    .find(|alarm| alarm.subject == subject && alarm.cleared.is_none())?;
                Alarm { cleared: Some(now().as_secs_f64()), ..Alarm::clone(stood) }
            }
        };
        Some(memory.remember(alarm))
    }

    /// Looks again for the owners of residues that go on growing.
    fn name_again(&mut self, uptime: Duration, memory: &Memory) {
        let Some(growth) = self.detector.standing(Subject::Residue) else { return };
        if uptime < self.named_at + NAMED_EVERY {
            return;
        }
        self.named_at = uptime;
        let subject = Subject::Residue.to_string();
        let alarms = memory.alarms();
        let stands = |alarm: &&Arc<Alarm>| alarm.subject == subject && alarm.cleared.is_none();
        let Some(stood) = alarms.iter().find(stands) else { return };
        let owners = self.owners(Duration::from_secs_f64(growth.since.max(0.0)));
        memory.remember(Alarm {
            owners,
            bytes_per_hour: growth.bytes_per_hour,
            bytes_per_hour_low: growth.low,
            bytes_per_hour_high: growth.high,
            ..Alarm::clone(stood)
        });
    }

    fn owners(&self, since: Duration) -> Vec<Owner> {
        let profile = HeapProfile::take().unwrap_or_default();
        self.profiles.grown(since, &profile, OWNERS)
    }
}

/// An alarm that is raised now, of something since `since` after the start.
pub(super) fn alarm(subject: Subject, uptime: Duration, since: Duration) -> Alarm {
    let raised = now().as_secs_f64();
    Alarm {
        subject: subject.to_string(),
        raised,
        cleared: None,
        since: raised - uptime.saturating_sub(since).as_secs_f64(),
        bytes_per_hour: 0.0,
        bytes_per_hour_low: 0.0,
        bytes_per_hour_high: 0.0,
        grown: 0.0,
        owners: Vec::new(),
    }
}
