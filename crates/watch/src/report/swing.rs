//! How memory moves within a day.

use plimsoll_judgement::outside::Sample;

use super::charts::resident;
use crate::plot::percentile;

const DAY_S: f64 = 86_400.0;

/// Parts of a day that are told apart.
const PARTS: usize = 48;

/// The shape of a day: what memory lies above or below its own day's mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Swing {
    /// Seconds since midnight, the 10th, 50th and 90th percentile of days in bytes.
    pub(super) parts: Vec<(f64, f64, f64, f64)>,
    /// Days that were looked at.
    pub(super) days: usize,
}

/// The shape of a day; none of less than two whole ones.
pub(super) fn swing(samples: &[Sample]) -> Option<Swing> {
    let day_of = |sample: &Sample| (sample.t / DAY_S).floor();
    let days: Vec<&[Sample]> = samples
        .chunk_by(|one, other| day_of(one).total_cmp(&day_of(other)).is_eq())
        .filter(|day| {
            let ends = day.first().zip(day.last());
            ends.is_some_and(|(first, last)| last.t - first.t > 0.95 * DAY_S && day.len() >= PARTS)
        })
        .collect();
    if days.len() < 2 {
        return None;
    }
    let mut parts = vec![Vec::new(); PARTS];
    for day in &days {
        let mean = day.iter().map(resident).sum::<f64>() / day.len() as f64;
        // What grows through the day is no swing.
        let (first, last) = (&day[0], &day[day.len() - 1]);
        let slope = (resident(last) - resident(first)) / (last.t - first.t);
        let middle = f64::midpoint(first.t, last.t);
        for sample in *day {
            let share = sample.t.rem_euclid(DAY_S) / DAY_S;
            let part = usize::try_from((share * PARTS as f64) as i64)
                .ok()
                .and_then(|at| parts.get_mut(at));
            let level = resident(sample) - mean - slope * (sample.t - middle);
            if let Some(part) = part {
                part.push(level);
            }
        }
    }
    let parts = parts
        .iter_mut()
        .enumerate()
        .filter_map(|(number, levels)| {
            levels.sort_by(f64::total_cmp);
            let at = (number as f64 + 0.5) * DAY_S / PARTS as f64;
            let level = |hundredths| percentile(levels, hundredths);
            Some((at, level(10)?, level(50)?, level(90)?))
        })
        .collect();
    Some(Swing { parts, days: days.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swing_is_found_under_growth() {
        let samples: Vec<Sample> = (0..5 * 1440)
            .map(|minute| {
                let t = f64::from(minute) * 60.0;
                let day = (t / DAY_S * std::f64::consts::TAU).sin();
                Sample { t, rss: 50e6 + 100.0 * t + 3e6 * day, ..Sample::default() }
            })
            .collect();
        let found = swing(&samples).unwrap();
        assert_eq!((found.days, found.parts.len()), (5, PARTS));
        let noon_before = found.parts[PARTS / 4];
        assert!((noon_before.2 - 3e6).abs() < 1e5, "{noon_before:?}");
        assert!(swing(&samples[..2000]).is_none(), "one whole day is no swing");
    }
}
