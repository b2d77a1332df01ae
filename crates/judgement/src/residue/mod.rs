//! Judges a process that accounts for every byte: one series, what is held and nobody has said so.
//!
//! See [`ResidueJudge`].

mod past;
mod reasons;
mod window;

use crate::driver::{Point, follows};
use crate::judge::{Driver, Event, Leak, Verdict};
use crate::signal::Signal;
use past::Past;
use window::{Growth, WINDOWS, Window, length, of_level};

/// One line of the reconciliation. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Balance {
    /// Time of the reading, seconds on a clock that does not go back.
    pub t: f64,
    /// What is allocated less all accounts and the baseline; negative if the accounts say too much.
    pub residue: f64,
    /// What is allocated.
    pub total: f64,
    /// What the limit is set against, if not the total: the resident set.
    pub resident: Option<f64>,
    /// PUBLISH packets received since the process started.
    pub published_total: Option<f64>,
    /// CONNECT packets accepted since the process started.
    pub connects_total: Option<f64>,
}

/// The share of the total by which an honest residue may follow it: an error of the accounts that is
/// proportional to what they account for. The assumption is 2 %, taken with a quarter more.
const TRACKING: f64 = 0.025;

/// What is supposed of an honest residue, and how sure an alarm has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidueSettings {
    /// Half of the band that an honest residue stays in, bytes.
    pub band_bytes: f64,
    /// The same as a share of the total; the larger of the two counts.
    pub band_share: f64,
    /// Length of the cycle of load, seconds, after which the residue's ways are known.
    pub cycle_s: f64,
    /// Width of the confidence interval of the slope that must be above 0, in standard deviations.
    pub significance: f64,
    /// Mann–Kendall's score, as a share of the largest, that the growth must have.
    pub order_min: f64,
    /// Slope of the second half of a window over that of its first which is still no levelling off.
    pub straightness_min: f64,
    /// How many times the largest fall in a window of its length a growth must be.
    pub falls: f64,
    /// Where memory ends, bytes, for the forecast.
    pub limit_bytes: Option<f64>,
}

impl Default for ResidueSettings {
    fn default() -> ResidueSettings {
        ResidueSettings {
            band_bytes: 2.0 * 1024.0 * 1024.0,
            band_share: 0.02,
            cycle_s: 86_400.0,
            significance: 4.0,
            order_min: 0.8,
            straightness_min: 0.75,
            falls: 2.5,
            limit_bytes: None,
        }
    }
}

impl ResidueSettings {
    /// The growth that no honest residue makes: from one side of its band to the other.
    fn beyond(&self, total: f64) -> f64 {
        2.0 * self.band_bytes.max(self.band_share * total)
    }

    /// The growth in a window that is asked for, bytes, and for what share of the window it must be seen.
    ///
    /// At first, across the whole band. Once four windows of the length have been seen, a size that is fit for
    /// it or what the falls in such windows teach; once a cycle of load has been seen, a quarter of that.
    fn need(&self, length: f64, total: f64, age: f64, fall: f64) -> (f64, f64) {
        let beyond = self.beyond(total);
        let fit = if age >= self.cycle_s + length {
            0.5 * self.band_bytes + 0.125 * self.band_share * total
        } else if age >= 4.0 * length {
            2.0 * self.band_bytes + 0.25 * self.band_share * total
        } else {
            return (beyond, 1.0 / 6.0);
        };
        let need = fit + self.falls * fall;
        if need < beyond { (need, 1.0 / 3.0) } else { (beyond, 1.0 / 6.0) }
    }
}

/// What is remembered of windows of one length.
#[derive(Clone, Copy, Debug, Default)]
struct Lesson {
    /// The largest fall, bytes, which fades.
    fall: f64,
    /// Since when growth has been seen in every one.
    growing_since: Option<f64>,
}

/// An alarm that stands.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    leak: Leak,
    raised: f64,
    /// When growth was last seen, and in how long a window at first.
    seen: f64,
    length: f64,
}

