//! Does memory grow with events? Pure arithmetic over points that were taken in quiet.

use plimsoll_judgement::{mann_kendall, theil_sen};
use serde::{Deserialize, Serialize};

/// Growth counts only above this share of what is held: allocators move by as much without a leak.
const FLOOR_SHARE: f64 = 0.01;

/// And only above this, bytes.
const FLOOR_BYTES: f64 = 524_288.0;

/// Order that is asked of the points: 1 if each is above all before it.
const ORDER_MIN: f64 = 0.6;

/// The second half must have grown by at least this share of what the first has: what slows down is a cache that
/// fills, or an allocator that finds its size.
const STEADINESS_MIN: f64 = 0.65;

/// No single step may be more than this share of all growth: a table that has doubled once is no leak.
const STEP_MAX: f64 = 0.5;

/// Fewest points that anything is said about.
pub(crate) const POINTS_MIN: usize = 6;

/// How memory goes with events.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Growth {
    /// Whether it grows beyond doubt.
    pub(crate) grows: bool,
    /// What it looks like.
    #[serde(default)]
    pub(crate) shape: Shape,
    /// What the last third holds more than the first, bytes.
    #[serde(default)]
    pub(crate) grown: f64,
    /// Bytes per event, with the 95 % interval (Theil–Sen).
    pub(crate) per_event: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Bytes per event that would have been seen.
    pub(crate) resolution: f64,
}

/// What growth looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// There is none, or too little to tell.
    #[default]
    Flat,
    /// It goes on.
    Growing,
    /// More than half of it came at once: a table that has doubled, or a leak in bursts.
    InSteps,
    /// It slows down: a cache that fills, an allocator that finds its size.
    Slowing,
    /// It goes up and down.
    Unsteady,
}

/// Looks at points `(events so far, bytes held)`, in the order of events. `None` if there are too few.
pub(crate) fn growth(points: &[(f64, f64)]) -> Option<Growth> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let slope = theil_sen(points)?;
    let span = points.last()?.0 - points.first()?.0;
    if span <= 0.0 {
        return None;
    }
    let values: Vec<f64> = points.iter().map(|(_, bytes)| *bytes).collect();
    let floor = FLOOR_BYTES + FLOOR_SHARE * median(&values);
    let Thirds { grown, steady } = thirds(points);
    let in_order = slope.low > 0.0 && mann_kendall(&values) >= ORDER_MIN;
    let shape = match () {
        () if slope.per_second * span <= floor && grown <= floor => Shape::Flat,
        () if !is_gradual(&values) => Shape::InSteps,
        () if !in_order || slope.per_second * span <= floor => Shape::Unsteady,
        () if !steady => Shape::Slowing,
        () => Shape::Growing,
    };
    Some(Growth {
        grows: shape == Shape::Growing,
        shape,
        grown,
        per_event: slope.per_second,
        low: slope.low,
        high: slope.high,
        resolution: (floor / span).max((slope.high - slope.low) / 2.0),
    })
}

/// What a first, a middle and a last third say.
struct Thirds {
    /// What the last holds more than the first, bytes.
    grown: f64,
    /// Whether the second half goes on as the first has begun, or faster.
    steady: bool,
}

fn thirds(points: &[(f64, f64)]) -> Thirds {
    let third = points.len() / 3;
    let (first, rest) = points.split_at(third);
    let (middle, last) = rest.split_at(rest.len() - third);
    let centre = |part: &[(f64, f64)]| {
        let events: Vec<f64> = part.iter().map(|(events, _)| *events).collect();
        let bytes: Vec<f64> = part.iter().map(|(_, bytes)| *bytes).collect();
        (median(&events), median(&bytes))
    };
    let ((x0, y0), (x1, y1), (x2, y2)) = (centre(first), centre(middle), centre(last));
    let grown = y2 - y0;
    if x1 <= x0 || x2 <= x1 {
        return Thirds { grown, steady: false };
    }
    let (before, after) = ((y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1));
    Thirds { grown, steady: after > 0.0 && after > STEADINESS_MIN * before }
}

