//! What the I/O threads share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use mio::Waker;
use plimsoll_engine::{Admission, Engine, Input, Link, Load, Outbox, Records, Step, Time, Who};
use plimsoll_ledger::{Account, Charged, Ledger, Measure, Snapshot};
use plimsoll_mqtt::ReasonCode;

use super::acceptor::Addresses;
use super::census::Censuses;
use super::certificates::Certificates;
use super::clock::Clock;
use super::connection::Connection;
use super::control::Control;
use super::events::EventLog;
use super::gate::{Gate, Waiting};
use super::limits::Limits;
use super::listener::Order;
use super::recount::Standstill;
use super::reload::Reloads;
use super::storage;
use super::sys::Traffic;
use super::transport::Socket;
use crate::admin::Admin;
use crate::memory::Memory;
use crate::traces::{Traces, Turn};

/// An accepted connection on its way to its shard.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) socket: Socket,
    /// Where it comes from; `None` for a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) listener: u16,
}

/// Says of a connection why it has to go, if it has to.
pub(crate) type Purge = Arc<dyn Fn(&Connection) -> Option<ReasonCode> + Send + Sync>;

/// What the gate found out about a client that waits.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of the gate when it was asked.
    pub(crate) generation: u64,
    pub(crate) admission: Admission,
}

/// A shard as the others see it.
pub(crate) struct Handle {
    pub(crate) waker: Waker,
    /// It sleeps, or is about to.
    pub(crate) parked: AtomicBool,
    /// The engine has output for it.
    pub(crate) output: AtomicBool,
    incoming: Mutex<Vec<Incoming>>,
    /// What the gate found out: slot, serial, answer.
    answers: Mutex<Vec<(u32, u32, Answer)>>,
    /// Of the gate, when it was about to be asked the last time.
    generation: AtomicU64,
    /// When clients have to go whose tokens end: slot, serial, seconds since 1970.
    expiries: Mutex<Vec<(u32, u32, u64)>>,
    /// Says of a connection why it has to go, if it has to.
    purges: Mutex<Vec<Purge>>,
    connections: AtomicUsize,
}

impl Handle {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            waker,
            parked: AtomicBool::new(false),
            output: AtomicBool::new(false),
            incoming: Mutex::new(Vec::new()),
            answers: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
            expiries: Mutex::new(Vec::new()),
            purges: Mutex::new(Vec::new()),
            connections: AtomicUsize::new(0),
        }
    }
}

