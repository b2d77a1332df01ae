//! The journal: batches one behind the other in segments of zeros that are used again and again.
//!
//! A commit is one write into bytes that the file already has, so a sync writes the pages that
//! were touched and nothing else. What is written and not yet synced is also kept in memory: after
//! a failed write or sync the tail of the segment is not trusted any more, and all of that is
//! written again, into a fresh segment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use plimsoll_ledger::{Account, Charge, Ledger, Measure};

use crate::disk::{Disk, DiskFile};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, padded};
use crate::header::{FileKind, HEADER_BYTES, Header};
use crate::names;
use crate::numbers::FileNumbers;
use crate::options::{Options, PAGE_BYTES};
use crate::segments::{make_segment, write_padded};

/// Recycled segments that are kept for later use.
const SPARES_MAX: usize = 2;
/// The same, if that many became free at once: so many will be needed again.
const SPARES_MAX_BUSY: usize = 4;
/// Spare segments that on a full disk only deletes may use, and what is already applied.
const RESERVE: usize = 1;
/// Batches that are refused on a full disk for each time that is looked for room.
const REFUSALS_PER_TRY: u32 = 16;

/// The segment that is written to.
#[derive(Debug)]
struct Active<F> {
    number: u64,
    file: F,
    /// Where the next frame goes.
    at: u64,
    bytes: u64,
}

/// A segment that is written to no more, and needed until its batches are in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub(crate) number: u64,
    /// None of its batches has a higher number.
    pub(crate) last_sequence: u64,
    pub(crate) bytes: u64,
    /// Whether it was read at the start: then it is in the system's cache in large folios, see
    /// [`segments`](crate::segments), and is not used again.
    pub(crate) was_read: bool,
}

/// Batches that are written and not synced.
#[derive(Debug, Default)]
struct Unsynced {
    /// Their frames, one behind the other.
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
}

/// The journal of one store.
#[derive(Debug)]
pub(crate) struct Journal<D: Disk> {
    disk: Arc<D>,
    numbers: Arc<FileNumbers>,
    segment_bytes: u64,
    unsynced_bytes_max: usize,
    syncs: bool,
    /// None if the tail is not trusted, or nothing was committed yet.
    active: Option<Active<D::File>>,
    closed: VecDeque<Closed>,
    spares: Vec<u64>,
    spares_max: usize,
    /// The reserve was given up to make room for a run: until there is one again, only deletes
    /// are taken. Counts how often something else was refused since.
    refused: Option<u32>,
    unsynced: Unsynced,
    next_sequence: u64,
    synced_through: u64,
    /// A page that a write is padded in.
    page: Vec<u8>,
    /// Bytes of frames written since the memtable was last put into a run.
    bytes_since_freeze: u64,
    bytes_written: u64,
    charge: Charge,
}

