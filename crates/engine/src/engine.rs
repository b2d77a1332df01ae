//! The engine: inputs in, outputs out.

use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Ledger, Snapshot};
use plimsoll_mqtt::{Packet, ReasonCode};

use crate::access::{Access, Who};
use crate::counters::{Counters, Presence};
use crate::deadlines::Deadlines;
use crate::dispatch::Dispatch;
use crate::durable::{Load, Records, Released};
use crate::event::{Cause, Event};
use crate::groups::Groups;
use crate::hash::Seeded;
use crate::input::{Input, Link, Loss};
use crate::leak::Leaking;
use crate::load::Approach;
use crate::message::{Block, Message, Parts};
use crate::outbox::Outbox;
use crate::replay::Replaying;
use crate::retained::RetainedStore;
use crate::route::Target;
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::subscriptions::Subscriptions;
use crate::time::Time;
use crate::waiting::Waiting;

/// An MQTT broker as a value. See the [crate]'s page for how to drive it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) sessions: Sessions,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) groups: Groups,
    pub(crate) retained: RetainedStore,
    pub(crate) deadlines: Deadlines,
    pub(crate) replaying: Replaying,
    pub(crate) dispatch: Dispatch,
    pub(crate) waiting: Waiting,
    pub(crate) leaking: Leaking,
    pub(crate) load: Approach,
    /// Working space of one routing.
    pub(crate) targets: Vec<Target>,
    /// Connections made so far.
    pub(crate) epoch: u32,
    /// State of the generator of client identifiers.
    pub(crate) random: u64,
    /// When the retained store is next looked through for expired messages.
    pub(crate) retained_sweep_at: Time,
    /// When the store is next told that the broker runs.
    pub(crate) alive_at: Time,
    ledger: &'static Ledger,
}

impl Engine {
    /// A broker without sessions. `shards` is the number of I/O threads that links belong to;
    /// `seed` makes hashes and generated identifiers unpredictable for peers.
    pub fn new(settings: Settings, shards: usize, seed: u64, ledger: &'static Ledger) -> Self {
        let seeded = Seeded::new(seed);
        let mut engine = Self {
            sessions: Sessions::new(ledger, shards, seeded.clone()),
            subscriptions: Subscriptions::new(ledger, seed),
            groups: Groups::new(ledger, seeded.clone()),
            retained: RetainedStore::new(ledger, settings.all_retain_rules()),
            deadlines: Deadlines::new(ledger),
            replaying: Replaying::new(ledger),
            load: Approach::new(settings.clone(), ledger),
            dispatch: Dispatch::new(settings, shards, ledger, seeded),
            waiting: Waiting::new(ledger),
            leaking: Leaking::default(),
            targets: Vec::new(),
            epoch: 0,
            random: seed,
            retained_sweep_at: Time::NEVER,
            alive_at: Time::default(),
            ledger,
        };
        engine.set_budgets();
        engine
    }

    /// Takes new limits. They hold for what happens from now on.
    pub fn configure(&mut self, now: Time, settings: Settings) {
        self.dispatch.now = now;
        self.tighten(settings);
        self.set_retain_rules();
        self.set_budgets();
    }

    /// Takes new rules; `None` lets everybody do everything. They hold for what happens from now on,
    /// also to those who are connected and to what they have subscribed to.
    pub fn set_access(&mut self, access: Option<Arc<dyn Access>>) {
        self.dispatch.access = access;
    }

