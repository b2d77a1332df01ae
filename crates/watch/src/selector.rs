//! How a target is named, and which process that is now.

use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cgroup::{Cgroup, find_named, processes};
use crate::procfs::{Identity, Procfs};

/// How a target is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A process by its number; when it ends, the target is gone for good.
    Pid(u32),
    /// The process whose number is in this file.
    PidFile(PathBuf),
    /// The oldest process of this name: `comm`, or the last part of its first argument.
    Process(String),
    /// All that is in this memory cgroup.
    Cgroup(PathBuf),
    /// The main process of a unit of systemd.
    Unit(String),
}

/// What a selector leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The process: the oldest one of a cgroup.
    pub(crate) identity: Identity,
    /// The cgroup that was named.
    pub(crate) cgroup: Option<Cgroup>,
    /// What was found, for people.
    pub(crate) note: String,
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::PidFile(path) => write!(f, "pid file {}", path.display()),
            Self::Process(name) => write!(f, "process called {name}"),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Unit(unit) => write!(f, "unit {unit}"),
        }
    }
}

impl Selector {
    /// What a target is called if it has no name of its own: `mosquitto` of `mosquitto.service`, `pid-17`.
    pub fn name(&self) -> String {
        let stem = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.unwrap_or("target").to_owned()
        };
        match self {
            Self::Pid(pid) => format!("pid-{pid}"),
            Self::PidFile(path) | Self::Cgroup(path) => stem(path),
            Self::Process(name) => name.clone(),
            Self::Unit(unit) => unit.strip_suffix(".service").unwrap_or(unit).to_owned(),
        }
    }

    /// Whether to find it takes milliseconds, so that it should not be tried each second.
    pub(crate) fn is_dear(&self) -> bool {
        matches!(self, Self::Process(_) | Self::Unit(_))
    }

    /// What it leads to now; the error says for people why it leads nowhere.
    pub(crate) fn find(&self, procfs: &mut Procfs) -> Result<Found, String> {
        match self {
            Self::Pid(pid) => found(procfs, *pid, format!("process {pid}"))
                .ok_or_else(|| format!("there is no process {pid}")),
            Self::PidFile(path) => of_pid_file(procfs, path),
            Self::Process(name) => of_name(procfs, name),
            Self::Cgroup(path) => of_cgroup(procfs, path),
            Self::Unit(unit) => of_unit(procfs, unit),
        }
    }
}

fn found(procfs: &mut Procfs, pid: u32, note: String) -> Option<Found> {
    Some(Found { identity: procfs.identity(pid)?, cgroup: None, note })
}

fn of_pid_file(procfs: &mut Procfs, path: &Path) -> Result<Found, String> {
    let shown = path.display();
    let text = procfs.read(path).map_err(|error| format!("{shown}: {error}"))?;
    let pid = text
        .trim()
        .parse()
        .map_err(|_| format!("{shown}: `{}` is not the number of a process", excerpt(text)))?;
    found(procfs, pid, format!("process {pid}, by {shown}"))
        .ok_or_else(|| format!("{shown}: there is no process {pid}"))
}

/// The beginning of what should not be there.
fn excerpt(text: &str) -> String {
    text.trim().chars().take(20).filter(|character| !character.is_control()).collect()
}

fn of_name(procfs: &mut Procfs, name: &str) -> Result<Found, String> {
    let mut matching: Vec<Identity> = numbers("/proc")
        .filter(|&pid| pid != std::process::id() && is_called(procfs, pid, name))
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|pid| procfs.identity(pid))
        .collect();
    matching.sort_by_key(|identity| (identity.start_ticks, identity.pid));
    let Some(&identity) = matching.first() else {
        return Err(format!("no process is called {name}"));
    };
    let note = match matching.len() {
        1 => format!("process {}", identity.pid),
        count => format!("process {}, the oldest of {count} called {name}", identity.pid),
    };
    Ok(Found { identity, cgroup: None, note })
}

/// The numbers among a directory's names.
fn numbers(directory: &str) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_called(procfs: &mut Procfs, pid: u32, name: &str) -> bool {
    // The kernel keeps 15 bytes of a name, and a main thread may have given itself another.
    procfs.read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end_matches('\n') == name)
        || first_argument(procfs, pid).is_some_and(|argument| argument == name)
}

/// The last part of the path that a process was started by.
fn first_argument(procfs: &mut Procfs, pid: u32) -> Option<String> {
    let text = procfs.read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = text.split('\0').next()?;
    Path::new(first).file_name()?.to_str().map(str::to_owned)
}

