//! What is said beside the output, on standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// Says something. That nobody hears it, as a terminal is closed, is no reason to end (`eprintln!` would panic).
pub(crate) fn remark(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