    /// Takes a batch of inputs in order, then does what has come due at `now`.
    ///
    /// All that follows from it lies in the outboxes afterwards. Time does not go back: a `now`
    /// before that of an earlier call counts as that.
    pub fn handle(&mut self, now: Time, inputs: &[Input<'_>]) {
        self.dispatch.now = self.dispatch.now.max(now);
        self.weigh();
        let waits = self.begin_turn();
        let mut rest = inputs;
        while let Some((input, behind)) = rest.split_first() {
            if waits && self.put_back(inputs.len() - rest.len(), input) {
                rest = behind;
                continue;
            }
            let used = match input {
                Input::Packet { link, packet } => self.handle_packets(*link, packet, rest),
                Input::Connect { link, listener, packet, admission } => {
                    self.handle_connect(*link, *listener, packet, admission);
                    1
                }
                Input::Expel { link, reason } => {
                    self.expel(*link, *reason);
                    1
                }
                Input::EndSession { client, reason } => {
                    self.end_session_of(client, *reason);
                    1
                }
                Input::Malformed { link, error } => {
                    self.handle_malformed(*link, *error);
                    1
                }
                Input::Lost { link, loss } => {
                    self.handle_lost(*link, *loss);
                    1
                }
                Input::Flushed { link, bytes } => {
                    self.handle_flushed(*link, *bytes);
                    1
                }
                Input::Publish { topic, payload, retain } => {
                    self.publish_own(topic, payload, *retain);
                    1
                }
                Input::Stored { upto } => {
                    self.handle_stored(*upto);
                    1
                }
                Input::StoreFailing => {
                    self.dispatch.journal.failing = true;
                    1
                }
                Input::Loaded(loaded) => {
                    self.handle_loaded(loaded);
                    1
                }
                Input::Answered { client } => {
                    self.handle_answered(client);
                    1
                }
                Input::ExpelUsers { users } => {
                    self.expel_users(users);
                    1
                }
                Input::LoadLine(line) => {
                    self.handle_load_line(*line);
                    1
                }
                Input::Respond { client, topic, payload } => {
                    self.respond(client, topic, payload);
                    1
                }
            };
            rest = rest.get(used..).unwrap_or(behind);
            self.settle_budgets();
            self.weigh();
        }
        self.handle_deadlines();
        self.resume_slowed();
        self.retry_waiting();
        self.continue_replays();
        self.say_alive();
        self.settle_budgets();
        self.tend_budgets();
        self.dispatch.journal.settle();
        for outbox in &mut self.dispatch.outboxes {
            outbox.settle();
        }
    }

    /// Swaps what `shard` has to do with `outbox`, which should be empty.
    pub fn take_outbox(&mut self, shard: usize, outbox: &mut Outbox) {
        if let Some(own) = self.dispatch.outboxes.get_mut(shard) {
            core::mem::swap(own, outbox);
        }
    }

    /// Whether `shard` has something to do.
    pub fn has_output(&self, shard: usize) -> bool {
        self.dispatch.outboxes.get(shard).is_some_and(|outbox| !outbox.is_empty())
    }

    /// Swaps the records that are to be stored with `records`, which should be empty. Lists are to
    /// be stored in the order in which they were taken, each as one atomic batch.
    pub fn take_records(&mut self, records: &mut Records) {
        self.dispatch.journal.swap(records);
    }

    /// Takes what is to be read from the store. It must see every record taken so far.
    pub fn take_loads(&mut self) -> Vec<Load> {
        self.dispatch.journal.take_loads()
    }

    /// Whether there are records or loads to take.
    pub fn has_work_for_store(&self) -> bool {
        self.dispatch.journal.has_records() || !self.dispatch.journal.loads.is_empty()
    }

    /// When [`Engine::handle`] has to be called next, if no input comes before.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.replaying.is_runnable() {
            return Some(self.dispatch.now);
        }
        let first = self
            .deadlines
            .first()
            .unwrap_or(Time::NEVER)
            .min(self.tend_retained_at())
            .min(self.waiting.retry_at)
            .min(self.load.resume_at)
            .min(self.dispatch.budgets.tend_at);
        let stores = self.dispatch.journal.is_on() && self.dispatch.stored_sessions > 0;
        let first = if stores { first.min(self.alive_at) } else { first };
        (first != Time::NEVER).then_some(first)
    }

    /// Ends every connection: 5.0 clients hear that the server is going down. Wills without delay
    /// are published; those with a delay wait for the next start, if they are stored.
    pub fn shut_down(&mut self, now: Time) {
        self.dispatch.now = self.dispatch.now.max(now);
        let slots: Vec<u32> =
            self.sessions.iter().filter(|(_, s)| s.is_connected()).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.disconnect(slot, ReasonCode::SERVER_SHUTTING_DOWN);
        }
    }

    /// Every connected client: its link, and who rules take it for.
    pub fn connected(&self) -> impl Iterator<Item = (Link, Who<'_>)> {
        self.sessions.iter().filter_map(|(_, session)| Some((session.link?, session.who())))
    }

    /// Counts and gauges.
    pub fn counters(&self) -> Counters {
        let mut counters = self.dispatch.counters.clone();
        counters.clients_total = self.sessions.len() as u64;
        counters.retained = self.retained.len() as u64;
        counters.retained_bytes = self.retained.bytes();
        counters.stored_payload_bytes = self.retained.payload_bytes();
        counters.messages_stored = self
            .sessions
            .iter()
            .filter_map(|(_, session)| session.flow.as_ref())
            .map(|flow| (flow.queue_len() + flow.inflight_len()) as u64)
            .sum();
        counters
    }

    /// Gauges, without a walk.
    pub fn presence(&self) -> Presence {
        let counters = &self.dispatch.counters;
        Presence {
            sessions: self.sessions.len() as u64,
            connected: counters.clients_connected,
            subscriptions: counters.subscriptions + counters.shared_subscriptions,
            retained: self.retained.len() as u64,
            retained_payload_bytes: self.retained.payload_bytes(),
        }
    }

    /// Walks everything that the engine holds and counts it anew, without looking at charges.
    ///
    /// Equal to the byte to what this engine's values have charged to its ledger; the shell's own
    /// accounts are not in it.
    pub fn recount(&self) -> Snapshot {
        self.recount_with(&[])
    }

    /// The same, with messages that were taken out and are not sent yet ([`Body::block`](crate::Body::block)).
    pub fn recount_with(&self, outside: &[Block]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.add(Account::Subscriptions, self.subscriptions.recount());
        snapshot.add(Account::Retained, self.retained.recount());
        snapshot.add(
            Account::Sessions,
            self.deadlines.heap_bytes()
                + self.replaying.heap_bytes()
                + self.waiting.heap_bytes()
                + self.load.heap_bytes()
                + self.dispatch.budgets.recount(),
        );
        for outbox in &self.dispatch.outboxes {
            snapshot.add(Account::Connections, outbox.heap_bytes());
        }
        self.groups.recount(&mut snapshot);
        self.sessions.recount(&mut snapshot);
        snapshot.add(Account::Store, self.dispatch.journal.heap_bytes());
        if let Some(following) = &self.dispatch.following {
            snapshot.add(Account::Tools, following.recount());
        }
        snapshot.add(Account::Queues, self.blocks(outside).iter().map(|block| block.bytes).sum());
        snapshot
    }

    /// The blocks of all messages that sessions hold, that are on their way out, and that are outside of the engine.
    pub(crate) fn blocks(&self, outside: &[Block]) -> Vec<Block> {
        let held = self.sessions.iter().filter_map(|(_, session)| session.flow.as_ref());
        let held = held.flat_map(|flow| flow.messages());
        let in_output = self.dispatch.outboxes.iter().flat_map(Outbox::messages);
        let mut blocks = outside.to_vec();
        blocks.extend(held.chain(in_output).map(Message::block));
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }

    /// The ledger that everything is charged to.
    pub fn ledger(&self) -> &'static Ledger {
        self.ledger
    }

    /// Takes the packet at the front of `inputs`, and as many behind it as go the same way.
    /// Answers how many that were.
    fn handle_packets(&mut self, link: Link, packet: &Packet<'_>, inputs: &[Input<'_>]) -> usize {
        // A link that was closed meanwhile: what it still sent does not count (MQTT-3.14.4-2).
        let Some(slot) = self.sessions.linked(link) else { return 1 };
        let now = self.dispatch.now;
        let Some(session) = self.sessions.get_mut(slot) else { return 1 };
        session.seen_at = now;
        self.leaking.heard_of(slot, now);
        if !matches!(packet, Packet::Publish(_)) {
            self.dispatch.trace_received(session, packet);
        }
        let used = match packet {
            Packet::Publish(publish) => self.handle_publishes(link, slot, publish, inputs),
            Packet::Puback(_) | Packet::Pubrec(_) | Packet::Pubcomp(_) => {
                self.handle_acknowledgements(link, slot, inputs)
            }
            Packet::Pubrel(pubrel) => {
                self.handle_pubrel(slot, pubrel);
                1
            }
            Packet::Subscribe(subscribe) => {
                self.handle_subscribe(slot, subscribe);
                1
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.handle_unsubscribe(slot, unsubscribe);
                1
            }
            Packet::Pingreq => {
                if let Some(session) = self.sessions.get_mut(slot) {
                    self.dispatch.packet(session, &Packet::Pingresp); // MQTT-3.12.4-1
                }
                1
            }
            Packet::Disconnect(disconnect) => {
                self.handle_disconnect(slot, disconnect);
                1
            }
            Packet::Auth(auth) => {
                self.handle_auth(slot, auth);
                1
            }
            // MQTT-3.1.0-2: a second CONNECT; and packets that only a server sends.
            Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp => {
                self.refuse(slot, ReasonCode::PROTOCOL_ERROR);
                1
            }
        };
        self.dispatch.counters.packets_received += used as u64;
        used
    }

    /// Ends a connection because of what the client did (MQTT-4.13.1-1).
    pub(crate) fn refuse(&mut self, slot: u32, reason: ReasonCode) {
        self.disconnect(slot, reason);
    }

    /// Ends the connection of a link, if it has a session.
    fn expel(&mut self, link: Link, reason: ReasonCode) {
        if let Some(slot) = self.sessions.linked(link) {
            self.disconnect(slot, reason);
        }
    }

    /// A closed or failed connection.
    fn handle_lost(&mut self, link: Link, loss: Loss) {
        let Some(slot) = self.sessions.linked(link) else {
            let client = Default::default();
            self.dispatch
                .event(Some(link), Event::Disconnected { client, cause: Cause::Network(loss) });
            return;
        };
        if let Some(session) = self.sessions.get(slot) {
            let client = session.client_identifier.clone();
            self.dispatch
                .event(Some(link), Event::Disconnected { client, cause: Cause::Network(loss) });
        }
        self.connection_ended(slot);
    }

    /// The network took bytes that were waiting for it.
    fn handle_flushed(&mut self, link: Link, bytes: u32) {
        let Some(slot) = self.sessions.linked(link) else { return };
        let now = self.dispatch.now;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let resume_below = self.dispatch.output_max(session) / 2;
        let before = session.unflushed;
        session.unflushed = before.saturating_sub(bytes);
        session.progress_at = now;
        session.flags.stalled = false;
        let reopened = session.unflushed < resume_below;
        let waits = session.flow.as_ref().is_some_and(|flow| !flow.nothing_waits());
        if reopened && !session.flags.greeting && (waits || session.has_replays()) {
            self.pump(slot);
            self.wake_replay(slot);
        }
    }

    /// Everything up to a position is on disk: what waited for it leaves.
    fn handle_stored(&mut self, upto: u64) {
        self.dispatch.journal.stored(upto);
        let mut bytes = Vec::new();
        while let Some(part) = self.dispatch.journal.release(&mut bytes) {
            let slot = part.slot;
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.epoch != part.epoch || !session.is_connected() {
                continue; // It was meant for a connection that is gone.
            }
            match self.dispatch.release(session, &part, &bytes) {
                Released::Sent => {}
                Released::Replay => self.wake_replay(slot),
                Released::Pump => {
                    self.pump(slot);
                    self.wake_replay(slot);
                    self.reschedule(slot);
                }
            }
        }
        if core::mem::take(&mut self.dispatch.journal.paused) {
            self.resume_paused();
        }
    }

    /// The disk takes what it is given again: who was not read from because of it is.
    fn resume_paused(&mut self) {
        let paused = self.sessions.iter().filter(|(_, session)| session.flags.paused);
        let slots: Vec<u32> = paused.map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(session) = self.sessions.get_mut(slot) {
                self.dispatch.resume_if_relieved(session);
            }
        }
    }

    /// The broker's own publications: `$SYS`.
    fn publish_own(&mut self, topic: &str, payload: &[u8], retain: bool) {
        let parts = Parts {
            topic,
            properties: &[],
            payload,
            qos: plimsoll_mqtt::QoS::AtMostOnce,
            retain,
            expires_at: None,
        };
        self.publish_parts(parts, None);
    }

    /// Sets the session's deadline by what it is waiting for.
    pub(crate) fn reschedule(&mut self, slot: u32) {
        let at = match self.sessions.get(slot) {
            Some(session) => session.deadline(&self.dispatch.settings),
            None => Time::NEVER,
        };
        self.deadlines.set(slot, at);
    }
}
