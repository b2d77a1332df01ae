//! One network connection: a socket, and buffers only while something is under way.

use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::time::Instant;

use plimsoll_engine::{Block, Body, Piece};
use plimsoll_ledger::{Account, Charge, Ledger, Measure, Snapshot};
use plimsoll_mqtt::Version;

use super::events::Whence;
use super::shared::Answer;
use super::transport::{Layers, Outcome, Scratch, Socket};

/// Slices given to one system call at most.
const SLICES_MAX: usize = 64;

/// A connection. Idle, it owns nothing beside its socket and the state of its layers.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    /// What lies between the socket and MQTT; nothing for plain connections.
    layers: Option<Box<Layers>>,
    /// Where it comes from; `None` for a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Known once CONNECT has been read.
    pub(crate) version: Option<Version>,
    pub(crate) listener: u16,
    pub(crate) state: State,
    /// The address that it counts for, where that has a limit.
    pub(crate) counted: Option<SocketAddr>,
    /// Since when a packet is not whole.
    pub(crate) partial_since: Option<Instant>,
    /// Told apart from others that had the same slot.
    pub(crate) serial: u32,
    /// The beginning of a packet whose rest has not come.
    pub(crate) partial: Option<Box<Partial>>,
    /// Output that the network has not taken.
    pub(crate) pending: Option<Box<Pending>>,
    /// Who its certificate says that it is, until the gate has seen it.
    pub(crate) identity: Option<Box<str>>,
    /// What the gate has answered, until the engine hears of the client.
    pub(crate) admission: Option<Box<Answer>>,
}

/// Yes-or-no facts of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// It stands in the list of those that have something to read.
    pub(crate) listed: bool,
    /// The engine asked not to read from it.
    pub(crate) paused: bool,
    /// Its CONNECT lies in `partial` until the gate has answered, or a later packet that the engine
    /// has put back until rules have.
    pub(crate) waiting: bool,
    /// What was put back is to be given again, by itself.
    pub(crate) retry: bool,
    /// It has not taken its layers' answers: it is read from when it has.
    pub(crate) held: bool,
    /// Nothing more is read: it closes when its output is out.
    pub(crate) closing: bool,
    /// The engine has been told that it is gone.
    pub(crate) lost: bool,
    /// It stands in the list of those with new output.
    pub(crate) touched: bool,
    /// The peer has closed its side. That is said once, possibly together with data, so it is read
    /// from until the end is reached.
    pub(crate) ending: bool,
}

/// Bytes of an incomplete packet.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) bytes: Vec<u8>,
    charge: Charge,
}

impl Partial {
    pub(crate) fn new(ledger: &'static Ledger, bytes: &[u8]) -> Self {
        let mut partial =
            Self { bytes: Vec::from(bytes), charge: ledger.charge(Account::Connections, 0) };
        partial.settle();
        partial
    }

    /// Brings the charge up to what is held.
    pub(crate) fn settle(&mut self) {
        self.charge.set(self.held_bytes());
    }

    fn held_bytes(&self) -> usize {
        self.bytes.heap_bytes() + size_of::<Self>()
    }
}

/// Output in order: bytes, and payloads that are shared with other connections.
#[derive(Debug)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    /// Payloads, each with the offset in `bytes` that it stands before.
    bodies: Vec<(usize, Body)>,
    /// How much of the whole has been sent.
    sent: usize,
    /// Length of the whole.
    len: usize,
    charge: Charge,
}

