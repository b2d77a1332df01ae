//! A series of any length in a bounded number of samples.

use plimsoll_judgement::outside::Sample;

/// The samples since the beginning, the further apart the longer ago that was: each time that there are as many as
/// there may be, every second one is dropped, and from then on half as many are taken. A thousand take 300 KB.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    samples: Vec<Sample>,
    /// Samples that are kept at the most.
    most: usize,
    /// Seconds between samples, at the least.
    every: f64,
}

impl Trail {
    /// An empty one for so many samples.
    pub(crate) fn new(most: usize) -> Self {
        Self { samples: Vec::new(), most: most.max(2), every: 0.0 }
    }

    /// Takes a sample that is later than those before.
    pub(crate) fn push(&mut self, sample: &Sample) {
        if let Some(last) = self.samples.last()
            && sample.t < last.t + self.every
            && last.start.total_cmp(&sample.start).is_eq()
        {
            return;
        }
        if self.samples.len() >= self.most {
            self.halve();
        }
        self.samples.push(*sample);
    }

    fn halve(&mut self) {
        let mut number = 0;
        self.samples.retain(|_| {
            number += 1;
            number % 2 == 1
        });
        let span = self.samples.last().map_or(0.0, |last| last.t)
            - self.samples.first().map_or(0.0, |first| first.t);
        // A little less than a step: samples that come each second do not come to the millisecond.
        self.every = 0.98 * span / (self.samples.len().max(2) - 1) as f64;
    }

    /// What is kept, oldest first.
    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 2048;

    #[test]
    fn a_million_samples_are_a_bounded_number_at_even_distances() {
        let mut trail = Trail::new(MOST);
        for second in 0..1_000_000 {
            trail.push(&Sample { t: f64::from(second), ..Sample::default() });
        }
        let kept = trail.samples();
        assert!((MOST / 2 - 2..=MOST).contains(&kept.len()), "{}", kept.len());
        assert!(kept[0].t < 1.0 && kept[kept.len() - 1].t > 998_000.0);
        let steps = kept.windows(2).map(|pair| pair[1].t - pair[0].t);
        let (low, high) =
            steps.fold((f64::MAX, 0f64), |(low, high), step| (low.min(step), high.max(step)));
        assert!(high <= 2.1 * low, "{low} {high}");
    }

    #[test]
    fn another_process_is_taken_at_once() {
        let mut trail = Trail::new(MOST);
        for second in 0..10_000 {
            trail.push(&Sample { t: f64::from(second), ..Sample::default() });
        }
        let (before, again) =
            (trail.samples().len(), Sample { t: 9_999.5, start: 9_999.0, ..Sample::default() });
        trail.push(&again);
        assert!(trail.samples().len() == before + 1 && trail.samples().last() == Some(&again));
    }
}
