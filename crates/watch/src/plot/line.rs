//! From any number of points to a path of few.

use std::fmt::Write as _;

/// Columns of a plot: the room that a path is drawn in is this wide, whatever it is stretched to.
pub(super) const COLUMNS: f64 = 1000.0;

/// Columns in which a line keeps no more than four points: its first, lowest, highest and last.
const KEPT: usize = 500;

/// Where a plot's room lies in time and figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Pixels from the bottom to the top.
    pub(super) height: f64,
}

impl Room {
    /// From 0 at the left to 1 at the right.
    pub(super) fn part(&self, time: f64) -> f64 {
        (time - self.from) / (self.to - self.from)
    }

    pub(super) fn x(&self, time: f64) -> f64 {
        self.part(time) * COLUMNS
    }

    /// Pixels from the top.
    pub(super) fn y(&self, figure: f64) -> f64 {
        (self.high - figure) / (self.high - self.low) * self.height
    }

    /// The path of a line; a point that is no number interrupts it.
    pub(super) fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for run in points.split(|(time, figure)| !time.is_finite() || !figure.is_finite()) {
            let mut letter = 'M';
            for (time, figure) in self.thinned(run) {
                // Writing to a String cannot fail.
                let _ = write!(path, "{letter}{:.1} {:.1}", self.x(time), self.y(figure));
                letter = 'L';
            }
            // A point of its own is a dot, with round ends.
            if run.len() == 1 {
                path.push_str("h0");
            }
        }
        path
    }

    /// The outline of what lies between two lines.
    pub(super) fn outline(&self, points: &[(f64, f64, f64)]) -> String {
        let finite: Vec<_> = points
            .iter()
            .filter(|(time, low, high)| time.is_finite() && low.is_finite() && high.is_finite())
            .collect();
        let every = finite.len().div_ceil(KEPT).max(1);
        let last = finite.len().saturating_sub(1);
        let kept = || {
            finite
                .iter()
                .enumerate()
                .filter(move |(number, _)| number % every == 0 || *number == last)
                .map(|(_, point)| point)
        };
        let mut path = String::new();
        let there = kept().map(|(time, _, high)| (*time, *high));
        let back = kept().rev().map(|(time, low, _)| (*time, *low));
        for (number, (time, figure)) in there.chain(back).enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.x(time), self.y(figure));
        }
        if !path.is_empty() {
            path.push('Z');
        }
        path
    }

    /// The same line to the eye, in a bounded number of points.
    fn thinned(&self, run: &[(f64, f64)]) -> Vec<(f64, f64)> {
        if run.len() <= 4 * KEPT {
            return run.to_vec();
        }
        let column = |time: f64| (self.part(time) * KEPT as f64) as i64;
        let mut kept = Vec::with_capacity(4 * KEPT);
        for group in run.chunk_by(|left, right| column(left.0) == column(right.0)) {
            let by_figure = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
            let ends = [group.first(), group.last()];
            let peaks = [group.iter().min_by(by_figure), group.iter().max_by(by_figure)];
            let mut of_column: Vec<_> = ends.into_iter().chain(peaks).flatten().copied().collect();
            of_column.sort_by(|one, other| one.0.total_cmp(&other.0));
            of_column.dedup();
            kept.extend(of_column);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { from: 0.0, to: 100.0, low: 0.0, high: 10.0, height: 200.0 };

    #[test]
    fn a_line_is_interrupted_by_what_is_no_number() {
        let points = [(0.0, 0.0), (50.0, 5.0), (60.0, f64::NAN), (70.0, 10.0)];
        assert_eq!(ROOM.path(&points), "M0.0 200.0L500.0 100.0M700.0 0.0h0");
    }

    #[test]
    fn a_million_points_keep_their_peak() {
        let mut points: Vec<_> = (0..1_000_000).map(|n| (f64::from(n) / 1e4, 1.0)).collect();
        points[123_457].1 = 9.0;
        let kept = ROOM.thinned(&points);
        assert!(kept.len() <= 4 * (KEPT + 1), "{}", kept.len());
        assert!(kept.contains(&(12.3457, 9.0)));
        assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
    }

    #[test]
    fn a_band_goes_there_and_back() {
        assert_eq!(
            ROOM.outline(&[(0.0, 0.0, 5.0), (100.0, 5.0, 10.0)]),
            "M0.0 100.0L1000.0 0.0L1000.0 100.0L0.0 200.0Z"
        );
    }
}
