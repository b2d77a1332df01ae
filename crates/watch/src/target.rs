//! What is watched.

use plimsoll_judgement::outside::Settings;

use crate::accounts::Source;
use crate::selector::Selector;

/// One target, as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What it is called in outputs.
    pub name: String,
    /// Which process it is.
    pub selector: Selector,
    /// Where it says what it holds.
    pub accounts: Vec<Source>,
    /// What the judge is told.
    pub judgement: Settings,
}

impl Target {
    /// A target without accounts, judged with defaults.
    pub fn new(name: impl Into<String>, selector: Selector) -> Self {
        Self { name: name.into(), selector, accounts: Vec::new(), judgement: Settings::default() }
    }
}
