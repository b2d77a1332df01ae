//! When certificates end: the broker's own, and those of the clients that are connected.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::transport::certificate::Certificate;

const DAY: u64 = 24 * 60 * 60;

/// Days before the end of a client's certificate at which a warning is due.
const WARN_DAYS: u64 = 14;

/// Certificates that are remembered as having been warned of, at most; beyond that nothing is said.
const WARNED_MAX: usize = 10_000;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The certificates of connected clients, by the day that they end on.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    days: Mutex<BTreeMap<u64, usize>>,
}

impl Certificates {
    /// A client with a certificate that ends then has connected.
    pub(crate) fn hold(&self, not_after: u64) {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        *days.entry(not_after / DAY).or_default() += 1;
    }

    /// It is gone. 0 is a client without certificate.
    pub(crate) fn let_go(&self, not_after: u64) {
        if not_after == 0 {
            return;
        }
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = days.get_mut(&(not_after / DAY)) {
            *count -= 1;
            if *count == 0 {
                days.remove(&(not_after / DAY));
            }
        }
    }

    /// How many clients have one, and in how many days the first of them ends.
    pub(crate) fn summary(&self) -> (usize, Option<u64>) {
        let days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let first = days.keys().next().map(|day| day.saturating_sub(now() / DAY));
        (days.values().sum(), first)
    }
}

/// Which certificates have been warned of today.
#[derive(Debug, Default)]
pub(crate) struct Expiring {
    warned: Mutex<(u64, HashSet<Vec<u8>>)>,
}

impl Expiring {
    /// The days that a certificate has left, if that is to be said now.
    pub(crate) fn days_left(&self, certificate: &Certificate) -> Option<u64> {
        let now = now();
        let left = certificate.not_after.saturating_sub(now) / DAY;
        if left >= WARN_DAYS {
            return None;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.0 != now / DAY {
            *warned = (now / DAY, HashSet::new());
        }
        let new = warned.1.len() < WARNED_MAX && warned.1.insert(certificate.serial.clone());
        new.then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_end_is_known_and_all_is_forgotten() {
        let certificates = Certificates::default();
        assert_eq!(certificates.summary(), (0, None));
        let ends = [now() + 10 * DAY, now() + 3 * DAY, now() + 3 * DAY];
        let _ = ends.map(|not_after| certificates.hold(not_after));
        assert_eq!(certificates.summary(), (3, Some(3)));
        let _ = ends.map(|not_after| certificates.let_go(not_after));
        certificates.let_go(0);
        assert_eq!(certificates.summary(), (0, None));
    }

    #[test]
    fn a_certificate_is_warned_of_once_a_day() {
        let certificate = |serial: u8, days: u64| Certificate {
            common_name: None,
            subject: String::new(),
            serial: vec![serial],
            issuer: Vec::new(),
            not_before: 0,
            not_after: now() + days * DAY + 60,
        };
        let expiring = Expiring::default();
        assert_eq!(expiring.days_left(&certificate(1, 5)), Some(5));
        assert_eq!(expiring.days_left(&certificate(1, 5)), None);
        assert_eq!(expiring.days_left(&certificate(2, 0)), Some(0));
        assert_eq!(expiring.days_left(&certificate(3, 20)), None);
    }
}
