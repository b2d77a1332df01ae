//! The reasoning in sentences.

use crate::growth::Growth;
use crate::history::History;
use crate::judge::Verdict;
use crate::settings::Settings;

/// Why the verdict is what it is.
pub(crate) fn reasons(
    _settings: &Settings,
    history: &History,
    _growth: Growth,
    verdict: &Verdict,
) -> Vec<String> {
    vec![
        format!(
            "{:.1} h seen; the process is {:.1} h old",
            (history.last_t - history.first_t.unwrap_or(0.0)) / 3600.0,
            history.age() / 3600.0
        ),
        format!("verdict: {}", verdict.word()),
    ]
}
