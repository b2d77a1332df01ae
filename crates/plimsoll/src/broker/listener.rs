//! Listening sockets.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::shard::LISTENING;
use super::shared::{Incoming, Shared};
use super::transport;

/// Connections waiting to be accepted, as Mosquitto has it.
const BACKLOG: i32 = 1024;

/// Connections accepted in one turn, so that the connected ones are not kept waiting.
const ACCEPT_MAX: usize = 64;

/// How long to leave off when the process has no file descriptor left.
const RECOVER: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where that was said, for messages.
    pub(crate) place: String,
    /// Address or host name; `None` is every address.
    pub(crate) host: Option<String>,
    /// Port; 0 lets the system choose.
    pub(crate) port: u16,
    /// Whether the protocol's delay of small packets is off.
    pub(crate) nodelay: bool,
}

/// A bound socket and the listener that it belongs to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) listener: u16,
    place: String,
    nodelay: bool,
}

impl Bound {
    /// What the log says of it.
    pub(crate) fn announcement(&self) -> String {
        let kind = if self.address.is_ipv6() { "ipv6" } else { "ipv4" };
        format!("Opening {kind} listen socket on port {}.", self.address.port())
    }
}

/// A change of what listens, for the thread that accepts.
#[derive(Debug)]
pub(crate) struct Order {
    /// Listeners whose sockets are closed.
    pub(crate) close: Vec<u16>,
    /// Sockets that listen already.
    pub(crate) open: Vec<Bound>,
    /// Hears when it is done.
    pub(crate) done: Option<SyncSender<()>>,
}

/// Binds every address of an endpoint.
pub(crate) fn bind(endpoint: &Endpoint, listener: u16) -> Result<Vec<Bound>, String> {
    let addresses = resolve(endpoint)?;
    let mut bound = Vec::new();
    let mut failure = None;
    for address in addresses {
        match bind_one(address) {
            Ok(socket) => {
                let address = socket.local_addr().unwrap_or(address);
                let (place, nodelay) = (endpoint.place.clone(), endpoint.nodelay);
                bound.push(Bound { socket, address, listener, place, nodelay });
            }
            // A machine without IPv6 still has `localhost` and every address.
            Err(error) if address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {
                failure = Some((address, error));
            }
            Err(error) => return Err(explain(&endpoint.place, address, &error)),
        }
    }
    match (bound.is_empty(), failure) {
        (true, Some((address, error))) => Err(explain(&endpoint.place, address, &error)),
        _ => Ok(bound),
    }
}

fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let port = endpoint.port;
    match &endpoint.host {
        None => Ok(vec![([0u16; 8], port).into(), ([0u8; 4], port).into()]),
        Some(host) => {
            let found = (host.as_str(), port).to_socket_addrs();
            let found = found.map_err(|error| {
                format!("{}: cannot find the address of `{host}`: {error}", endpoint.place)
            })?;
            let mut addresses: Vec<SocketAddr> = found.collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        }
    }
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn explain(place: &str, address: SocketAddr, error: &io::Error) -> String {
    let (host, port) = (address.ip(), address.port());
    let problem = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} on {host} is already in use: is another broker running?")
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission to listen on port {port} of {host}: ports below 1024 are root's")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{host} is not an address of this machine (port {port})")
        }
        _ => format!("cannot listen on port {port} of {host}: {error}"),
    };
    format!("{place}: {problem}")
}

/// From here on the system takes connections; they wait until somebody accepts them.
pub(crate) fn listen(bound: &Bound) -> Result<(), String> {
    let socket = SockRef::from(&bound.socket);
    socket.listen(BACKLOG).map_err(|error| explain(&bound.place, bound.address, &error))
}

/// All listening sockets, with the first shard.
#[derive(Debug)]
pub(crate) struct Acceptor {
    sockets: Vec<Bound>,
    accepted: usize,
    /// Somebody may be waiting.
    ready: bool,
    recover_at: Option<Instant>,
}

impl Acceptor {
    /// Listens. From here on clients can connect.
    pub(crate) fn new(sockets: Vec<Bound>, registry: &Registry) -> Result<Self, String> {
        let mut acceptor = Self { sockets: Vec::new(), accepted: 0, ready: true, recover_at: None };
        for bound in sockets {
            listen(&bound)?;
            acceptor.open(bound, registry)?;
        }
        Ok(acceptor)
    }

    /// Every listening socket has the same token: any of them wakes all.
    fn open(&mut self, mut bound: Bound, registry: &Registry) -> Result<(), String> {
        registry
            .register(&mut bound.socket, LISTENING, Interest::READABLE)
            .map_err(|error| explain(&bound.place, bound.address, &error))?;
        self.sockets.push(bound);
        Ok(())
    }

    /// Opens and closes sockets as a reload says. A connection that was not accepted goes with its
    /// socket. Answers what could not be done.
    pub(crate) fn obey(&mut self, order: Order, registry: &Registry) -> Vec<String> {
        self.sockets.retain(|bound| !order.close.contains(&bound.listener));
        let opened = order.open.into_iter().map(|bound| self.open(bound, registry));
        let errors = opened.filter_map(Result::err).collect();
        self.ready = true;
        if let Some(done) = order.done {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
        errors
    }

    /// Somebody is waiting to be accepted.
    pub(crate) fn wake(&mut self) {
        self.ready = true;
    }

    /// How long accepting is left off, if it is; or no time, if more are waiting.
    pub(crate) fn resume_in(&self) -> Option<Duration> {
        self.recover_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The next connection that the limits allow, with its shard.
    pub(crate) fn accept(&mut self, shared: &Shared) -> Option<(u8, Incoming)> {
        if !self.ready || self.recover_at.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        self.recover_at = None;
        if self.accepted == ACCEPT_MAX {
            // More may be waiting: come back as soon as the others have had their turn.
            self.accepted = 0;
            self.recover_at = Some(Instant::now());
            return None;
        }
        for bound in &self.sockets {
            match bound.socket.accept() {
                Ok((stream, peer)) => {
                    self.accepted += 1;
                    shared.traffic.sockets.fetch_add(1, Ordering::Relaxed);
                    let listener = bound.listener;
                    let Some(shard) = shared.admit(listener) else {
                        shared.log.denied(peer);
                        continue;
                    };
                    let _ = stream.set_nodelay(bound.nodelay);
                    shared.log.connection(peer, bound.address.port());
                    let socket = transport::Socket::Tcp(stream);
                    return Some((shard, Incoming { socket, peer: Some(peer), listener }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_exhaustion(&error) => {
                    shared.log.error(&format!(
                        "Unable to accept new connection: {error}. Try increasing \"ulimit -n\"."
                    ));
                    self.recover_at = Some(Instant::now() + RECOVER);
                    return None;
                }
                // The peer was gone before it was accepted.
                Err(_) => {}
            }
        }
        self.accepted = 0;
        self.ready = false;
        None
    }
}

/// Too many open files in the process or the system.
fn is_exhaustion(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOBUFS,
        rustix::io::Errno::NOMEM,
    ]
    .iter()
    .any(|errno| code == Some(errno.raw_os_error()))
}
