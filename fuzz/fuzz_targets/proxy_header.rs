//! Any bytes are a header of the PROXY protocol, the beginning of one, or none, however they come.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| plimsoll::fuzzing::proxy_header(bytes));
