//! The layers of one connection, from the socket up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use plimsoll_ledger::{Account, Charge, Ledger, Measure, Snapshot, usable_size};

use super::proxy::Proxy;
use super::tls::{Handshake, Tls};
use super::websocket::{HEADER_BYTES, WebSocket, binary_header};
use super::{Socket, Transport};

/// Bytes that are encrypted and written at a time.
const WRITE_BYTES: usize = 32 * 1024;

/// The most that is kept of something whose rest has not come. A record of TLS has 16 KiB, a handshake's
/// message may have several, and nobody's certificates need this much. It has to leave room in an I/O
/// thread's arena for a read.
const KEPT_BYTES_MAX: usize = 32 * 1024;

/// Bytes that the network has not taken, beyond which nothing more is read: what is read may ask for
/// more answers.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;

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
    /// The network had something.
    pub(crate) came: bool,
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
    /// The header that is still to come.
    proxy: Option<Proxy>,
    tls: Option<Tls>,
    web: Option<Box<WebSocket>>,
    /// Where a proxy says that the client is, until somebody asks.
    source: Option<SocketAddr>,
    /// The beginning of something whose rest has not come.
    incoming: Vec<u8>,
    /// What the network has not taken.
    outgoing: Vec<u8>,
    charge: Charge,
    web_charge: Charge,
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
        let tls = transport.tls.as_ref().map(|tls| Tls::new(tls, ledger)).transpose()?;
        let web =
            transport.web.as_ref().map(|origins| Box::new(WebSocket::new(Arc::clone(origins))));
        let web_charge = ledger.charge(Account::WebSocket, 0);
        let charge = ledger.charge(Account::Connections, 0);
        let proxy = transport.proxy;
        let mut layers = Self {
            proxy,
            tls,
            web,
            source: None,
            web_charge,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            charge,
        };
        layers.settle();
        Ok(Some(Box::new(layers)))
    }

    fn settle(&mut self) {
        self.charge.set(self.held_bytes());
        self.web_charge.set(self.web_bytes());
    }

    fn held_bytes(&self) -> usize {
        let buffers = self.incoming.heap_bytes() + self.outgoing.heap_bytes();
        usable_size(size_of::<Self>(), align_of::<Self>()) + buffers
    }

    fn web_bytes(&self) -> usize {
        self.web.as_ref().map_or(0, |web| size_of::<WebSocket>() + web.heap_bytes())
    }

    /// Counts what they hold.
    pub(crate) fn recount(&self, counted: &mut Snapshot) {
        counted.add(Account::Connections, self.held_bytes());
        counted.add(Account::WebSocket, self.web_bytes());
        counted.add(Account::Tls, self.tls.as_ref().map_or(0, Tls::held_bytes));
    }

    /// Bytes that have to find room beside what is read.
    pub(crate) fn kept(&self) -> usize {
        self.incoming.len()
    }

    /// Whether something waits for the network.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether so much waits for the network that the peer has to take some before it is read from.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.outgoing.len() > OUTGOING_BYTES_MAX
    }

    /// Whether a handshake is still going on.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.proxy.is_some()
            || self.tls.as_ref().is_some_and(|tls| !tls.is_established())
            || self.web.as_ref().is_some_and(|web| !web.is_open())
    }

    /// What became of a handshake, once.
    pub(crate) fn take_handshake(&mut self) -> Option<Handshake> {
        self.tls.as_mut().and_then(Tls::take_handshake)
    }

    /// Where a proxy says that the client is, once.
    pub(crate) fn take_source(&mut self) -> Option<SocketAddr> {
        self.source.take()
    }

    /// The TLS session.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
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
        outcome.came = true;
        let Some(raw) = raw.get_mut(..kept + read) else { return Ok(outcome) };
        let before = self.outgoing.len();
        let mut used = 0;
        let mut whole = true;
        if let Some(proxy) = self.proxy {
            match proxy.read(raw).map_err(invalid)? {
                Some(header) => {
                    (self.proxy, self.source) = (None, header.source);
                    used = header.length;
                }
                None => whole = false,
            }
        }
        let mut decoded = Ok(());
        if whole {
            let rest = raw.get_mut(used..).unwrap_or_default();
            decoded = self.decode(rest, room, &mut outcome, &mut used);
        }
        let rest = raw.get(used..).unwrap_or_default();
        if self.tls.is_some() && rest.len() > KEPT_BYTES_MAX {
            let error = format!("a message of the handshake has more than {KEPT_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        // Also if something above is wrong: what is said last has to find it.
        self.incoming = Vec::from(rest);
        decoded?;
        outcome.answers = self.outgoing.len() > before;
        self.settle();
        Ok(outcome)
    }

    /// Takes bytes through TLS and WebSocket, and adds how many were taken to `used`.
    fn decode(
        &mut self,
        raw: &mut [u8],
        room: &mut [u8],
        outcome: &mut Outcome,
        used: &mut usize,
    ) -> io::Result<()> {
        let taken = match &mut self.tls {
            Some(tls) => {
                let opened = tls.open(raw, room, &mut self.outgoing)?;
                outcome.count = opened.count;
                outcome.ended |= opened.closed;
                opened.used
            }
            None => {
                let place = room.get_mut(..raw.len()).unwrap_or_default();
                place.copy_from_slice(raw.get(..place.len()).unwrap_or_default());
                outcome.count = raw.len();
                raw.len()
            }
        };
        *used += taken;
        let Some(web) = &mut self.web else { return Ok(()) };
        let mut answers = Vec::new();
        let decoded = web.decode(room.get_mut(..outcome.count).unwrap_or_default(), &mut answers);
        if !answers.is_empty() {
            let kept = raw.get_mut(taken..).unwrap_or_default();
            seal(&mut self.tls, &answers, kept, &mut self.outgoing)?;
        }
        let decoded = decoded.map_err(|error| invalid(error.0))?;
        outcome.count = decoded.count;
        outcome.ended |= decoded.ended;
        Ok(())
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
            // Room for the header of a frame, which stands in front of what it is about.
            let mut header = [0; HEADER_BYTES];
            scratch.plain.clear();
            scratch.plain.extend_from_slice(&header);
            next(&mut scratch.plain, WRITE_BYTES);
            let length = scratch.plain.len() - HEADER_BYTES;
            if length == 0 {
                return Ok(true);
            }
            let start = match self.web.is_some() {
                true => binary_header(&mut header, length),
                false => HEADER_BYTES,
            };
            if let Some(place) = scratch.plain.get_mut(..HEADER_BYTES) {
                place.copy_from_slice(&header);
            }
            let plain = scratch.plain.get(start..).unwrap_or_default();
            scratch.outgoing.clear();
            seal(&mut self.tls, plain, &mut self.incoming, &mut scratch.outgoing)?;
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
        if let Some(web) = &mut self.web {
            let mut answers = Vec::new();
            web.close(&mut answers);
            // Where the handshake is not over there is no frame to send either.
            let _ = seal(&mut self.tls, &answers, &mut self.incoming, &mut self.outgoing);
        }
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.incoming, &mut self.outgoing);
        }
        // Whoever does not take it has gone.
        let _ = self.flush(socket);
    }
}

/// Encrypts, where there is TLS; `kept` is what it has not taken yet.
fn seal(
    tls: &mut Option<Tls>,
    plain: &[u8],
    kept: &mut [u8],
    outgoing: &mut Vec<u8>,
) -> io::Result<()> {
    match tls {
        Some(tls) => tls.seal(plain, kept, outgoing),
        None => {
            outgoing.extend_from_slice(plain);
            Ok(())
        }
    }
}

/// What a peer has sent is not what it should be.
fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
