//! One I/O thread: poll, read, enter the engine once, write.

mod reading;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use plimsoll_engine::{Loss, Outbox, Step, Time};
use plimsoll_ledger::{Account, Charge, Charged, Measure, Snapshot};

use plimsoll_mqtt::ReasonCode;

use super::acceptor::Acceptor;
use super::connection::{Connection, Pending};
use super::events;
use super::limits::Limits;
use super::shared::{Incoming, Purge, Shared};
use super::slots::Slots;
use super::sys::Sys;
use super::systemd::Watchdog;
use super::transport::tls_files::TlsSettings;
use super::transport::{Layers, Scratch};
use crate::traces::{Mark, Turn};

/// Bytes read in one turn before the engine is entered.
const ARENA_BYTES: usize = 64 * 1024;

/// Room that a read should find in the arena.
const READ_BYTES_MIN: usize = 4 * 1024;

/// A packet of which more than this is there lies in a buffer of its own.
const LARGE_PACKET_BYTES: usize = 32 * 1024;

/// Output buffers of up to this size are kept for the next connection.
const PENDING_KEEP_BYTES: usize = 32 * 1024;

/// Output buffers kept at most.
const POOL_MAX: usize = 64;

/// How long a closing connection may take to accept its last output.
const LINGER: Duration = Duration::from_secs(5);

/// How long a handshake may take where others wait for their turn.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(5);

/// How often connections are looked through for packets that do not end.
pub(super) const PARTIALS_EVERY: Duration = Duration::from_secs(1);

/// Bytes written to one connection that the engine is told of without waiting for a reason.
const FLUSHED_AT_ONCE: u32 = 64 * 1024;

/// Steps of TLS handshakes in one turn: each takes up to half a millisecond, and nobody who is connected
/// shall wait for a crowd at the door.
const HANDSHAKES_PER_TURN: usize = 4;

/// Connections that are asked whether they have to go before the clock is looked at again, and how long
/// that may take in one turn.
const PURGED_AT_ONCE: u32 = 16;
const PURGE_TURN: Duration = Duration::from_millis(2);

/// How often somebody looks whether a day has passed for the broker's certificates.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(15 * 60);

/// Tokens beyond those of connections.
pub(crate) const WAKE: Token = Token(usize::MAX - 1);
pub(crate) const LISTENING: Token = Token(usize::MAX - 2);

/// An I/O thread with its connections.
pub(crate) struct Shard {
    index: u8,
    shared: Arc<Shared>,
    poll: Poll,
    slots: Slots,
    arena: Vec<u8>,
    scratch: Scratch,
    /// Connections with something to read.
    readable: VecDeque<u32>,
    /// The same, of those that are still shaking hands.
    handshakes: VecDeque<u32>,
    /// Questions whether connections have to go, and the slot that each has come to.
    purges: VecDeque<(Purge, u32)>,
    /// Connections with new output in this turn.
    touched: Vec<u32>,
    /// Connections to close and forget at the end of this turn.
    finished: Vec<u32>,
    /// Bytes written since the engine was told.
    flushed: Vec<(u32, u32)>,
    /// Connections to be ended, and why.
    expelled: Vec<(u32, ReasonCode)>,
    /// Connections that failed since the engine was told.
    lost: Vec<(u32, Loss)>,
    /// Connections that must have sent CONNECT, or taken their last output, by then.
    impatient: Charged<VecDeque<(Instant, u32, u32)>>,
    /// Connections that end at a time, seconds since 1970, because their token does.
    expiring: Charged<Vec<(u32, u32, u64)>>,
    /// When that was looked through.
    expired_at: Instant,
    /// For the arena and the lists of a turn.
    charge: Charge,
    outbox: Outbox,
    #[expect(clippy::vec_box, reason = "the boxes themselves go from connection to connection")]
    pool: Vec<Box<Pending>>,
    /// Limits in force in this turn.
    limits: Arc<Limits>,
    serial: u32,
    at_once: bool,
    /// The times of this turn, while somebody wants to know them.
    turn: Option<Turn>,
    /// What is to be told when the network has it: slot and serial of its connection.
    marks: Vec<(u32, u32, Mark)>,
    /// When connections are next looked through for packets that do not end.
    partials_at: Option<Instant>,
    /// Only the first shard accepts connections and keeps `$SYS`.
    acceptor: Option<Acceptor>,
    sys: Option<Sys>,
    watchdog: Option<Watchdog>,
}

