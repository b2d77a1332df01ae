//! What `/proc/PID` says of a process (`proc_pid_status(5)` and its neighbours).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

/// A process, told apart from one that has its number later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since the machine was booted.
    pub start_ticks: u64,
}

/// A process's figures. Sizes are in bytes, times in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessReading {
    /// Which process.
    pub identity: Identity,
    /// When it began, on the clock of samples.
    pub start: f64,
    /// Its name (`comm`).
    pub name: String,
    /// Resident set (`VmRSS`).
    pub rss: f64,
    /// Its largest until now (`VmHWM`).
    pub rss_peak: f64,
    /// Anonymous part of it (`RssAnon`).
    pub anon: f64,
    /// File-backed part of it (`RssFile`).
    pub file: f64,
    /// Shared memory in it (`RssShmem`).
    pub shmem: f64,
    /// What has been swapped out (`VmSwap`).
    pub swap: f64,
    /// Its share of resident pages (`smaps_rollup`): read once a minute, with the right to do so only.
    pub pss: Option<f64>,
    /// Threads.
    pub threads: f64,
    /// Open file descriptors; needs the right to look.
    pub fds: Option<f64>,
    /// Processor time, user and system.
    pub cpu_s: f64,
    /// Page faults that needed I/O.
    pub major_faults: f64,
    /// Bytes read from storage; needs the right to look.
    pub read_bytes: Option<f64>,
    /// Bytes written to storage; needs the right to look.
    pub written_bytes: Option<f64>,
}

/// Reads `/proc`, with one buffer for all files.
#[derive(Debug, Default)]
pub(crate) struct Procfs {
    buffer: Vec<u8>,
}

/// Longest file of `/proc/PID` that is read: `status` has 1.5 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What is read of `/proc/PID/stat` beside memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stat {
    pub(crate) start_ticks: u64,
    pub(crate) parent: u32,
    pub(crate) cpu_s: f64,
    pub(crate) major_faults: f64,
    /// It has ended, and its parent has not asked yet.
    pub(crate) is_zombie: bool,
}

impl Procfs {
    /// The text of a file; what is not UTF-8 is replaced.
    pub(crate) fn read(&mut self, path: impl AsRef<Path>) -> io::Result<&str> {
        self.buffer.clear();
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut self.buffer)?;
        // A name may be cut by the kernel in the middle of a letter, and stands first in some files.
        if str::from_utf8(&self.buffer).is_err() {
            self.buffer = String::from_utf8_lossy(&self.buffer).into_owned().into_bytes();
        }
        Ok(str::from_utf8(&self.buffer).unwrap_or_default())
    }

    /// `/proc/PID/stat`.
    pub(crate) fn stat(&mut self, pid: u32) -> io::Result<Stat> {
        let text = self.read(format!("/proc/{pid}/stat"))?;
        parse_stat(text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: `{text}`")))
    }

    /// Which process has this number now; `None` if none has, or it has ended.
    pub(crate) fn identity(&mut self, pid: u32) -> Option<Identity> {
        let stat = self.stat(pid).ok().filter(|stat| !stat.is_zombie)?;
        Some(Identity { pid, start_ticks: stat.start_ticks })
    }

    /// The cheap figures; `start` is left at 0. An error if it is gone or has become another.
    pub(crate) fn process(&mut self, identity: Identity) -> io::Result<ProcessReading> {
        let pid = identity.pid;
        let mut reading = ProcessReading { identity, ..ProcessReading::default() };
        parse_status(self.read(format!("/proc/{pid}/status"))?, &mut reading);
        if let Ok(text) = self.read(format!("/proc/{pid}/io")) {
            let figure = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            };
            reading.read_bytes = figure("read_bytes:");
            reading.written_bytes = figure("write_bytes:");
        }
        // Linux 6.2 and later say the number as the size; before that it is 0.
        reading.fds = fs::metadata(format!("/proc/{pid}/fd"))
            .ok()
            .map(|metadata| metadata.len() as f64)
            .filter(|&count| count > 0.0);
        // Last: it proves that all of the above was of this process.
        let stat = self.stat(pid)?;
        if stat.is_zombie || stat.start_ticks != identity.start_ticks {
            return Err(io::ErrorKind::NotFound.into());
        }
        reading.cpu_s = stat.cpu_s;
        reading.major_faults = stat.major_faults;
        Ok(reading)
    }

    /// What is dear to find out: share of resident pages, and descriptors on older kernels.
    pub(crate) fn dear(&mut self, pid: u32, with_fds: bool) -> (Option<f64>, Option<f64>) {
        let pss = self
            .read(format!("/proc/{pid}/smaps_rollup"))
            .ok()
            .and_then(|text| text.lines().find_map(|line| kib(line.strip_prefix("Pss:")?)));
        let fds = if with_fds { fs::read_dir(format!("/proc/{pid}/fd")).ok() } else { None };
        (pss, fds.map(|entries| entries.count() as f64))
    }
}