impl Pending {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            bytes: Vec::new(),
            bodies: Vec::new(),
            sent: 0,
            len: 0,
            charge: ledger.charge(Account::Connections, 0),
        }
    }

    /// Empties it for the next connection; a large buffer is given back.
    pub(crate) fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.bodies.clear();
        if self.bytes.capacity() > keep_bytes {
            self.bytes = Vec::new();
        }
        if self.bodies.capacity() > SLICES_MAX {
            self.bodies = Vec::new();
        }
        (self.sent, self.len) = (0, 0);
        self.settle();
    }

    pub(crate) fn settle(&mut self) {
        self.charge.set(self.held_bytes());
    }

    /// Messages that it shares with others.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        self.bodies.iter().map(|(_, body)| body.block())
    }

    /// What it holds, itself included.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.heap_bytes() + self.bodies.heap_bytes() + size_of::<Self>()
    }

    /// Adds a piece of output.
    pub(crate) fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => {
                self.bytes.extend_from_slice(bytes);
                self.len += bytes.len();
            }
            Piece::Body(body) => {
                self.len += body.bytes().len();
                self.bodies.push((self.bytes.len(), body));
            }
            Piece::Close | Piece::PauseReading | Piece::ResumeReading | Piece::Retry => {}
        }
    }

    fn is_done(&self) -> bool {
        self.sent == self.len
    }

    /// Moves up to `most` bytes behind what is in a buffer. Answers how many that were.
    fn take(&mut self, into: &mut Vec<u8>, most: usize) -> usize {
        let before = into.len();
        for slice in self.slices() {
            let room = most - (into.len() - before);
            into.extend_from_slice(slice.get(..room.min(slice.len())).unwrap_or_default());
        }
        let count = into.len() - before;
        self.sent += count;
        count
    }

    /// The slices that are still to be sent, in order.
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::new();
        let mut skip = self.sent;
        let mut from = 0;
        let ends = self.bodies.iter().map(|(at, body)| (*at, Some(body)));
        for (at, body) in ends.chain([(self.bytes.len(), None)]) {
            let parts = [self.bytes.get(from..at), body.map(Body::bytes)];
            for part in parts.into_iter().flatten().filter(|part| !part.is_empty()) {
                if skip >= part.len() {
                    skip -= part.len();
                    continue;
                }
                slices.push(IoSlice::new(part.get(skip..).unwrap_or_default()));
                skip = 0;
                if slices.len() == SLICES_MAX {
                    return slices;
                }
            }
            from = at;
        }
        slices
    }
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything is out.
    All,
    /// The network takes no more for now.
    Some,
}

impl Connection {
    /// Where it comes from, and to which listener, for the log.
    pub(crate) fn whence(&self) -> Whence {
        Whence { peer: self.peer, listener: Some(self.listener) }
    }

    /// Counts what it holds.
    pub(crate) fn recount(&self, counted: &mut Snapshot) {
        let partial = self.partial.as_ref().map_or(0, |partial| partial.held_bytes());
        let pending = self.pending.as_ref().map_or(0, |pending| pending.held_bytes());
        counted.add(Account::Connections, partial + pending);
        if let Some(layers) = &self.layers {
            layers.recount(counted);
        }
    }

    pub(crate) fn new(
        socket: Socket,
        layers: Option<Box<Layers>>,
        peer: Option<SocketAddr>,
        listener: u16,
        serial: u32,
    ) -> Self {
        Self {
            socket,
            layers,
            identity: None,
            peer,
            version: None,
            listener,
            counted: None,
            partial_since: None,
            state: State::default(),
            serial,
            partial: None,
            pending: None,
            admission: None,
        }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// What lies between the socket and MQTT.
    pub(crate) fn layers(&self) -> Option<&Layers> {
        self.layers.as_deref()
    }

    /// What lies between the socket and MQTT.
    pub(crate) fn layers_mut(&mut self) -> Option<&mut Layers> {
        self.layers.as_deref_mut()
    }

    /// Whether something waits for the network.
    pub(crate) fn has_output(&self) -> bool {
        self.pending.is_some() || self.layers.as_ref().is_some_and(|layers| layers.has_outgoing())
    }

    /// Reads once.
    pub(crate) fn read(&mut self, into: &mut [u8], scratch: &mut Scratch) -> io::Result<Outcome> {
        if let Some(layers) = &mut self.layers {
            return layers.read(&mut self.socket, into, scratch);
        }
        let read = self.socket.read_some(into)?;
        let count = read.unwrap_or(0);
        let more = count == into.len();
        Ok(Outcome { count, came: count > 0, more, ended: read == Some(0), answers: false })
    }

    /// Writes what is pending, as far as the network takes it. Answers how many bytes of MQTT that were.
    pub(crate) fn write(&mut self, scratch: &mut Scratch) -> io::Result<(Written, usize)> {
        if let Some(layers) = &mut self.layers {
            let mut count = 0;
            let pending = &mut self.pending;
            let all = layers.write(&mut self.socket, scratch, |plain, most| {
                if let Some(pending) = pending.as_mut() {
                    count += pending.take(plain, most);
                }
            })?;
            return Ok((if all { Written::All } else { Written::Some }, count));
        }
        let Some(pending) = self.pending.as_mut() else { return Ok((Written::All, 0)) };
        let before = pending.sent;
        while !pending.is_done() {
            let result = if pending.bodies.is_empty() {
                self.socket.write(pending.bytes.get(pending.sent..).unwrap_or_default())
            } else {
                self.socket.write_vectored(&pending.slices())
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => pending.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Written::Some, pending.sent - before));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Written::All, pending.sent - before))
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shut_down(&mut self) {
        if let Some(layers) = &mut self.layers {
            layers.say_goodbye(&mut self.socket);
        }
        self.socket.shut_down();
    }
}
