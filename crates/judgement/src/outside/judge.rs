//! Judges one process.

use super::{Sample, Verdict};

/// What the judge may be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What is passed over after the start of a process, seconds.
    pub settle_s: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { settle_s: 3600.0 }
    }
}

/// Judges the memory of one process, and of those that follow it after restarts.
#[derive(Clone, Debug)]
pub struct Judge {
    settings: Settings,
    first_t: Option<f64>,
    last_t: f64,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, first_t: None, last_t: 0.0 }
    }

    /// Takes a sample, of any age and at any pace. One that is not later than those before is passed over.
    pub fn push(&mut self, sample: &Sample) {
        self.first_t.get_or_insert(sample.t);
        self.last_t = sample.t;
    }

    /// The judgement as it stands.
    pub fn verdict(&self) -> Verdict {
        let seen = self.last_t - self.first_t.unwrap_or(self.last_t);
        Verdict::InsufficientData { more_s: (self.settings.settle_s - seen).max(0.0) }
    }

    /// Why, in sentences for people: what was looked at, what it shows, what was ruled out.
    pub fn reasons(&self) -> Vec<String> {
        Vec::new()
    }
}
