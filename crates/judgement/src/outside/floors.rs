//! Where a managed heap stands after collections.

use super::views::fall as deepest_fall;
use super::window::ends;
use super::window::median;

/// A sawtooth has shown a tooth by then, settling times.
const NO_TEETH: f64 = 30.0;

/// Times and values of the lowest points of a sawtooth; a series without teeth comes back as it is,
/// and nothing of one whose teeth are too few, unless it rose far beyond any fall.
///
/// A tooth's end is a fall by a third of the usual range. Floors that stand above both neighbours by much of the
/// range were partial collections, and go.
pub(super) fn floors(t: &[f64], q: &[f64], settle_s: f64) -> (Vec<f64>, Vec<f64>) {
    let range = local_range(q);
    let mut found: (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut high = f64::NEG_INFINITY;
    let mut low = (0.0, f64::INFINITY);
    let mut falling = false;
    for (&t, &q) in t.iter().zip(q) {
        if !q.is_finite() {
            continue;
        }
        if falling {
            if q < low.1 {
                low = (t, q);
            } else if q > low.1 + 0.1 * range {
                found.0.push(low.0);
                found.1.push(low.1);
                falling = false;
                high = q;
            }
        } else {
            high = high.max(q);
            if q < high - 0.33 * range {
                falling = true;
                low = (t, q);
            }
        }
    }
    if found.0.len() >= 4 {
        return found;
    }
    let span = t.last().zip(t.first()).map_or(0.0, |(last, first)| last - first);
    // What has risen far beyond any of its falls for longer than a day has no teeth to speak of.
    let rises =
        span > NO_TEETH * settle_s && ends(q).is_some_and(|grown| grown > 3.0 * deepest_fall(q));
    if range < 0.1 * median(q).abs() || rises {
        (t.to_vec(), q.to_vec())
    } else {
        (Vec::new(), Vec::new())
    }
}

/// How deep its teeth are: the second deepest fall of six pieces, but not less than what growth within a piece may hide.
fn local_range(q: &[f64]) -> f64 {
    let piece = (q.len() / 6).max(8);
    let (mut falls, mut ranges) = (Vec::new(), Vec::new());
    for part in q.chunks(piece) {
        let known = part.iter().copied().filter(|value| value.is_finite());
        let high = known.clone().fold(f64::NEG_INFINITY, f64::max);
        ranges.extend(Some(high - known.fold(f64::INFINITY, f64::min)).filter(|r| r.is_finite()));
        falls.push(deepest_fall(part));
    }
    falls.sort_by(f64::total_cmp);
    let fall = falls.iter().rev().nth(1).or(falls.last()).copied().unwrap_or(f64::NAN);
    fall.max(0.3 * median(&ranges)).min(median(&ranges))
}
