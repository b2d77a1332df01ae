//! What one window of the past says.

use super::past::{Bucket, LEVELS, Past, Ring};
use super::{ResidueSettings, TRACKING};
use crate::trend::{mann_kendall, median, theil_sen_at};

/// Pieces that a window is cut into.
pub(super) const PIECES: usize = 24;
/// Lengths of windows in buckets: each 1.4 times the one before, and the next ring goes on where these end.
const LENGTHS: [usize; 6] = [24, 34, 48, 68, 96, 136];
/// Windows in all: from 2 minutes to 32 days.
pub(super) const WINDOWS: usize = LEVELS * LENGTHS.len();

/// Which windows end with a ring's newest bucket.
pub(super) fn of_level(level: usize) -> std::ops::Range<usize> {
    level * LENGTHS.len()..(level + 1) * LENGTHS.len()
}

/// A piece of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    t: f64,
    residue: f64,
    accounted: f64,
    published: f64,
    connects: f64,
}

/// A window, cut into pieces.
pub(super) struct Window<'a> {
    ring: &'a Ring,
    /// Index of its first bucket.
    begin: usize,
    pieces: [Piece; PIECES],
    /// Its length, seconds.
    pub(super) length: f64,
    /// How much the accounts changed within it at most, bytes.
    accounted_range: f64,
    /// What was allocated at its end, bytes.
    pub(super) total: f64,
}

/// Growth in a window that passed every test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    /// Bytes per second.
    pub(super) rate: f64,
    /// Half of its 95 % confidence interval.
    pub(super) error: f64,
    /// When it began, seconds.
    pub(super) since: f64,
    /// Length of the window, seconds.
    pub(super) length: f64,
}

/// The length of a window, seconds.
pub(super) fn length(past: &Past, window: usize) -> f64 {
    let ring = past.rings.get(window / LENGTHS.len());
    let buckets = LENGTHS.get(window % LENGTHS.len());
    ring.zip(buckets).map_or(f64::INFINITY, |(ring, buckets)| ring.width * *buckets as f64)
}

