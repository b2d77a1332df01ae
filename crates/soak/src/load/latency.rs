//! Latencies, measured from when a message was due and not from when it got sent: a tool that is held
//! up by the broker would otherwise leave out the very messages that had to wait (coordinated omission).

use hdrhistogram::Histogram;

/// Longest latency that is told apart, µs; longer ones count as this one.
const LONGEST_US: u64 = 600_000_000;

/// A histogram of latencies, exact to 1 % or better, in bounded memory (some 40 KiB).
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// The quantiles that are reported.
pub(crate) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

impl Latency {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, String> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 2);
        histogram.map(Self).map_err(|error| format!("cannot make a histogram: {error}"))
    }

    /// Notes one latency.
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// Adds what another one has noted.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many were noted.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// The latency that a share of all do not exceed, ms; 0 if there are none.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The longest, ms.
    pub(crate) fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// `p50 0.1 p90 … max …` in columns.
    pub(crate) fn text(&self) -> String {
        let columns: Vec<String> = QUANTILES
            .iter()
            .map(|(name, quantile)| format!("{name} {:<8.3} ", self.quantile_ms(*quantile)))
            .collect();
        format!("{}max {:.3}", columns.concat(), self.max_ms())
    }

    /// An object of the quantiles and the largest, ms.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for (name, quantile) in QUANTILES {
            object.insert(name.into(), self.quantile_ms(quantile).into());
        }
        object.insert("max".into(), self.max_ms().into());
        object.insert("count".into(), self.count().into());
        object.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_order_and_bounded() {
        let mut latency = Latency::new().expect("bounds in order");
        for us in 1..=1000 {
            latency.record(us * 10);
        }
        latency.record(u64::MAX);
        let median = latency.quantile_ms(0.5);
        assert!((median - 5.0).abs() < 0.1, "{median}");
        assert!(latency.quantile_ms(0.9) < latency.max_ms());
        assert!(latency.max_ms() <= 610_000.0);
        let mut sum = Latency::new().expect("bounds in order");
        sum.add(&latency);
        assert_eq!(sum.count(), 1001);
        sum.clear();
        assert_eq!((sum.count(), sum.json()["p50"].as_f64()), (0, Some(0.0)));
    }
}