/// What one connection brought in a turn.
struct Brought {
    slot: u32,
    start: usize,
    end: usize,
    ended: Option<Loss>,
}

impl Shard {
    pub(crate) fn new(
        index: u8,
        shared: Arc<Shared>,
        poll: Poll,
        acceptor: Option<Acceptor>,
        sys: Option<Sys>,
    ) -> Self {
        let ledger = shared.ledger;
        Self {
            index,
            poll,
            slots: Slots::new(ledger),
            arena: vec![0; ARENA_BYTES],
            scratch: Scratch::default(),
            readable: VecDeque::new(),
            handshakes: VecDeque::new(),
            purges: VecDeque::new(),
            touched: Vec::new(),
            finished: Vec::new(),
            flushed: Vec::new(),
            expelled: Vec::new(),
            lost: Vec::new(),
            impatient: ledger.own(Account::Connections, VecDeque::new()),
            expiring: ledger.own(Account::Connections, Vec::new()),
            expired_at: Instant::now(),
            charge: ledger.charge(Account::Connections, ARENA_BYTES),
            outbox: Outbox::new(ledger),
            pool: Vec::new(),
            limits: shared.limits(),
            serial: 0,
            at_once: false,
            turn: None,
            marks: Vec::new(),
            partials_at: None,
            watchdog: if index == 0 { Watchdog::from_environment() } else { None },
            acceptor,
            sys,
            shared,
        }
    }

