//! Any text is a password file or has a mistake in a line; what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: (&[u8], &str)| plimsoll::fuzzing::password_file(file.1, file.0));
