//! What is watched.

use clap::Args;
use plimsoll_judgement::outside::{Sample, Settings};
use serde::{Deserialize, Deserializer};

use crate::accounts::Source;
use crate::selector::Selector;
use crate::units;

/// One target, as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What it is called in outputs.
    pub name: String,
    /// Which process it is.
    pub selector: Selector,
    /// Where it says what it holds.
    pub accounts: Vec<Source>,
    /// What no source says of its limits.
    pub limits: Limits,
    /// What the judge is told.
    pub judgement: Settings,
}

impl Target {
    /// A target without accounts, judged with defaults.
    pub fn new(name: impl Into<String>, selector: Selector) -> Self {
        Self {
            name: name.into(),
            selector,
            accounts: Vec::new(),
            limits: Limits::default(),
            judgement: Settings::default(),
        }
    }
}

/// What a target's memory must not reach, where whoever configures it knows better than its sources.
#[derive(Args, Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub struct Limits {
    /// What resident memory must not reach [default: the least of the cgroup's limits and the machine's memory]
    #[arg(long, value_name = "SIZE", value_parser = units::size, conflicts_with = "config")]
    #[serde(default, deserialize_with = "size")]
    pub limit: Option<f64>,
    /// What the managed heap must not reach, if no source says it
    #[arg(long, value_name = "SIZE", value_parser = units::size, conflicts_with = "config")]
    #[serde(default, deserialize_with = "size")]
    pub heap_limit: Option<f64>,
    /// What counted memory beside the heap must not reach (-XX:MaxDirectMemorySize), if no source says it
    #[arg(long, value_name = "SIZE", value_parser = units::size, conflicts_with = "config")]
    #[serde(default, deserialize_with = "size")]
    pub direct_limit: Option<f64>,
}

impl Limits {
    /// Puts those that are known into a sample.
    pub(crate) fn apply(&self, sample: &mut Sample) {
        sample.limit = self.limit.or(sample.limit);
        sample.heap_limit = self.heap_limit.or(sample.heap_limit);
        sample.direct_limit = self.direct_limit.or(sample.direct_limit);
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::size(&text).map(Some).map_err(serde::de::Error::custom)
}