impl<'a> Window<'a> {
    /// Cuts the newest buckets; `None` if there are too few, or too much of the time was not seen.
    pub(super) fn cut(past: &'a Past, window: usize) -> Option<Window<'a>> {
        let ring = past.rings.get(window / LENGTHS.len())?;
        let wanted = *LENGTHS.get(window % LENGTHS.len())?;
        let begin = ring.buckets.len().checked_sub(wanted)?;
        let (first, last) = (ring.buckets.get(begin)?, ring.buckets.back()?);
        let length = ring.width * wanted as f64;
        if last.t - first.t > 1.2 * length {
            return None;
        }
        let mut pieces = [Piece::default(); PIECES];
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for (index, piece) in pieces.iter_mut().enumerate() {
            let from = begin + index * wanted / PIECES;
            let to = begin + (index + 1) * wanted / PIECES;
            *piece = piece_of(ring, from, to);
            (least, most) = (least.min(piece.accounted), most.max(piece.accounted));
        }
        let total = pieces.last().map(|p| p.accounted + p.residue)?;
        Some(Window { ring, begin, pieces, length, accounted_range: most - least, total })
    }

    /// By what share of its first third the total is larger in its last.
    pub(super) fn total_grown(&self) -> f64 {
        let third = PIECES / 3;
        let mean = |pieces: &[Piece]| pieces.iter().map(|piece| piece.accounted).sum::<f64>();
        let (first, last) = (&self.pieces[..third], &self.pieces[PIECES - third..]);
        mean(last) / mean(first).max(1.0) - 1.0
    }

    /// Growth from its first third to its last, as if it were even, without what the total explains either way:
    /// cheap, and falls are as good as rises.
    pub(super) fn change(&self) -> f64 {
        let third = PIECES / 3;
        let middle = |pieces: &[Piece], column: fn(&Piece) -> f64| {
            let mut values = [0.0; PIECES / 3];
            for (value, piece) in values.iter_mut().zip(pieces) {
                *value = column(piece);
            }
            median(&mut values).unwrap_or(0.0)
        };
        let (first, last) = (&self.pieces[..third], &self.pieces[PIECES - third..]);
        let change = |column| 1.5 * (middle(last, column) - middle(first, column));
        let (change, total) = (change(|p| p.residue), change(|p| p.accounted));
        let explained = TRACKING * (total.abs() + 0.1 * self.accounted_range);
        change.signum() * (change.abs() - explained).max(0.0)
    }

    /// Growth of at least so many bytes that is steady, straight and beyond chance, whatever the accounts explain:
    /// along time, or along the packets that may drive it, which load makes uneven.
    pub(super) fn growth(&self, need: f64, settings: &ResidueSettings) -> Option<Growth> {
        let clocks: [fn(&Piece) -> f64; 3] = [|p| p.t, |p| p.published, |p| p.connects];
        clocks.into_iter().find_map(|clock| self.along(clock, need, settings))
    }

    /// The same along one clock.
    fn along(
        &self,
        clock: fn(&Piece) -> f64,
        need: f64,
        settings: &ResidueSettings,
    ) -> Option<Growth> {
        let ([first, ..], [.., last]) = (&self.pieces, &self.pieces);
        // All clocks run for as long as the window.
        let (begin, scale) = (clock(first), (last.t - first.t) / (clock(last) - clock(first)));
        if !scale.is_finite() || scale <= 0.0 {
            return None;
        }
        let x = self.pieces.map(|piece| (clock(&piece) - begin) * scale);
        let points = |follows: f64| {
            let mut points = [(0.0, 0.0); PIECES];
            for ((point, x), piece) in points.iter_mut().zip(x).zip(&self.pieces) {
                *point = (x, piece.residue - follows * piece.accounted);
            }
            points
        };
        let mut slowest: Option<(f64, f64)> = None;
        let (mut tidiest, mut low) = (0.0_f64, f64::INFINITY);
        for follows in self.follows(&x)? {
            let points = points(follows);
            let order = mann_kendall(&points.map(|(_, value)| value));
            tidiest = tidiest.max(order);
            if order < settings.order_min - 0.2 {
                return None;
            }
            let slope = theil_sen_at(&points, settings.significance * memory(&points)?)?;
            low = low.min(slope.low);
            if slowest.is_none_or(|(slowest, _)| slope.per_second < slowest) {
                slowest = Some((slope.per_second, follows));
            }
        }
        let (slowest, follows) = slowest?;
        if slowest * self.length < need || low <= 0.0 || tidiest < settings.order_min {
            return None;
        }
        // What levels off will end. What gets faster may have begun within the window.
        let points = points(follows);
        let half = |points| Some(theil_sen_at(points, 0.0)?.per_second);
        let (early, late) = points.split_at(PIECES / 2);
        if half(late)? < settings.straightness_min * half(early)? {
            return None;
        }
        // The rate is told as it was seen, not as it is at least.
        let seen = self.pieces.map(|piece| (piece.t, piece.residue));
        let seen = theil_sen_at(&seen, 1.96 * memory(&seen)?)?;
        let rate = seen.per_second.max(slowest);
        let error = ((seen.high - seen.low) / 2.0).max(rate - slowest);
        Some(Growth { rate, error, since: self.since(rate), length: self.length })
    }

    /// The least and the most share of the accounts that the residue may follow, by what the window shows: least
    /// squares on the clock and the accounts, three deviations to each side. Accounts that grow as steadily as the
    /// residue tell nothing, so that all that is plausible remains.
    fn follows(&self, x: &[f64; PIECES]) -> Option<[f64; 2]> {
        let n = PIECES as f64;
        let mean = |column: fn(&Piece) -> f64| self.pieces.iter().map(column).sum::<f64>() / n;
        let centre = (x.iter().sum::<f64>() / n, mean(|p| p.accounted), mean(|p| p.residue));
        let mut points = [(0.0, 0.0, 0.0); PIECES];
        for ((point, x), piece) in points.iter_mut().zip(x).zip(&self.pieces) {
            *point = (x - centre.0, piece.accounted - centre.1, piece.residue - centre.2);
        }
        let sum = |product: fn(&(f64, f64, f64)) -> f64| points.iter().map(product).sum::<f64>();
        let (xx, aa) = (sum(|p| p.0 * p.0), sum(|p| p.1 * p.1));
        let (xa, xr, ar) = (sum(|p| p.0 * p.1), sum(|p| p.0 * p.2), sum(|p| p.1 * p.2));
        if xx <= 0.0 {
            return None;
        }
        // What of the accounts is not their trend.
        let own = aa - xa * xa / xx;
        if own <= 1e-9 * aa.max(1.0) {
            return Some([-TRACKING, TRACKING]);
        }
        let best = (ar - xa * xr / xx) / own;
        let rate = (xr - best * xa) / xx;
        let left = points.map(|(x, account, residue)| (x, residue - best * account - rate * x));
        let rest: f64 = left.iter().map(|(_, left)| left * left).sum();
        let error = 3.0 * (rest / (n - 3.0) / own).sqrt() * memory(&left)?;
        let within = |share: f64| share.clamp(-TRACKING, TRACKING);
        Some([within(best - error), within(best + error)])
    }

    /// Where the line through the window meets the level before it.
    fn since(&self, rate: f64) -> f64 {
        let [first, ..] = self.pieces;
        let mut offsets = self.pieces.map(|piece| piece.residue - rate * (piece.t - first.t));
        let at_first = median(&mut offsets).unwrap_or(first.residue);
        let before = self.begin.saturating_sub(PIECES);
        let mut earlier: Vec<f64> =
            self.ring.buckets.range(before..self.begin).map(|bucket| bucket.residue).collect();
        let Some(level) = median(&mut earlier) else { return first.t };
        let meets = first.t - (at_first - level) / rate;
        let oldest = self.ring.buckets.get(before).map_or(first.t, |bucket| bucket.t);
        meets.clamp(oldest, first.t + 0.75 * self.length)
    }

    /// The buckets of the window.
    pub(super) fn buckets(&self) -> impl Iterator<Item = &'a Bucket> + Clone + use<'a> {
        self.ring.buckets.range(self.begin..)
    }
}

/// Means over some buckets. What a spike does to one of them, the medians over pieces undo.
fn piece_of(ring: &Ring, from: usize, to: usize) -> Piece {
    let mut piece = Piece::default();
    for bucket in ring.buckets.range(from..to) {
        piece.t += bucket.t;
        piece.residue += bucket.residue;
        piece.accounted += bucket.accounted;
        piece.published += bucket.published;
        piece.connects += bucket.connects;
    }
    let count = (to - from) as f64;
    Piece {
        t: piece.t / count,
        residue: piece.residue / count,
        accounted: piece.accounted / count,
        published: piece.published / count,
        connects: piece.connects / count,
    }
}

/// By how much a confidence interval must be widened because errors remember: from the correlation of what the
/// line leaves, `sqrt((1 + r) / (1 − r))`, at most 3.
fn memory(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let (mt, mv) =
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (tt, tv) = points
        .iter()
        .fold((0.0, 0.0), |(tt, tv), (t, v)| (tt + (t - mt) * (t - mt), tv + (t - mt) * (v - mv)));
    if tt <= 0.0 {
        return None;
    }
    let left = |point: &(f64, f64)| point.1 - mv - tv / tt * (point.0 - mt);
    let (mut own, mut next) = (0.0, 0.0);
    for pair in points.windows(2) {
        if let [a, b] = pair {
            own += left(a).powi(2);
            next += left(a) * left(b);
        }
    }
    // Pieces of less than a byte of noise say nothing of correlation.
    let r = if own > n { (next / own).clamp(0.0, 0.8) } else { 0.0 };
    Some(((1.0 + r) / (1.0 - r)).sqrt())
}
