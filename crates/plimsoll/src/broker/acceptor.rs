//! Accepting connections, as far as the limits allow: on the first I/O thread.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Interest, Registry};
use plimsoll_engine::Step;
use plimsoll_ledger::Measure;

use super::events::Whence;
use super::limits::Limits;
use super::listener::{Accepted, Bound, Order, listen};
use super::shard::LISTENING;
use super::shared::{Admitted, Incoming, Shared};
use crate::measure::table_bytes;

/// Connections accepted in one turn, so that the connected ones are not kept waiting.
const ACCEPT_MAX: usize = 64;

/// How long to leave off when the process has no file descriptor left.
const RECOVER: Duration = Duration::from_millis(100);

/// Connections that have not sent CONNECT yet, while memory is short.
const HANDSHAKES_SCARCE: usize = 16;

/// All listening sockets, with the first shard.
#[derive(Debug)]
pub(crate) struct Acceptor {
    sockets: Vec<Bound>,
    accepted: usize,
    /// Somebody may be waiting.
    ready: bool,
    recover_at: Option<Instant>,
    buckets: HashMap<u16, Bucket>,
}

/// Connections that a listener may still take at once (a token bucket).
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Takes a token, if there is one; else how long that takes. A second's worth may be saved up.
    fn take(&mut self, rate: f64, now: Instant) -> Result<(), Duration> {
        let secs = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + secs * rate).min(rate.max(1.0));
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / rate))
    }
}

impl Acceptor {
    /// Listens. From here on clients can connect.
    pub(crate) fn new(sockets: Vec<Bound>, registry: &Registry) -> Result<Self, String> {
        let mut acceptor = Self {
            sockets: Vec::new(),
            accepted: 0,
            ready: true,
            recover_at: None,
            buckets: HashMap::new(),
        };
        for bound in sockets {
            listen(&bound)?;
            acceptor.open(bound, registry)?;
        }
        Ok(acceptor)
    }

    /// Every listening socket has the same token: any of them wakes all.
    fn open(&mut self, mut bound: Bound, registry: &Registry) -> Result<(), String> {
        registry
            .register(&mut bound.socket, LISTENING, Interest::READABLE)
            .map_err(|error| bound.explain(&error))?;
        self.sockets.push(bound);
        Ok(())
    }

