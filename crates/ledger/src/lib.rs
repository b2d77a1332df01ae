//! The account book: every byte that the broker holds belongs to a named account.
//!
//! - A [`Ledger`] is one set of accounts; the process has one, each simulated world has its own.
//! - A [`Charge`] is a token without a clone. It holds bytes of one account and gives them back
//!   when it is dropped, so it sits inside the value that owns the memory.
//! - [`Charged<T>`] is that value: it can be read freely, and changed only through an [`Edit`]
//!   guard that measures it again. There is no update to forget.
//! - [`Measure`] says how many bytes a value owns, by the sizes that the allocator really hands
//!   out ([`usable_size`]), never by `len()`.
//!
//! Sums of charges are compared with two independent counts: with a walk over the state
//! (`recount` in the engine) and with what the allocator says.
#![no_std]
extern crate alloc;

mod account;
mod boxed;
mod charge;
mod measure;

pub use account::{Account, Ledger, PARTS_MAX, Snapshot};
pub use boxed::Boxed;
pub use charge::{Charge, Charged, Edit, OverBudget};
pub use measure::{Measure, usable_size};
