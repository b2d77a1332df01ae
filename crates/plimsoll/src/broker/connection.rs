//! One network connection: a socket, and buffers only while something is under way.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use plimsoll_engine::{Body, Piece};
use plimsoll_ledger::{Account, Charge, Ledger, Measure};
use plimsoll_mqtt::Version;

use super::shared::Answer;

/// Slices given to one system call at most.
const SLICES_MAX: usize = 64;

/// A connection. Idle, it owns nothing beside its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Known once CONNECT has been read.
    pub(crate) version: Option<Version>,
    pub(crate) listener: u16,
    pub(crate) state: State,
    /// Told apart from others that had the same slot.
    pub(crate) serial: u32,
    /// The beginning of a packet whose rest has not come.
    pub(crate) partial: Option<Box<Partial>>,
    /// Output that the network has not taken.
    pub(crate) pending: Option<Box<Pending>>,
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
    /// Its CONNECT lies in `partial` until the gate has answered.
    pub(crate) waiting: bool,
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
        self.charge.set(self.bytes.heap_bytes() + size_of::<Self>());
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
        self.charge.set(self.bytes.heap_bytes() + self.bodies.heap_bytes() + size_of::<Self>());
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
            Piece::Close | Piece::PauseReading | Piece::ResumeReading => {}
        }
    }

    fn is_done(&self) -> bool {
        self.sent == self.len
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
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr, listener: u16, serial: u32) -> Self {
        Self {
            stream,
            peer,
            version: None,
            listener,
            state: State::default(),
            serial,
            partial: None,
            pending: None,
            admission: None,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Reads once. `None` if there is nothing to read.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(into) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is pending, as far as the network takes it. Answers how many bytes that were.
    pub(crate) fn write(&mut self) -> io::Result<(Written, usize)> {
        let Some(pending) = self.pending.as_mut() else { return Ok((Written::All, 0)) };
        let before = pending.sent;
        while !pending.is_done() {
            let result = if pending.bodies.is_empty() {
                self.stream.write(pending.bytes.get(pending.sent..).unwrap_or_default())
            } else {
                self.stream.write_vectored(&pending.slices())
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
    pub(crate) fn shut_down(&self) {
        // It may be gone already; then there is nobody to tell.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}