/// Clock ticks per second, in which `/proc` counts.
pub(crate) fn ticks_per_second() -> f64 {
    static TICKS: OnceLock<f64> = OnceLock::new();
    *TICKS.get_or_init(|| rustix::param::clock_ticks_per_second() as f64)
}

/// The machine's memory, bytes.
pub(crate) fn host_memory() -> Option<f64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| kib(line.strip_prefix("MemTotal:")?))
}

/// Bytes of `   1234 kB`.
fn kib(text: &str) -> Option<f64> {
    text.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn parse_status(text: &str, reading: &mut ProcessReading) {
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let place = match name {
            "Name" => {
                value.trim().clone_into(&mut reading.name);
                continue;
            }
            "Threads" => {
                reading.threads = value.trim().parse().unwrap_or(0.0);
                continue;
            }
            "VmRSS" => &mut reading.rss,
            "VmHWM" => &mut reading.rss_peak,
            "RssAnon" => &mut reading.anon,
            "RssFile" => &mut reading.file,
            "RssShmem" => &mut reading.shmem,
            "VmSwap" => &mut reading.swap,
            _ => continue,
        };
        *place = kib(value).unwrap_or(0.0);
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name stands in parentheses and may have some itself.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Numbers are those of proc_pid_stat(5), which counts from 1 and has two before these.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        is_zombie: matches!(fields.first(), Some(&("Z" | "X"))),
        parent: number(4)? as u32,
        major_faults: number(12)? as f64,
        cpu_s: (number(14)? + number(15)?) as f64 / ticks_per_second(),
        start_ticks: number(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let rest = "S 7 2 3 4 5 6 8 9 10 11 200 100 14 15 16 17 18 19 9876 21";
        let stat = parse_stat(&format!("123 (a) b (c) {rest}")).unwrap();
        assert_eq!((stat.parent, stat.start_ticks, stat.is_zombie), (7, 9876, false));
        assert!((stat.cpu_s - 300.0 / ticks_per_second()).abs() < 1e-9);
        assert_eq!(parse_stat("123 (a"), None);
        assert_eq!(parse_stat("123 (a) S 7"), None);
    }

    #[test]
    fn this_process_reads_itself() {
        let pid = std::process::id();
        let mut procfs = Procfs::default();
        let identity = procfs.identity(pid).unwrap();
        let reading = procfs.process(identity).unwrap();
        assert!(reading.rss > 100_000.0 && reading.anon > 0.0 && reading.threads >= 1.0);
        assert!(reading.rss <= reading.rss_peak);
        assert!((reading.anon + reading.file + reading.shmem - reading.rss).abs() < 1_000_000.0);
        let other = Identity { start_ticks: identity.start_ticks + 1, ..identity };
        assert!(procfs.process(other).is_err(), "another process with this number");
        let (pss, fds) = procfs.dear(pid, true);
        assert!(pss.unwrap() > 0.0 && fds.unwrap() > 2.0);
    }
}
