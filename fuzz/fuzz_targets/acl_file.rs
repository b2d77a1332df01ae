//! Any text is an ACL file or has a mistake in a line; its rules answer any question.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|asked: (Option<&str>, &str, &str, &str)| {
    let (username, client_identifier, topic, text) = asked;
    plimsoll::fuzzing::acl_file(text, username, client_identifier, topic);
});
