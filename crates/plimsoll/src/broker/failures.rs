//! Who has guessed wrong too often: a bucket of failed attempts for each address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use plimsoll_ledger::{Account, Charge, Ledger};

use crate::measure::table_bytes;

/// Addresses that are remembered at once. Beyond that the ones that have been quiet longest are forgotten.
const ADDRESSES_MAX: usize = 16 * 1024;

/// The time in which the failures of `auth_failures_per_minute` are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Failed attempts by address: an IPv4 address, or the /64 network of an IPv6 one.
#[derive(Debug)]
pub(crate) struct Failures {
    most: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    buckets: HashMap<IpAddr, Bucket>,
    charge: Charge,
}

/// How many failures are held against an address, as of an instant. They drain in a minute.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    failures: f64,
    at: Instant,
}

impl Bucket {
    fn now(self, most: f64, now: Instant) -> f64 {
        let drained = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        (self.failures - drained * most).max(0.0)
    }
}

impl Failures {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        let charge = ledger.charge(Account::Connections, 0);
        Self {
            most: AtomicU32::new(0),
            table: Mutex::new(Table { buckets: HashMap::new(), charge }),
        }
    }

    /// What the table holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        table_bytes(&self.table.lock().unwrap_or_else(PoisonError::into_inner).buckets)
    }

    /// Failures of an address in a minute; 0 is no limit.
    pub(crate) fn set_most(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Somebody at this address was refused.
    pub(crate) fn note(&self, peer: Option<SocketAddr>) {
        let most = f64::from(self.most.load(Ordering::Relaxed));
        let (Some(peer), true) = (peer, most > 0.0) else { return };
        let now = Instant::now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.buckets.len() >= ADDRESSES_MAX {
            table.buckets.retain(|_, bucket| bucket.now(most, now) > 0.0);
        }
        if table.buckets.len() >= ADDRESSES_MAX {
            let oldest = table.buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                table.buckets.remove(&oldest);
            }
        }
        let bucket =
            table.buckets.entry(network(peer)).or_insert(Bucket { failures: 0.0, at: now });
        *bucket = Bucket { failures: (bucket.now(most, now) + 1.0).min(most), at: now };
        table.settle();
    }

    /// Whether nobody at this address is listened to at present.
    pub(crate) fn too_many(&self, peer: Option<SocketAddr>) -> bool {
        let most = f64::from(self.most.load(Ordering::Relaxed));
        let (Some(peer), true) = (peer, most > 0.0) else { return false };
        let address = network(peer);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = table.buckets.get(&address) else { return false };
        let failures = bucket.now(most, Instant::now());
        if failures <= 0.0 {
            table.buckets.remove(&address);
            if table.buckets.is_empty() {
                table.buckets = HashMap::new();
            }
            table.settle();
        }
        failures + 1.0 > most
    }
}

impl Table {
    fn settle(&mut self) {
        self.charge.set(table_bytes(&self.buckets));
    }
}

/// Who counts as one: an IPv4 address, or a /64 of IPv6, which one customer has.
pub(crate) fn network(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LEDGER: Ledger = Ledger::new();

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    #[test]
    fn an_address_that_guesses_too_often_is_not_listened_to_and_drains() {
        let failures = Failures::new(&LEDGER);
        failures.set_most(3);
        for _ in 0..3 {
            assert!(!failures.too_many(Some(peer("192.0.2.1"))));
            failures.note(Some(peer("192.0.2.1")));
        }
        assert!(failures.too_many(Some(peer("192.0.2.1"))));
        assert!(failures.too_many(Some(peer("::ffff:192.0.2.1"))), "the same address");
        assert!(!failures.too_many(Some(peer("192.0.2.2"))));
        let mut table = failures.table.lock().unwrap();
        for bucket in table.buckets.values_mut() {
            bucket.at = bucket.at.checked_sub(MINUTE).unwrap();
        }
        drop(table);
        assert!(!failures.too_many(Some(peer("192.0.2.1"))));
        assert_eq!(failures.table.lock().unwrap().buckets.len(), 0);
        assert_eq!(failures.table.lock().unwrap().charge.bytes(), 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_the_table_has_a_bound() {
        let failures = Failures::new(&LEDGER);
        failures.set_most(1);
        failures.note(Some(peer("2001:db8::1")));
        assert!(failures.too_many(Some(peer("2001:db8::2"))));
        for number in 0..ADDRESSES_MAX as u32 + 100 {
            failures.note(Some(SocketAddr::new(IpAddr::V4(number.into()), 1)));
        }
        assert!(failures.table.lock().unwrap().buckets.len() <= ADDRESSES_MAX);
    }
}
