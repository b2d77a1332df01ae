//! Leaks: which series are looked at, what is said of them.

use std::fmt;

use plimsoll_engine::{Audit, Presence};
use plimsoll_judgement::{Accounted, Bounds, Change, Growth, Observation};
use plimsoll_ledger::{Account, Charge, Ledger, usable_size};
use serde::Serialize;

use super::owners::Owner;
use super::waterfall::Waterfall;

/// What leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Bytes that are in no account.
    Residue,
    /// Bytes of an account that grow while what they are for does not.
    Account(Account),
    /// Sessions that should have ended.
    SessionsOverdue,
    /// Sessions that wait for a time at which nobody will look.
    DeadlinesLost,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Residue => f.write_str("residue"),
            Self::Account(account) => f.write_str(account.name()),
            Self::SessionsOverdue => f.write_str("sessions_overdue"),
            Self::DeadlinesLost => f.write_str("deadlines_lost"),
        }
    }
}

/// A leak, as it is told to people and machines.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Alarm {
    /// What leaks: `residue`, an account, `sessions_overdue` or `deadlines_lost`.
    pub(crate) subject: String,
    /// When it was noticed, seconds since 1970.
    pub(crate) raised: f64,
    /// When it was seen to have stopped.
    pub(crate) cleared: Option<f64>,
    /// Since when it has grown at the latest, seconds since 1970.
    pub(crate) since: f64,
    /// Growth, bytes per hour; 0 where sessions are counted.
    pub(crate) bytes_per_hour: f64,
    /// The ends of its 95 % confidence interval.
    pub(crate) bytes_per_hour_low: f64,
    pub(crate) bytes_per_hour_high: f64,
    /// What has been lost since then: bytes, or sessions where those are counted.
    pub(crate) grown: f64,
    /// Call stacks that have grown since, the likeliest first.
    pub(crate) owners: Vec<Owner>,
}

impl Alarm {
    /// The line in the log.
    pub(crate) fn line(&self) -> String {
        let what = match self.subject.as_str() {
            "residue" => "memory that is in no account grows".to_owned(),
            "sessions_overdue" => {
                format!("{} sessions are still there though their time is over", self.grown)
            }
            "deadlines_lost" => {
                format!("{} sessions wait for a time at which nobody looks", self.grown)
            }
            account => format!("the account {account} grows while what it is for does not"),
        };
        let rate = if self.bytes_per_hour > 0.0 {
            format!(
                ": {} per hour ({} to {}), {} in the last {:.0} min",
                size(self.bytes_per_hour),
                size(self.bytes_per_hour_low),
                size(self.bytes_per_hour_high),
                size(self.grown),
                (self.raised - self.since) / 60.0,
            )
        } else {
            String::new()
        };
        let owner = self.owners.first().filter(|owner| !owner.calls.is_empty());
        let owner = owner.map_or_else(String::new, |owner| {
            format!(
                "; most of it by {} ({})",
                owner.calls.join(" < "),
                size(owner.grown_bytes as f64)
            )
        });
        format!("LEAK: {what}{rate}{owner}.")
    }
}

/// A size for people.
fn size(bytes: f64) -> String {
    match bytes {
        b if b < 10e3 => format!("{b:.0} B"),
        b if b < 10e6 => format!("{:.0} kB", b / 1e3),
        b if b < 10e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// Looks at all series.
#[derive(Debug)]
pub(crate) struct Detector {
    series: Vec<(Subject, Accounted)>,
    /// What two audits in a row have found: subjects that stand.
    audits: [Found; 2],
    _charge: Charge,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    subject: Subject,
    /// In the last audit.
    before: u64,
    /// When an audit last found none, seconds from the start.
    none_at: f64,
    stands: bool,
}

/// Something new.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum News {
    /// A series grows.
    Grows(Subject, Growth),
    /// An audit has found so many, and there were none until then, seconds from the start.
    Found(Subject, u64, f64),
    /// What was said of it is over.
    Over(Subject),
}

/// Accounts of which it is known what they are for.
const WITH_ITEMS: [Account; 5] = [
    Account::Retained,
    Account::Subscriptions,
    Account::Sessions,
    Account::Connections,
    Account::Wills,
];

impl Detector {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        let subjects = [Subject::Residue].into_iter().chain(WITH_ITEMS.map(Subject::Account));
        let series: Vec<_> =
            subjects.map(|subject| (subject, Accounted::new(Bounds::default()))).collect();
        let blocks: usize = Accounted::blocks().map(|bytes| usable_size(bytes, 8)).sum();
        let own = usable_size(series.capacity() * size_of::<(Subject, Accounted)>(), 8);
        let found = |subject| Found { subject, before: 0, none_at: 0.0, stands: false };
        Self {
            _charge: ledger.charge(Account::Admin, own + series.len() * blocks),
            series,
            audits: [found(Subject::SessionsOverdue), found(Subject::DeadlinesLost)],
        }
    }

    /// Looks at a waterfall, `t` seconds from the start.
    pub(crate) fn look(&mut self, t: f64, waterfall: &Waterfall, state: &Presence) -> Vec<News> {
        let mut news = Vec::new();
        for (subject, judge) in &mut self.series {
            let observation = observe(*subject, t, waterfall, state);
            match judge.push(&observation) {
                Some(Change::Raised(growth)) => news.push(News::Grows(*subject, growth)),
                Some(Change::Cleared) => news.push(News::Over(*subject)),
                None => {}
            }
        }
        news
    }

    /// Looks at what an audit of all sessions has found, `t` seconds from the start: it is an alarm if the
    /// one before has found some too.
    pub(crate) fn audited(&mut self, t: f64, audit: &Audit) -> Vec<News> {
        let counts = [audit.sessions_overdue, audit.deadlines_lost];
        let mut news = Vec::new();
        for (found, count) in self.audits.iter_mut().zip(counts) {
            if count > 0 && found.before > 0 && !found.stands {
                found.stands = true;
                news.push(News::Found(found.subject, count, found.none_at));
            } else if count == 0 && found.stands {
                found.stands = false;
                news.push(News::Over(found.subject));
            }
            found.before = count;
            if count == 0 {
                found.none_at = t;
            }
        }
        news
    }

    /// The growth that stands of a subject.
    pub(crate) fn standing(&self, subject: Subject) -> Option<Growth> {
        let series = self.series.iter().find(|(known, _)| *known == subject);
        series.and_then(|(_, judge)| judge.standing())
    }
}