fn of_cgroup(procfs: &mut Procfs, path: &Path) -> Result<Found, String> {
    let shown = path.display();
    let Some(cgroup) = Cgroup::at(procfs, path) else {
        return Err(format!("there is no memory cgroup {shown}"));
    };
    let pids = cgroup.processes(procfs);
    let identity = oldest(procfs, &pids)
        .ok_or_else(|| format!("no process is in {}", cgroup.directory().display()))?;
    let note = format!("{}, {} processes", cgroup.directory().display(), pids.len());
    Ok(Found { identity, cgroup: Some(cgroup), note })
}

fn oldest(procfs: &mut Procfs, pids: &[u32]) -> Option<Identity> {
    let identities = pids.iter().filter_map(|&pid| procfs.identity(pid));
    identities.min_by_key(|identity| (identity.start_ticks, identity.pid))
}

fn of_unit(procfs: &mut Procfs, unit: &str) -> Result<Found, String> {
    let unit = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
    let asked = main_process(&unit);
    if let Ok(Some(pid)) = asked {
        return found(procfs, pid, format!("process {pid}, the main one of {unit}"))
            .ok_or_else(|| format!("{unit}: its main process {pid} has ended"));
    }
    // Without systemctl, as in a container that sees the host's cgroups, or if it is slow: the unit's cgroup has its name.
    let Some(directory) = find_named(procfs, &unit) else {
        return Err(asked.err().unwrap_or_else(|| {
            format!(
                "{unit} does not run: systemd names no main process, and no cgroup has its name"
            )
        }));
    };
    let pids = processes(procfs, &directory);
    let identity =
        oldest(procfs, &pids).ok_or_else(|| format!("no process is in {}", directory.display()))?;
    let note = format!("process {}, the oldest in {}", identity.pid, directory.display());
    Ok(Found { identity, cgroup: None, note })
}

/// How long `systemctl` may take.
const SYSTEMCTL_MAX: Duration = Duration::from_secs(1);

/// What `systemctl` says is the main process; `None` if it says nothing.
fn main_process(unit: &str) -> Result<Option<u32>, String> {
    // As a flag it would be one of systemctl's own.
    if unit.starts_with('-') {
        return Err(format!("`{unit}` is not the name of a unit"));
    }
    let asked = Command::new("systemctl")
        .args(["show", "--property=MainPID", "--value", "--", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut asked) = asked else { return Ok(None) };
    // A bus that hangs must not hold up the other targets.
    let began = Instant::now();
    while asked.try_wait().is_ok_and(|ended| ended.is_none()) {
        if began.elapsed() > SYSTEMCTL_MAX {
            let _ = asked.kill().and_then(|()| asked.wait());
            return Err(format!("{unit}: systemctl does not answer"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let said = asked.wait_with_output().map_err(|error| format!("systemctl: {error}"))?;
    let pid: Option<u32> =
        str::from_utf8(&said.stdout).ok().and_then(|text| text.trim().parse().ok());
    Ok(pid.filter(|&pid| pid > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_read_anew_and_says_what_is_wrong() {
        let path = std::env::temp_dir().join(format!("watch-pid-{}", std::process::id()));
        let selector = Selector::PidFile(path.clone());
        let mut procfs = Procfs::default();
        let missing = selector.find(&mut procfs).unwrap_err();
        assert!(missing.contains("No such file"), "{missing}");
        fs::write(&path, "plimsoll\n").unwrap();
        let wrong = selector.find(&mut procfs).unwrap_err();
        assert!(wrong.ends_with("`plimsoll` is not the number of a process"), "{wrong}");
        fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert_eq!(selector.find(&mut procfs).unwrap().identity.pid, std::process::id());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_oldest_of_a_name_is_meant() {
        let name = format!("w{}", std::process::id());
        let script = std::env::temp_dir().join(&name);
        fs::copy("/bin/sleep", &script).unwrap();
        let start = || Command::new(&script).arg("60").spawn().unwrap();
        let mut first = start();
        // Later by more than a clock tick.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut second = start();
        let mut procfs = Procfs::default();
        let selector = Selector::Process(name.clone());
        let found = selector.find(&mut procfs).unwrap();
        assert_eq!(found.identity.pid, first.id());
        assert!(found.note.contains(&format!("the oldest of 2 called {name}")), "{}", found.note);
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(selector.find(&mut procfs).unwrap().identity.pid, second.id());
        second.kill().unwrap();
        second.wait().unwrap();
        assert_eq!(selector.find(&mut procfs).unwrap_err(), format!("no process is called {name}"));
        fs::remove_file(&script).unwrap();
    }

    #[test]
    fn units_cannot_be_flags() {
        assert!(Selector::Unit("--help.x".into()).find(&mut Procfs::default()).is_err());
    }
}
