//! System calls that no library wraps: `bpf(2)`, `perf_event_open(2)`, and the memory of a ring buffer.
//!
//! All `unsafe` of the workspace is in this file. Its functions are safe: what they hand to the kernel are buffers
//! that outlive the call, of lengths that are checked or stand beside them.

#![expect(unsafe_code, reason = "no library wraps these calls")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Commands of `bpf(2)`.
mod command {
    pub(super) const MAP_CREATE: u32 = 0;
    pub(super) const MAP_LOOKUP: u32 = 1;
    pub(super) const MAP_UPDATE: u32 = 2;
    pub(super) const PROGRAM_LOAD: u32 = 5;
    pub(super) const MAP_LOOKUP_BATCH: u32 = 24;
    pub(super) const LINK_CREATE: u32 = 28;
}

/// The argument of `bpf(2)` or `perf_event_open(2)`: fields at offsets that the kernel's headers name.
struct Fields([u64; 20]);

impl Fields {
    fn new() -> Self {
        Self([0; 20])
    }

    /// A field of 32 bits at the byte `offset`.
    fn half(mut self, offset: usize, value: u32) -> Self {
        let mut bytes = self.0[offset / 8].to_ne_bytes();
        bytes[offset % 8..offset % 8 + 4].copy_from_slice(&value.to_ne_bytes());
        self.0[offset / 8] = u64::from_ne_bytes(bytes);
        self
    }

    /// A field of 64 bits at the byte `offset`.
    fn word(mut self, offset: usize, value: u64) -> Self {
        self.0[offset / 8] = value;
        self
    }

    fn descriptor(self, offset: usize, descriptor: &OwnedFd) -> Self {
        self.half(offset, descriptor.as_raw_fd().cast_unsigned())
    }

    fn address<T: ?Sized>(self, offset: usize, target: *const T) -> Self {
        // The kernel will read or write there: the compiler has to know that somebody may.
        self.word(offset, target.cast::<u8>().expose_provenance() as u64)
    }
}

/// # Safety
/// Every address among the fields points to memory of the length that the command reads or writes there.
unsafe fn bpf(command: u32, fields: &mut Fields) -> io::Result<i32> {
    let size = size_of::<[u64; 20]>();
    // SAFETY: the fields are as long as is said, and their addresses hold by the caller's word.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, fields.0.as_mut_ptr(), size) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// As [`bpf`]; the command answers a new descriptor.
unsafe fn bpf_descriptor(command: u32, fields: &mut Fields) -> io::Result<OwnedFd> {
    // SAFETY: the caller's word.
    let descriptor = unsafe { bpf(command, fields) }?;
    // SAFETY: it is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Kinds of maps (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// Keys to values; room for all is taken at once.
    Hash = 1,
    /// Values by number.
    Array = 2,
    /// Values by number, one for each processor.
    PerCpu = 6,
    /// Records on their way to us.
    Ring = 27,
}

/// A map of the kernel's.
#[derive(Debug)]
pub(crate) struct Map {
    descriptor: OwnedFd,
    key: usize,
    /// Bytes of a value as the kernel hands it out: of all processors, if each has one.
    value: usize,
    entries: usize,
}

impl Map {
    /// Makes one. `processors` is how many there may ever be, for maps with a value each.
    pub(crate) fn new(
        kind: MapKind,
        key: usize,
        value: usize,
        entries: usize,
        processors: usize,
    ) -> io::Result<Self> {
        let mut fields = Fields::new()
            .half(0, kind as u32)
            .half(4, key as u32)
            .half(8, value as u32)
            .half(12, entries as u32);
        // SAFETY: there is no address among the fields.
        let descriptor = unsafe { bpf_descriptor(command::MAP_CREATE, &mut fields) }?;
        let copies = if kind == MapKind::PerCpu { processors } else { 1 };
        Ok(Self { descriptor, key, value: value.next_multiple_of(8) * copies, entries })
    }

    /// Its descriptor, as instructions name it.
    pub(crate) fn number(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    /// Sets a value. A wrong length is an error.
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.len() != self.key || value.len() != self.value {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut fields =
            Fields::new().descriptor(0, &self.descriptor).address(8, key).address(16, value);
        // SAFETY: key and value have the lengths that the map was made with.
        unsafe { bpf(command::MAP_UPDATE, &mut fields) }.map(|_| ())
    }

    /// The value at a key; of each processor in turn, if each has one.
    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        if key.len() != self.key {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut value = vec![0_u8; self.value];
        let mut fields = Fields::new()
            .descriptor(0, &self.descriptor)
            .address(8, key)
            .address(16, value.as_mut_ptr());
        // SAFETY: key and value have the lengths that the map was made with; the value is ours to be written.
        unsafe { bpf(command::MAP_LOOKUP, &mut fields) }?;
        Ok(value)
    }

    /// Keys and values that stay there while they are read, and maybe some of the others; key beside key, and value
    /// beside value. For maps of the kind `Hash`.
    pub(crate) fn entries(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        const BATCH: usize = 4096;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut place = [0_u64];
        let mut first = true;
        loop {
            let (mut some_keys, mut some_values) =
                (vec![0_u8; BATCH * self.key], vec![0_u8; BATCH * self.value]);
            let from = if first { ptr::null() } else { place.as_ptr() };
            let mut fields = Fields::new()
                .address(0, from)
                .address(8, place.as_mut_ptr())
                .address(16, some_keys.as_mut_ptr())
                .address(24, some_values.as_mut_ptr())
                .half(32, BATCH as u32)
                .descriptor(36, &self.descriptor);
            // SAFETY: there is room for as many keys and values as is said, and for the place to go on from.
            let result = unsafe { bpf(command::MAP_LOOKUP_BATCH, &mut fields) };
            let count = (fields.0[4] as u32 as usize).min(BATCH);
            let end = match result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) => return Err(error),
            };
            keys.extend_from_slice(&some_keys[..count * self.key]);
            values.extend_from_slice(&some_values[..count * self.value]);
            if end || keys.len() >= 2 * self.entries * self.key {
                return Ok((keys, values));
            }
            first = false;
        }
    }
}

