//! Any text is an ACL file or has a mistake in a line; its rules answer any question. The first line
//! is the question: topic, client identifier and user name, with tabs between.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (question, text) = text.split_once('\n').unwrap_or_default();
    let mut words = question.split('\t');
    let (topic, client) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    plimsoll::fuzzing::acl_file(text, words.next(), client, topic);
});
