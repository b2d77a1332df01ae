//! What the HTTP thread holds, by the allocator's own count.
//!
//! hyper, TLS and the runtime allocate where no charge can be carried along. But all that they do
//! happens on one thread, and the allocator counts for each thread what it has taken and given back.
//! The difference, but for what was moved elsewhere, is what HTTP holds.

use std::cell::RefCell;

use plimsoll_ledger::{Account, Charge, Ledger};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

struct Books {
    allocated: ThreadLocal<u64>,
    deallocated: ThreadLocal<u64>,
    /// Bytes of the thread that are others'.
    aside: i64,
    charge: Charge,
}

thread_local! {
    static BOOKS: RefCell<Option<Books>> = const { RefCell::new(None) };
}

impl Books {
    /// Bytes that the thread has taken and not given back.
    fn net(&self) -> i64 {
        self.allocated.get().cast_signed().wrapping_sub(self.deallocated.get().cast_signed())
    }
}

/// Begins to count for this thread. What it holds by now is not counted.
pub(super) fn open(ledger: &'static Ledger) {
    let read = || {
        let allocated = allocatedp::mib().and_then(|mib| mib.read()).ok()?;
        let deallocated = deallocatedp::mib().and_then(|mib| mib.read()).ok()?;
        let charge = ledger.charge(Account::Admin, 0);
        let mut books = Books { allocated, deallocated, aside: 0, charge };
        books.aside = books.net();
        Some(books)
    };
    let opened = read();
    BOOKS.with_borrow_mut(|books| *books = opened);
}

/// Brings the charge up to what the thread holds.
pub(super) fn settle() {
    BOOKS.with_borrow_mut(|books| {
        if let Some(books) = books {
            let bytes = usize::try_from(books.net() - books.aside).unwrap_or(0);
            books.charge.set(bytes);
        }
    });
}

/// Does something whose memory belongs to others, such as a turn of the engine. It must not keep
/// anything of this thread's.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    let net = || BOOKS.with_borrow(|books| books.as_ref().map(Books::net));
    let before = net();
    let result = work();
    if let (Some(before), Some(after)) = (before, net()) {
        BOOKS.with_borrow_mut(|books| {
            if let Some(books) = books {
                books.aside += after - before;
            }
        });
    }
    result
}

/// Drops something that another thread has made.
pub(super) fn give_back<T>(value: T) {
    aside(|| drop(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    static LEDGER: Ledger = Ledger::new();

    fn charged() -> usize {
        settle();
        LEDGER.snapshot().iter().find(|(account, _)| *account == Account::Admin).map_or(0, |a| a.1)
    }

    #[test]
    fn what_the_thread_takes_is_charged_until_it_is_given_back() {
        open(&LEDGER);
        let before = charged();
        let block = Vec::<u8>::with_capacity(100_000);
        let others = aside(|| Vec::<u8>::with_capacity(1 << 20));
        let held = charged() - before;
        assert!((100_000..131_072).contains(&held), "{held}");
        aside(|| drop(others));
        drop(block);
        assert_eq!(charged(), before);
    }
}
