//! `plimsoll watch`: leak, or just more state? The memory of any broker, judged from outside.

pub mod plot;