    /// Opens and closes sockets as a reload says. A connection that was not accepted goes with its
    /// socket. Answers what could not be done.
    pub(crate) fn obey(&mut self, order: Order, registry: &Registry) -> Vec<String> {
        self.sockets.retain(|bound| !order.close.contains(&bound.listener));
        self.buckets.retain(|listener, _| !order.close.contains(listener));
        let opened = order.open.into_iter().map(|bound| self.open(bound, registry));
        let errors = opened.filter_map(Result::err).collect();
        self.ready = true;
        if let Some(done) = order.done {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
        errors
    }

    /// Somebody is waiting to be accepted.
    pub(crate) fn wake(&mut self) {
        self.ready = true;
    }

    /// How long accepting is left off, if it is; or no time, if more are waiting.
    pub(crate) fn resume_in(&self) -> Option<Duration> {
        self.recover_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn leave_off(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.recover_at = Some(self.recover_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// The next connection that the limits allow, with its shard.
    ///
    /// Where a limit is about how much goes on at once, those who are waiting stay in the system's queue
    /// and are let in in their order; where it is about how many there may be, they are turned away.
    pub(crate) fn accept(&mut self, shared: &Shared, limits: &Limits) -> Option<(u8, Incoming)> {
        if !self.ready || self.recover_at.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        self.recover_at = None;
        if self.accepted == ACCEPT_MAX {
            // More may be waiting: come back as soon as the others have had their turn.
            self.accepted = 0;
            self.leave_off(Duration::ZERO);
            return None;
        }
        // Each may cost a TLS session before it can be told that there is no room for it.
        let scarce = shared.step() >= Step::SlowPublishers;
        let most = if scarce { Some(HANDSHAKES_SCARCE) } else { None };
        let most = limits.handshakes.into_iter().chain(most).min();
        if most.is_some_and(|most| shared.handshakes() >= most) {
            self.leave_off(Duration::from_millis(1));
            self.accepted = 0;
            return None;
        }
        for index in 0..self.sockets.len() {
            if let Some(found) = self.accept_from(index, shared, limits) {
                return Some(found);
            }
        }
        self.accepted = 0;
        self.ready = self.recover_at.is_some();
        None
    }

    /// Goes through those who wait at one socket until one is let in.
    fn accept_from(
        &mut self,
        index: usize,
        shared: &Shared,
        limits: &Limits,
    ) -> Option<(u8, Incoming)> {
        loop {
            let bound = self.sockets.get(index)?;
            let listener = bound.listener;
            if let Some(rate) = limits.connection_rate(listener) {
                let now = Instant::now();
                let full = Bucket { tokens: rate, at: now };
                let bucket = self.buckets.entry(listener).or_insert(full);
                if let Err(pause) = bucket.take(rate, now) {
                    // Nobody may wait: then nothing is lost by looking again.
                    self.leave_off(pause.max(Duration::from_millis(1)));
                    return None;
                }
            }
            match bound.socket.accept(bound.nodelay) {
                Ok(Some(Accepted { socket, peer })) => {
                    self.accepted += 1;
                    shared.traffic.sockets.fetch_add(1, Ordering::Relaxed);
                    match shared.admit(listener, peer, limits) {
                        Admitted::To(shard) => {
                            let whence = Whence { peer, listener: Some(listener) };
                            shared.log.connection(whence, &bound.place());
                            return Some((shard, Incoming { socket, peer, listener }));
                        }
                        Admitted::No(why) => {
                            let whence = Whence { peer, listener: Some(listener) };
                            shared.log.denied(whence, why);
                        }
                    }
                    if self.accepted == ACCEPT_MAX {
                        self.leave_off(Duration::ZERO);
                        return None;
                    }
                }
                Ok(None) => {
                    self.give_back(listener);
                    return None;
                }
                Err(error) if is_exhaustion(&error) => {
                    shared.log.error(&format!(
                        "Unable to accept new connection: {error}. Try increasing \"ulimit -n\"."
                    ));
                    self.give_back(listener);
                    self.leave_off(RECOVER);
                    return None;
                }
                // The peer was gone before it was accepted.
                Err(_) => {}
            }
        }
    }

    /// Nobody came for the token.
    fn give_back(&mut self, listener: u16) {
        if let Some(bucket) = self.buckets.get_mut(&listener) {
            bucket.tokens += 1.0;
        }
    }
}

/// Too many open files in the process or the system.
fn is_exhaustion(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOBUFS,
        rustix::io::Errno::NOMEM,
    ]
    .iter()
    .any(|errno| code == Some(errno.raw_os_error()))
}

/// Connections by address: an IPv4 address, or a /64 network of IPv6.
#[derive(Debug, Default)]
pub(crate) struct Addresses(HashMap<IpAddr, usize>);

impl Addresses {
    /// Counts a connection, unless there are `most` already.
    pub(crate) fn enter(&mut self, peer: SocketAddr, most: usize) -> bool {
        let count = self.0.entry(super::failures::network(peer)).or_default();
        let fits = *count < most;
        *count += usize::from(fits);
        fits
    }

    /// A connection is gone.
    pub(crate) fn leave(&mut self, peer: SocketAddr) {
        let address = super::failures::network(peer);
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
        if self.0.is_empty() {
            self.0 = HashMap::new();
        }
    }
}

impl Measure for Addresses {
    fn heap_bytes(&self) -> usize {
        table_bytes(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_second_s_worth_in_at_once_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: 10.0, at: start };
        assert!((0..10).all(|_| bucket.take(10.0, start).is_ok()));
        let pause = bucket.take(10.0, start).unwrap_err();
        assert!((0.05..=0.11).contains(&pause.as_secs_f64()), "{pause:?}");
        assert!(bucket.take(10.0, start + Duration::from_millis(101)).is_ok());
        assert!(bucket.take(10.0, start + Duration::from_millis(102)).is_err());
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| bucket.take(10.0, later).is_ok()).count(), 10);
    }

    #[test]
    fn connections_of_an_address_are_counted_and_forgotten() {
        let peer = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        let mut addresses = Addresses::default();
        assert!(addresses.enter(peer("192.0.2.1"), 2) && addresses.enter(peer("192.0.2.1"), 2));
        assert!(!addresses.enter(peer("192.0.2.1"), 2) && addresses.enter(peer("192.0.2.2"), 2));
        assert!(
            addresses.enter(peer("2001:db8::1"), 1) && !addresses.enter(peer("2001:db8::2"), 1)
        );
        addresses.leave(peer("192.0.2.1"));
        assert!(addresses.enter(peer("192.0.2.1"), 2));
        for address in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::9"] {
            addresses.leave(peer(address));
        }
        assert_eq!(addresses.heap_bytes(), 0);
    }
}