impl<D: Disk> Journal<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        numbers: Arc<FileNumbers>,
        options: &Options,
        ledger: &'static Ledger,
        next_sequence: u64,
    ) -> Self {
        Self {
            disk,
            numbers,
            segment_bytes: options.segment_bytes,
            unsynced_bytes_max: options.unsynced_bytes_max,
            syncs: options.syncs,
            active: None,
            closed: VecDeque::new(),
            spares: Vec::new(),
            spares_max: SPARES_MAX,
            refused: None,
            unsynced: Unsynced::default(),
            next_sequence,
            synced_through: next_sequence - 1,
            page: Vec::new(),
            bytes_since_freeze: 0,
            bytes_written: 0,
            charge: ledger.charge(Account::Store, 0),
        }
    }

    /// The number that the next batch will have.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The last batch that is known to be durable in the journal.
    pub(crate) fn synced_through(&self) -> u64 {
        self.synced_through
    }

    pub(crate) fn bytes_since_freeze(&self) -> u64 {
        self.bytes_since_freeze
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Bytes of the files of the journal, spare ones included, and their count.
    pub(crate) fn files(&self) -> (u64, usize) {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        let closed: u64 = self.closed.iter().map(|closed| closed.bytes).sum();
        let bytes = active + closed + self.spares.len() as u64 * self.segment_bytes;
        let count = self.closed.len() + self.spares.len() + usize::from(self.active.is_some());
        (bytes, count)
    }

    /// Starts to count bytes anew: the memtable is on its way into a run.
    pub(crate) fn frozen(&mut self) {
        self.bytes_since_freeze = 0;
    }

    /// Takes over a segment from before the start.
    pub(crate) fn adopt(&mut self, closed: Closed) {
        self.closed.push_back(closed);
    }

    /// Takes over a segment that can be written anew.
    pub(crate) fn adopt_spare(&mut self, number: u64) {
        self.spares.push(number);
    }

    /// Whether a spare segment should be made ahead of need.
    pub(crate) fn wants_spare(&self) -> bool {
        let Some(active) = &self.active else { return false };
        let is_half_full = active.at * 2 > active.bytes;
        self.spares.len() < RESERVE || (is_half_full && self.spares.len() < SPARES_MAX)
    }

    /// Whether there are segments that would be free if the memtable were in a run.
    pub(crate) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Gives up a spare segment for the sake of its space.
    pub(crate) fn give_up_spare(&mut self) -> bool {
        let removed = self.remove_spare();
        if removed {
            self.refused = Some(0);
        }
        removed
    }

    fn remove_spare(&mut self) -> bool {
        let Some(number) = self.spares.pop() else { return false };
        let removed = self.disk.remove(&names::spare(number));
        if removed.is_err() {
            self.spares.push(number);
        }
        removed.is_ok()
    }

    /// Whether the reserve was given up.
    pub(crate) fn lacks_reserve(&self) -> bool {
        self.refused.is_some()
    }

    /// Sees to it that there is a reserve, if it was given up. Making a segment costs so much that
    /// it is not tried each time, and not while a run `is_waiting` for the room.
    pub(crate) fn restore_reserve(&mut self, is_waiting: bool) -> io::Result<()> {
        let Some(refused) = self.refused else { return Ok(()) };
        if self.spares.len() < RESERVE {
            if is_waiting || refused % REFUSALS_PER_TRY != 0 {
                self.refused = Some(refused.wrapping_add(1));
                return Err(rustix::io::Errno::NOSPC.into()); // As the disk said before.
            }
            let number = self.numbers.take();
            let made = make_segment(&*self.disk, &names::spare(number), self.segment_bytes);
            if let Err(error) = made {
                self.refused = Some(refused.wrapping_add(1));
                return Err(error);
            }
            self.spares.push(number);
        }
        self.refused = None;
        Ok(())
    }

    /// Writes the frame of one batch, whose body is complete and whose header is still empty.
    /// On an error it is not part of the journal. A batch that frees space may use the reserve.
    pub(crate) fn append(&mut self, frame: &mut Vec<u8>, frees_space: bool) -> io::Result<()> {
        let body_bytes = (frame.len() - FRAME_HEADER_BYTES) as u32;
        frame.resize(padded(frame.len()), 0);
        if !self.unsynced.starts.is_empty()
            && self.unsynced.bytes.len() + frame.len() > self.unsynced_bytes_max
        {
            self.sync()?;
        }
        self.make_room(frame.len(), frees_space)?;
        let Some(active) = &mut self.active else { return Err(no_segment()) };
        let header = FrameHeader {
            kind: FrameKind::Batch,
            segment: active.number,
            offset: active.at,
            sequence: self.next_sequence,
            synced_through: self.synced_through,
            body_bytes,
        };
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        match write_padded(&active.file, active.at, frame, &mut self.page) {
            Ok(written) => self.bytes_written += written,
            Err(error) => {
                self.distrust();
                return Err(error);
            }
        }
        active.at += frame.len() as u64;
        self.unsynced.starts.push(self.unsynced.bytes.len());
        self.unsynced.bytes.extend_from_slice(frame);
        self.next_sequence += 1;
        self.bytes_since_freeze += frame.len() as u64;
        self.measure();
        Ok(())
    }

    /// Makes all batches so far durable. After an error none of those that were not durable
    /// before counts as such, and the next call writes them anew.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.starts.is_empty() {
            return Ok(());
        }
        if self.active.is_none() {
            self.fresh(0, true)?;
        }
        let Some(active) = &self.active else { return Err(no_segment()) };
        if self.syncs
            && let Err(error) = active.file.sync()
        {
            self.distrust();
            return Err(error);
        }
        self.synced_through = self.next_sequence - 1;
        self.forget_unsynced();
        self.mark();
        Ok(())
    }

    /// All batches so far are durable in another way: in a run.
    pub(crate) fn in_runs_through(&mut self, sequence: u64) {
        if sequence + 1 == self.next_sequence && !self.unsynced.starts.is_empty() {
            self.synced_through = sequence;
            self.forget_unsynced();
        }
    }

    /// Gives back the segments whose batches are all in runs. What cannot be given back now stays
    /// for the next time.
    pub(crate) fn release(&mut self, flushed: u64) {
        let is_free = |closed: &&Closed| closed.last_sequence <= flushed;
        let freed = self.closed.iter().filter(is_free).count();
        self.spares_max = freed.clamp(SPARES_MAX, SPARES_MAX_BUSY);
        while self.spares.len() > self.spares_max && self.remove_spare() {}
        let mut kept = VecDeque::new();
        while let Some(closed) = self.closed.pop_front() {
            if closed.last_sequence > flushed || !self.recycle(&closed) {
                kept.push_back(closed);
            }
        }
        self.closed = kept;
        self.measure();
    }

    fn recycle(&mut self, closed: &Closed) -> bool {
        let name = names::journal(closed.number);
        let is_spare_length = closed.bytes == self.segment_bytes;
        if closed.was_read || !is_spare_length || self.spares.len() >= self.spares_max {
            return match self.disk.remove(&name) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        }
        let renamed = self.disk.rename(&name, &names::spare(closed.number));
        if renamed.is_ok() {
            self.spares.push(closed.number);
        }
        match renamed {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Sees to it that a frame of this length fits into the active segment.
    fn make_room(&mut self, bytes: usize, frees_space: bool) -> io::Result<()> {
        let fits = |active: &Active<_>| active.at + bytes as u64 <= active.bytes;
        if self.active.as_ref().is_some_and(fits) {
            return Ok(());
        }
        if self.active.is_some() {
            // Whether this succeeds or not, the next segment takes up all that is not synced.
            let _ = self.sync();
            self.distrust();
        }
        self.fresh(bytes, frees_space)
    }

    /// Ends the use of the active segment.
    fn distrust(&mut self) {
        if let Some(active) = self.active.take() {
            let last_sequence = self.next_sequence - 1;
            self.closed.push_back(Closed {
                number: active.number,
                last_sequence,
                bytes: active.bytes,
                was_read: false,
            });
        }
    }

    /// Makes a fresh segment the active one, with room for `bytes` behind what is not synced, and
    /// writes that into it.
    fn fresh(&mut self, bytes: usize, may_use_reserve: bool) -> io::Result<()> {
        let number = self.numbers.take();
        let needed = HEADER_BYTES + self.unsynced.bytes.len() + bytes;
        let needed = (needed.next_multiple_of(PAGE_BYTES)) as u64;
        let length = needed.max(self.segment_bytes);
        let opened = self.open_segment(number, length, may_use_reserve).and_then(|file| {
            let at = self.rewrite_unsynced(number, &file)?;
            Ok(Active { number, file, at, bytes: length })
        });
        match opened {
            Ok(active) => {
                self.active = Some(active);
                Ok(())
            }
            Err(error) => {
                // It holds nothing: a spare is a spare again, the rest goes. What that does not
                // succeed for is given back with the others.
                let left = Closed { number, last_sequence: 0, bytes: length, was_read: false };
                if !self.recycle(&left) {
                    self.closed.push_back(left);
                }
                Err(error)
            }
        }
    }

    /// A segment file with a durable header and a durable name.
    fn open_segment(
        &mut self,
        number: u64,
        length: u64,
        may_use_reserve: bool,
    ) -> io::Result<D::File> {
        let name = names::journal(number);
        let file = if length == self.segment_bytes && self.spares.len() > RESERVE {
            self.use_spare(&name)?
        } else {
            match make_segment(&*self.disk, &name, length) {
                Err(error)
                    if is_full(&error)
                        && may_use_reserve
                        && length == self.segment_bytes
                        && !self.spares.is_empty() =>
                {
                    self.use_spare(&name)?
                }
                made => made?,
            }
        };
        let words = [self.synced_through + 1, 0, 0, 0, 0];
        let header = Header { kind: FileKind::Journal, number, words };
        self.bytes_written += write_padded(&file, 0, &header.encode(), &mut self.page)?;
        file.sync()?;
        self.disk.sync_dir()?;
        Ok(file)
    }

    fn use_spare(&mut self, name: &str) -> io::Result<D::File> {
        let Some(spare) = self.spares.pop() else { return Err(no_segment()) };
        if let Err(error) = self.disk.rename(&names::spare(spare), name) {
            self.spares.push(spare);
            return Err(error);
        }
        self.disk.open(name)
    }

    /// Writes what is not synced at the front of a fresh segment; says where it ends.
    fn rewrite_unsynced(&mut self, number: u64, file: &D::File) -> io::Result<u64> {
        let front = HEADER_BYTES as u64;
        if self.unsynced.starts.is_empty() {
            return Ok(front);
        }
        for (sequence, &start) in (self.synced_through + 1..).zip(&self.unsynced.starts) {
            let frame = &mut self.unsynced.bytes[start..];
            let header = FrameHeader {
                kind: FrameKind::Batch,
                segment: number,
                offset: front + start as u64,
                sequence,
                synced_through: self.synced_through,
                body_bytes: crate::numbers::u32_at(frame, 40),
            };
            frame[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        }
        self.bytes_written += write_padded(file, front, &self.unsynced.bytes, &mut self.page)?;
        Ok(front + self.unsynced.bytes.len() as u64)
    }

    /// Says behind the last frame that it is synced, so that damage there is told from a torn
    /// tail. Not synced itself; the next frame is written over it.
    fn mark(&mut self) {
        let Some(active) = &self.active else { return };
        if active.at + FRAME_HEADER_BYTES as u64 > active.bytes {
            return;
        }
        let header = FrameHeader {
            kind: FrameKind::Mark,
            segment: active.number,
            offset: active.at,
            sequence: self.next_sequence,
            synced_through: self.synced_through,
            body_bytes: 0,
        };
        match write_padded(&active.file, active.at, &header.encode(), &mut self.page) {
            Ok(written) => self.bytes_written += written,
            Err(_) => self.distrust(),
        }
    }

    fn forget_unsynced(&mut self) {
        self.unsynced.bytes.clear();
        self.unsynced.starts.clear();
        // One large batch is no reason to keep as much for ever.
        self.unsynced.bytes.shrink_to(64 * 1024);
        self.unsynced.starts.shrink_to(1024);
        self.measure();
    }

    fn measure(&mut self) {
        let unsynced = self.unsynced.bytes.heap_bytes() + self.unsynced.starts.heap_bytes();
        let segments = self.closed.heap_bytes() + self.spares.heap_bytes();
        self.charge.set(unsynced + segments + self.page.heap_bytes());
    }
}

/// Whether an error says that the disk is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn no_segment() -> io::Error {
    io::Error::other("the journal has no segment to write to")
}