/// What a series is at one moment, and what may explain its growth.
fn observe(subject: Subject, t: f64, waterfall: &Waterfall, state: &Presence) -> Observation {
    let Subject::Account(account) = subject else {
        // Accounts may be wrong by two per cent of what they are of, in both directions.
        return Observation {
            t,
            value: waterfall.residue_bytes as f64,
            total: waterfall.allocated_bytes as f64,
            reference: waterfall.accounted_bytes as f64,
            explains: 0.04,
        };
    };
    let bytes = waterfall.bytes(account) as f64;
    let items = match account {
        // Payloads are of any size.
        Account::Retained => state.retained_payload_bytes + 64 * state.retained,
        Account::Subscriptions => state.subscriptions,
        Account::Connections => state.connected,
        _ => state.sessions,
    } as f64;
    // Tables double: an item may take twice what items take at present.
    Observation {
        t,
        value: bytes,
        total: bytes,
        reference: items,
        explains: 2.0 * bytes / items.max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detector() -> Detector {
        Detector::new(Box::leak(Box::default()))
    }

    /// Runs an hour of a broker. Answers the first news and when.
    fn hour(mut at: impl FnMut(f64) -> (Waterfall, Presence)) -> Option<(f64, News)> {
        let mut detector = detector();
        (0..3600).map(f64::from).find_map(|t| {
            let (waterfall, state) = at(t);
            Some((t, *detector.look(t, &waterfall, &state).first()?))
        })
    }

    fn waterfall(residue: f64, subscriptions: u32) -> Waterfall {
        let mut waterfall = Waterfall { residue_bytes: residue as i64, ..Waterfall::default() };
        waterfall.allocated_bytes = 10_000_000;
        waterfall.set(Account::Subscriptions, subscriptions as usize);
        waterfall
    }

    #[test]
    fn a_residue_that_grows_is_a_leak() {
        let found = hour(|t| (waterfall(t * 19_200.0, 5000), Presence::default()));
        let (t, news) = found.expect("a leak");
        assert!(t < 300.0 && matches!(news, News::Grows(Subject::Residue, _)), "{t} {news:?}");
    }

    #[test]
    fn an_account_may_grow_with_what_it_is_for_and_not_without() {
        let mut second = 0;
        let found = hour(|_| {
            second += 1;
            let state = Presence { subscriptions: u64::from(second) * 100, ..Presence::default() };
            (waterfall(0.0, second * 9000), state)
        });
        assert_eq!(found, None);
        let mut second = 0;
        let found = hour(|_| {
            second += 1;
            let state = Presence { subscriptions: 20, ..Presence::default() };
            (waterfall(0.0, second * 9000), state)
        });
        let (t, news) = found.expect("a leak");
        let subject = Subject::Account(Account::Subscriptions);
        assert!(t < 900.0 && matches!(news, News::Grows(found, _) if found == subject), "{t}");
    }

    #[test]
    fn two_audits_in_a_row_make_an_alarm() {
        let mut detector = detector();
        let overdue = |sessions_overdue| Audit { sessions_overdue, ..Audit::default() };
        assert_eq!(detector.audited(40.0, &overdue(3)), []);
        assert_eq!(detector.audited(75.0, &overdue(0)), []);
        // With many sessions an audit takes long.
        assert_eq!(detector.audited(340.0, &overdue(3)), []);
        let found = News::Found(Subject::SessionsOverdue, 4, 75.0);
        assert_eq!(detector.audited(610.0, &overdue(4)), [found]);
        assert_eq!(detector.audited(880.0, &overdue(5)), []);
        let over = News::Over(Subject::SessionsOverdue);
        assert_eq!(detector.audited(990.0, &overdue(0)), [over]);
    }
}
