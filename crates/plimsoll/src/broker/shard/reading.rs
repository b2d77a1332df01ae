//! From sockets to the engine: reading, and decoding in place.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use plimsoll_engine::{Admission, Input, Link, Loss, Step};
use plimsoll_mqtt::{Connect, DecodeError, Decoded, Packet, decode, decode_first};

use super::{
    ARENA_BYTES, Brought, HANDSHAKES_PER_TURN, LARGE_PACKET_BYTES, PARTIALS_EVERY, READ_BYTES_MIN,
    Shard,
};
use crate::broker::connection::{Connection, Partial};
use crate::broker::gate::{Visitor, Waiting};
use crate::broker::limits::Limits;
use crate::broker::shared::Shared;
use crate::broker::transport::{Layers, Outcome};

impl Shard {
    /// Reads every ready connection once, as far as the arena goes.
    pub(super) fn read(&mut self) -> Vec<Brought> {
        let mut brought = Vec::new();
        let mut at = 0;
        let shaking = self.handshakes.len().min(HANDSHAKES_PER_TURN);
        for slot in self.handshakes.drain(..shaking).rev() {
            self.readable.push_front(slot);
        }
        for _ in 0..self.readable.len() {
            if self.arena.len() - at < READ_BYTES_MIN {
                break;
            }
            let Some(slot) = self.readable.pop_front() else { break };
            let Some(connection) = self.slots.get_mut(slot) else { continue };
            connection.state.listed = false;
            let state = connection.state;
            if state.paused || state.waiting || state.closing || state.lost {
                continue;
            }
            if connection.layers().is_some_and(Layers::is_backed_up) {
                connection.state.held = true;
                continue;
            }
            let kept = connection.partial.as_ref().map_or(0, |partial| partial.bytes.len());
            if kept > LARGE_PACKET_BYTES {
                self.read_large(slot, &mut brought);
                continue;
            }
            let below = connection.layers().map_or(0, Layers::kept);
            if self.arena.len() - at < kept + below + READ_BYTES_MIN {
                self.list_readable(slot);
                break;
            }
            let start = at;
            if let Some(partial) = connection.partial.take() {
                self.arena[at..at + kept].copy_from_slice(&partial.bytes);
                at += kept;
            }
            // What was put back goes by itself: with more behind it, it would grow each time.
            let retry = std::mem::take(&mut connection.state.retry);
            let room = &mut self.arena[at..];
            let read = match retry {
                true => Ok(Outcome { more: true, ..Outcome::default() }),
                false => connection.read(room, &mut self.scratch),
            };
            let (count, more, ended) = self.came(slot, read);
            at += count;
            if more {
                self.list_readable(slot);
            }
            if at > start || ended.is_some() {
                brought.push(Brought { slot, start, end: at, ended });
            }
        }
        brought
    }

    /// What came of a read: bytes of MQTT, whether there may be more at once, and whether that was all.
    fn came(&mut self, slot: u32, read: io::Result<Outcome>) -> (usize, bool, Option<Loss>) {
        let outcome = match read {
            Ok(outcome) => outcome,
            Err(error) => {
                self.transport_failed(slot, &error);
                return (0, false, Some(Loss::Failed));
            }
        };
        self.count_received(outcome.count);
        if outcome.answers {
            self.list_touched(slot);
        }
        self.take_handshake(slot);
        let ended = outcome.ended.then_some(Loss::ClosedByPeer);
        // What came need not have brought any MQTT; the end comes behind it all the same.
        let ending = self.slots.get_mut(slot).is_some_and(|connection| connection.state.ending);
        (outcome.count, outcome.more || ending && outcome.came, ended)
    }

