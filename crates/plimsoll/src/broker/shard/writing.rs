//! From the engine to sockets: outputs are spread over connections, and each is written once.

use std::sync::atomic::Ordering;
use std::time::Instant;

use plimsoll_engine::{Event, Loss, Outbox, Piece, Traced};

use super::{FLUSHED_AT_ONCE, LINGER, PENDING_KEEP_BYTES, POOL_MAX, Shard};
use crate::access::dynsec::Command;
use crate::broker::connection::{Pending, Written};
use crate::broker::events::Whence;
use crate::broker::transport::Layers;

impl Shard {
    /// Spreads the outbox over the connections.
    pub(super) fn take_outbox(&mut self) {
        let mut outbox = std::mem::replace(&mut self.outbox, Outbox::new(self.shared.ledger));
        for (link, event) in outbox.take_events() {
            let connection = self.slots.get_mut(link.slot());
            let whence = connection.map_or_else(Whence::default, |connection| connection.whence());
            match event {
                Event::Control { client, username, listener, topic, payload } => {
                    let command = Command { client_identifier: client, username, payload };
                    if !self.shared.control.submit(listener, &topic, command) {
                        self.shared
                            .log
                            .warning("A command to $CONTROL was dropped: too many wait.");
                    }
                }
                Event::Traced(traced) => self.traced(link.slot(), whence, *traced),
                event => self.shared.log.event(whence, &event),
            }
        }
        outbox.drain(|slot, piece| self.take_piece(slot, piece));
        self.outbox = outbox;
    }

    /// Something has happened to a publish that is followed.
    fn traced(&mut self, slot: u32, whence: Whence, traced: Traced) {
        if let Some(mark) = self.shared.traces.note(traced, self.turn, whence.peer)
            && let Some(connection) = self.slots.get_mut(slot)
        {
            self.marks.push((slot, connection.serial, mark));
        }
    }

    /// Tells of what the network has now, and forgets what it will never have.
    fn tell_written(&mut self) {
        let now = Instant::now();
        let (slots, traces) = (&mut self.slots, &self.shared.traces);
        self.marks.retain(|&(slot, serial, mark)| {
            let connection = slots.get_mut(slot).filter(|connection| connection.serial == serial);
            let Some(connection) = connection else { return false };
            let waits = connection.has_output();
            if !waits {
                traces.written(mark, now);
            }
            waits && traces.is_on()
        });
        if self.marks.is_empty() {
            self.marks = Vec::new();
        }
    }

    fn take_piece(&mut self, slot: u32, piece: Piece<'_>) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        if connection.state.lost {
            return;
        }
        match piece {
            Piece::Close => {
                connection.state.closing = true;
                connection.partial = None;
                if !connection.state.touched {
                    connection.state.touched = true;
                    self.touched.push(slot);
                }
            }
            Piece::PauseReading => connection.state.paused = true,
            Piece::ResumeReading => {
                connection.state.paused = false;
                self.list_readable(slot);
            }
            Piece::Retry => {
                connection.state.waiting = false;
                connection.state.retry = true;
                self.list_readable(slot);
            }
            output => {
                let pending = connection.pending.get_or_insert_with(|| {
                    self.pool.pop().unwrap_or_else(|| Box::new(Pending::new(self.shared.ledger)))
                });
                pending.push(output);
                if !connection.state.touched {
                    connection.state.touched = true;
                    self.touched.push(slot);
                }
            }
        }
    }

    /// One write for each connection that has something new to send.
    pub(super) fn write(&mut self) {
        self.settle();
        for slot in std::mem::take(&mut self.touched) {
            let Some(connection) = self.slots.get_mut(slot) else { continue };
            connection.state.touched = false;
            let waited = connection.has_output();
            match connection.write(&mut self.scratch) {
                Ok((written, bytes)) => self.written(slot, written, bytes),
                Err(_) if connection.state.closing => self.finished.push(slot),
                Err(_) if waited => self.lost.push((slot, Loss::Failed)),
                Err(_) => {}
            }
            if !self.marks.is_empty() {
                self.tell_written();
            }
        }
        for slot in std::mem::take(&mut self.finished) {
            if let Some(mut connection) = self.slots.release(slot) {
                connection.shut_down();
                if let Some(tls) = connection.layers().and_then(Layers::tls) {
                    self.shared.certificates.let_go(tls.not_after());
                }
                if connection.version.is_none() {
                    self.shared.handshake_over();
                }
                self.shared.closed(self.index, connection.listener, connection.counted);
            }
        }
    }

    fn written(&mut self, slot: u32, written: Written, bytes: usize) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        self.shared.traffic.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        if bytes > 0 && !connection.state.closing {
            self.flushed.push((slot, bytes as u32));
            self.at_once |= bytes as u32 >= FLUSHED_AT_ONCE;
        }
        match written {
            Written::All => {
                if let Some(mut pending) = connection.pending.take()
                    && self.pool.len() < POOL_MAX
                {
                    pending.clear(PENDING_KEEP_BYTES);
                    self.pool.push(pending);
                }
                if connection.state.closing {
                    self.finished.push(slot);
                }
            }
            Written::Some => {
                if let Some(pending) = connection.pending.as_mut() {
                    pending.settle();
                }
                if connection.state.closing {
                    let serial = connection.serial;
                    self.impatient.edit().push_back((Instant::now() + LINGER, slot, serial));
                }
                self.at_once |= bytes > 0;
            }
        }
        let Some(connection) = self.slots.get_mut(slot) else { return };
        if connection.state.held && !connection.layers().is_some_and(Layers::is_backed_up) {
            connection.state.held = false;
            self.list_readable(slot);
        }
    }

    /// The broker stops: what the engine still has to say is said.
    pub(super) fn say_goodbye(&mut self) {
        let _ = self.shared.enter(self.index, &[], &mut self.outbox, None);
        self.take_outbox();
        self.write();
        for (_, connection) in self.slots.iter_mut() {
            connection.shut_down();
        }
    }
}