    /// Turns until the broker stops.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.shared.stopping() {
            self.wait(&mut events)?;
            if self.shared.standstill.is_wanted() {
                self.settle();
                let counted = self.recount();
                self.shared.standstill.join(&counted, self.slots.blocks().collect());
            }
            self.limits = self.shared.limits();
            self.take_events(&events);
            self.take_incoming();
            self.take_purges();
            self.expire_admissions();
            self.expire_impatient();
            self.expire_partials();
            self.tick();
            loop {
                self.turn = self.shared.traces.is_on().then(Turn::begin);
                let brought = self.read();
                self.enter_engine(&brought);
                self.write();
                if self.readable.is_empty() || brought.is_empty() {
                    break;
                }
                // Others may have become ready meanwhile: one more poll keeps it fair.
                if self.readable.len() < 64 {
                    break;
                }
            }
        }
        self.say_goodbye();
        Ok(())
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let readable = !self.readable.is_empty() || !self.handshakes.is_empty();
        let busy = self.at_once || readable || !self.lost.is_empty();
        self.at_once = false;
        let handle = self.shared.shard(self.index);
        // Parked first, then the check: whoever makes output for us looks at `parked` after it has
        // made it, so one of the two sees the other.
        handle.parked.store(true, Ordering::SeqCst);
        let timeout = if busy || handle.output.load(Ordering::SeqCst) {
            Some(Duration::ZERO)
        } else {
            self.sleep_for()
        };
        let result = self.poll.poll(events, timeout);
        handle.parked.store(false, Ordering::SeqCst);
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    fn sleep_for(&self) -> Option<Duration> {
        let mut sleep: Option<Duration> = None;
        let mut at_most = |duration: Duration| {
            sleep = Some(sleep.map_or(duration, |sleep| sleep.min(duration)));
        };
        if let Some(&(at, ..)) = self.impatient.front() {
            at_most(at.saturating_duration_since(Instant::now()));
        }
        if !self.expiring.is_empty() {
            at_most(Duration::from_secs(1));
        }
        if let Some(at) = self.partials_at {
            at_most(at.saturating_duration_since(Instant::now()));
        }
        if let Some(watchdog) = &self.watchdog {
            at_most(watchdog.due_in());
        }
        if self.index == 0 {
            let deadline = Time::from_millis(self.shared.deadline.load(Ordering::SeqCst));
            if deadline != Time::NEVER {
                at_most(Duration::from_millis(deadline.millis_since(self.shared.clock.now())));
            }
            if let Some(wait) = self.acceptor.as_ref().and_then(Acceptor::resume_in) {
                at_most(wait);
            }
            if let Some(wait) = self.sys.as_ref().and_then(Sys::due_in) {
                at_most(wait);
            }
            if self.limits.tls().next().is_some() {
                at_most(CERTIFICATES_EVERY);
            }
        }
        sleep
    }

    fn take_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKE => {}
                LISTENING => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.wake();
                    }
                }
                Token(slot) => {
                    let slot = slot as u32;
                    if (event.is_read_closed() || event.is_error())
                        && let Some(connection) = self.slots.get_mut(slot)
                    {
                        connection.state.ending = true;
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.list_readable(slot);
                    }
                    if event.is_writable() {
                        self.list_touched(slot);
                    }
                }
            }
        }
        self.accept();
    }

    fn list_readable(&mut self, slot: u32) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        if !connection.state.listed && !connection.state.closing {
            connection.state.listed = true;
            match connection.layers().is_some_and(Layers::is_shaking_hands) {
                true => self.handshakes.push_back(slot),
                false => self.readable.push_back(slot),
            }
        }
    }

    fn list_touched(&mut self, slot: u32) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        if connection.has_output() && !connection.state.touched {
            connection.state.touched = true;
            self.touched.push(slot);
        }
    }

    fn accept(&mut self) {
        let Some(mut acceptor) = self.acceptor.take() else { return };
        while let Some((shard, incoming)) = acceptor.accept(&self.shared, &self.limits) {
            if shard == self.index {
                self.adopt(incoming);
            } else {
                self.shared.hand_over(shard, incoming);
            }
        }
        self.acceptor = Some(acceptor);
    }

    fn take_incoming(&mut self) {
        if let Some(acceptor) = &mut self.acceptor {
            for order in self.shared.take_orders() {
                for error in acceptor.obey(order, self.poll.registry()) {
                    self.shared.log.error(&error);
                }
            }
            self.accept();
        }
        for incoming in self.shared.take_incoming(self.index) {
            self.adopt(incoming);
        }
        for (slot, serial, admission) in self.shared.take_answers(self.index) {
            let Some(connection) = self.slots.get_mut(slot) else { continue };
            if connection.serial == serial && connection.state.waiting {
                connection.state.waiting = false;
                connection.admission = Some(Box::new(admission));
                self.list_readable(slot);
            }
        }
    }

    /// Takes a fresh connection in.
    fn adopt(&mut self, incoming: Incoming) {
        let Incoming { socket, peer, listener } = incoming;
        self.serial = self.serial.wrapping_add(1);
        let slot = self.slots.vacant();
        let transport = self.limits.transports.get(usize::from(listener));
        let layers =
            transport.map_or(Ok(None), |transport| Layers::new(transport, self.shared.ledger));
        let taken = layers.and_then(|layers| {
            let mut connection = Connection::new(socket, layers, peer, listener, self.serial);
            connection.counted = peer.filter(|&peer| self.limits.address_limit(peer).is_some());
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(slot as usize);
            let registered =
                self.poll.registry().register(connection.socket_mut(), token, interest);
            registered.map(|()| connection).map_err(|error| error.to_string())
        });
        let connection = match taken {
            Ok(connection) => connection,
            Err(error) => {
                let from = events::from(peer);
                self.shared
                    .log
                    .error(&format!("Unable to serve a connection from {from}: {error}"));
                self.shared.handshake_over();
                let counted = peer.filter(|&peer| self.limits.address_limit(peer).is_some());
                return self.shared.closed(self.index, listener, counted);
            }
        };
        self.slots.insert(slot, connection);
        let deadline = Instant::now() + self.limits.connect_timeout;
        self.impatient.edit().push_back((deadline, slot, self.serial));
        self.list_readable(slot);
    }

    /// Ends connections that somebody else found reason to end; a part of them in each turn, because
    /// the question may take long.
    fn take_purges(&mut self) {
        let new = self.shared.take_purges(self.index);
        self.purges.extend(new.into_iter().map(|purge| (purge, 0)));
        if self.purges.is_empty() {
            return;
        }
        let began = Instant::now();
        while let Some((purge, from)) = self.purges.front_mut() {
            let to = self.slots.end().min(*from + PURGED_AT_ONCE);
            for slot in *from..to {
                let Some(connection) = self.slots.get_mut(slot) else { continue };
                if connection.state.lost || connection.state.closing {
                    continue;
                }
                match (purge(connection), connection.version) {
                    (Some(reason), Some(_)) => self.expelled.push((slot, reason)),
                    (Some(_), None) => self.lost.push((slot, Loss::ShuttingDown)),
                    (None, _) => {}
                }
            }
            *from = to;
            if to == self.slots.end() {
                self.purges.pop_front();
            }
            if !self.purges.is_empty() && began.elapsed() >= PURGE_TURN {
                self.at_once = true;
                break;
            }
        }
    }

    /// Closes those that did not send CONNECT in time, or would not take their last output.
    fn expire_impatient(&mut self) {
        if self.impatient.is_empty() {
            return;
        }
        let now = Instant::now();
        // Where too many are at it, those who have taken long make room for those who wait.
        let crowded = self.limits.handshakes.is_some_and(|most| self.shared.handshakes() >= most);
        let early = self.limits.connect_timeout.saturating_sub(HANDSHAKE_GRACE);
        while let Some(&(at, slot, serial)) = self.impatient.front() {
            let at = if crowded { at.checked_sub(early).unwrap_or(at) } else { at };
            let waiting = self.slots.get_mut(slot).filter(|connection| {
                connection.serial == serial
                    && (connection.version.is_none() || connection.state.closing)
            });
            if waiting.is_some() && at > now {
                break;
            }
            if let Some(connection) = waiting {
                if connection.state.closing {
                    self.finished.push(slot);
                } else {
                    self.lost.push((slot, Loss::HandshakeTimeout));
                }
            }
            self.impatient.edit().pop_front();
        }
        if self.impatient.is_empty() {
            *self.impatient.edit() = VecDeque::new();
        }
    }

    /// Disconnects those whose token has ended.
    fn expire_admissions(&mut self) {
        let new = self.shared.take_expiries(self.index);
        if !new.is_empty() {
            self.expiring.edit().extend(new);
        }
        if self.expiring.is_empty() || self.expired_at.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.expired_at = Instant::now();
        let now = u64::from(self.shared.clock.now().as_secs());
        let (slots, expelled) = (&mut self.slots, &mut self.expelled);
        self.expiring.edit().retain(|&(slot, serial, at)| {
            let there = slots.get_mut(slot).is_some_and(|connection| connection.serial == serial);
            if there && at <= now {
                expelled.push((slot, ReasonCode::NOT_AUTHORIZED));
            }
            there && at > now
        });
        if self.expiring.is_empty() {
            *self.expiring.edit() = Vec::new();
        }
    }

    /// Closes those that have begun a packet and do not end it. Looks once a second, if there may be any.
    fn expire_partials(&mut self) {
        let Some(timeout) = self.limits.packet_timeout else { return };
        let Some(at) = self.partials_at else { return };
        let now = Instant::now();
        if at > now {
            return;
        }
        self.partials_at = None;
        for (slot, connection) in self.slots.iter_mut() {
            let state = connection.state;
            let Some(since) = connection.partial_since else { continue };
            if state.waiting || state.paused {
                // It is not read from, so that is not its doing.
                connection.partial_since = Some(now);
            } else if since + timeout <= now && !state.lost && !state.closing {
                self.shared.log.too_slow(connection.whence());
                self.lost.push((slot, Loss::Failed));
                continue;
            }
            self.partials_at = Some(now + PARTIALS_EVERY);
        }
    }

    fn tick(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.turn();
        }
        if self.index == 0 && self.shared.certificates.is_new_day() {
            for warning in self.limits.tls().flat_map(TlsSettings::endings) {
                self.shared.log.warning(&warning);
            }
        }
        if let Some(sys) = &mut self.sys {
            sys.tick(&self.shared, self.limits.sys_interval);
        }
    }

    /// Counts what this thread's connections hold, and the thread itself.
    fn recount(&self) -> Snapshot {
        let mut counted = Snapshot::default();
        self.slots.recount(&mut counted);
        let pool: usize = self.pool.iter().map(|pending| pending.held_bytes()).sum();
        let lists = self.impatient.heap_bytes() + self.expiring.heap_bytes();
        let own = self.held_bytes() + self.outbox.heap_bytes();
        counted.add(Account::Connections, pool + lists + own);
        counted
    }

    /// Brings the charge up to what the arena and the lists hold.
    fn settle(&mut self) {
        if self.shared.step() >= Step::ShrinkCaches && self.pool.capacity() > 0 {
            self.pool = Vec::new();
        }
        self.charge.set(self.held_bytes());
    }

    fn held_bytes(&self) -> usize {
        let lists = self.readable.heap_bytes()
            + self.handshakes.heap_bytes()
            + self.purges.heap_bytes()
            + self.touched.heap_bytes()
            + self.finished.heap_bytes()
            + self.flushed.heap_bytes()
            + self.lost.heap_bytes()
            + self.expelled.heap_bytes()
            + self.marks.heap_bytes()
            + self.pool.heap_bytes();
        self.arena.heap_bytes() + self.scratch.heap_bytes() + lists
    }

    fn count_received(&self, bytes: usize) {
        self.shared.traffic.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
