//! The broker as a pure state machine: it knows MQTT, and neither clock, file nor socket.
//!
//! # How to drive it
//! 1. Collect what happened since the last turn as [`Input`]s: packets, lost connections, bytes
//!    that were written.
//! 2. [`Engine::handle`] them with the current [`Time`]: once per batch, not once per packet.
//! 3. [`Engine::take_outbox`] of each shard, and do what it says, in its order.
//! 4. Call [`Engine::handle`] again at [`Engine::next_deadline`] at the latest, even with no input.
//!
//! With [`Settings::persistence`], also: [`Engine::take_records`] and [`Engine::take_loads`] after
//! each turn, give them to a store, and tell the engine what came of it
//! ([`Input::Stored`], [`Input::Loaded`]); and [`Engine::restore`] before the first turn.
//!
//! Nothing else is needed: the simulator and a fuzzer drive it just so. Time, randomness (the
//! seed) and limits ([`Settings`]) are values.
#![no_std]
extern crate alloc;

mod access;
mod acknowledge;
mod audit;
pub mod budgets;
mod connect;
mod control;
mod counters;
mod deadlines;
mod dispatch;
mod drops;
mod durable;
mod engine;
mod event;
mod flow;
mod follow;
mod groups;
mod hash;
pub mod holders;
mod input;
mod leak;
mod lifecycle;
mod load;
mod message;
mod outbox;
mod properties;
mod publish;
mod replay;
pub mod retained;
mod retaining;
mod route;
mod session;
mod sessions;
mod settings;
mod subscribe;
pub mod subscriptions;
mod time;
mod trace;
mod views;
mod waiting;

pub use access::{Access, Action, Admission, Decision, Who};
pub use audit::Audit;
pub use counters::{Counters, Presence};
pub use durable::{
    Content, Each, Item, Load, Loaded, QueuedItem, Record, Records, Restoration, Restoring,
    SessionItem, StateReader, SubscriptionItem, Unreadable, WillItem,
};
pub use engine::Engine;
pub use event::{Cause, Event, Limit};
pub use follow::{FOLLOWED_MAX, FOLLOWED_SESSIONS_MAX, Follow, Received, Stage, Traced};
pub use input::{Input, Link, Loss};
#[cfg(feature = "leaks")]
pub use leak::Leak;
pub use load::{LoadCounts, LoadLine, LoadState, Step};
pub use message::{Block, Message, Parts};
pub use outbox::{Body, Outbox, Piece};
pub use settings::{ListenerSettings, Persistence, Settings};
pub use time::Time;
pub use views::{ClientView, FilterView, SubscriptionView};
