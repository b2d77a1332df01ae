//! Many client connections on one thread: dialled, greeted, read, written.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Poll, Token};
use plimsoll_client::Connection;
use plimsoll_mqtt::{Connect, Packet, ReasonCode, encode};

use super::Endpoint;
use super::timer::Timer;

/// Working space for reading, shared by all connections, in bytes.
const ARENA_BYTES: usize = 64 * 1024;

/// Events taken in one turn.
const EVENTS: usize = 1024;

/// The timer's token; no link has this number.
const TIMER: Token = Token(usize::MAX);

/// Who is told what happens on links. What it appends to `out` is sent on the link that it was told of,
/// in one write for all packets that came with one read.
pub(crate) trait Handler {
    /// The broker has accepted the CONNECT.
    fn ready(&mut self, link: usize, session_present: bool, out: &mut Vec<u8>);
    /// A packet has come.
    fn packet(&mut self, link: usize, packet: &Packet<'_>, out: &mut Vec<u8>);
    /// The link is gone, for the reason given; its number is free again.
    fn lost(&mut self, link: usize, why: &str);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Dialling,
    Greeting,
    Ready,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    stage: Stage,
    touched: bool,
}

/// Client connections to one broker.
pub(crate) struct Swarm {
    endpoint: Endpoint,
    poll: Poll,
    timer: Timer,
    events: Events,
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    touched: Vec<usize>,
    arena: Vec<u8>,
    out: Vec<u8>,
}

impl Swarm {
    /// A swarm without links.
    pub(crate) fn new(endpoint: Endpoint) -> io::Result<Self> {
        let poll = Poll::new()?;
        Ok(Self {
            endpoint,
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            events: Events::with_capacity(EVENTS),
            links: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            arena: vec![0; ARENA_BYTES],
            out: Vec::new(),
        })
    }

    /// Where the links lead to.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Begins to connect a client. Answers the link's number, which is in use until the link is lost or closed.
    pub(crate) fn dial(&mut self, greeting: Connect<'_>) -> io::Result<usize> {
        let number = self.free.last().copied().unwrap_or(self.links.len());
        let version = greeting.version;
        let (address, registry, token) =
            (self.endpoint.address, self.poll.registry(), Token(number));
        let source = self.endpoint.source(number);
        let tls = self.endpoint.tls(greeting.client_identifier).map_err(io::Error::other)?;
        let connection = match tls {
            None => Connection::open(address, source, registry, token),
            Some((config, server)) => {
                Connection::open_tls(address, source, registry, token, server, config)
            }
        };
        let connection = connection.map_err(|error| no_port(error, address))?;
        let mut connection = connection.in_version(version);
        connection.queue(&Packet::Connect(Box::new(greeting)));
        let link = Some(Link { connection, stage: Stage::Dialling, touched: false });
        match self.links.get_mut(number) {
            Some(slot) => {
                *slot = link;
                self.free.pop();
            }
            None => self.links.push(link),
        }
        Ok(number)
    }

    /// Appends to what a link has to send; [`Swarm::turn`] sends it.
    pub(crate) fn write(&mut self, number: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(link) = self.links.get_mut(number).and_then(Option::as_mut) {
            link.connection.queue_with(write);
            if !link.touched {
                link.touched = true;
                self.touched.push(number);
            }
        }
    }

    /// Queues a packet on a link; [`Swarm::turn`] sends it.
    pub(crate) fn send(&mut self, number: usize, packet: &Packet<'_>) {
        let version = self.endpoint.version;
        self.write(number, |out| encode::packet(packet, version, out));
    }

    /// Queues a PINGREQ on each link; handlers do not see the answers.
    pub(crate) fn ping(&mut self) {
        for number in 0..self.links.len() {
            self.send(number, &Packet::Pingreq);
        }
    }

    /// Cuts a link. Its handler is not told.
    pub(crate) fn close(&mut self, number: usize) {
        if self.links.get_mut(number).and_then(Option::take).is_some() {
            self.free.push(number);
        }
    }

    /// Cuts all links.
    pub(crate) fn close_all(&mut self) {
        for number in 0..self.links.len() {
            self.close(number);
        }
    }

    /// Sends what is queued, waits at most `timeout` for the network, and hands out what it brings.
    pub(crate) fn turn(&mut self, timeout: Duration, handler: &mut impl Handler) -> io::Result<()> {
        self.flush(handler);
        // What is left of the last millisecond, which the poll would round up.
        if !timeout.subsec_nanos().is_multiple_of(1_000_000) {
            self.timer.set(timeout)?;
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let number = event.token().0;
            let closing = event.is_read_closed() || event.is_error();
            if let Err(error) = self.serve(number, closing, handler) {
                self.lose(number, &error.to_string(), handler);
            }
        }
        self.events = events;
        self.flush(handler);
        Ok(())
    }

    /// Sends what is queued.
    fn flush(&mut self, handler: &mut impl Handler) {
        let mut touched = std::mem::take(&mut self.touched);
        for number in touched.drain(..) {
            let Some(link) = self.links.get_mut(number).and_then(Option::as_mut) else { continue };
            link.touched = false;
            if link.stage == Stage::Dialling {
                continue;
            }
            if let Err(error) = link.connection.flush() {
                self.lose(number, &error.to_string(), handler);
            }
        }
        self.touched = touched;
    }

    /// One link has something to read or room to write.
    fn serve(
        &mut self,
        number: usize,
        closing: bool,
        handler: &mut impl Handler,
    ) -> io::Result<()> {
        let Some(link) = self.links.get_mut(number).and_then(Option::as_mut) else { return Ok(()) };
        if link.stage == Stage::Dialling {
            if !link.connection.is_open()? {
                return Ok(());
            }
            link.stage = Stage::Greeting;
        }
        let Link { connection, stage, .. } = link;
        self.out.clear();
        let mut refused = None;
        let out = &mut self.out;
        let each = |packet: &Packet<'_>| match packet {
            Packet::Connack(connack) if connack.reason == ReasonCode::SUCCESS => {
                *stage = Stage::Ready;
                handler.ready(number, connack.session_present, out);
            }
            Packet::Connack(connack) => refused = Some(connack.reason),
            Packet::Pingresp => {}
            other => handler.packet(number, other, out),
        };
        let received = if closing {
            connection.receive(&mut self.arena, each)
        } else {
            connection.receive_short(&mut self.arena, each)
        };
        if let Some(reason) = refused {
            return Err(io::Error::other(format!("the broker refused the connection: {reason}")));
        }
        received.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other("the broker closed the connection"),
            _ => error,
        })?;
        if !self.out.is_empty() {
            connection.queue_with(|unsent| unsent.extend_from_slice(&self.out));
        }
        connection.flush()
    }

    fn lose(&mut self, number: usize, why: &str, handler: &mut impl Handler) {
        if self.links.get_mut(number).and_then(Option::take).is_some() {
            handler.lost(number, why);
            self.free.push(number);
        }
    }
}

/// Says what can be done where the system has no port left (`EADDRNOTAVAIL` of connect(2)).
fn no_port(error: io::Error, address: SocketAddr) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => io::Error::other(format!(
            "no port is left for connections to {address} ({error}): widen net.ipv4.ip_local_port_range, or connect from several addresses of this machine (--source)"
        )),
        _ => error,
    }
}
