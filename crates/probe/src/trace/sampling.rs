//! How far apart samples lie, and what one stands for.
//!
//! Each byte is as likely to be sampled as any other: the distance from one sample to the next is drawn from an
//! exponential distribution. So nothing regular in the program can hide between samples, and what a sample stands for
//! follows from its size alone.

use super::programs::{CONTROL_WORDS, DISTANCES, OVERHEAD};

/// Samples a second that are aimed at, if nothing else is asked for.
pub(super) const RATE: f64 = 500.0;
/// The rate may be this much more before the distance is widened.
const TOLERANCE: f64 = 4.0;

/// The kernel's `control` value: sampling or not, at a mean distance of `mean` bytes.
pub(super) fn control(sampling: bool, mean: u64) -> Vec<u8> {
    let mut words = Vec::with_capacity(CONTROL_WORDS);
    words.push(u64::from(sampling));
    words.push(mean);
    words.extend((0..DISTANCES).map(|at| distance(at, mean)));
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The middle of the `at`th of equally likely parts of the distribution.
fn distance(at: usize, mean: u64) -> u64 {
    let quantile = (at as f64 + 0.5) / DISTANCES as f64;
    ((-(1.0 - quantile).ln() * mean as f64).round() as u64).max(1)
}

/// The mean distance for [`RATE`] samples of `bytes` allocated in `seconds`.
pub(super) fn mean_for(bytes: u64, seconds: f64) -> u64 {
    ((bytes as f64 / seconds.max(0.001) / RATE) as u64).max(1)
}

/// The mean distance to go on with, where `mean` gave `samples` in `seconds`.
pub(super) fn widened(mean: u64, samples: u64, seconds: f64) -> Option<u64> {
    let rate = samples as f64 / seconds.max(0.001);
    (rate > RATE * TOLERANCE).then(|| (mean as f64 * rate / RATE) as u64)
}

/// How many allocations of `size` bytes a sample stands for.
pub(super) fn weight(size: u64, mean: u64) -> f64 {
    let share = (size + OVERHEAD) as f64 / mean.max(1) as f64;
    1.0 / -(-share).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_their_mean() {
        let sum: u64 = (0..DISTANCES).map(|at| distance(at, 10_000)).sum();
        let mean = sum as f64 / DISTANCES as f64;
        assert!((9_980.0..=10_020.0).contains(&mean), "{mean}");
        assert_eq!(distance(0, 1), 1);
    }

    #[test]
    fn samples_add_up_to_what_was_allocated() {
        // The programs in small: a million blocks of 100 bytes, sampled every 10,000 or so.
        let (mean, size) = (10_000, 100);
        let mut state = 1_u64;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            distance((state >> 40) as usize % DISTANCES, mean) as i64
        };
        let mut left = draw();
        let mut stands_for = 0.0;
        for _ in 0..1_000_000 {
            left -= (size + OVERHEAD) as i64;
            if left <= 0 {
                stands_for += weight(size, mean);
                left = draw();
            }
        }
        // 11,600 samples: a standard error of 1 %.
        assert!((950_000.0..1_050_000.0).contains(&stands_for), "{stands_for}");
    }

    #[test]
    fn large_blocks_stand_for_themselves() {
        assert!((weight(1 << 20, 1024) - 1.0).abs() < 1e-9);
        assert!((weight(0, 1) - 1.0).abs() < 1e-6);
        assert!((weight(84, 10_000) - 100.5).abs() < 0.1);
    }

    #[test]
    fn the_rate_is_kept() {
        assert_eq!(mean_for(50_000_000, 1.0), 100_000);
        assert_eq!(mean_for(10, 1.0), 1);
        assert_eq!(widened(1000, 1999, 1.0), None);
        assert_eq!(widened(1000, 5000, 1.0), Some(10_000));
    }
}
