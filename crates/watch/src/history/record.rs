//! The form of a record: numbers of 8 bytes, little-endian, `NaN` for what is not known, and a checksum.

use flate2::Crc;
use plimsoll_judgement::outside::Sample;

use crate::figure::Figure;
use crate::procfs::Identity;

/// What a file begins with: a name, a version, the length of a record.
pub(super) const HEADER: [u8; 16] = header();

/// Figures before those of [`Figure`]: t, start, rss, anon, file, and what else a [`Record`] has.
const OWN: usize = 5 + 6;

const FIGURES: usize = OWN + Figure::COUNT;

/// Identity, and the checksum of all before it.
const TAIL: usize = 4 + 8 + 4;

pub(super) const RECORD_BYTES: usize = FIGURES * 8 + TAIL;

const VERSION: u32 = 2;

const fn header() -> [u8; 16] {
    let [v0, v1, v2, v3] = VERSION.to_le_bytes();
    let [l0, l1, l2, l3] = (RECORD_BYTES as u32).to_le_bytes();
    [b'P', b'L', b'I', b'M', b'H', b'I', b'S', b'T', v0, v1, v2, v3, l0, l1, l2, l3]
}

/// A minute of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// What is judged: means over the minute, counters as they were at its end, `t` of its last look.
    pub sample: Sample,
    /// The process.
    pub identity: Identity,
    /// Bytes that were swapped out.
    pub swap: Option<f64>,
    /// The process's share of resident pages, bytes.
    pub pss: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// Open file descriptors.
    pub fds: Option<f64>,
    /// Processor time since the process began, seconds.
    pub cpu_s: Option<f64>,
    /// Share of time in which a task stood still for want of memory, percent.
    pub pressure: Option<f64>,
}

impl Record {
    /// As it is written.
    pub(super) fn bytes(&self) -> [u8; RECORD_BYTES] {
        let sample = &self.sample;
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let own = [
            sample.t,
            sample.start,
            sample.rss,
            known(sample.anon),
            known(sample.file),
            known(self.swap),
            known(self.pss),
            known(self.threads),
            known(self.fds),
            known(self.cpu_s),
            known(self.pressure),
        ];
        let figures = Figure::ALL.into_iter().map(|figure| known(figure.of(sample)));
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.extend(own.into_iter().chain(figures).flat_map(f64::to_le_bytes));
        bytes.extend(self.identity.pid.to_le_bytes());
        bytes.extend(self.identity.start_ticks.to_le_bytes());
        bytes.extend(checksum(&bytes).to_le_bytes());
        let mut record = [0; RECORD_BYTES];
        record.copy_from_slice(&bytes);
        record
    }

    /// As it was written; `None` if it is damaged.
    pub(super) fn parse(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        if checksum(body) != u32::from_le_bytes(*sum) {
            return None;
        }
        let (body, ticks) = body.split_last_chunk::<8>()?;
        let (body, pid) = body.split_last_chunk::<4>()?;
        let mut numbers = body
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .map(|number| Some(number).filter(|number| !number.is_nan()));
        let mut next = || numbers.next().flatten();
        let mut sample = Sample { t: next()?, start: next()?, rss: next()?, ..Sample::default() };
        (sample.anon, sample.file) = (next(), next());
        let (swap, pss, threads) = (next(), next(), next());
        let (fds, cpu_s, pressure) = (next(), next(), next());
        for figure in Figure::ALL {
            *figure.place(&mut sample) = next();
        }
        let identity =
            Identity { pid: u32::from_le_bytes(*pid), start_ticks: u64::from_le_bytes(*ticks) };
        Some(Self { sample, identity, swap, pss, threads, fds, cpu_s, pressure })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
