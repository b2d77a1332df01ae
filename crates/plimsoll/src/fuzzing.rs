//! What reads bytes from outside, as the fuzz targets see it: one function for each subject. What
//! must hold of an answer is asserted here, so a function panics when it does not.
#![expect(clippy::missing_panics_doc, reason = "that is what the functions are for")]

use plimsoll_engine::{Action, Who};
use plimsoll_mqtt::QoS;

use crate::access::{acl_file, password_file};
use crate::config;

/// Reads a text as a configuration file.
pub fn config(text: &str) {
    // Every mistake is answered; what is accepted has to make settings.
    if let Ok(config) = config::load_text(text) {
        let settings = config.settings();
        assert_eq!(settings.listeners.len(), config.listeners.len());
    }
}

/// Reads a text as an ACL file, and asks its rules.
pub fn acl_file(text: &str, username: Option<&str>, client_identifier: &str, topic: &str) {
    let lines = text.lines().count();
    let rules = match acl_file::parse(text) {
        Err((line, _)) => return assert!((1..=lines).contains(&line), "no such line"),
        Ok(rules) => rules,
    };
    assert!(rules.warnings.iter().all(|(line, _)| (1..=lines).contains(line)), "no such line");
    let who = Who { client_identifier, username, listener: 0 };
    let asked = |action| rules.allows(&who, action, topic);
    asked(Action::Publish { qos: QoS::AtMostOnce, retain: false });
    assert!(asked(Action::Unsubscribe));
    // Who may receive a topic may subscribe to it.
    if asked(Action::Receive) && !topic.contains(['+', '#']) {
        assert!(asked(Action::Subscribe));
    }
}

/// Reads a text as a password file; every hash in it is written as it is read, and can be checked.
pub fn password_file(text: &str, password: &[u8]) {
    let lines = text.lines().count();
    match password_file::parse(text) {
        Err((line, _)) => assert!((1..=lines).contains(&line), "no such line"),
        Ok(users) => {
            for (name, hash) in users {
                // A line that begins with it would be a comment.
                let name = name.trim_start_matches('#').trim();
                let again = password_file::parse(&format!("x{name}:{hash}")).unwrap_or_default();
                assert_eq!(again.get(&*format!("x{name}")), Some(&hash));
                if hash.is_cheap() {
                    hash.verify(password);
                }
            }
        }
    }
}