    /// Logs why a layer gave up, and sends what it still has to say.
    fn transport_failed(&mut self, slot: u32, error: &io::Error) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let whence = connection.whence();
        if error.kind() == io::ErrorKind::InvalidData {
            self.shared.log.transport_failed(whence, error);
        }
        // It may be over, and what came behind it be the mistake.
        self.take_handshake(slot);
        let Some(connection) = self.slots.get_mut(slot) else { return };
        if connection.layers().is_some() {
            // Nobody waits for it to be taken.
            let _ = connection.write(&mut self.scratch);
        }
    }

    /// A handshake that is over: who the client is, and what is to be said about its certificate.
    fn take_handshake(&mut self, slot: u32) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let listener = usize::from(connection.listener);
        let Some(layers) = connection.layers_mut() else { return };
        if let Some(source) = layers.take_source() {
            self.shared.log.proxied(connection.whence(), source);
            connection.peer = Some(source);
            return self.take_handshake(slot);
        }
        let Some(handshake) = layers.take_handshake() else { return };
        let Some(tls) = layers.tls() else { return };
        // A reload since it began holds for it too: nobody gets in by being slow.
        let limits = self.shared.limits();
        let current = limits.transports.get(listener).and_then(|now| now.tls.as_ref());
        let settings = Arc::clone(current.unwrap_or(tls.settings()));
        let verified =
            Arc::ptr_eq(&settings, tls.settings()) || settings.verifies(tls.certificates());
        if let Some(certificate) = &handshake.certificate {
            connection.identity = settings.username(certificate).map(Box::from);
            self.shared.certificates.hold(certificate.not_after);
            if let Some(days) = self.shared.certificates.days_left(certificate) {
                self.shared.log.expiring(connection.whence(), certificate, days);
            }
        }
        self.shared.log.handshake(connection.whence(), &handshake);
        if !verified {
            let error = "its certificate is no longer accepted since the last reload";
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            self.shared.log.transport_failed(connection.whence(), &error);
            self.lost.push((slot, Loss::Failed));
        }
    }

    /// Reads on a packet that is larger than the arena should hold, into its own buffer. When it
    /// is complete it is given to the engine by itself.
    fn read_large(&mut self, slot: u32, brought: &mut Vec<Brought>) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let Some(mut partial) = connection.partial.take() else { return };
        let retry = std::mem::take(&mut connection.state.retry);
        // Grows with what has come, not with what was announced.
        let before = partial.bytes.len();
        let most = if self.shared.step() >= Step::ShrinkCaches { ARENA_BYTES } else { 1 << 20 };
        let room = if retry { 0 } else { before.clamp(ARENA_BYTES, most) };
        partial.bytes.resize(before + room, 0);
        let room = partial.bytes.get_mut(before..).unwrap_or_default();
        let read = match retry {
            true => Ok(Outcome { more: true, ..Outcome::default() }),
            false => connection.read(room, &mut self.scratch),
        };
        let (count, more, ended) = self.came(slot, read);
        partial.bytes.truncate(before + count);
        if more {
            self.list_readable(slot);
        }
        if ended.is_some() {
            brought.push(Brought { slot, start: 0, end: 0, ended });
        }
        let Some(connection) = self.slots.get_mut(slot) else { return };
        let link = Link::new(self.index, slot);
        let mut inputs = Inputs::default();
        let doorstep = Doorstep { shared: &self.shared, limits: &self.limits, link };
        self.shared.begin_asking(self.index);
        let mut used = decode_all(connection, &doorstep, &partial.bytes, &mut inputs);
        if !inputs.list.is_empty() {
            let turn = self.turn.as_mut();
            let put_back = self.shared.enter(self.index, &inputs.list, &mut self.outbox, turn);
            if let (Some(&first), Some(connection)) = (put_back.first(), self.slots.get_mut(slot)) {
                used = inputs.offset(first);
                connection.state.waiting = true;
                connection.state.closing = false;
            }
        }
        drop(inputs);
        self.take_outbox();
        let Some(connection) = self.slots.get_mut(slot) else { return };
        if used < partial.bytes.len() && !connection.state.closing {
            if used > 0 {
                partial.bytes.drain(..used);
                partial.bytes.shrink_to_fit();
            }
            partial.settle();
            connection.partial = Some(partial);
            wait_for_rest(connection, &mut self.partials_at, used > 0);
        }
    }

    /// Decodes what was read and gives it to the engine, together with what else it has to know.
    pub(super) fn enter_engine(&mut self, brought: &[Brought]) {
        let mut inputs = Inputs::default();
        inputs.list.reserve(self.flushed.len() + brought.len() * 4);
        for (slot, bytes) in self.flushed.drain(..) {
            inputs.list.push(Input::Flushed { link: Link::new(self.index, slot), bytes });
        }
        for (slot, reason) in self.expelled.drain(..) {
            inputs.list.push(Input::Expel { link: Link::new(self.index, slot), reason });
        }
        for (slot, loss) in self.lost.drain(..) {
            let Some(connection) = self.slots.get_mut(slot) else { continue };
            if !connection.state.lost {
                connection.state.lost = true;
                inputs.list.push(Input::Lost { link: Link::new(self.index, slot), loss });
                self.finished.push(slot);
            }
        }
        self.shared.begin_asking(self.index);
        for Brought { slot, start, end, ended } in brought {
            let Some(connection) = self.slots.get_mut(*slot) else { continue };
            if connection.state.lost {
                continue;
            }
            let link = Link::new(self.index, *slot);
            let bytes = self.arena.get(*start..*end).unwrap_or_default();
            let doorstep = Doorstep { shared: &self.shared, limits: &self.limits, link };
            let used = decode_all(connection, &doorstep, bytes, &mut inputs);
            let rest = bytes.get(used..).unwrap_or_default();
            if connection.state.waiting && *ended == Some(Loss::ClosedByPeer) {
                // First the answer to what it said.
                connection.state.ending = true;
                if !rest.is_empty() {
                    let partial = Partial::new(self.shared.ledger, rest);
                    connection.partial = Some(Box::new(partial));
                }
            } else if let Some(loss) = *ended {
                connection.state.lost = true;
                if !connection.state.closing || connection.version.is_some() {
                    inputs.list.push(Input::Lost { link, loss });
                }
                self.finished.push(*slot);
            } else if !rest.is_empty() && !connection.state.closing {
                connection.partial = Some(Box::new(Partial::new(self.shared.ledger, rest)));
                wait_for_rest(connection, &mut self.partials_at, used > 0);
            } else {
                connection.partial_since = None;
            }
        }
        let turn = self.turn.as_mut();
        let put_back = self.shared.enter(self.index, &inputs.list, &mut self.outbox, turn);
        for index in put_back {
            let offset = inputs.offset(index);
            let Some(input) = inputs.list.get(index as usize) else { continue };
            let (Input::Packet { link, .. }
            | Input::Malformed { link, .. }
            | Input::Lost { link, .. }) = input
            else {
                continue;
            };
            let slot = link.slot();
            let Some(connection) = self.slots.get_mut(slot) else { continue };
            if !connection.state.waiting {
                connection.state.waiting = true;
                let whole = brought.iter().find(|brought| brought.slot == slot);
                let bytes = whole.and_then(|whole| self.arena.get(whole.start + offset..whole.end));
                let bytes = bytes.unwrap_or_default();
                connection.partial = Some(Box::new(Partial::new(self.shared.ledger, bytes)));
            }
            // What stands behind it has not happened yet.
            match input {
                Input::Malformed { .. } => connection.state.closing = false,
                Input::Lost { .. } => {
                    connection.state.lost = false;
                    connection.state.ending = true;
                    self.finished.retain(|&finished| finished != slot);
                }
                _ => {}
            }
        }
        drop(inputs);
        self.take_outbox();
    }
}

