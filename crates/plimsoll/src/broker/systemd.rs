//! systemd: sockets that it hands over, and what it is told.

use std::io;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use mio::net::{TcpListener, UnixListener};
use sd_notify::NotifyState;

use super::listener::{Bound, Listening};
use crate::config::{Config, Listener};

/// Sockets that systemd has made, each for a listener of the configuration at its place.
pub(crate) fn handed_over(config: &Config) -> Result<Vec<Bound>, String> {
    let mut sockets = ListenFd::from_env();
    let mut bound = Vec::new();
    for index in 0..sockets.len() {
        let explain = |error: io::Error| format!("a socket of systemd cannot be used: {error}");
        if let Ok(Some(socket)) = sockets.take_tcp_listener(index) {
            let address = socket.local_addr().map_err(explain)?;
            socket.set_nonblocking(true).map_err(explain)?;
            let at =
                |listener: &Listener| listener.path.is_none() && listener.port == address.port();
            let (number, listener) = place(config, at).ok_or_else(|| {
                format!("systemd has handed over a socket on {address}, and no listener has that port: add `listener {}`", address.port())
            })?;
            let socket = Listening::Tcp(TcpListener::from_std(socket), address);
            let said = listener.place.clone();
            bound.push(Bound::handed_over(socket, number, said, config.set_tcp_nodelay));
            continue;
        }
        let Ok(Some(socket)) = sockets.take_unix_listener(index) else {
            return Err(
                "systemd has handed over a socket that is neither TCP nor a unix stream".into()
            );
        };
        let address = socket.local_addr().map_err(explain)?;
        let path = address.as_pathname().map(std::path::Path::to_path_buf).unwrap_or_default();
        socket.set_nonblocking(true).map_err(explain)?;
        let at = |listener: &Listener| listener.path.as_ref() == Some(&path);
        let (number, listener) = place(config, at).ok_or_else(|| {
            let path = path.display();
            format!("systemd has handed over a socket at {path}, and no listener has that path: add `listener 0 {path}`")
        })?;
        let said = listener.place.clone();
        let socket = Listening::Unix(UnixListener::from_std(socket), path.clone());
        bound.push(Bound::handed_over(socket, number, said, false));
    }
    Ok(bound)
}

fn place(config: &Config, at: impl Fn(&Listener) -> bool) -> Option<(u16, &Listener)> {
    let mut listeners = config.listeners.iter().enumerate();
    listeners.find(|(_, listener)| at(listener)).map(|(number, found)| (number as u16, found))
}

/// The broker serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The broker is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}

/// Tells systemd that the I/O thread turns, if it wants to know.
#[derive(Debug)]
pub(crate) struct Watchdog {
    interval: Duration,
    next: Instant,
}

impl Watchdog {
    /// From the environment that systemd gives.
    pub(crate) fn from_environment() -> Option<Self> {
        let limit = sd_notify::watchdog_enabled()?;
        Some(Self { interval: limit / 3, next: Instant::now() })
    }

    /// Time until it is to be told next.
    pub(crate) fn due_in(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Tells it, if it is time.
    pub(crate) fn turn(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + self.interval;
            tell(&[NotifyState::Watchdog]);
        }
    }
}
