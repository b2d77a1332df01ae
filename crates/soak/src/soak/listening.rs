//! Which process accepts connections at an address: the one whose memory is to be judged.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

/// State of a socket that listens, in `/proc/net/tcp` (`TCP_LISTEN` of Linux, `include/net/tcp_states.h`).
const LISTENS: &str = "0A";

/// Most children of children that are looked at.
const DEPTH_MAX: u32 = 16;

/// What is known of who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// This process: the one that was asked about, or one that it has started.
    Own(u32),
    /// Another one.
    Other(u32),
    /// It cannot be seen: it is on another machine, in another network namespace, or somebody else's.
    Unseen,
}

/// Looks for who listens at `address`: `pid`, one of those that it has started, or another.
pub(super) fn listener(pid: u32, address: SocketAddr) -> Listener {
    if UdpSocket::bind((address.ip(), 0)).is_err() {
        return Listener::Unseen; // Not an address of this machine.
    }
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    if namespace("self").is_none() || namespace("self") != namespace(&pid.to_string()) {
        return Listener::Unseen;
    }
    let sockets = sockets(address.port());
    if sockets.is_empty() {
        return Listener::Unseen;
    }
    let family = family(pid);
    if let Some(own) = family.iter().copied().find(|pid| owns(*pid, &sockets)) {
        return Listener::Own(own);
    }
    let other = processes().into_iter().find(|pid| owns(*pid, &sockets));
    other.map_or(Listener::Unseen, Listener::Other)
}

/// The name of a process, for people.
pub(super) fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({})", name.trim())
}

/// Inodes of the sockets that listen on a port.
fn sockets(port: u16) -> HashSet<String> {
    let mut found = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| inode(line, port)));
    }
    found
}

/// The inode of a line of `/proc/net/tcp`, if that socket listens on `port`.
fn inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let here = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTENS;
    here.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
}

/// Whether a process has one of the sockets open.
fn owns(pid: u32, sockets: &HashSet<String>) -> bool {
    let Ok(files) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
}

fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process, and those that it and its children have started.
fn family(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        processes().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut family = vec![pid];
    for _ in 0..DEPTH_MAX {
        let children: Vec<u32> = parents
            .iter()
            .filter(|(child, parent)| family.contains(parent) && !family.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if children.is_empty() {
            break;
        }
        family.extend(children);
    }
    family
}

/// The fourth field of `/proc/PID/stat`, after the name in parentheses.
fn parent(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::process::Command;

    #[test]
    fn whoever_listens_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let own = std::process::id();
        assert_eq!(listener(own, address), Listener::Own(own));
        // Its parent is asked: it is a child of that.
        let above = parent(own).expect("a parent");
        assert_eq!(listener(above, address), Listener::Own(own));
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        assert_eq!(listener(child.id(), address), Listener::Other(own));
        child.kill().expect("killed");
        child.wait().expect("ended");
        drop(socket);
        assert_eq!(listener(own, address), Listener::Unseen);
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   0 0 31337 1 0000";
        assert_eq!(inode(line, 1883), Some("socket:[31337]".into()));
        assert_eq!(inode(line, 1884), None);
        assert_eq!(inode(&line.replace(" 0A ", " 01 "), 1883), None);
        assert_eq!(inode("  sl  local_address rem_address   st", 1883), None);
    }
}
