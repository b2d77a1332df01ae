//! One client connection: bytes in and out, packets in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use plimsoll_mqtt::{DecodeLimits, Decoded, Packet, Version, decode, encode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::layer::Layer;

/// A client's connection. It keeps no buffer while it has nothing to send or to complete.
#[derive(Debug)]
pub struct Connection {
    layer: Layer,
    version: Version,
    unsent: Vec<u8>,
    incomplete: Vec<u8>,
}

impl Connection {
    /// Begins to connect, as a client of MQTT 3.1.1, from an address of this machine if one is named.
    pub fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        Self::over(dial(address, source)?, registry, token, None)
    }

    /// The same over TLS. The handshake goes on as the connection is flushed and received from; what is queued
    /// meanwhile leaves after it.
    pub fn open_tls(
        address: SocketAddr,
        source: Option<IpAddr>,
        registry: &Registry,
        token: Token,
        server_name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let tls = ClientConnection::new(config, server_name).map_err(io::Error::other)?;
        Self::over(dial(address, source)?, registry, token, Some(Box::new(tls)))
    }

    fn over(
        mut socket: TcpStream,
        registry: &Registry,
        token: Token,
        tls: Option<Box<ClientConnection>>,
    ) -> io::Result<Self> {
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            layer: Layer::new(socket, tls),
            version: Version::V311,
            unsent: Vec::new(),
            incomplete: Vec::new(),
        })
    }

    /// The same in another version of MQTT. It has to be that of the CONNECT.
    #[must_use]
    pub fn in_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Whether the handshake of TCP has succeeded.
    pub fn is_open(&self) -> io::Result<bool> {
        if let Some(error) = self.layer.socket.take_error()? {
            return Err(error);
        }
        match self.layer.socket.peer_addr() {
            Ok(_) => {
                let _ = self.layer.socket.set_nodelay(true);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds a packet to what is to be sent.
    pub fn queue(&mut self, packet: &Packet<'_>) {
        encode::packet(packet, self.version, &mut self.unsent);
    }

    /// Adds encoded packets to what is to be sent: `write` appends to the buffer.
    pub fn queue_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.unsent);
    }

    /// Bytes that the network has not taken yet; TLS may hold a few more.
    pub fn unsent(&self) -> usize {
        self.unsent.len() + usize::from(self.layer.holds_back())
    }

    /// Sends what the network takes.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while let Some(rest) = self.unsent.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.layer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        self.layer.push()
    }

    /// Reads all that is there and hands out the packets in it. `arena` is working space.
    pub fn receive(&mut self, arena: &mut [u8], each: impl FnMut(&Packet<'_>)) -> io::Result<()> {
        self.read(arena, true, each)
    }

    /// Reads until a read does not fill the arena, and hands out the packets.
    ///
    /// With edge-triggered events that is all there is, and saves a system call (epoll(7)); but where the
    /// event says that the peer has closed, [`Connection::receive`] is needed to see it.
    pub fn receive_short(
        &mut self,
        arena: &mut [u8],
        each: impl FnMut(&Packet<'_>),
    ) -> io::Result<()> {
        self.read(arena, false, each)
    }

    fn read(
        &mut self,
        arena: &mut [u8],
        to_the_end: bool,
        mut each: impl FnMut(&Packet<'_>),
    ) -> io::Result<()> {
        loop {
            let count = match self.layer.read(arena) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let fresh = arena.get(..count).unwrap_or_default();
            if self.incomplete.is_empty() {
                let used = hand_out(fresh, self.version, &mut each)?;
                self.incomplete.extend_from_slice(fresh.get(used..).unwrap_or_default());
            } else {
                self.incomplete.extend_from_slice(fresh);
                let used = hand_out(&self.incomplete, self.version, &mut each)?;
                self.incomplete.drain(..used);
            }
            if self.incomplete.is_empty() {
                self.incomplete = Vec::new();
            }
            if count < arena.len() && !to_the_end && self.layer.short_is_all() {
                return Ok(());
            }
        }
    }
}

/// Decodes the packets at the front of `bytes`. Answers how many bytes they took.
fn hand_out(
    bytes: &[u8],
    version: Version,
    each: &mut impl FnMut(&Packet<'_>),
) -> io::Result<usize> {
    let limits = DecodeLimits::of_servers();
    let mut used = 0;
    while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
        match decode(rest, version, &limits) {
            Ok(Decoded::Packet { packet, length }) => {
                each(&packet);
                used += length;
            }
            Ok(Decoded::Incomplete { .. }) => break,
            Err(error) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()));
            }
        }
    }
    Ok(used)
}

/// Begins a handshake of TCP; from `source`, if the system is not to choose the address.
fn dial(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address) };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(TcpStream::from_std(socket.into()))
}