/// What a program is attached as (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    /// By a perf event.
    Perf = 0,
    /// Entries and returns of functions, by one link (Linux 6.13).
    Session = 57,
    /// Any instructions, by one link (Linux 6.6).
    Multi = 48,
}

/// Loads instructions as a program for probes. The error has what the kernel's verifier says.
pub(crate) fn load_program(
    name: &CStr,
    code: &[u64],
    attach: Attach,
) -> Result<OwnedFd, (io::Error, String)> {
    let load = |log: &mut Vec<u8>| {
        let mut short = [0_u64; 2];
        for (at, byte) in name.to_bytes().iter().take(15).enumerate() {
            short[at / 8] |= u64::from(*byte) << (at % 8 * 8);
        }
        let mut fields = Fields::new()
            .half(0, 2) // BPF_PROG_TYPE_KPROBE, which is of uprobes too
            .half(4, code.len() as u32)
            .address(8, code)
            .address(16, c"Dual MIT/GPL".as_ptr())
            .word(48, short[0])
            .word(56, short[1])
            .half(68, attach as u32);
        if !log.is_empty() {
            fields = fields.half(24, 1).half(28, log.len() as u32).address(32, log.as_mut_ptr());
        }
        // SAFETY: code, license and log are of the lengths that are said, and outlive the call.
        unsafe { bpf_descriptor(command::PROGRAM_LOAD, &mut fields) }
    };
    load(&mut Vec::new()).map_err(|error| {
        let mut log = vec![0; 256 << 10];
        let _ = load(&mut log);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        (error, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

/// Attaches a program to instructions of a file, for one process. It is detached when the answer is dropped.
pub(crate) fn link(
    program: &OwnedFd,
    attach: Attach,
    path: &CStr,
    offsets: &[u64],
    pid: u32,
) -> io::Result<OwnedFd> {
    let mut fields = Fields::new()
        .descriptor(0, program)
        .half(8, attach as u32)
        .address(16, path.as_ptr())
        .address(24, offsets)
        .half(48, offsets.len() as u32)
        .half(56, pid);
    // SAFETY: the path ends with a zero, and there are as many offsets as is said.
    unsafe { bpf_descriptor(command::LINK_CREATE, &mut fields) }
}

/// Attaches a program to an instruction of a file, or to the return from there, for one process, by a perf event of
/// the type `uprobe`. It is detached when the answer is dropped.
pub(crate) fn perf_uprobe(
    program: &OwnedFd,
    uprobe: u32,
    path: &CStr,
    offset: u64,
    pid: u32,
    on_return: bool,
) -> io::Result<OwnedFd> {
    const SIZE: u32 = 136;
    const CLOSE_ON_EXEC: u64 = 8;
    const SET_BPF: u64 = 0x4004_2408;
    const ENABLE: u64 = 0x2400;
    let fields = Fields::new()
        .half(0, uprobe)
        .half(4, SIZE)
        .word(8, u64::from(on_return))
        .address(56, path.as_ptr())
        .word(64, offset);
    // SAFETY: the fields are longer than the size they name, and the path ends with a zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            fields.0.as_ptr(),
            pid,
            -1_i64,
            -1_i64,
            CLOSE_ON_EXEC,
        )
    };
    let descriptor = match i32::try_from(result) {
        Ok(descriptor) if descriptor >= 0 => descriptor,
        _ => return Err(io::Error::last_os_error()),
    };
    // SAFETY: it is new, and nobody else has it.
    let event = unsafe { OwnedFd::from_raw_fd(descriptor) };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both requests take a number, and touch no memory of ours.
        let result = unsafe { libc::ioctl(descriptor, request, argument) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}

/// A ring of records, mapped from the kernel (`BPF_MAP_TYPE_RINGBUF`).
#[derive(Debug)]
pub(crate) struct Ring {
    map: Map,
    /// The page with our position, which we write.
    ours: *mut u8,
    /// The page with the kernel's position, and behind it the records, twice in a row.
    theirs: *mut u8,
    page: usize,
    size: usize,
}

/// Of a record's length: it is still being written.
const BUSY: u32 = 1 << 31;
/// Of a record's length: it was given up.
const DISCARDED: u32 = 1 << 30;

impl Ring {
    /// One of `size` bytes, a power of two and a multiple of the page.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let map = Map::new(MapKind::Ring, 0, 0, size, 1)?;
        let number = map.number();
        let ours = map_pages(number, page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let theirs = match map_pages(number, page + 2 * size, libc::PROT_READ, page) {
            Ok(theirs) => theirs,
            Err(error) => {
                unmap_pages(ours, page);
                return Err(error);
            }
        };
        Ok(Self { map, ours, theirs, page, size })
    }

    /// The map, as instructions name it.
    pub(crate) fn number(&self) -> i32 {
        self.map.number()
    }

    /// Hands each record that is complete now to `take`, oldest first; answers how many there were. Those that come
    /// meanwhile wait for the next time, so that it ends.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        // SAFETY: the page is mapped as long as `self` is, aligned, and written by us alone.
        let ours = unsafe { AtomicU64::from_ptr(self.ours.cast()) };
        // SAFETY: the page is mapped as long as `self` is, and aligned; we only load from it.
        let theirs = unsafe { AtomicU64::from_ptr(self.theirs.cast()) };
        let mut position = ours.load(Ordering::Relaxed);
        let mut records = 0;
        let end = theirs.load(Ordering::Acquire);
        while position < end {
            let offset = self.page + position as usize % self.size;
            // SAFETY: the position is within the records, which are mapped twice behind the first page.
            let record = unsafe { self.theirs.add(offset) };
            // SAFETY: a record begins at a multiple of eight with its length; we only load from it.
            let length = unsafe { AtomicU32::from_ptr(record.cast()) }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let bytes = ((length & !DISCARDED) as usize).min(self.size - 8);
            if length & DISCARDED == 0 {
                // SAFETY: behind its header of eight bytes.
                let start = unsafe { record.add(8) };
                // SAFETY: at most a ring's length lies behind any record's start, by the second mapping; the kernel
                // does not write there before our position has gone by.
                take(unsafe { std::slice::from_raw_parts(start, bytes) });
                records += 1;
            }
            position += (bytes as u64 + 8).next_multiple_of(8);
            ours.store(position, Ordering::Release);
        }
        records
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        unmap_pages(self.ours, self.page);
        unmap_pages(self.theirs, self.page + 2 * self.size);
    }
}

fn map_pages(descriptor: i32, length: usize, rights: i32, offset: usize) -> io::Result<*mut u8> {
    let offset = offset as libc::off_t;
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    let start = unsafe {
        libc::mmap(ptr::null_mut(), length, rights, libc::MAP_SHARED, descriptor, offset)
    };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

fn unmap_pages(start: *mut u8, length: usize) {
    // SAFETY: only called with what `map_pages` has answered, once, by the ring that owns it.
    unsafe { libc::munmap(start.cast(), length) };
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .text.plimsoll_probe_sites,\"ax\",@progbits",
    ".globl plimsoll_probe_quick, plimsoll_probe_slow",
    ".hidden plimsoll_probe_quick, plimsoll_probe_slow",
    ".type plimsoll_probe_quick, @function",
    ".type plimsoll_probe_slow, @function",
    ".balign 16",
    "plimsoll_probe_quick:",
    "push rbp",
    "pop rbp",
    "lea rax, [rdi + 4096]",
    "ret",
    ".balign 16",
    "plimsoll_probe_slow:",
    "test rdi, rdi",
    "lea rax, [rdi + 4096]",
    "ret",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    safe fn plimsoll_probe_quick(argument: u64) -> u64;
    safe fn plimsoll_probe_slow(argument: u64) -> u64;
}

/// A function of ours that allocates nothing, to find out what a probe costs: one whose first instruction the kernel
/// emulates, or one that it has to step over. It answers what could be an address.
#[cfg(target_arch = "x86_64")]
pub(crate) fn probe_site(emulated: bool) -> extern "C" fn(u64) -> u64 {
    if emulated { plimsoll_probe_quick } else { plimsoll_probe_slow }
}
