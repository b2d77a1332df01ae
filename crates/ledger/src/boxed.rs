//! A box that is charged for its own block.

use alloc::boxed::Box;
use core::fmt;
use core::mem::{align_of, size_of};
use core::ops::{Deref, DerefMut};

use crate::account::{Account, Ledger};
use crate::charge::Charge;
use crate::measure::usable_size;

/// A value in a heap block of its own; the charge lies in the same block.
///
/// The charge covers the block, and `extra` bytes of parts that never change size while the value
/// lives (an identifier, say). Parts that do change are [`Charged`](crate::Charged) themselves.
pub struct Boxed<T>(Box<(Charge, T)>);

impl<T> Boxed<T> {
    /// Boxes `value`, charging `account` with the block and `extra` bytes.
    pub fn new(ledger: &'static Ledger, account: Account, value: T, extra: usize) -> Self {
        Self(Box::new((ledger.charge(account, Self::BLOCK_BYTES + extra), value)))
    }

    /// Size of the block in bytes, without what the value owns in turn.
    pub const BLOCK_BYTES: usize = usable_size(size_of::<(Charge, T)>(), align_of::<(Charge, T)>());

    /// Charges `extra` bytes that the value owns beside its block, in place of those before.
    pub fn set_extra(&mut self, extra: usize) {
        self.0.0.set(Self::BLOCK_BYTES + extra);
    }

    /// Bytes charged: the block, and what the value owns beside it.
    pub fn charged(&self) -> usize {
        self.0.0.bytes()
    }

    /// The value; its block and the charge are given back.
    pub fn into_inner(self) -> T {
        let (_charge, value) = *self.0;
        value
    }
}

impl<T> Deref for Boxed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> DerefMut for Boxed<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.1
    }
}

impl<T: fmt::Debug> fmt::Debug for Boxed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_charged_while_it_lives() {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let boxed = Boxed::new(ledger, Account::Wills, [0u8; 100], 16);
        assert_eq!(ledger.bytes(Account::Wills), 128 + 16);
        assert_eq!(boxed.into_inner(), [0; 100]);
        assert_eq!(ledger.total(), 0);
    }
}
