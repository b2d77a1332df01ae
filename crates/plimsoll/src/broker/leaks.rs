//! Deliberate leaks of a build for tests: the file that the environment's `PLIMSOLL_LEAK_FILE` names holds the
//! name of one.

use std::fs;

use plimsoll_engine::Leak;

use super::shared::Shared;

/// Does what the file says; called each second.
pub(super) fn obey(shared: &Shared) {
    let Some(path) = std::env::var_os("PLIMSOLL_LEAK_FILE") else { return };
    let text = fs::read_to_string(path).unwrap_or_default();
    let leak = Leak::ALL.iter().find(|(name, _)| *name == text.trim()).map(|(_, leak)| *leak);
    shared.engine().leak(leak);
}
