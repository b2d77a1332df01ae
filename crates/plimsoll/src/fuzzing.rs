//! What reads bytes from outside, as the fuzz targets see it: one function for each subject. What
//! must hold of an answer is asserted here, so a function panics when it does not.
#![expect(clippy::missing_panics_doc, reason = "that is what the functions are for")]

use crate::config;

/// Reads a text as a configuration file.
pub fn config(text: &str) {
    // Every mistake is answered; what is accepted has to make settings.
    if let Ok(config) = config::load_text(text) {
        let settings = config.settings();
        assert_eq!(settings.listeners.len(), config.listeners.len());
    }
}