/// Finds leaks in a process that accounts for every byte it holds, fed about once a second.
///
/// # The rule
///
/// Windows of 30 lengths from 2 minutes to 32 days, each 1.4 times the one before, are cut into 24 pieces. A leak
/// is growth that in one of them, along time or along the packets received or the connections accepted,
///
/// - is larger than an honest residue's: across its whole band while little is known of it, later a
///   quarter of that and 2.5 times the largest *fall* that was ever seen in a window of this length (what is
///   honest comes back, what leaks does not, so falls teach what rises mean);
/// - is steady: Mann–Kendall's score is at least 0.8 of the largest, and Sen's interval for the slope, 4
///   deviations wide and widened for correlation, is above 0;
/// - does not level off: in its second half the slope is at least 3/4 of that in its first;
/// - is there whatever the accounts explain: also after taking away the most of what they did, up to ± 2.5 %, that
///   the window itself does not rule out;
/// - and goes on to be all that while a third of the window passes (a sixth where the whole band was crossed).
///
/// # What is supposed
///
/// The honest residue is a share of the total of at most ± 2 %, and a rest that stays within ± 2 MiB or ± 2 %
/// of the total. One step of any size is no leak. Within these bounds growth across the band cannot happen, so
/// the first day's rule is safe by construction; the finer rule of later days is safe as far as a day and its
/// falls are typical. `cargo run --release -p plimsoll-judgement --example year` measures it.
#[derive(Clone, Debug)]
pub struct ResidueJudge {
    settings: ResidueSettings,
    past: Past,
    lessons: [Lesson; WINDOWS],
    alarm: Option<Alarm>,
    /// The newest of the readings that are not averaged: total, or what the limit is set against.
    used: f64,
}

impl ResidueJudge {
    /// The most memory that a judge takes, bytes, whatever it is fed, with what it needs while it thinks.
    pub const BYTES_MAX: usize = Past::BYTES_MAX + size_of::<ResidueJudge>() + 8 * 1024;

    /// A judge that has seen nothing.
    pub fn new(settings: ResidueSettings) -> ResidueJudge {
        let lessons = [Lesson::default(); WINDOWS];
        ResidueJudge { settings, past: Past::new(), lessons, alarm: None, used: 0.0 }
    }

    /// Changes the limit that the forecast is made for.
    pub fn set_limit(&mut self, bytes: Option<f64>) {
        self.settings.limit_bytes = bytes;
    }

    /// Takes a reading. One that is not later than those before is passed over.
    pub fn push(&mut self, balance: &Balance) -> Option<Event> {
        let levels = self.past.add(balance);
        if levels == 0 {
            return None;
        }
        self.used = balance.resident.filter(|bytes| bytes.is_finite()).unwrap_or(balance.total);
        let mut found: Option<(Growth, usize)> = None;
        for level in 0..levels {
            for window in of_level(level) {
                if let Some(growth) = self.look(window) {
                    found = Some((growth, window));
                }
            }
        }
        let now = self.past.last_t;
        if let Some((growth, window)) = found {
            let leak = self.describe(&growth, window);
            if let Some(alarm) = &mut self.alarm {
                alarm.seen = now;
                // A short window among long ones knows less.
                let since = alarm.leak.since.min(leak.since);
                let closer = leak.error <= alarm.leak.error
                    || (leak.bytes_per_hour - alarm.leak.bytes_per_hour).abs() > alarm.leak.error;
                let told = if closer { leak } else { alarm.leak };
                alarm.leak = Leak { since, limit_in_s: leak.limit_in_s, ..told };
                return None;
            }
            self.alarm = Some(Alarm { leak, raised: now, seen: now, length: growth.length });
            return Some(Event::Raised(leak));
        }
        let alarm = self.alarm?;
        let patience = 3.0 * alarm.length.max(600.0);
        if now - alarm.seen <= patience {
            return None;
        }
        let window = (0..WINDOWS).find(|window| length(&self.past, *window) >= patience)?;
        let window = Window::cut(&self.past, window)?;
        if window.change() > 0.25 * alarm.leak.bytes_per_hour / 3600.0 * window.length {
            // Not as plain as it was, but it goes on.
            return None;
        }
        self.alarm = None;
        Some(Event::Cleared { after_s: now - alarm.raised })
    }

