//! Where the labels of an axis stand, and what they say.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Unit;

/// How times are labelled. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeAxis {
    /// As time that has passed since 0.
    #[default]
    Elapsed,
    /// As dates and times of day in UTC; times are since the Unix epoch.
    Utc,
}

/// A label and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) text: String,
    /// Left out where there is little room.
    pub(super) fine: bool,
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// Distances of labels that people count in.
const DISTANCES: [f64; 29] = [
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    4.0 * DAY,
    7.0 * DAY,
    14.0 * DAY,
    28.0 * DAY,
    56.0 * DAY,
    112.0 * DAY,
    364.0 * DAY,
];

/// Labels at most, where there is little room and where there is much.
const NARROW: f64 = 4.0;
const WIDE: f64 = 9.0;

impl TimeAxis {
    /// The labels from one time to another.
    pub(super) fn ticks(self, from: f64, to: f64) -> Vec<Tick> {
        let span = to - from;
        let longest = DISTANCES[DISTANCES.len() - 1];
        let coarse = DISTANCES
            .into_iter()
            .find(|distance| span / distance <= NARROW)
            .unwrap_or(longest * (span / longest / NARROW).ceil());
        let divides = |distance: &f64| {
            let times = coarse / distance;
            span / distance <= WIDE && (times - times.round()).abs() < 1e-6
        };
        let fine = DISTANCES.into_iter().find(divides).unwrap_or(coarse);
        multiples(fine, from, to)
            .map(|at| {
                let part = at / coarse;
                Tick {
                    at,
                    text: self.label(at, fine, coarse),
                    fine: (part - part.round()).abs() > 1e-6,
                }
            })
            .collect()
    }

    fn label(self, at: f64, distance: f64, coarse: f64) -> String {
        match self {
            Self::Elapsed => elapsed(at, coarse),
            Self::Utc if at.rem_euclid(DAY) < 0.5 => formatted(at, "%-d %b"),
            Self::Utc if distance < MINUTE => formatted(at, "%H:%M:%S"),
            Self::Utc => formatted(at, "%H:%M"),
        }
    }

    /// One instant, in full.
    pub fn instant(self, at: f64) -> String {
        match self {
            Self::Elapsed => format!("{} after the start", Unit::Seconds.text(at)),
            Self::Utc => formatted(at, "%Y-%m-%d %H:%M UTC"),
        }
    }

    /// Its name for the script that shows figures under the pointer.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Elapsed => "elapsed",
            Self::Utc => "utc",
        }
    }
}

/// In the unit of the coarse distance: 0.5 d between 0 d and 1 d.
fn elapsed(at: f64, coarse: f64) -> String {
    let (divisor, name) = match coarse {
        coarse if coarse >= DAY => (DAY, "d"),
        coarse if coarse >= HOUR => (HOUR, "h"),
        coarse if coarse >= MINUTE => (MINUTE, "min"),
        _ => (1.0, "s"),
    };
    let text = format!("{:.2}", at / divisor);
    format!("{} {name}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn formatted(at: f64, form: &str) -> String {
    Timestamp::from_second(at.round() as i64).map_or_else(
        |_| "–".to_owned(),
        |time| time.to_zoned(TimeZone::UTC).strftime(form).to_string(),
    )
}

/// The labels of figures from `low` to `high`.
pub(super) fn figures(unit: Unit, low: f64, high: f64, wanted: f64) -> Vec<Tick> {
    let top = low.abs().max(high.abs());
    let distance = unit.distance(high - low, top, wanted);
    multiples(distance, low, high)
        .map(|at| Tick { at, text: unit.label(at, distance, top), fine: false })
        .collect()
}

/// All multiples of a distance in a range; there are few, since distances are chosen so.
fn multiples(distance: f64, from: f64, to: f64) -> impl Iterator<Item = f64> {
    const MOST: usize = 64;
    let first = (from / distance - 1e-9).ceil();
    (0..MOST)
        .map(move |number| (first + number as f64) * distance)
        .take_while(move |at| *at <= to + distance * 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.text.as_str()).collect()
    }

    #[test]
    fn a_week_is_labelled_by_days_and_every_second_stays_on_a_narrow_screen() {
        let ticks = TimeAxis::Elapsed.ticks(0.0, 7.0 * DAY);
        assert_eq!(texts(&ticks), ["0 d", "1 d", "2 d", "3 d", "4 d", "5 d", "6 d", "7 d"]);
        let narrow: Vec<_> = ticks.into_iter().filter(|tick| !tick.fine).collect();
        assert_eq!(texts(&narrow), ["0 d", "2 d", "4 d", "6 d"]);
    }

    #[test]
    fn midnight_says_which_day_begins() {
        let evening = 1_795_629_600.0; // 2026-11-25 18:00 UTC
        let ticks = TimeAxis::Utc.ticks(evening, evening + 12.0 * HOUR);
        assert_eq!(texts(&ticks), ["18:00", "21:00", "26 Nov", "03:00", "06:00"]);
        assert_eq!(TimeAxis::Utc.instant(evening), "2026-11-25 18:00 UTC");
    }

    #[test]
    fn any_span_has_between_two_and_ten_labels() {
        let mut span = 0.5;
        while span < 40.0 * 365.0 * DAY {
            for start in [0.0, 17.3, 1_795_629_600.0] {
                let ticks = TimeAxis::Elapsed.ticks(start, start + span);
                assert!((1..=11).contains(&ticks.len()), "{span}: {}", ticks.len());
                assert!(ticks.iter().filter(|tick| !tick.fine).count() <= 5, "{span}");
            }
            span *= 1.37;
        }
    }

    #[test]
    fn figures_have_a_handful_of_labels_at_any_size() {
        let mut size = 1e-3;
        while size < 1e15 {
            for unit in [Unit::Bytes, Unit::Seconds, Unit::Percent, Unit::BytesPerHour] {
                let ticks = figures(unit, 0.2 * size, size, 4.0);
                assert!((1..=6).contains(&ticks.len()), "{unit:?} {size}: {ticks:?}");
            }
            size *= 1.9;
        }
    }
}
