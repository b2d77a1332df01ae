//! When certificates end: the broker's own, and those of the clients that are connected.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_ledger::{Account, Charged, Ledger, Measure};

use super::transport::certificate::Certificate;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Days before the end of a client's certificate at which a warning is due.
const WARN_DAYS: u64 = 14;

/// Certificates that are remembered as having been warned of, at most; beyond that nothing is said.
const WARNED_MAX: usize = 10_000;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The certificates of connected clients, and of which of them something has been said.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// How many end within each hour, by the hour's end.
    hours: Mutex<Charged<Vec<(u64, usize)>>>,
    /// Certificates that have been warned of today, in order.
    warned: Mutex<Charged<Vec<u64>>>,
    warned_on: AtomicU64,
    /// The last day on which the broker's own were looked at.
    own_on: AtomicU64,
}

impl Certificates {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        let today = now() / DAY;
        Self {
            hours: Mutex::new(ledger.own(Account::Tls, Vec::new())),
            warned: Mutex::new(ledger.own(Account::Tls, Vec::new())),
            warned_on: AtomicU64::new(today),
            own_on: AtomicU64::new(today),
        }
    }

    /// What the lists hold.
    pub(crate) fn heap_bytes(&self) -> usize {
        let hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        hours.heap_bytes() + warned.heap_bytes()
    }

    /// A client with a certificate that ends then has connected.
    pub(crate) fn hold(&self, not_after: u64) {
        let hour = not_after.div_ceil(HOUR);
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        match hours.binary_search_by_key(&hour, |&(hour, _)| hour) {
            Ok(at) => {
                if let Some((_, count)) = hours.elements_mut().get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) => hours.edit().insert(at, (hour, 1)),
        }
    }

    /// It is gone. 0 is a client without certificate.
    pub(crate) fn let_go(&self, not_after: u64) {
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let found = hours.binary_search_by_key(&not_after.div_ceil(HOUR), |&(hour, _)| hour);
        let Some(at) = found.ok().filter(|_| not_after > 0) else { return };
        let Some((_, count)) = hours.elements_mut().get_mut(at) else { return };
        *count -= 1;
        if *count == 0 {
            let mut hours = hours.edit();
            hours.remove(at);
            if hours.is_empty() {
                *hours = Vec::new();
            }
        }
    }

    /// How many clients have one, and in how many whole days the first of them ends.
    pub(crate) fn summary(&self) -> (usize, Option<u64>) {
        let hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let first = hours.first().map(|(hour, _)| days_until(hour * HOUR));
        (hours.iter().map(|(_, count)| count).sum(), first)
    }

    /// The days that a client's certificate has left, if that is to be said now: when they are few,
    /// once a day.
    pub(crate) fn days_left(&self, certificate: &Certificate) -> Option<u64> {
        let now = now();
        let left = certificate.not_after.saturating_sub(now) / DAY;
        if left >= WARN_DAYS {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (&certificate.issuer, &certificate.serial).hash(&mut hasher);
        let name = hasher.finish();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if self.warned_on.swap(now / DAY, Ordering::Relaxed) != now / DAY {
            *warned.edit() = Vec::new();
        }
        let at = warned.binary_search(&name).err()?;
        if warned.len() >= WARNED_MAX {
            return None;
        }
        warned.edit().insert(at, name);
        Some(left)
    }

    /// Whether it is time to look at the broker's own certificates again: once on each day after the
    /// first, on which they were looked at when they were read.
    pub(crate) fn is_new_day(&self) -> bool {
        self.is_another_day(now() / DAY)
    }

    fn is_another_day(&self, day: u64) -> bool {
        self.own_on.load(Ordering::Relaxed) != day
            && self.own_on.swap(day, Ordering::Relaxed) != day
    }
}

/// Days until then, 0 if that has passed.
pub(crate) fn days_until(not_after: u64) -> u64 {
    not_after.saturating_sub(now()) / DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    static LEDGER: Ledger = Ledger::new();

    fn certificate(serial: u16, days: u64) -> Certificate {
        Certificate {
            common_name: None,
            subject: String::new(),
            serial: serial.to_be_bytes().to_vec(),
            issuer: Vec::new(),
            not_before: 0,
            not_after: now() + days * DAY + 60,
        }
    }

    #[test]
    fn the_first_to_end_is_known_and_all_is_forgotten() {
        static LEDGER: Ledger = Ledger::new();
        let certificates = Certificates::new(&LEDGER);
        assert_eq!(certificates.summary(), (0, None));
        let ends = [now() + 10 * DAY, now() + 3 * DAY, now() + 3 * DAY];
        let _ = ends.map(|not_after| certificates.hold(not_after));
        assert_eq!(certificates.summary(), (3, Some(3)));
        assert!(LEDGER.snapshot().total() > 0);
        let _ = ends.map(|not_after| certificates.let_go(not_after));
        certificates.let_go(0);
        assert_eq!(certificates.summary(), (0, None));
        assert_eq!(LEDGER.snapshot().total(), 0);
    }

    #[test]
    fn a_certificate_is_warned_of_once_a_day() {
        let certificates = Certificates::new(&LEDGER);
        assert_eq!(certificates.days_left(&certificate(1, 5)), Some(5));
        assert_eq!(certificates.days_left(&certificate(1, 5)), None);
        assert_eq!(certificates.days_left(&certificate(2, 0)), Some(0));
        assert_eq!(certificates.days_left(&certificate(3, 20)), None);
        certificates.warned_on.store(1, Ordering::Relaxed);
        assert_eq!(certificates.days_left(&certificate(1, 5)), Some(5), "another day");
    }

    #[test]
    fn what_has_been_warned_of_has_a_bound() {
        static LEDGER: Ledger = Ledger::new();
        let certificates = Certificates::new(&LEDGER);
        let said = (0..WARNED_MAX as u16 + 1000)
            .filter(|&serial| certificates.days_left(&certificate(serial, 1)).is_some());
        assert_eq!(said.count(), WARNED_MAX);
        assert!(LEDGER.snapshot().total() <= 2 * 8 * WARNED_MAX);
        drop(certificates);
        assert_eq!(LEDGER.snapshot().total(), 0);
    }

    #[test]
    fn the_brokers_own_are_looked_at_each_day() {
        let certificates = Certificates::new(&LEDGER);
        let today = certificates.own_on.load(Ordering::Relaxed);
        let asked = [0, 0, 1, 1, 2].map(|days| certificates.is_another_day(today + days));
        assert_eq!(asked, [false, false, true, false, true]);
    }
}
