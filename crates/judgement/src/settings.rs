//! What the judgement supposes of the process that it looks at.

/// Settings of a [`Judge`](crate::Judge). The default fits any broker, seen from
/// outside. A process that accounts for every byte is judged by [`ResidueJudge`](crate::ResidueJudge).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The time scale, seconds: how long a start-up goes on, and the shortest growth that is believed. All other
    /// spans are multiples of it.
    pub settle_s: f64,
    /// Length of the cycle of load, seconds, that nothing has to explain: a day. `None` where there is none.
    pub cycle_s: Option<f64>,
    /// Growth that is never called a leak, bytes.
    pub growth_bytes_min: f64,
    /// The same as a share of the signal's size.
    pub growth_share_min: f64,
    /// Growth that makes haste worth a doubt: a young process that grew by so many bytes is judged by windows shorter
    /// than two `settle_s`.
    pub young_growth_bytes: f64,
    /// Slope over its standard error from which growth is believed.
    pub significance: f64,
    /// Where memory ends, bytes, for the forecast.
    pub limit_bytes: Option<f64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            settle_s: 4.0 * 3600.0,
            cycle_s: Some(86_400.0),
            growth_bytes_min: 384.0 * 1024.0,
            growth_share_min: 0.004,
            young_growth_bytes: 8.0 * 1024.0 * 1024.0,
            significance: 7.0,
            limit_bytes: None,
        }
    }
}

impl Settings {
    /// The longest time constant of a cache that fills unseen, seconds.
    pub(crate) fn saturation_s(&self) -> f64 {
        6.0 * self.settle_s
    }

    /// What is passed over after a start, seconds.
    pub(crate) fn ignore_s(&self) -> f64 {
        self.settle_s / 16.0
    }

    /// Width of a fine bucket of history, seconds.
    pub(crate) fn fine_s(&self) -> f64 {
        self.settle_s / 60.0
    }

    /// Width of a coarse bucket, seconds.
    pub(crate) fn coarse_s(&self) -> f64 {
        self.settle_s / 4.0
    }

    /// Lengths of windows that are looked at, in units of `settle_s`.
    pub(crate) const WINDOWS: [f64; 9] = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0];
}
