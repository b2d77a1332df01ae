//! Any text is a configuration or a list of mistakes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| plimsoll::fuzzing::config(text));
