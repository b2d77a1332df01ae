//! A durable ordered map from opaque keys to opaque values: a journal with group commit, a
//! memtable, and immutable sorted runs that are merged in the background.
//!
//! - [`Store::commit`] takes an atomic batch of [`Change`]s, [`Store::sync`] makes all batches so
//!   far durable, [`Store::scan`] reads in the order of keys. One thread writes.
//! - [`Disk`] is what it runs on: a [`Directory`] of the file system, or a
//!   [`SimulatedDisk`](simulated::SimulatedDisk) that tears, loses, fails and fills up.
//! - Damage never keeps a store from opening: it costs the entries that it touches, and is
//!   reported as [`Damage`].
//!
//! The formats are in `docs/formats.md`, byte by byte.

mod background;
mod check;
mod cursor;
mod damage;
mod directory;
mod disk;
mod entries;
mod errors;
mod frame;
mod header;
mod index;
mod journal;
mod manifest;
mod memtable;
mod names;
mod numbers;
mod open;
mod options;
mod replay;
mod run;
mod run_writer;
mod segments;
pub mod simulated;
mod space;
mod store;
mod tiers;
mod worker;

pub use check::{CheckReport, check};
pub use damage::{Damage, DamagedPart};
pub use directory::Directory;
pub use disk::{Disk, DiskFile};
pub use errors::OpenError;
pub use open::Recovery;
pub use options::Options;
pub use replay::TornTail;
pub use space::Space;
pub use store::{Change, Store};
