//! What comes out of a WebSocket does not depend on how its bytes come. The first two say whether it is
//! open and where to cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let [open, cut, stream @ ..] = bytes {
        plimsoll::fuzzing::websocket(open & 1 != 0, usize::from(*cut), stream);
    }
});