/// Whether the growth is more than one step.
fn is_gradual(values: &[f64]) -> bool {
    let steps = values.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?));
    let largest = steps.fold(0.0, f64::max);
    match (values.first(), values.last()) {
        (Some(first), Some(last)) => largest <= STEP_MAX * (last - first),
        _ => false,
    }
}

/// The middle value; 0 if there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share of all lie; 0 if there are none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_sign_loss, reason = "it is from 0 to the last index")]
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(below), Some(above)) => below + (above - below) * place.fract(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Random;

    const HELD: f64 = 40e6;
    const EVENTS: f64 = 500_000.0;

    fn noisy(random: &mut Random, amplitude: f64) -> f64 {
        amplitude * (random.uniform() + random.uniform() - 1.0)
    }

    fn series(cycles: u32, seed: u64, bytes: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut random = Random::new(seed);
        let mut events = 0.0;
        (0..cycles)
            .map(|_| {
                events += EVENTS * (0.5 + random.uniform());
                (events, HELD + bytes(events) + noisy(&mut random, 1e6))
            })
            .collect()
    }

    #[test]
    fn forty_eight_bytes_an_update_are_seen_and_measured() {
        for seed in 0..200 {
            let growth = growth(&series(8, seed, |events| 48.0 * events)).expect("enough");
            assert!(growth.grows, "{seed}: {growth:?}");
            assert!((growth.per_event - 48.0).abs() < 0.05 * 48.0, "{growth:?}");
        }
    }

    #[test]
    fn neither_noise_nor_what_slows_down_is_a_leak() {
        let mut false_alarms = 0;
        for seed in 0..1000 {
            let flat = growth(&series(8, seed, |_| 0.0)).expect("enough");
            let warms =
                growth(&series(8, seed, |x| 20e6 * (1.0 - (-x / EVENTS).exp()))).expect("enough");
            let step =
                growth(&series(8, seed, |x| if x > 2e6 { 20e6 } else { 0.0 })).expect("enough");
            false_alarms += u32::from(flat.grows) + u32::from(warms.grows) + u32::from(step.grows);
        }
        assert!(false_alarms <= 6, "{false_alarms} of 3000");
    }

    #[test]
    fn what_grows_without_being_a_leak_has_a_name() {
        let of = |bytes: &dyn Fn(f64) -> f64| growth(&series(12, 3, bytes)).expect("enough");
        assert_eq!(of(&|_| 0.0).shape, Shape::Flat);
        let step = of(&|x| if x > 3e6 { 20e6 } else { 0.0 });
        assert_eq!((step.shape, step.grows), (Shape::InSteps, false));
        assert!((step.grown - 20e6).abs() < 2e6, "{step:?}");
        let slowing = of(&|x| 20e6 * (1.0 - (-x / 1.5e6).exp()));
        assert_eq!((slowing.shape, slowing.grows), (Shape::Slowing, false), "{slowing:?}");
        let swinging = of(&|x| if x % 4e6 > 2e6 { 20e6 } else { 0.0 });
        assert!(!swinging.grows, "{swinging:?}");
        // Growth that begins late, and one that becomes faster, go on.
        let late = of(&|x| (x - 2e6).max(0.0) * 48.0);
        assert_eq!(late.shape, Shape::Growing, "{late:?}");
        assert_eq!(of(&|x| x * x / 3e6 * 20.0).shape, Shape::Growing);
    }

    #[test]
    fn what_could_not_be_seen_is_said() {
        let few = series(5, 1, |_| 0.0);
        assert_eq!(growth(&few), None);
        let flat = growth(&series(8, 1, |_| 0.0)).expect("enough");
        // At the least the floor: 0.5 MB and 1 % of 40 MB over four million events.
        assert!(flat.resolution > 0.15 && flat.resolution < 2.0, "{flat:?}");
        assert!((quantile(&[3.0, 1.0, 2.0], 0.5) - 2.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
