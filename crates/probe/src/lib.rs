//! `plimsoll watch trace`: who holds the memory of a running, unmodified process.