/// Whether a connection is let in.
pub(crate) enum Admitted {
    /// To this shard.
    To(u8),
    /// For this reason not.
    No(&'static str),
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
    pub(crate) gate: Gate,
    pub(crate) certificates: Certificates,
    pub(crate) control: Control,
    pub(crate) admin: Admin,
    pub(crate) memory: Memory,
    pub(crate) traces: Traces,
    pub(crate) standstill: Standstill,
    pub(crate) censuses: Censuses,
    /// The step of the load line.
    step: AtomicU8,
    limits: RwLock<Arc<Limits>>,
    stop: AtomicBool,
    /// Connections of each listener. Reloads make it longer.
    listener_connections: RwLock<Vec<Arc<AtomicUsize>>>,
    /// Connections by address, where that has a limit.
    addresses: Mutex<Charged<Addresses>>,
    handshakes: AtomicUsize,
    /// What the thread that accepts is to open and close.
    orders: Mutex<Vec<Order>>,
    pub(crate) reloads: Reloads,
    storage: OnceLock<Arc<storage::Handle>>,
    /// Why the store cannot write at present.
    store_health: Mutex<Option<String>>,
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
            gate: Gate::new(Vec::new(), ledger),
            certificates: Certificates::new(ledger),
            control: Control::new(ledger),
            admin: Admin::default(),
            memory: Memory::new(ledger),
            traces: Traces::new(ledger),
            standstill: Standstill::default(),
            censuses: Censuses::default(),
            step: AtomicU8::new(Step::Clear as u8),
            limits: RwLock::new(Arc::new(limits)),
            stop: AtomicBool::new(false),
            listener_connections: RwLock::new((0..listeners).map(|_| Arc::default()).collect()),
            addresses: Mutex::new(ledger.own(Account::Connections, Addresses::default())),
            handshakes: AtomicUsize::new(0),
            orders: Mutex::new(Vec::new()),
            reloads: Reloads::default(),
            storage: OnceLock::new(),
            store_health: Mutex::new(None),
        }
    }

    /// The storage thread says how to reach it.
    pub(crate) fn set_storage(&self, handle: storage::Handle) -> Arc<storage::Handle> {
        let handle = Arc::new(handle);
        // There is one.
        let _ = self.storage.set(Arc::clone(&handle));
        handle
    }

    /// The storage thread, if state is kept.
    pub(crate) fn storage(&self) -> Option<&storage::Handle> {
        self.storage.get().map(|handle| &**handle)
    }

    pub(crate) fn set_store_health(&self, trouble: Option<String>) {
        *unpoisoned(self.store_health.lock()) = trouble;
    }

    /// Why the store cannot write at present.
    pub(crate) fn store_health(&self) -> Option<String> {
        unpoisoned(self.store_health.lock()).clone()
    }

    /// For the storage thread: tells the engine what it answers, and takes what is new.
    pub(crate) fn exchange(
        &self,
        answers: &[Input<'_>],
        records: &mut Records,
        loads: &mut Vec<Load>,
    ) {
        let mut engine = self.engine();
        if !answers.is_empty() {
            self.turn(&mut engine, answers);
        }
        engine.take_records(records);
        loads.extend(engine.take_loads());
    }

    /// One turn of the engine without taking output: every shard with some is woken.
    fn turn(&self, engine: &mut Engine, inputs: &[Input<'_>]) {
        engine.handle(self.clock.now(), inputs);
        self.step.store(engine.step() as u8, Ordering::Relaxed);
        let deadline = engine.next_deadline().unwrap_or(Time::NEVER).as_millis();
        let sooner = deadline < self.deadline.swap(deadline, Ordering::SeqCst);
        for (index, handle) in self.shards.iter().enumerate() {
            let output = engine.has_output(index);
            if output || index == 0 && sooner {
                handle.output.store(true, Ordering::SeqCst);
                if handle.parked.swap(false, Ordering::SeqCst) {
                    // Fails only if the shard is gone, at the end.
                    let _ = handle.waker.wake();
                }
            }
        }
    }

    /// The step of the load line, as of the engine's last turn.
    pub(crate) fn step(&self) -> Step {
        let step = usize::from(self.step.load(Ordering::Relaxed));
        Step::ALL.get(step).copied().unwrap_or_default()
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
        let listeners = limits.listener_connections.len();
        let mut counts = unpoisoned(self.listener_connections.write());
        let most = listeners.max(counts.len());
        counts.resize_with(most, Arc::default);
        drop(counts);
        *unpoisoned(self.limits.write()) = Arc::new(limits);
        self.wake_all();
    }

    /// How many I/O threads there are.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Has every I/O thread begin a turn.
    pub(crate) fn wake_all(&self) {
        for handle in &self.shards {
            let _ = handle.waker.wake();
        }
    }

    /// Counts what is held here, and not by a thread.
    pub(crate) fn recount_own(&self, counted: &mut Snapshot) {
        counted.add(Account::Connections, unpoisoned(self.addresses.lock()).heap_bytes());
        counted.add(Account::Connections, self.gate.failures.heap_bytes());
        counted.add(Account::Tls, self.certificates.heap_bytes());
    }

    /// Tells the engine something without taking output: every shard with some is woken.
    pub(crate) fn tell(&self, inputs: &[Input<'_>]) {
        let mut engine = self.engine();
        self.turn(&mut engine, inputs);
        let work = engine.has_work_for_store();
        drop(engine);
        self.wake_storage(work);
    }

    /// Enters the engine for something that makes records, and lets happen what follows from it.
    pub(crate) fn work<T>(&self, work: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let mut engine = self.engine();
        let done = work(&mut engine, self.clock.now());
        self.turn(&mut engine, &[]);
        let records = engine.has_work_for_store();
        drop(engine);
        self.wake_storage(records);
        done
    }

    /// Has every shard tell the engine what it knows: what the network has taken is told with the next turn,
    /// and a shard that has nothing to do has none.
    pub(crate) fn wake_shards(&self) {
        self.wake_all();
    }

    fn wake_storage(&self, work: bool) {
        if let (true, Some(storage)) = (work, self.storage()) {
            storage.wake();
        }
    }

    /// Enters the engine with a batch, takes what is to be done by `shard`, and wakes the others
    /// that have something to do. Answers which inputs are to be given again later
    /// ([`Engine::take_put_back`]). `turn` is told when that was, if somebody wants to know.
    #[must_use]
    pub(crate) fn enter(
        &self,
        shard: u8,
        inputs: &[Input<'_>],
        outbox: &mut Outbox,
        mut turn: Option<&mut Turn>,
    ) -> Vec<u32> {
        let now = self.clock.now();
        let mut wake = 0u64;
        let work;
        let put_back;
        {
            let mut engine = self.engine();
            if let Some(turn) = &mut turn {
                turn.entered = Instant::now();
            }
            self.shard(shard).output.store(false, Ordering::SeqCst);
            engine.handle(now, inputs);
            if let Some(turn) = turn {
                turn.left = Instant::now();
            }
            put_back = engine.take_put_back();
            self.step.store(engine.step() as u8, Ordering::Relaxed);
            self.expel_latecomers(shard, &mut engine, now, inputs);
            engine.take_outbox(usize::from(shard), outbox);
            work = engine.has_work_for_store();
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
        self.wake_storage(work);
        for (index, handle) in self.shards.iter().enumerate() {
            if wake >> index & 1 != 0 && handle.parked.swap(false, Ordering::SeqCst) {
                // Fails only if the shard is gone, at the end.
                let _ = handle.waker.wake();
            }
        }
        put_back
    }

    /// The shard with the fewest connections.
    fn emptiest(&self) -> u8 {
        let shards = self.shards.iter().enumerate();
        let emptiest = shards.min_by_key(|(_, handle)| handle.connections.load(Ordering::Relaxed));
        emptiest.map_or(0, |(index, _)| index as u8)
    }

    /// Counts a connection to its listener, its address and the shard with the fewest, unless that is
    /// more than there may be.
    pub(crate) fn admit(
        &self,
        listener: u16,
        peer: Option<SocketAddr>,
        limits: &Limits,
    ) -> Admitted {
        let total: usize = self.connections();
        let number = usize::from(listener);
        let count = self.listener_count(number);
        let used = count.as_ref().map_or(0, |count| count.load(Ordering::Relaxed));
        let most = limits.listener_connections.get(number).copied().flatten();
        if limits.connections.is_some_and(|most| total >= most)
            || most.is_some_and(|most| used >= most)
        {
            return Admitted::No("max_connections exceeded");
        }
        if let (Some(peer), Some(most)) = (peer, peer.and_then(|peer| limits.address_limit(peer))) {
            let mut addresses = unpoisoned(self.addresses.lock());
            if !addresses.edit().enter(peer, most) {
                return Admitted::No("max_connections_per_address exceeded");
            }
        }
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        let shard = self.emptiest();
        self.shard(shard).connections.fetch_add(1, Ordering::Relaxed);
        Admitted::To(shard)
    }

    /// Connections that have not sent CONNECT yet.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// A connection has sent CONNECT, or is gone without.
    pub(crate) fn handshake_over(&self) {
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
    }

    fn listener_count(&self, listener: usize) -> Option<Arc<AtomicUsize>> {
        unpoisoned(self.listener_connections.read()).get(listener).cloned()
    }

    /// Connections of a listener.
    pub(crate) fn listener_connections(&self, listener: usize) -> usize {
        self.listener_count(listener).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Somebody came through a listener who is no MQTT client.
    pub(crate) fn enter_listener(&self, listener: u16) {
        if let Some(count) = self.listener_count(usize::from(listener)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Such a one is gone.
    pub(crate) fn leave_listener(&self, listener: u16) {
        if let Some(count) = self.listener_count(usize::from(listener)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Tells the thread that accepts what to open and close.
    pub(crate) fn order(&self, order: Order) {
        unpoisoned(self.orders.lock()).push(order);
        let _ = self.shard(0).waker.wake();
    }

    pub(crate) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *unpoisoned(self.orders.lock()))
    }

    /// Connections in all.
    pub(crate) fn connections(&self) -> usize {
        self.shards.iter().map(|handle| handle.connections.load(Ordering::Relaxed)).sum()
    }

    /// A connection of a shard is gone.
    pub(crate) fn closed(&self, shard: u8, listener: u16, counted: Option<SocketAddr>) {
        self.shard(shard).connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(peer) = counted {
            let mut addresses = unpoisoned(self.addresses.lock());
            addresses.edit().leave(peer);
        }
        if let Some(count) = self.listener_count(usize::from(listener)) {
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

    /// The gate has found out about a client that waits.
    pub(crate) fn admit_client(&self, waiting: Waiting, generation: u64, admission: Admission) {
        let handle = self.shard(waiting.shard);
        let answer = Answer { generation, admission };
        unpoisoned(handle.answers.lock()).push((waiting.slot, waiting.serial, answer));
        let _ = handle.waker.wake();
    }

    /// A client that is let in has to go at a time, in seconds since 1970.
    pub(crate) fn expire_client(&self, waiting: Waiting, at: u64) {
        let handle = self.shard(waiting.shard);
        unpoisoned(handle.expiries.lock()).push((waiting.slot, waiting.serial, at));
    }

    pub(crate) fn take_expiries(&self, shard: u8) -> Vec<(u32, u32, u64)> {
        std::mem::take(&mut *unpoisoned(self.shard(shard).expiries.lock()))
    }

    pub(crate) fn take_answers(&self, shard: u8) -> Vec<(u32, u32, Answer)> {
        std::mem::take(&mut *unpoisoned(self.shard(shard).answers.lock()))
    }

    /// A shard is about to ask the gate about all that it gives to the engine next.
    pub(crate) fn begin_asking(&self, shard: u8) {
        self.shard(shard).generation.store(self.gate.generation(), Ordering::Relaxed);
    }

    /// Ends the connections that have just been let in by doors that are no longer in force: a reload
    /// that looked for those that have to go may have looked before.
    fn expel_latecomers(&self, shard: u8, engine: &mut Engine, now: Time, inputs: &[Input<'_>]) {
        if self.gate.generation() == self.shard(shard).generation.load(Ordering::Relaxed) {
            return;
        }
        let expelled: Vec<Input<'_>> = inputs
            .iter()
            .filter_map(|input| match *input {
                Input::Connect { link, .. } => {
                    Some(Input::Expel { link, reason: ReasonCode::ADMINISTRATIVE_ACTION })
                }
                _ => None,
            })
            .collect();
        if !expelled.is_empty() {
            engine.handle(now, &expelled);
        }
    }

    /// Ends the connections of which `why` gives a reason, very soon.
    pub(crate) fn purge(
        &self,
        why: impl Fn(&Connection) -> Option<ReasonCode> + Send + Sync + 'static,
    ) {
        let purge: Purge = Arc::new(why);
        for handle in &self.shards {
            unpoisoned(handle.purges.lock()).push(Arc::clone(&purge));
            let _ = handle.waker.wake();
        }
    }

    pub(crate) fn take_purges(&self, shard: u8) -> Vec<Purge> {
        std::mem::take(&mut *unpoisoned(self.shard(shard).purges.lock()))
    }

    /// Ends the connections of the clients of which `why` gives a reason.
    pub(crate) fn expel(&self, why: impl Fn(&Who<'_>) -> Option<ReasonCode>) {
        let mut engine = self.engine();
        let expel = |(link, who): (Link, Who<'_>)| Some(Input::Expel { link, reason: why(&who)? });
        let found: Vec<Input<'_>> = engine.connected().filter_map(expel).collect();
        self.turn(&mut engine, &found);
        let work = engine.has_work_for_store();
        drop(engine);
        self.wake_storage(work);
    }

    /// Ends a client's connection. Answers whether it had one; `None` if there is no such client.
    pub(crate) fn expel_client(&self, client: &str, reason: ReasonCode) -> Option<bool> {
        let mut engine = self.engine();
        let link = engine.client(client)?.link;
        if let Some(link) = link {
            self.turn(&mut engine, &[Input::Expel { link, reason }]);
        }
        let work = engine.has_work_for_store();
        drop(engine);
        self.wake_storage(work);
        Some(link.is_some())
    }

    /// Ends a client's session, connected or not. Answers whether there was one.
    pub(crate) fn end_session(&self, client: &str, reason: ReasonCode) -> bool {
        let mut engine = self.engine();
        let found = engine.client(client).is_some();
        self.turn(&mut engine, &[Input::EndSession { client, reason }]);
        let work = engine.has_work_for_store();
        drop(engine);
        self.wake_storage(work);
        found
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends all connections and stops every shard.
    pub(crate) fn stop(&self) {
        self.engine().shut_down(self.clock.now());
        self.stop.store(true, Ordering::SeqCst);
        self.wake_all();
    }
}
