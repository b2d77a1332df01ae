//! What the I/O threads share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use mio::Waker;
use mio::net::TcpStream;
use plimsoll_engine::{Engine, Input, Outbox, Time};
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::DecodeLimits;

use super::clock::Clock;
use super::events::EventLog;
use super::sys::Traffic;

/// An accepted connection on its way to its shard.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: u16,
}

/// A shard as the others see it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) waker: Waker,
    /// It sleeps, or is about to.
    pub(crate) parked: AtomicBool,
    /// The engine has output for it.
    pub(crate) output: AtomicBool,
    incoming: Mutex<Vec<Incoming>>,
    connections: AtomicUsize,
}

impl Handle {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            waker,
            parked: AtomicBool::new(false),
            output: AtomicBool::new(false),
            incoming: Mutex::new(Vec::new()),
            connections: AtomicUsize::new(0),
        }
    }
}

/// Limits that the shell itself keeps.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) decode: DecodeLimits,
    pub(crate) connect_timeout: Duration,
    /// Seconds between the figures of `$SYS`; 0 is never.
    pub(crate) sys_interval: u32,
    /// Most connections of each listener; `None` is no limit.
    pub(crate) listener_connections: Vec<Option<usize>>,
    /// Most connections in all; `None` is no limit.
    pub(crate) connections: Option<usize>,
}

/// Everything that is shared.
pub(crate) struct Shared {
    engine: Mutex<Engine>,
    shards: Vec<Handle>,
    pub(crate) clock: Clock,
    pub(crate) ledger: &'static Ledger,
    pub(crate) log: EventLog,
    /// When the engine has to be entered at the latest, in milliseconds of [`Time`].
    pub(crate) deadline: AtomicU64,
    pub(crate) traffic: Traffic,
    limits: RwLock<Arc<Limits>>,
    stop: AtomicBool,
    listener_connections: Vec<AtomicUsize>,
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    // A panic ends the process, so nobody sees a poisoned lock.
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        engine: Engine,
        shards: Vec<Handle>,
        limits: Limits,
        clock: Clock,
        ledger: &'static Ledger,
        log: EventLog,
    ) -> Self {
        let listeners = limits.listener_connections.len();
        Self {
            engine: Mutex::new(engine),
            shards,
            clock,
            ledger,
            log,
            deadline: AtomicU64::new(u64::MAX),
            traffic: Traffic::default(),
            limits: RwLock::new(Arc::new(limits)),
            stop: AtomicBool::new(false),
            listener_connections: (0..listeners).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        unpoisoned(self.engine.lock())
    }

    /// A shard's handle; there is one for each I/O thread.
    pub(crate) fn shard(&self, index: u8) -> &Handle {
        &self.shards[usize::from(index)]
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&*unpoisoned(self.limits.read()))
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *unpoisoned(self.limits.write()) = Arc::new(limits);
        for handle in &self.shards {
            let _ = handle.waker.wake();
        }
    }

    /// Tells the engine something without taking output: every shard with some is woken.
    pub(crate) fn tell(&self, inputs: &[Input<'_>]) {
        let mut engine = self.engine();
        engine.handle(self.clock.now(), inputs);
        self.deadline
            .store(engine.next_deadline().unwrap_or(Time::NEVER).as_millis(), Ordering::SeqCst);
        for (index, handle) in self.shards.iter().enumerate() {
            if engine.has_output(index) {
                handle.output.store(true, Ordering::SeqCst);
                let _ = handle.waker.wake();
            }
        }
    }

    /// Enters the engine with a batch, takes what is to be done by `shard`, and wakes the others
    /// that have something to do.
    pub(crate) fn enter(&self, shard: u8, inputs: &[Input<'_>], outbox: &mut Outbox) {
        let now = self.clock.now();
        let mut wake = 0u64;
        {
            let mut engine = self.engine();
            self.shard(shard).output.store(false, Ordering::SeqCst);
            engine.handle(now, inputs);
            engine.take_outbox(usize::from(shard), outbox);
            for (index, handle) in self.shards.iter().enumerate() {
                if index != usize::from(shard) && engine.has_output(index) {
                    handle.output.store(true, Ordering::SeqCst);
                    wake |= 1 << index;
                }
            }
            let deadline = engine.next_deadline().unwrap_or(Time::NEVER).as_millis();
            let before = self.deadline.swap(deadline, Ordering::SeqCst);
            if deadline < before && shard != 0 {
                wake |= 1;
            }
        }
        for (index, handle) in self.shards.iter().enumerate() {
            if wake >> index & 1 != 0 && handle.parked.swap(false, Ordering::SeqCst) {
                // Fails only if the shard is gone, at the end.
                let _ = handle.waker.wake();
            }
        }
    }

    /// The shard with the fewest connections.
    fn emptiest(&self) -> u8 {
        let shards = self.shards.iter().enumerate();
        let emptiest = shards.min_by_key(|(_, handle)| handle.connections.load(Ordering::Relaxed));
        emptiest.map_or(0, |(index, _)| index as u8)
    }

    /// Counts a connection to a listener and to the shard with the fewest. Answers which that is;
    /// `None` if the limits forbid it.
    pub(crate) fn admit(&self, listener: u16) -> Option<u8> {
        let limits = self.limits();
        let total: usize = self.connections();
        let listener = usize::from(listener);
        let count = self.listener_connections.get(listener);
        let used = count.map_or(0, |count| count.load(Ordering::Relaxed));
        let most = limits.listener_connections.get(listener).copied().flatten();
        if limits.connections.is_some_and(|most| total >= most)
            || most.is_some_and(|most| used >= most)
        {
            return None;
        }
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let shard = self.emptiest();
        self.shard(shard).connections.fetch_add(1, Ordering::Relaxed);
        Some(shard)
    }

    /// Connections in all.
    pub(crate) fn connections(&self) -> usize {
        self.shards.iter().map(|handle| handle.connections.load(Ordering::Relaxed)).sum()
    }

    /// A connection of a shard is gone.
    pub(crate) fn closed(&self, shard: u8, listener: u16) {
        self.shard(shard).connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = self.listener_connections.get(usize::from(listener)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives a connection to another shard.
    pub(crate) fn hand_over(&self, shard: u8, incoming: Incoming) {
        let handle = self.shard(shard);
        unpoisoned(handle.incoming.lock()).push(incoming);
        let _ = handle.waker.wake();
    }

    pub(crate) fn take_incoming(&self, shard: u8) -> Vec<Incoming> {
        std::mem::take(&mut *unpoisoned(self.shard(shard).incoming.lock()))
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends all connections and stops every shard.
    pub(crate) fn stop(&self) {
        self.engine().shut_down(self.clock.now());
        self.stop.store(true, Ordering::SeqCst);
        for handle in &self.shards {
            let _ = handle.waker.wake();
        }
    }
}
