//! The layers of one connection, from the socket up.

use std::io;

use plimsoll_ledger::{Account, Charge, Ledger, Measure, usable_size};

use super::tls::{Handshake, Tls};
use super::{Socket, Transport};

/// Bytes that are encrypted and written at a time.
const WRITE_BYTES: usize = 32 * 1024;

/// The most that is kept of something whose rest has not come. A record of TLS has 16 KiB, a handshake's
/// message may have several, and nobody's certificates need this much. It has to leave room in an I/O
/// thread's arena for a read.
const KEPT_BYTES_MAX: usize = 32 * 1024;

/// Room of an I/O thread for bytes that are not MQTT's yet or any more; all its connections share it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    incoming: Vec<u8>,
    plain: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Scratch {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.incoming.heap_bytes() + self.plain.heap_bytes() + self.outgoing.heap_bytes()
    }
}

/// What a read brought.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Bytes of MQTT.
    pub(crate) count: usize,
    /// There may be more at once.
    pub(crate) more: bool,
    /// Nothing more comes.
    pub(crate) ended: bool,
    /// There is something to send, though nobody has asked for it: a handshake's part, an alert.
    pub(crate) answers: bool,
}

/// The layers, and what is between them and the socket.
#[derive(Debug)]
pub(crate) struct Layers {
    tls: Option<Tls>,
    /// The beginning of something whose rest has not come.
    incoming: Vec<u8>,
    /// What the network has not taken.
    outgoing: Vec<u8>,
    charge: Charge,
}

impl Layers {
    /// Fresh layers for a connection; `None` if there is nothing between socket and MQTT.
    pub(crate) fn new(
        transport: &Transport,
        ledger: &'static Ledger,
    ) -> Result<Option<Box<Self>>, String> {
        if transport.is_plain() {
            return Ok(None);
        }
        let tls = transport.tls.as_ref();
        let tls = tls.map(|tls| Tls::new(tls, ledger)).transpose()?;
        let charge = ledger.charge(Account::Connections, 0);
        let mut layers = Self { tls, incoming: Vec::new(), outgoing: Vec::new(), charge };
        layers.settle();
        Ok(Some(Box::new(layers)))
    }

    fn settle(&mut self) {
        let buffers = self.incoming.heap_bytes() + self.outgoing.heap_bytes();
        self.charge.set(usable_size(size_of::<Self>(), align_of::<Self>()) + buffers);
    }

    /// Bytes that have to find room beside what is read.
    pub(crate) fn kept(&self) -> usize {
        self.incoming.len()
    }

    /// Whether something waits for the network.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a handshake is still going on.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_established())
    }

    /// What became of a handshake, once.
    pub(crate) fn take_handshake(&mut self) -> Option<Handshake> {
        self.tls.as_mut().and_then(Tls::take_handshake)
    }

    /// The TLS session.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The TLS session.
    pub(crate) fn tls_mut(&mut self) -> Option<&mut Tls> {
        self.tls.as_mut()
    }

    /// Reads once from the socket. What comes out of it above all layers lies at the front of `room`,
    /// which has to be larger than what is [kept](Self::kept).
    pub(crate) fn read(
        &mut self,
        socket: &mut Socket,
        room: &mut [u8],
        scratch: &mut Scratch,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let kept = self.incoming.len();
        let total = room.len();
        if scratch.incoming.len() < total {
            scratch.incoming.resize(total, 0);
        }
        let Some(raw) = scratch.incoming.get_mut(..total) else { return Ok(outcome) };
        let Some((front, free)) = raw.split_at_mut_checked(kept) else { return Ok(outcome) };
        front.copy_from_slice(&self.incoming);
        let read = match socket.read_some(free)? {
            Some(0) => {
                outcome.ended = true;
                0
            }
            Some(count) => {
                outcome.more = count == free.len();
                count
            }
            None => 0,
        };
        if read == 0 {
            return Ok(outcome);
        }
        let Some(raw) = raw.get_mut(..kept + read) else { return Ok(outcome) };
        let before = self.outgoing.len();
        let mut used = 0;
        if let Some(tls) = &mut self.tls {
            let opened = tls.open(raw, room, &mut self.outgoing)?;
            used = opened.used;
            outcome.count = opened.count;
            outcome.ended |= opened.closed;
        }
        let rest = raw.get(used..).unwrap_or_default();
        if self.tls.is_some() && rest.len() > KEPT_BYTES_MAX {
            let error = format!("a message of the handshake has more than {KEPT_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.incoming = Vec::from(rest);
        outcome.answers = self.outgoing.len() > before;
        self.settle();
        Ok(outcome)
    }

    /// Sends what waits, then what `next` puts into a buffer, until it puts nothing or the network
    /// takes no more. Answers whether all is out.
    pub(crate) fn write(
        &mut self,
        socket: &mut Socket,
        scratch: &mut Scratch,
        mut next: impl FnMut(&mut Vec<u8>, usize),
    ) -> io::Result<bool> {
        if !self.flush(socket)? {
            return Ok(false);
        }
        loop {
            scratch.plain.clear();
            next(&mut scratch.plain, WRITE_BYTES);
            if scratch.plain.is_empty() {
                return Ok(true);
            }
            scratch.outgoing.clear();
            match &mut self.tls {
                Some(tls) => tls.seal(&scratch.plain, &mut scratch.outgoing)?,
                None => scratch.outgoing.extend_from_slice(&scratch.plain),
            }
            let sent = socket.write_some(&scratch.outgoing)?;
            if let Some(rest) = scratch.outgoing.get(sent..).filter(|rest| !rest.is_empty()) {
                self.outgoing = Vec::from(rest);
                self.settle();
                return Ok(false);
            }
        }
    }

    fn flush(&mut self, socket: &mut Socket) -> io::Result<bool> {
        if self.outgoing.is_empty() {
            return Ok(true);
        }
        let sent = socket.write_some(&self.outgoing)?;
        if sent == self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..sent);
        }
        self.settle();
        Ok(self.outgoing.is_empty())
    }

    /// Says that this side is done, as each layer does, if the network takes it.
    pub(crate) fn say_goodbye(&mut self, socket: &mut Socket) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.outgoing);
        }
        // Whoever does not take it has gone.
        let _ = self.flush(socket);
    }
}
