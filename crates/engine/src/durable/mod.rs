//! What has to outlive the process, and the promise that it does.
//!
//! The engine does no I/O. Each change of lasting state becomes a record of [`Records`] in the
//! same turn, the shell hands them to a store in order, and says [`Stored`](crate::Input::Stored)
//! when they are on disk. Packets that promise something (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK,
//! UNSUBACK and CONNACK) leave by one function (`Dispatch::promise`), which keeps them until then.

mod bytes;
mod held;
mod item;
mod journal;
mod load;
mod promise;
mod records;
mod restore;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use held::What;
pub use item::{Content, Item, QueuedItem, SessionItem, SubscriptionItem, Unreadable, WillItem};
pub(crate) use journal::Journal;
pub use load::{Each, Load, Loaded, StateReader};
pub(crate) use promise::Released;
pub use records::{Record, Records};
pub use restore::{Restoration, Restoring};
