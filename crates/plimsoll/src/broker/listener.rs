//! Listening sockets: TCP and unix, bound by us or handed over by systemd.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::transport::Socket;
use crate::process::{self, ProcessConfig};

/// Connections waiting to be accepted. A storm waits here, in its order.
const BACKLOG: i32 = 16 * 1024;

/// Rights of a unix socket: the user's and the group's, as Mosquitto has them.
const UNIX_MODE: u32 = 0o770;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where that was said, for messages.
    pub(crate) place: String,
    /// Address or host name; `None` is every address.
    pub(crate) host: Option<String>,
    /// Port; 0 lets the system choose.
    pub(crate) port: u16,
    /// `bind_interface`
    pub(crate) interface: Option<String>,
    /// Whether the protocol's delay of small packets is off.
    pub(crate) nodelay: bool,
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// A bound socket and the listener that it belongs to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: Listening,
    pub(crate) listener: u16,
    /// Where that was said, for messages.
    said: String,
    pub(crate) nodelay: bool,
    /// Somebody else made it, and listens already.
    handed_over: bool,
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    /// `None` for a unix socket.
    pub(crate) peer: Option<SocketAddr>,
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

impl Bound {
    /// What the log says of it.
    pub(crate) fn announcement(&self) -> String {
        let how = if self.handed_over { "Taking over" } else { "Opening" };
        match &self.socket {
            Listening::Tcp(_, address) => {
                let kind = if address.is_ipv6() { "ipv6" } else { "ipv4" };
                format!("{how} {kind} listen socket on port {}.", address.port())
            }
            Listening::Unix(_, path) => {
                format!("{how} unix listen socket on path {}.", path.display())
            }
        }
    }

    /// Its address, for people.
    pub(crate) fn place(&self) -> String {
        match &self.socket {
            Listening::Tcp(_, address) => format!("port {}", address.port()),
            Listening::Unix(_, path) => format!("path {}", path.display()),
        }
    }

    /// Its address in full.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            Listening::Tcp(_, address) => address.to_string(),
            Listening::Unix(_, path) => path.display().to_string(),
        }
    }

    /// Says what went wrong with it.
    pub(crate) fn explain(&self, error: &io::Error) -> String {
        match &self.socket {
            Listening::Tcp(_, address) => explain(&self.said, *address, error),
            Listening::Unix(_, path) => {
                format!("{}: cannot listen on {}: {error}", self.said, path.display())
            }
        }
    }

    /// A socket that systemd has made.
    pub(crate) fn handed_over(
        socket: Listening,
        listener: u16,
        said: String,
        nodelay: bool,
    ) -> Self {
        Self { socket, listener, said, nodelay, handed_over: true }
    }
}

impl Drop for Bound {
    /// A path that was made is removed, so that nobody finds a socket where nobody listens.
    fn drop(&mut self) {
        if let (Listening::Unix(_, path), false) = (&self.socket, self.handed_over) {
            // Somebody may have removed it, or we may not any more.
            let _ = fs::remove_file(path);
        }
    }
}

impl Listening {
    /// The next connection; `None` if nobody waits.
    pub(crate) fn accept(&self, nodelay: bool) -> io::Result<Option<Accepted>> {
        let accepted = match self {
            Self::Tcp(socket, _) => socket.accept().map(|(stream, peer)| {
                // It goes without, only slower.
                let _ = stream.set_nodelay(nodelay);
                Accepted { socket: Socket::Tcp(stream), peer: Some(peer) }
            }),
            Self::Unix(socket, _) => socket
                .accept()
                .map(|(stream, _)| Accepted { socket: Socket::Unix(stream), peer: None }),
        };
        match accepted {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Listening {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(socket, _) => socket,
            Self::Unix(socket, _) => socket,
        }
    }
}

impl Source for Listening {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

/// Binds every address of an endpoint.
pub(crate) fn bind(endpoint: &Endpoint, listener: u16) -> Result<Vec<Bound>, String> {
    let addresses = resolve(endpoint)?;
    let mut bound = Vec::new();
    let mut failure = None;
    for address in addresses {
        match bind_one(address, endpoint.interface.as_deref()) {
            Ok(socket) => {
                let address = socket.local_addr().unwrap_or(address);
                let (said, nodelay) = (endpoint.place.clone(), endpoint.nodelay);
                let socket = Listening::Tcp(socket, address);
                bound.push(Bound { socket, listener, said, nodelay, handed_over: false });
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

/// Binds a unix socket. What lies at its path is removed only if it is a socket and nobody answers.
pub(crate) fn bind_unix(
    path: &Path,
    listener: u16,
    place: &str,
    process: &ProcessConfig,
) -> Result<Bound, String> {
    let shown = path.display();
    let explain = |error: io::Error| format!("{place}: cannot listen on {shown}: {error}");
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(format!(
                "{place}: {shown} is there already and is no socket: remove it, or choose another path"
            ));
        }
        if StdUnixStream::connect(path).is_ok() {
            return Err(format!(
                "{place}: somebody listens on {shown} already: is another broker running?"
            ));
        }
        fs::remove_file(path).map_err(explain)?;
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(explain)?;
    let address = SockAddr::unix(path).map_err(explain)?;
    socket.bind(&address).map_err(explain)?;
    socket.set_nonblocking(true).map_err(explain)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE)).map_err(explain)?;
    process::give_to_user(process, path)?;
    let socket = Listening::Unix(UnixListener::from_std(socket.into()), path.to_owned());
    let said = place.to_owned();
    Ok(Bound { socket, listener, said, nodelay: false, handed_over: false })
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

fn bind_one(address: SocketAddr, interface: Option<&str>) -> io::Result<TcpListener> {
    let family = Domain::for_address(address);
    let socket = socket2::Socket::new(family, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(|error| {
            io::Error::new(error.kind(), format!("bind_interface {interface}: {error}"))
        })?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn explain(place: &str, address: SocketAddr, error: &io::Error) -> String {
    let (host, port) = (address.ip(), address.port());
    let problem = match error.kind() {
        _ if error.raw_os_error().is_none() => error.to_string(),
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
    if bound.handed_over {
        return Ok(());
    }
    let listening = match &bound.socket {
        Listening::Tcp(socket, _) => SockRef::from(socket).listen(BACKLOG),
        Listening::Unix(socket, _) => SockRef::from(socket).listen(BACKLOG),
    };
    listening.map_err(|error| bound.explain(&error))
}
