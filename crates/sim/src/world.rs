//! The world: engine, network, clock and clients, one step after the other.

use std::collections::{BTreeMap, VecDeque};

use plimsoll_engine::{
    Admission, Engine, Event, Input, Limit, Link, Loss, Outbox, Persistence, Piece, Time,
};
use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::{DecodeLimits, Decoded, QoS, Version, decode, decode_first};

use crate::Summary;
use crate::client::Client;
use crate::fault::{Fault, meddle};
use crate::oracle::{Oracle, Violation};
use crate::plan::{Plan, WATCHER};
use crate::rng::Rng;
use crate::storage::Storage;

/// Steps in which everything must have drained: a client with a Receive Maximum of 1 on a slow
/// network takes its queue one round trip after the other.
const LIVENESS_STEPS_MAX: u32 = 50_000;

/// A connection's bytes on their way, each with the time at which they arrive.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    to_server: VecDeque<(Time, Vec<u8>)>,
    pub(crate) to_client: VecDeque<(Time, Vec<u8>)>,
    /// Received by the server and not decoded yet.
    partial: Vec<u8>,
    version: Option<Version>,
    pub(crate) client: u32,
    pub(crate) closing: bool,
    paused: bool,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub(crate) engine: Engine,
    pub(crate) ledger: &'static Ledger,
    pub(crate) storage: Option<Storage>,
    pub(crate) oracle: Oracle,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) clients: Vec<Client>,
    pub(crate) wires: BTreeMap<u32, Wire>,
    pub(crate) free_slots: VecDeque<u32>,
    next_slot: u32,
    number: u64,
    fault: Option<Fault>,
    trace: bool,
    faults_on: bool,
    /// Bytes that each user may hold at present.
    pub(crate) budget: usize,
    /// How much budgets have left off, as far as the oracle knows.
    pub(crate) refusals: u64,
    pub(crate) summary: Summary,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, fault: Option<Fault>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::new(&mut rng);
        plan.settings.trace |= trace;
        // A ledger is `'static`; a world's is a few hundred bytes.
        let ledger: &'static Ledger = Box::leak(Box::default());
        let settings = plan.with_budget(plan.budget);
        let engine = Engine::new(settings, plan.shards, seed, ledger);
        let oracle =
            Oracle::new(plan.settings.allow_duplicate_messages, plan.settings.upgrade_outgoing_qos);
        let mut clients: Vec<Client> =
            (0..=plan.clients).map(|who| Client::new(who, plan.payload_max, &mut rng)).collect();
        if let Some(watcher) = clients.last_mut() {
            watcher.username = WATCHER.into();
        }
        if trace {
            println!("{plan:#?}");
        }
        let budget = plan.budget;
        let relaxed = plan.settings.persistence == Persistence::Relaxed;
        let storage = (plan.storage > 0).then(|| Storage::new(relaxed).ok()).flatten();
        Self {
            engine,
            ledger,
            storage,
            oracle,
            plan,
            rng,
            now: Time::from_secs(1_700_000_000),
            clients,
            wires: BTreeMap::new(),
            free_slots: VecDeque::new(),
            next_slot: 0,
            number: 0,
            fault,
            trace,
            faults_on: true,
            budget,
            refusals: 0,
            summary: Summary::default(),
        }
    }

    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.now.as_millis() % 100_000_000, text());
        }
    }

    /// The last client: never fails, and sees all wills.
    pub(crate) fn watcher(&self) -> u32 {
        self.plan.clients
    }

    /// Lives the world's life.
    pub fn run(mut self) -> Result<Summary, Violation> {
        let watcher = self.watcher() as usize;
        self.clients[watcher].all_seeing = true;
        self.bring_watcher_back()?;
        for _ in 0..self.plan.steps {
            if self.rng.below(1000) < self.plan.crashes {
                self.crash()?;
            }
            self.disk_moods();
            self.load_moods()?;
            self.act();
            self.step()?;
        }
        self.heal()?;
        self.oracle.check_arrivals(self.watcher())?;
        self.oracle.check_shared()?;
        self.check_retained()?;
        self.end()?;
        Ok(self.summary)
    }

    /// Lets the watcher see all wills.
    pub(crate) fn watch_wills(&mut self) {
        let (watcher, now) = (self.watcher() as usize, self.now);
        let client = &mut self.clients[watcher];
        client.subscribe("will/#", QoS::AtMostOnce, false, &mut self.oracle, now);
    }

    // --- phases ---

    /// Faults are over: everybody comes back, and everything must arrive.
    fn heal(&mut self) -> Result<(), Violation> {
        self.faults_on = false;
        self.relieve()?;
        if let Some(storage) = self.storage.as_mut() {
            storage.set_failing(false, &mut self.rng);
        }
        self.say(|| "-- liveness".into());
        for who in 0..self.plan.clients {
            if self.clients[who as usize].slot.is_none() {
                self.dial(who, false);
            }
        }
        for round in 0..LIVENESS_STEPS_MAX {
            for who in 0..=self.plan.clients {
                let client = &mut self.clients[who as usize];
                if client.connected {
                    client.acknowledge(100);
                    if round % 500 == 0 {
                        client.ping();
                    }
                } else if client.slot.is_none() {
                    self.dial(who, false);
                }
            }
            self.step()?;
            if round > 200 && self.is_quiet() {
                return Ok(());
            }
        }
        let stuck: Vec<_> = self
            .clients
            .iter()
            .filter(|c| !c.is_idle())
            .map(|c| (c.who, c.pending_len()))
            .collect();
        Err(Violation(format!("not quiet after the faults: clients {stuck:?}")))
    }

    fn is_quiet(&self) -> bool {
        self.clients.iter().all(|client| client.connected && client.is_idle())
            && self
                .wires
                .values()
                .all(|wire| wire.to_client.is_empty() && wire.to_server.is_empty())
            && self.engine.counters().messages_stored == 0
            && self.storage.as_ref().is_none_or(Storage::is_idle)
    }

    fn check_retained(&mut self) -> Result<(), Violation> {
        let watcher = self.watcher();
        self.clients[watcher as usize].retained.clear();
        for filter in ["c/#", "s/#", "$c/#", "will/#"] {
            let now = self.now;
            let client = &mut self.clients[watcher as usize];
            client.subscribe(filter, QoS::AtLeastOnce, false, &mut self.oracle, now);
            for _ in 0..400 {
                self.clients[watcher as usize].acknowledge(100);
                self.step()?;
            }
        }
        let sent = self.clients[watcher as usize].retained.clone();
        self.oracle.check_retained(&sent)
    }

    /// Everybody leaves for good, what is retained is deleted: nothing may be left.
    fn end(&mut self) -> Result<(), Violation> {
        self.say(|| "-- the end".into());
        for slot in self.wires.keys().copied().collect::<Vec<_>>() {
            self.cut(slot, false);
        }
        for _ in 0..50 {
            self.step()?;
        }
        for who in 0..=self.plan.clients {
            let mut client = Client::new(who, 90, &mut Rng::new(0));
            client.version = Version::V311;
            if who == self.watcher() {
                client.username = WATCHER.into();
            }
            self.clients[who as usize] = client;
            self.dial(who, true);
        }
        for _ in 0..400 {
            self.step()?;
        }
        for slot in self.wires.keys().copied().collect::<Vec<_>>() {
            self.cut(slot, false);
        }
        let topics: Vec<String> = (0..self.plan.clients)
            .flat_map(|who| {
                ["a", "a/b", "/x"]
                    .map(|rest| format!("c/{who}/{rest}"))
                    .into_iter()
                    .chain(["$c", "s", "will"].map(|first| format!("{first}/{who}")))
            })
            .collect();
        for topic in &topics {
            self.handle(&[Input::Publish { topic, payload: b"", retain: true }])?;
        }
        for _ in 0..50 {
            self.step()?;
        }
        self.storage_turn()?;
        self.storage_turn()?;
        self.storage.as_ref().map_or(Ok(()), Storage::check_empty)?;
        self.check_ledger()?;
        self.check_budgets_are_empty()?;
        let mut left = self.ledger.snapshot();
        // Outboxes and tables of links keep a little room for the next turn.
        let kept = left.bytes(Account::Connections);
        left = self.engine.recount();
        let total: usize = left
            .iter()
            .filter(|(account, _)| *account != Account::Connections)
            .map(|(_, b)| b)
            .sum();
        if total > 0 || kept > 1 << 20 {
            return Err(Violation(format!("left behind: {left:?}")));
        }
        Ok(())
    }

    // --- clients act ---

    fn act(&mut self) {
        for who in 0..self.plan.clients {
            let (now, clients) = (self.now, self.plan.clients);
            let client = &mut self.clients[who as usize];
            let (rng, oracle) = (&mut self.rng, &mut self.oracle);
            if client.slot.is_none() {
                if rng.chance(10) {
                    let clean = rng.chance(20);
                    self.dial(who, clean);
                }
                continue;
            }
            if !client.connected {
                continue;
            }
            match rng.below(100) {
                0..=29 => {
                    self.number += 1;
                    self.summary.published += 1;
                    let expires = rng.chance(self.plan.expiring);
                    client.publish(self.number, expires, rng, oracle, now);
                }
                30..=37 => client.subscribe_any(clients, rng, oracle, now),
                38..=39 => client.unsubscribe_any(clients, rng, oracle, now),
                40..=75 => client.acknowledge(rng.below(5) as usize),
                76 => client.ping(),
                77 => {
                    let with_will = rng.chance(30);
                    client.disconnect(with_will, oracle, now);
                    let slot = client.slot.unwrap_or(0);
                    self.send(who);
                    self.cut(slot, true);
                }
                _ => {}
            }
            if self.rng.chance(self.plan.losses)
                && let Some(slot) = self.clients[who as usize].slot
            {
                self.cut(slot, false);
            }
        }
    }

    pub(crate) fn dial(&mut self, who: u32, clean: bool) {
        let slot = self.free_slots.pop_front().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        });
        self.number += 1;
        let wants_will = who != self.watcher() && self.faults_on && self.rng.chance(40);
        let will = wants_will.then_some(self.number);
        let client = &mut self.clients[who as usize];
        client.slot = Some(slot);
        client.connect(clean, will, &mut self.rng, &mut self.oracle, self.now);
        self.wires.insert(slot, Wire { client: who, ..Wire::default() });
        self.summary.connections += 1;
        self.say(|| format!("client {who} dials on {slot}, clean {clean}"));
    }

    /// A connection ends. Gracefully, what the client has sent still arrives; otherwise only some.
    fn cut(&mut self, slot: u32, graceful: bool) {
        let Some(wire) = self.wires.get_mut(&slot) else { return };
        let who = wire.client;
        let client = &mut self.clients[who as usize];
        let mut bytes: Vec<u8> = wire.to_server.drain(..).flat_map(|(_, bytes)| bytes).collect();
        if !graceful {
            let keep = self.rng.below(bytes.len() as u64 + 1) as usize;
            bytes.truncate(keep);
            if let Some(number) = client.will.take()
                && wire.version.is_some()
                && client.connected
            {
                let (at, stored) = (client.will_due_at(self.now), client.expiry > 0);
                self.oracle.will_due(number, at, stored);
            }
        }
        client.connection_lost(&mut self.oracle, self.now);
        wire.partial.extend_from_slice(&bytes);
        self.say(|| format!("connection {slot} of client {who} ends, graceful {graceful}"));
        self.decode(&[slot], &[slot]);
    }

    // --- the machine ---

    /// One step: time goes on, bytes travel, the engine takes its turn.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.now = self.now.plus_millis(self.rng.within(1, 20));
        for who in 0..=self.plan.clients {
            self.send(who);
        }
        self.arrive();
        let slots: Vec<u32> = self.wires.keys().copied().collect();
        self.decode_checked(&slots, &[])?;
        self.deliver()?;
        if self.storage.is_some() && self.rng.chance(self.plan.storage) {
            self.storage_turn()?;
        }
        if self.rng.chance(10) {
            self.check_ledger()?;
        }
        Ok(())
    }

    /// The storage thread has its turn.
    pub(crate) fn storage_turn(&mut self) -> Result<(), Violation> {
        let Some(storage) = self.storage.as_mut() else { return Ok(()) };
        let answers = storage.turn(self.ledger)?;
        if answers.is_empty() { Ok(()) } else { self.handle(&answers) }
    }

    /// What a client wants to send goes on its way.
    fn send(&mut self, who: u32) {
        let client = &mut self.clients[who as usize];
        let Some(wire) = client.slot.and_then(|slot| self.wires.get_mut(&slot)) else { return };
        if !client.outbox.is_empty() {
            let last = wire.to_server.back().map_or(self.now, |(at, _)| *at);
            let at = last.max(self.now.plus_millis(self.rng.below(self.plan.delay_max + 1)));
            wire.to_server.push_back((at, std::mem::take(&mut client.outbox)));
        }
    }

    /// Bytes reach the server, in arbitrary pieces.
    fn arrive(&mut self) {
        for wire in self.wires.values_mut() {
            if wire.paused {
                continue;
            }
            while let Some((at, bytes)) = wire.to_server.front_mut() {
                if *at > self.now {
                    break;
                }
                let take = if self.rng.chance(20) {
                    self.rng.below(bytes.len() as u64 + 1) as usize
                } else {
                    bytes.len()
                };
                wire.partial.extend(bytes.drain(..take));
                if bytes.is_empty() {
                    wire.to_server.pop_front();
                } else {
                    break;
                }
            }
        }
    }

    fn decode(&mut self, slots: &[u32], lost: &[u32]) {
        // Violations found here are found again by the next step's checks.
        let _ = self.decode_checked(slots, lost);
    }

    /// Decodes what has arrived and gives it to the engine as one batch.
    fn decode_checked(&mut self, slots: &[u32], lost: &[u32]) -> Result<(), Violation> {
        let limits = DecodeLimits::of_clients();
        let shards = self.plan.shards as u32;
        let mut bytes: Vec<(u32, Vec<u8>)> = Vec::new();
        for &slot in slots {
            if let Some(wire) = self.wires.get_mut(&slot) {
                bytes.push((slot, std::mem::take(&mut wire.partial)));
            }
        }
        let mut inputs = Vec::new();
        let mut rests = Vec::new();
        for (slot, bytes) in &bytes {
            let Some(wire) = self.wires.get_mut(slot) else { continue };
            let link = Link::new((slot % shards) as u8, slot / shards);
            let mut used = 0;
            while used < bytes.len() && !wire.closing {
                let decoded = match wire.version {
                    None => decode_first(&bytes[used..], &limits),
                    Some(version) => decode(&bytes[used..], version, &limits),
                };
                match decoded {
                    Ok(Decoded::Packet { packet, length }) => {
                        used += length;
                        inputs.push(match packet {
                            plimsoll_mqtt::Packet::Connect(packet) if wire.version.is_none() => {
                                wire.version = Some(packet.version);
                                let admission = Admission::AsAsked;
                                Input::Connect { link, listener: 0, packet, admission }
                            }
                            packet => Input::Packet { link, packet },
                        });
                    }
                    Ok(Decoded::Incomplete { .. }) => break,
                    Err(error) => {
                        return Err(Violation(format!("the server cannot decode: {error}")));
                    }
                }
            }
            if lost.contains(slot) {
                inputs.push(Input::Lost { link, loss: Loss::ClosedByPeer });
            } else {
                rests.push((*slot, bytes[used..].to_vec()));
            }
        }
        let inputs = inputs;
        self.engine.handle(self.now, &inputs);
        drop(inputs);
        for (slot, rest) in rests {
            if let Some(wire) = self.wires.get_mut(&slot) {
                wire.partial = rest;
            }
        }
        self.drain(lost)
    }

    pub(crate) fn handle(&mut self, inputs: &[Input<'_>]) -> Result<(), Violation> {
        self.engine.handle(self.now, inputs);
        self.drain(&[])
    }

    /// Takes every shard's output and puts it on the wires.
    fn drain(&mut self, lost: &[u32]) -> Result<(), Violation> {
        self.notice_step();
        for &slot in lost {
            self.wires.remove(&slot);
        }
        if let Some(storage) = &mut self.storage {
            storage.collect(&mut self.engine, self.trace);
        }
        for shard in 0..self.plan.shards {
            let mut outbox = Outbox::new(self.ledger);
            self.engine.take_outbox(shard, &mut outbox);
            for (_, event) in outbox.take_events() {
                // What the load line drops is QoS 0: it excuses nothing else.
                if let Event::Dropped { client, limit, .. } = &event
                    && *limit != Limit::Memory
                    && let Some(who) =
                        client.strip_prefix("client-").and_then(|who| who.parse().ok())
                {
                    self.summary.dropped += 1;
                    self.oracle.dropped(who);
                }
                if self.trace {
                    println!("{} {event:?}", self.now.as_millis() % 100_000_000);
                }
            }
            let (shards, now) = (self.plan.shards as u32, self.now);
            let (wires, rng, delay_max) = (&mut self.wires, &mut self.rng, self.plan.delay_max);
            outbox.drain(|slot, piece| {
                let Some(wire) = wires.get_mut(&(slot * shards + shard as u32)) else { return };
                let last = wire.to_client.back().map_or(now, |(at, _)| *at);
                let at = last.max(now.plus_millis(rng.below(delay_max + 1)));
                match piece {
                    Piece::Bytes(bytes) => wire.to_client.push_back((at, bytes.to_vec())),
                    Piece::Body(body) => wire.to_client.push_back((at, body.bytes().to_vec())),
                    Piece::Close => wire.closing = true,
                    Piece::PauseReading => wire.paused = true,
                    Piece::ResumeReading | Piece::Retry => wire.paused = false,
                }
            });
            let mut empty = Outbox::new(self.ledger);
            self.engine.take_outbox(shard, &mut empty);
            self.engine.take_outbox(shard, &mut outbox);
            if !empty.is_empty() {
                return Err(Violation("output appeared by itself".into()));
            }
        }
        Ok(())
    }

    /// Bytes reach clients, who take them, unless they do not read just now.
    fn deliver(&mut self) -> Result<(), Violation> {
        let shards = self.plan.shards as u32;
        for slot in self.wires.keys().copied().collect::<Vec<_>>() {
            let stalled = self.faults_on && self.rng.chance(self.plan.stalls);
            let Some(wire) = self.wires.get_mut(&slot) else { continue };
            if stalled && wire.client != self.plan.clients {
                continue;
            }
            let (who, mut flushed) = (wire.client, 0);
            let client = &mut self.clients[who as usize];
            while let Some((at, _)) = wire.to_client.front() {
                if *at > self.now {
                    break;
                }
                if let Some((_, bytes)) = wire.to_client.pop_front() {
                    flushed += bytes.len() as u32;
                    let bytes = meddle(self.fault, bytes, &mut self.rng);
                    client.inbox.extend_from_slice(&bytes);
                }
            }
            let closed = wire.closing && wire.to_client.is_empty();
            let before = client.received;
            if !client.take_inbox(&mut self.oracle, self.now)? {
                // Refused, since the disk fails.
                client.connection_lost(&mut self.oracle, self.now);
                self.wires.remove(&slot);
                continue;
            }
            self.summary.received += client.received - before;
            if closed && self.oracle.refusals_expected {
                // Too large for what is left of memory.
                client.will = None;
                client.connection_lost(&mut self.oracle, self.now);
                self.wires.remove(&slot);
                continue;
            }
            if closed {
                return Err(Violation(format!("client {who} was closed without a reason")));
            }
            if flushed > 0 {
                let link = Link::new((slot % shards) as u8, slot / shards);
                self.handle(&[Input::Flushed { link, bytes: flushed }])?;
            }
        }
        if self.clients[self.watcher() as usize].connected {
            self.clients[self.plan.clients as usize].acknowledge(100);
        }
        // Slots are used again only after their last output was drained.
        for slot in 0..self.next_slot {
            if !self.wires.contains_key(&slot) && !self.free_slots.contains(&slot) {
                self.free_slots.push_back(slot);
            }
        }
        Ok(())
    }
}
