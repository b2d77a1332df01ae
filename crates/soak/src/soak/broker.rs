//! The broker under test: started here in a process group of its own, or found running.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

/// How long a broker may take until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Most of a version's text.
const VERSION_BYTES: u64 = 300;

/// A broker's process.
#[derive(Debug)]
pub(crate) struct Broker {
    pid: u32,
    child: Option<Child>,
}

impl Broker {
    /// Starts a command (by `sh`, which it replaces) and waits until it accepts connections at `address`.
    /// What it writes goes to standard error. `cgroup` is a directory of a memory cgroup to put it into.
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
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start `{command}`: {error}"))?;
        let mut broker = Self { pid: child.id(), child: Some(child) };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() {
                return Ok(broker);
            }
            if let Some(how) = broker.ended() {
                return Err(format!(
                    "`{command}` has ended before it accepted connections ({how})"
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "`{command}` does not accept connections at {address} after 60 s"
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A process that runs already.
    pub(crate) fn attach(pid: u32) -> Result<Self, String> {
        let broker = Self { pid, child: None };
        match broker.is_there() {
            true => Ok(broker),
            false => Err(format!("there is no process {pid}")),
        }
    }

    /// Its process identifier.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => child.try_wait().ok().flatten().map(|status| status.to_string()),
            None => (!self.is_there()).then(|| "the process is gone".to_owned()),
        }
    }

    fn is_there(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // EPERM says that it is there and somebody else's.
        pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
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
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Broker {
    /// Ends what was started here, with all that it has started itself.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal(Signal::KILL);
        let _ = child.wait();
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
        let error = Broker::start("false", free_address(), None).expect_err("it ends");
        assert!(error.contains("`false` has ended") && error.contains("exit status: 1"), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("an address");
        let error = Broker::start("sleep 9", taken, None).expect_err("taken");
        assert!(error.contains("already"), "{error}");
    }

    #[test]
    fn a_process_that_is_not_there_is_not_attached_to() {
        assert!(Broker::attach(std::process::id()).is_ok());
        assert!(Broker::attach(0x3FFF_FFFF).is_err());
        let mut child = Command::new("true").spawn().expect("true");
        child.wait().expect("ended");
        assert!(Broker::attach(child.id()).is_err());
    }
}