    /// Looks at one window: learns from its fall, or gives its growth once that has lasted.
    fn look(&mut self, index: usize) -> Option<Growth> {
        let now = self.past.last_t;
        let window = Window::cut(&self.past, index)?;
        let change = window.change();
        let lesson = self.lessons.get_mut(index)?;
        let age = self.past.age();
        let (need, share) = self.settings.need(window.length, window.total, age, lesson.fall);
        if change < 0.8 * need {
            lesson.growing_since = None;
            // Half is forgotten in a week, or in twenty windows.
            let step = window.length / 24.0;
            lesson.fall *= 1.0 - step * 0.69 / (7.0 * 86_400.0_f64).max(20.0 * window.length);
            lesson.fall = lesson.fall.max(-change);
            return None;
        }
        let Some(growth) = window.growth(need, &self.settings) else {
            lesson.growing_since = None;
            return None;
        };
        let since = *lesson.growing_since.get_or_insert(now);
        (now - since >= share * window.length).then_some(growth)
    }

    fn describe(&self, growth: &Growth, window: usize) -> Leak {
        let limit_in_s =
            self.settings.limit_bytes.map(|limit| ((limit - self.used) / growth.rate).max(0.0));
        let mut leak = Leak {
            bytes_per_hour: growth.rate * 3600.0,
            error: growth.error * 3600.0,
            since: growth.since,
            limit_in_s,
            driver: Driver::PerHour(growth.rate * 3600.0),
            bytes_per_update: None,
            bytes_per_connect: None,
            seen_in: Signal::Residue,
        };
        let Some(window) = Window::cut(&self.past, window) else { return leak };
        let buckets = window.buckets().filter(move |bucket| bucket.t >= growth.since);
        let follows = follows(buckets.map(|bucket| Point {
            t: bucket.t,
            published: bucket.published,
            connects: bucket.connects,
            bytes: bucket.residue,
        }));
        let each = |per_hour: f64| leak.bytes_per_hour / per_hour;
        leak.bytes_per_update = follows.updates_per_hour.map(each);
        leak.bytes_per_connect = follows.connects_per_hour.map(each);
        leak.driver = follows.driver.unwrap_or(leak.driver);
        leak
    }

    /// The leak that the process has now, kept up to date while it goes on.
    pub fn leak(&self) -> Option<Leak> {
        self.alarm.map(|alarm| alarm.leak)
    }

    /// The judgement so far.
    pub fn verdict(&self) -> Verdict {
        if let Some(alarm) = &self.alarm {
            return Verdict::Leaking(alarm.leak);
        }
        // The shortest window, and that it goes on.
        let needed = 1.4 * length(&self.past, 0);
        let age = self.past.age();
        if age < needed {
            return Verdict::InsufficientData { minutes_more: (needed - age) / 60.0 };
        }
        if self.total_grown() > 0.05 { Verdict::GrowingWithState } else { Verdict::Stable }
    }

    /// By what share the total grew within the longest window of at most a day.
    fn total_grown(&self) -> f64 {
        let windows = (0..WINDOWS).filter(|w| length(&self.past, *w) <= self.settings.cycle_s);
        let longest = windows.rev().find_map(|window| Window::cut(&self.past, window));
        longest.map_or(0.0, |window| window.total_grown())
    }

    /// Why, step by step, in sentences for people.
    pub fn reasons(&self) -> Vec<String> {
        reasons::reasons(self)
    }
}
