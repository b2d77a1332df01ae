//! Mosquitto's persistence file, `mosquitto.db`, versions 2 to 6.
//!
//! ```text
//! magic     15 B  00 B5 00 "mosquitto db"
//! checksum   4 B  always 0
//! version    4 B  network order, as every number of up to 32 bits
//! chunks          kind (2 B in versions 2 to 4, then 4 B), length 4 B, and so many bytes:
//!                 1 configuration, 2 message, 3 message of a session, 4 retained message,
//!                 5 subscription, 6 session
//! ```
//!
//! 64-bit numbers and times are in the order of the host that wrote the file. What is in the chunks
//! of versions 2 to 4 is in `packed`, of versions 5 and 6 in `structs`. There is no other description
//! of the format than Mosquitto's source; `fixtures/mosquitto_db` has files that it wrote.
//!
//! Three things are not in the file, whatever its version: wills, shared subscriptions (Mosquitto
//! forgets both when it is restarted), and a session's protocol version, which is guessed.

mod chunks;
mod collect;
mod fields;
mod inbound;
mod items;
mod packed;
mod record;
mod structs;
mod summary;
#[cfg(test)]
mod tests;
mod username;

use std::fmt;

use plimsoll_engine::{Item, Time};

use collect::Contents;
pub(crate) use summary::Summary;

/// A file that has been read. It borrows from the file's bytes; beside them it takes memory in
/// proportion to the number of chunks.
#[derive(Debug)]
pub(crate) struct MosquittoDb<'a> {
    contents: Contents<'a>,
}

/// The first numbers that are free in the store that items go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// Of a session.
    pub(crate) session: u64,
    /// Of a message that several sessions have queued.
    pub(crate) body: u64,
}

impl Default for First {
    /// Those of an empty store.
    fn default() -> Self {
        Self { session: 1, body: 1 }
    }
}

/// Why nothing can be taken from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// There is nothing in it.
    Empty,
    /// It does not begin as it should.
    NotMosquitto,
    /// It ends before its version.
    CutShort,
    /// A version that this release does not know.
    Version(u32),
    /// Its message numbers are not of 8 bytes.
    NumberSize(u8),
}

impl<'a> MosquittoDb<'a> {
    /// Reads a file. What is damaged is left out, and named in the summary; what had expired at
    /// `now` is left out too.
    pub(crate) fn read(bytes: &'a [u8], now: Time) -> Result<Self, Error> {
        collect::collect(bytes, now).map(|contents| Self { contents })
    }

    /// What was taken, and what was not.
    pub(crate) fn summary(&self) -> &Summary {
        &self.contents.summary
    }

    /// Gives everything to `take`, in the order of the items' keys, until that fails.
    pub(crate) fn items<E>(
        &self,
        first: First,
        take: &mut dyn FnMut(&Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        items::each(&self.contents, first, take)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the file is empty"),
            Self::NotMosquitto => write!(f, "this is not a mosquitto.db: it begins otherwise"),
            Self::CutShort => write!(f, "the file ends before it says its version"),
            Self::Version(version) => {
                write!(f, "version {version} of mosquitto.db is not known, only 2 to 6")
            }
            Self::NumberSize(size) => {
                write!(f, "message numbers of {size} bytes are not known, only of 8")
            }
        }
    }
}

impl std::error::Error for Error {}