/// A packet is not whole; `new`: it is another one than before.
fn wait_for_rest(connection: &mut Connection, partials_at: &mut Option<Instant>, new: bool) {
    if new || connection.partial_since.is_none() {
        let now = Instant::now();
        connection.partial_since = Some(now);
        partials_at.get_or_insert(now + PARTIALS_EVERY);
    }
}

/// Inputs, and where each packet begins in the bytes that it was decoded from.
#[derive(Default)]
struct Inputs<'a> {
    list: Vec<Input<'a>>,
    offsets: Vec<usize>,
}

impl<'a> Inputs<'a> {
    fn push(&mut self, input: Input<'a>, offset: usize) {
        self.offsets.resize(self.list.len(), 0);
        self.offsets.push(offset);
        self.list.push(input);
    }

    fn offset(&self, index: u32) -> usize {
        self.offsets.get(index as usize).copied().unwrap_or(0)
    }
}

/// What stands between bytes and the engine.
struct Doorstep<'s> {
    shared: &'s Arc<Shared>,
    limits: &'s Limits,
    link: Link,
}

impl Doorstep<'_> {
    /// Whether the client of a CONNECT is let in; `None` if it has to wait for the answer.
    fn ask(&self, connection: &mut Connection, connect: &Connect<'_>) -> Option<Admission> {
        if let Some(answer) = connection.admission.take()
            && answer.generation == self.shared.gate.generation()
        {
            return Some(answer.admission);
        }
        let identity = connection.identity.take();
        let visitor = Visitor {
            waiting: Waiting {
                shard: self.link.shard() as u8,
                slot: self.link.slot(),
                serial: connection.serial,
            },
            listener: connection.listener,
            peer: connection.peer,
            identity: identity.as_deref(),
            connect,
        };
        let admission = self.shared.gate.ask(self.shared, &visitor);
        connection.state.waiting = admission.is_none();
        admission
    }
}

/// Decodes the packets at the front of `bytes` into inputs. Answers how many bytes they took.
fn decode_all<'a>(
    connection: &mut Connection,
    doorstep: &Doorstep<'_>,
    bytes: &'a [u8],
    inputs: &mut Inputs<'a>,
) -> usize {
    let (limits, link) = (&doorstep.limits.decode, doorstep.link);
    let mut used = 0;
    while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
        if connection.state.closing {
            break;
        }
        let decoded = match connection.version {
            Some(version) => decode(rest, version, limits).map_err(DecodeError::behind_connect),
            None => decode_first(rest, limits),
        };
        match decoded {
            Ok(Decoded::Incomplete { .. }) => break,
            Ok(Decoded::Packet { packet, length }) => {
                let input = match (packet, connection.version) {
                    (Packet::Connect(packet), None) => {
                        let Some(admission) = doorstep.ask(connection, &packet) else { break };
                        connection.version = Some(packet.version);
                        doorstep.shared.handshake_over();
                        let listener = connection.listener;
                        Input::Connect { link, listener, packet, admission }
                    }
                    (packet, _) => Input::Packet { link, packet },
                };
                inputs.push(input, used);
                used += length;
            }
            Err(error) => {
                inputs.push(Input::Malformed { link, error }, used);
                connection.state.closing = true;
                break;
            }
        }
    }
    used
}
