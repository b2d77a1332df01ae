//! Any text is a password file or has a mistake in a line; what is read is written the same. The
//! first line is the password that is checked.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (password, text) = text.split_once('\n').unwrap_or_default();
    plimsoll::fuzzing::password_file(text, password.as_bytes());
});
