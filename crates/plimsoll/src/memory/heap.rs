//! The allocator's heap profile: which call stacks hold how much.
//!
//! jemalloc keeps the stack of one request in every [`period`](HeapProfile::period) bytes for as long as its
//! block lives. From these few the whole is estimated, as its own tool `jeprof` does (`heap_v2`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use tikv_jemalloc_ctl::raw;

use super::symbols::{self, Names};

/// Addresses of calls, innermost first.
pub(crate) type Stack = Box<[u64]>;

/// Who held the heap at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeapProfile {
    /// Mean number of bytes between two requests that are looked at.
    pub(crate) period: u64,
    /// Blocks and bytes by call stack, as estimated.
    pub(crate) stacks: HashMap<Stack, Held>,
    /// Where programs and libraries lie.
    pub(crate) mappings: Vec<Mapping>,
}

/// What one stack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

/// A line of `/proc/self/maps`, of code (`proc_pid_maps(5)`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) path: String,
}

/// The most bytes of a dump: it is read into memory.
const DUMP_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file without a name that dumps are written to, and its path for jemalloc, which wants one that stays.
static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();
static PATH: OnceLock<Box<[u8]>> = OnceLock::new();

impl HeapProfile {
    /// Asks the allocator.
    pub(crate) fn take() -> Result<Self, String> {
        let text = dump().map_err(|error| format!("no heap profile: {error}"))?;
        Self::parse(&text).ok_or_else(|| "no heap profile: jemalloc wrote an unknown form".into())
    }

    /// Names of all addresses.
    pub(crate) fn names(&self) -> Names {
        let stacks = self.stacks.keys();
        let mut addresses: Vec<u64> = stacks.flat_map(|stack| stack.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        symbols::name(&addresses, &self.mappings)
    }

    /// Reads what jemalloc writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let period = lines.next()?.strip_prefix("heap_v2/")?.parse().ok()?;
        let mut profile = Self { period, ..Self::default() };
        let mut stack: Option<Stack> = None;
        for line in &mut lines {
            if line == "MAPPED_LIBRARIES:" {
                break;
            }
            if let Some(addresses) = line.strip_prefix('@') {
                stack = Some(addresses.split_whitespace().filter_map(address).collect());
            } else if let Some(counts) = line.trim_start().strip_prefix("t*:")
                && let Some(stack) = stack.take()
            {
                let held = profile.estimate(counts)?;
                let entry = profile.stacks.entry(stack).or_default();
                entry.blocks += held.blocks;
                entry.bytes += held.bytes;
            }
        }
        profile.mappings = lines.filter_map(Mapping::parse).collect();
        Some(profile)
    }

    /// `blocks: bytes [all blocks: all bytes]` of those looked at. A request of `n` bytes is looked at with
    /// probability 1 − e^(−n / period).
    fn estimate(&self, counts: &str) -> Option<Held> {
        let (blocks, rest) = counts.split_once(':')?;
        let blocks: f64 = blocks.trim().parse().ok()?;
        let bytes: f64 = rest.split_whitespace().next()?.parse().ok()?;
        if blocks <= 0.0 || bytes <= 0.0 {
            return Some(Held::default());
        }
        let seen = 1.0 - (-bytes / blocks / self.period as f64).exp();
        #[expect(clippy::cast_sign_loss, reason = "both are above zero")]
        let whole = |looked_at: f64| (looked_at / seen).round() as u64;
        Some(Held { blocks: whole(blocks), bytes: whole(bytes) })
    }
}

fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let _permissions = fields.next()?;
        let offset = address(fields.next()?)?;
        let path = fields.nth(2)?.to_owned();
        let named = path.starts_with('/');
        Some(Self { start: address(start)?, end: address(end)?, offset, path }).filter(|_| named)
    }
}

/// What jemalloc dumps.
fn dump() -> io::Result<String> {
    let file = FILE.get_or_init(|| {
        let file = memfd_create("plimsoll-heap-profile", MemfdFlags::CLOEXEC).ok()?;
        Some(Mutex::new(File::from(file)))
    });
    let Some(file) = file else {
        return Err(io::Error::other("the system has no memory for a file"));
    };
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let path: &'static [u8] =
        PATH.get_or_init(|| format!("/proc/self/fd/{}\0", file.as_raw_fd()).into_bytes().into());
    let mut place = [0; 2];
    raw::name_to_mib(b"prof.dump\0", &mut place)
        .and_then(|()| raw::write_str_mib(&place, path))
        .map_err(|error| io::Error::other(format!("jemalloc: {error}")))?;
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    let read = (&mut *file).take(DUMP_BYTES_MAX).read_to_string(&mut text);
    file.set_len(0)?;
    read?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn what_jemalloc_writes_is_read() {
        let text = "heap_v2/1000\n  t*: 9: 9 [0: 0]\n  t0: 9: 9 [0: 0]\n@ 0x10 0x20\n  t*: 1: 2000 [0: 0]\n  \
                    t0: 1: 2000 [0: 0]\n@ 0x30\n  t*: 3: 30 [0: 0]\n\nMAPPED_LIBRARIES:\n\
                    1000-2000 r-xp 00000400 08:01 7 /usr/bin/plimsoll\n3000-4000 rw-p 0 00:00 0 [heap]\n";
        let profile = HeapProfile::parse(text).expect("of jemalloc's form");
        assert_eq!(profile.period, 1000);
        let of = |stack: &[u64]| profile.stacks.get(stack).copied().unwrap_or_default();
        assert!((of(&[0x10, 0x20]).bytes as f64 - 2000.0 / (1.0 - (-2.0f64).exp())).abs() < 1.0);
        assert!((of(&[0x30]).bytes as f64 - 30.0 / (1.0 - (-0.01f64).exp())).abs() < 1.0);
        assert_eq!(profile.mappings.len(), 1, "code from files only");
        assert_eq!(HeapProfile::parse("heap_v3/1\n"), None);
        assert!(HeapProfile::parse("heap_v2/1\n@ zz\nt*: x").is_none());
    }

    #[test]
    fn blocks_that_live_are_in_the_profile() {
        let before = HeapProfile::take().expect("profiling is compiled in");
        let blocks: Vec<Vec<u8>> =
            (0..2000).map(|_| black_box(Vec::with_capacity(16 * 1024))).collect();
        let after = HeapProfile::take().expect("profiling is compiled in");
        let grown = |profile: &HeapProfile| {
            profile.stacks.values().map(|held| held.bytes as f64).sum::<f64>()
        };
        let grown = grown(&after) - grown(&before);
        assert!((20e6..50e6).contains(&grown), "32 MB estimated as {grown}");
        assert!(after.mappings.iter().any(|mapping| mapping.path.contains("plimsoll")));
        drop(blocks);
    }
}
