//! Charges: bytes of an account, owned by a value.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use crate::account::{Account, Ledger, Line};
use crate::measure::Measure;

/// An account has no room for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// The account whose budget is used up.
    pub account: Account,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget of account `{}` is used up", self.account.name())
    }
}

impl core::error::Error for OverBudget {}

/// Bytes of one account, given back when dropped. It has no clone.
#[must_use = "a charge that is dropped gives its bytes back"]
pub struct Charge {
    line: &'static Line,
    bytes: usize,
}

impl Charge {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account that is charged.
    pub fn account(&self) -> Account {
        self.line.account
    }

    /// The part of the account that is charged; `None` is the rest of it.
    pub fn part(&self) -> Option<u8> {
        self.line.part
    }

    /// Holds `bytes` from now on, whatever the budget says: for memory that is already there.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.line.bytes.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.line.bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Holds `bytes` more from now on.
    pub fn grow(&mut self, bytes: usize) {
        self.set(self.bytes + bytes);
    }

    /// Holds `bytes` less from now on; never less than nothing.
    pub fn shrink(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_sub(bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B of {}", self.bytes, self.line.account.name())
    }
}

impl Ledger {
    /// A charge of `bytes`, whatever the budget says: for memory that is already there.
    pub fn charge(&'static self, account: Account, bytes: usize) -> Charge {
        let mut charge = Charge { line: self.line(account), bytes: 0 };
        charge.set(bytes);
        charge
    }

    /// A charge of `bytes` to a part of [`Account::Queues`]; `None`, and one that there is not, is the rest
    /// of it. Say [`Ledger::use_part`] before.
    pub fn charge_part(&'static self, part: Option<u8>, bytes: usize) -> Charge {
        let line = part.and_then(|part| self.part(part));
        let mut charge = Charge { line: line.unwrap_or(self.line(Account::Queues)), bytes: 0 };
        charge.set(bytes);
        charge
    }

    /// Whether `account` has room for `bytes` more. Ask before taking; what is taken is charged
    /// in any case, by what it turns out to be.
    pub fn admits(&self, account: Account, bytes: usize) -> Result<(), OverBudget> {
        let line = self.line(account);
        let held = self.bytes(account);
        if held.saturating_add(bytes) > line.budget.load(Ordering::Relaxed) {
            return Err(OverBudget { account });
        }
        Ok(())
    }

    /// `value`, charged to `account` by what it owns.
    pub fn own<T: Measure>(&'static self, account: Account, value: T) -> Charged<T> {
        let charge = self.charge(account, value.heap_bytes());
        Charged { value, charge }
    }
}

/// A value whose heap memory is charged to an account.
///
/// Reading is free. [`Charged::edit`] is the only way to change it, and ends with a new
/// measurement, so [`Measure::heap_bytes`] of such a value must cost O(1).
#[derive(Debug)]
pub struct Charged<T: Measure> {
    value: T,
    charge: Charge,
}

impl<T: Measure> Charged<T> {
    /// Gives access for a change; the charge is set anew when the guard goes.
    pub fn edit(&mut self) -> Edit<'_, T> {
        Edit { owner: self }
    }

    /// The value for changes that cannot change what it owns: those of a slice's elements.
    pub fn elements_mut<E>(&mut self) -> &mut [E]
    where
        T: AsMut<[E]>,
    {
        self.value.as_mut()
    }

    /// Bytes charged: what the ledger believes this value holds.
    pub fn charged(&self) -> usize {
        self.charge.bytes()
    }

    /// The value, its charge given back.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: Measure> Deref for Charged<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Access to a [`Charged`] value that measures it when done.
#[derive(Debug)]
pub struct Edit<'a, T: Measure> {
    owner: &'a mut Charged<T>,
}

impl<T: Measure> Deref for Edit<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.owner.value
    }
}

impl<T: Measure> DerefMut for Edit<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.owner.value
    }
}

impl<T: Measure> Drop for Edit<'_, T> {
    fn drop(&mut self) {
        let bytes = self.owner.value.heap_bytes();
        self.owner.charge.set(bytes);
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use super::*;

    fn ledger() -> &'static Ledger {
        Box::leak(Box::new(Ledger::new()))
    }

    #[test]
    fn a_charged_value_follows_its_size_and_returns_to_zero() {
        let ledger = ledger();
        let mut value = ledger.own(Account::Queues, Vec::<u64>::new());
        assert_eq!(ledger.bytes(Account::Queues), 0);
        for n in 0..1000 {
            value.edit().push(n);
            assert_eq!(ledger.bytes(Account::Queues), value.heap_bytes());
        }
        {
            let mut value = value.edit();
            value.clear();
            value.shrink_to_fit();
        }
        assert_eq!(ledger.total(), 0);
        value.edit().push(1);
        drop(value);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn parts_are_part_of_their_account() {
        let ledger = ledger();
        let rest = ledger.charge_part(None, 10);
        for part in [3, 0] {
            ledger.use_part(part);
        }
        let part = ledger.charge_part(Some(3), 100);
        assert_eq!((rest.part(), part.part(), part.account()), (None, Some(3), Account::Queues));
        assert_eq!((ledger.bytes(Account::Queues), ledger.total()), (110, 110));
        assert_eq!((ledger.part_bytes(3), ledger.part_bytes(0)), (100, 0));
        ledger.set_budget(Account::Queues, 109);
        assert!(ledger.admits(Account::Queues, 0).is_err());
        drop(part);
        assert_eq!((ledger.bytes(Account::Queues), ledger.part_bytes(3)), (10, 0));
    }

    #[test]
    fn a_budget_refuses_what_would_pass_it() {
        let ledger = ledger();
        ledger.set_budget(Account::Retained, 100);
        let charge = ledger.charge(Account::Retained, 60);
        assert_eq!(ledger.admits(Account::Retained, 40), Ok(()));
        assert_eq!(
            ledger.admits(Account::Retained, 41),
            Err(OverBudget { account: Account::Retained })
        );
        drop(charge);
        assert_eq!(ledger.admits(Account::Retained, 100), Ok(()));
    }
}
