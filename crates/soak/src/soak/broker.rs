//! The broker under test: started here in a process group of its own, or found running.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::listening::{self, Listener, listener};
use crate::interrupts;
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a broker may take until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one that is there already may refuse connections.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of what a broker writes is kept, bytes.
const SAID_BYTES: usize = 4096;

/// Most of a version's text.
const VERSION_BYTES: u64 = 300;

/// A broker's process.
#[derive(Debug)]
pub(crate) struct Broker {
    /// The process that is judged: the one that was started, or one of those that it has started.
    pid: u32,
    child: Option<Child>,
    said: Said,
    /// Whether it was seen that this process accepts the connections.
    seen: bool,
}

/// The end of what a broker has written. It is always read: a broker must not wait for a reader of its log.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Reads a pipe to its end, on a thread of its own.
    fn listen(mut pipe: io::PipeReader) -> Self {
        let said = Self::default();
        let kept = Arc::clone(&said.0);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                let Ok(mut kept) = kept.lock() else { return };
                kept.extend_from_slice(piece.get(..count).unwrap_or_default());
                let surplus = kept.len().saturating_sub(SAID_BYTES);
                kept.drain(..surplus);
            }
        });
        said
    }

    /// The last lines, to be put behind an error.
    fn last_words(&self) -> String {
        // What was written just before the end is on its way yet.
        std::thread::sleep(Duration::from_millis(100));
        let kept = self.0.lock().map(|kept| kept.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&kept);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        if lines.is_empty() {
            return "; it said nothing".into();
        }
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        format!("; it said last:\n  {}", lines.join("\n  "))
    }
}

impl Broker {
    /// Starts a command (by `sh`, which it replaces) and waits until it accepts connections at `address`.
    /// What it writes is read, and shown if it does not start. `cgroup` is a directory of a memory cgroup to put it into.
    pub(crate) fn start(
        command: &str,
        address: SocketAddr,
        cgroup: Option<&Path>,
    ) -> Result<Self, String> {
        if TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() {
            return Err(format!(
                "something listens on {address} already: end it, or use --pid to judge it instead of --broker-cmd"
            ));
        }
        let script = match cgroup {
            Some(directory) => {
                format!("echo $$ > '{}/cgroup.procs' && exec {command}", directory.display())
            }
            None => format!("exec {command}"),
        };
        let (reader, writer) =
            io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(
                writer.try_clone().map_err(|error| format!("cannot duplicate a pipe: {error}"))?,
            )
            .stderr(writer)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start `{command}`: {error}"))?;
        interrupts::started(i32::try_from(child.id()).unwrap_or(0));
        let mut broker =
            Self { pid: child.id(), child: Some(child), said: Said::listen(reader), seen: false };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() {
                broker.find_listener(address)?;
                return Ok(broker);
            }
            if let Some(how) = broker.ended() {
                return Err(format!(
                    "`{command}` has ended before it accepted connections ({how}){}",
                    broker.said.last_words()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "`{command}` does not accept connections at {address} after 60 s{}",
                    broker.said.last_words()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A process that runs already, and is to be who listens at `address`.
    pub(crate) fn attach(pid: u32, address: SocketAddr) -> Result<Self, String> {
        let mut broker = Self { pid, child: None, said: Said::default(), seen: false };
        if !broker.is_there() {
            return Err(format!("there is no process {pid}"));
        }
        let deadline = Instant::now() + ATTACH_TIMEOUT;
        while let Err(error) = TcpStream::connect_timeout(&address, ATTACH_TIMEOUT) {
            if Instant::now() > deadline {
                return Err(format!("process {pid} is there, but at {address}: {error}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        broker.find_listener(address)?;
        Ok(broker)
    }

    /// The memory of whoever accepts the connections is judged, and not that of a shell that has started it.
    fn find_listener(&mut self, address: SocketAddr) -> Result<(), String> {
        match listener(self.pid, address) {
            Listener::Own(pid) => {
                if pid != self.pid {
                    eprintln!(
                        "{} listens on {address}: its memory is judged",
                        listening::name(pid)
                    );
                }
                (self.pid, self.seen) = (pid, true);
                Ok(())
            }
            Listener::Other(other) => Err(format!(
                "{} does not listen on {address}, and {} does: name that one with --pid (of a container, the broker in it: docker inspect -f '{{{{.State.Pid}}}}' NAME)",
                listening::name(self.pid),
                listening::name(other)
            )),
            Listener::Unseen => {
                eprintln!(
                    "Who listens on {address} cannot be seen from here; {} is taken for the broker",
                    listening::name(self.pid)
                );
                Ok(())
            }
        }
    }

    /// Its process identifier.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it was seen that this process accepts the connections.
    pub(crate) fn is_seen(&self) -> bool {
        self.seen
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => {
                let ended = child.try_wait().ok().flatten().map(|status| status.to_string());
                // A shell may outlive the broker that it has started.
                ended.or_else(|| (!self.is_there()).then(|| "the process is gone".to_owned()))
            }
            None => (!self.is_there()).then(|| "the process is gone".to_owned()),
        }
    }

    /// Whether it runs. One that has ended and that nobody has waited for yet does not.
    fn is_there(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let state = stat.as_deref().ok().and_then(|stat| stat.rsplit_once(") "));
        !state.is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    /// What it has written last, to be put behind an error; nothing of a process that was not started here.
    pub(crate) fn last_words(&self) -> String {
        if self.child.is_some() { self.said.last_words() } else { String::new() }
    }

    /// Its program.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// The first line of what its program says to `--version`, if it knows that flag.
    pub(crate) fn version(&self) -> Option<String> {
        let mut child = Command::new(self.program()?)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let deadline = Instant::now() + Duration::from_secs(2);
        let status = loop {
            match child.try_wait().ok()? {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                None => {
                    // It did not know the flag, and runs.
                    let _ = child.kill();
                    let _ = child.wait();
                    return None;
                }
            }
        };
        let mut text = String::new();
        child.stdout.take()?.take(VERSION_BYTES).read_to_string(&mut text).ok()?;
        let line = text.lines().next().unwrap_or_default().trim();
        (status.success() && !line.is_empty()).then(|| line.to_owned())
    }

    fn signal(&self, signal: Signal) {
        let leader = self.child.as_ref().map_or(self.pid, Child::id);
        if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Broker {
    /// Ends what was started here, with all that it has started itself.
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        // A shell ends before the broker that it has started.
        while (self.is_there()
            || self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal(Signal::KILL);
        let _ = self.child.as_mut().map(Child::wait);
        interrupts::started(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address")
    }

    #[test]
    fn a_command_that_ends_at_once_is_an_error_that_says_so() {
        let error = Broker::start("sh -c 'echo no config >&2; exit 1'", free_address(), None);
        let error = error.expect_err("it ends");
        assert!(
            error.contains("exit status: 1") && error.ends_with("said last:\n  no config"),
            "{error}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("an address");
        let error = Broker::start("sleep 9", taken, None).expect_err("taken");
        assert!(error.contains("already"), "{error}");
    }

    #[test]
    fn a_process_that_is_not_there_is_not_attached_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("an address");
        assert!(Broker::attach(std::process::id(), taken).is_ok());
        assert!(Broker::attach(0x3FFF_FFFF, taken).is_err());
        let mut child = Command::new("true").spawn().expect("true");
        child.wait().expect("ended");
        assert!(Broker::attach(child.id(), taken).is_err());
    }
}
