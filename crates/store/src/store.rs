//! The store: one writer, and everything that it calls.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_ledger::{Account, Charge, Ledger, Measure};

use crate::background::{Background, Event, Job};
use crate::cursor::{Cursor, MemtableCursor, Merging};
use crate::damage::{Damage, DamageLog};
use crate::disk::Disk;
use crate::entries::{BODY_BYTES_MAX, Body, BodyWriter, Entry, Kind, seed};
use crate::frame::FRAME_HEADER_BYTES;
use crate::journal::{Journal, is_full};
use crate::memtable::{Counts, Memtable};
use crate::numbers::FileNumbers;
use crate::options::{Options, PAGE_BYTES};
use crate::run::RunCursor;
use crate::space::Space;
use crate::tiers::{GARBAGE_PART, garbage_bytes};
use crate::worker::Runs;

/// One change of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key has this value from now on.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// The same, of a key that is not in the store now: it is new, or was deleted. It and its
    /// [`Change::Delete`], which comes before it is inserted again, leave nothing behind.
    Insert {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// The key is gone.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

impl<'a> Change<'a> {
    fn entry(self) -> Entry<'a> {
        match self {
            Self::Put { key, value } => Entry { kind: Kind::Put, key, value },
            Self::Insert { key, value } => Entry { kind: Kind::Insert, key, value },
            Self::Delete { key } => Entry { kind: Kind::Delete, key, value: &[] },
        }
    }
}

/// A memtable that is on its way into a run.
#[derive(Debug)]
pub(crate) struct Frozen {
    memtable: Arc<Memtable>,
    /// The last batch in it.
    through: u64,
    /// Whether the background has it now. If not, writing it has failed, and is tried again.
    is_submitted: bool,
}

/// Calls of `maintain` until what failed is tried again; doubles with each failure.
#[derive(Debug, Default)]
struct Backoff {
    calls_left: u32,
    failures: u32,
}

/// The most doublings of a back-off.
const BACKOFF_DOUBLINGS_MAX: u32 = 5;
/// A memtable may become so many times as large as the option says while the one before it is
/// still being written; then commits wait.
const MEMTABLE_STRETCH: usize = 4;
/// What a buffer keeps between commits.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// A durable ordered map. See the crate's documentation.
pub struct Store<D: Disk> {
    pub(crate) journal: Journal<D>,
    pub(crate) memtable: Memtable,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) runs: Runs<D>,
    pub(crate) background: Background<D>,
    pub(crate) disk: Arc<D>,
    pub(crate) numbers: Arc<FileNumbers>,
    pub(crate) log: Arc<DamageLog>,
    pub(crate) options: Options,
    pub(crate) ledger: &'static Ledger,
    buffers: Buffers,
    backoff: Backoff,
    merge_failed: bool,
    spare_is_asked: bool,
    /// The journal found no room on the disk: segments should be freed.
    is_squeezed: bool,
    last_error: Option<io::Error>,
    /// Why writing a memtable failed last, for whoever needs it done now.
    flush_failure: Option<(io::ErrorKind, String)>,
    run_bytes_written: Arc<AtomicU64>,
}

/// Memory that commits use again.
struct Buffers {
    frame: Vec<u8>,
    writer: BodyWriter,
    body: Body,
    charge: Charge,
}

/// The parts that [`open`](crate::open) puts together.
pub(crate) struct Parts<D: Disk> {
    pub(crate) journal: Journal<D>,
    pub(crate) memtable: Memtable,
    pub(crate) runs: Runs<D>,
    pub(crate) background: Background<D>,
    pub(crate) disk: Arc<D>,
    pub(crate) numbers: Arc<FileNumbers>,
    pub(crate) log: Arc<DamageLog>,
    pub(crate) options: Options,
    pub(crate) ledger: &'static Ledger,
    pub(crate) run_bytes_written: Arc<AtomicU64>,
}

impl<D: Disk> Store<D> {
    pub(crate) fn assemble(parts: Parts<D>) -> Self {
        let Parts { journal, memtable, runs, background, .. } = parts;
        let buffers = Buffers {
            frame: Vec::new(),
            writer: BodyWriter::default(),
            body: Body::default(),
            charge: parts.ledger.charge(Account::Store, 0),
        };
        Self {
            journal,
            memtable,
            frozen: None,
            runs,
            background,
            disk: parts.disk,
            numbers: parts.numbers,
            log: parts.log,
            options: parts.options,
            ledger: parts.ledger,
            buffers,
            backoff: Backoff::default(),
            merge_failed: false,
            spare_is_asked: false,
            is_squeezed: false,
            last_error: None,
            flush_failure: None,
            run_bytes_written: parts.run_bytes_written,
        }
    }

    /// Writes a batch to the journal and applies it. It is durable with the next
    /// [`sync`](Self::sync) or [`checkpoint`](Self::checkpoint) that succeeds.
    ///
    /// # Errors
    /// Whatever the disk says. Then nothing of the batch took effect, and the same batch can be
    /// committed again. (If the process ends before another commit succeeds, it may be there
    /// after all at the next start, as a whole.) `InvalidInput` for more than a gigabyte.
    pub fn commit<'a>(&mut self, changes: impl IntoIterator<Item = Change<'a>>) -> io::Result<()> {
        self.make_memory()?;
        let counts = self.encode(changes)?;
        if counts.total() == 0 {
            return Ok(());
        }
        if counts.values > 0 && self.journal.lacks_reserve() {
            self.maintain();
            self.journal.restore_reserve(self.frozen.is_some())?;
        }
        let body_end = self.buffers.frame.len();
        let sequence = self.journal.next_sequence();
        let appended = self.journal.append(&mut self.buffers.frame, counts.values == 0);
        if appended.is_ok() {
            let Buffers { frame, body, .. } = &mut self.buffers;
            let bytes = frame.get(FRAME_HEADER_BYTES..body_end).unwrap_or_default();
            body.read(bytes, seed(sequence));
            for placed in &body.entries {
                self.memtable.apply(placed.entry(bytes));
            }
        }
        self.shrink_buffers();
        self.is_squeezed = appended.as_ref().is_err_and(is_full);
        appended
    }

    /// Makes all commits so far durable.
    ///
    /// # Errors
    /// Whatever the disk says. Then none of the commits since the last success counts as durable.
    /// They stay applied, and the next call writes them again, elsewhere.
    pub fn sync(&mut self) -> io::Result<()> {
        self.journal.sync()
    }

    /// Applies changes without the journal: they are durable with the next
    /// [`checkpoint`](Self::checkpoint), or when the memtable is full, and until then a crash
    /// loses them.
    ///
    /// # Errors
    /// Only when the memtable cannot be written for lack of space and may not grow any more.
    pub fn apply_unlogged<'a>(
        &mut self,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> io::Result<()> {
        self.make_memory()?;
        for change in changes {
            self.memtable.apply(change.entry());
        }
        Ok(())
    }

    /// Puts everything into runs, durably, and gives back the journal.
    ///
    /// # Errors
    /// Whatever the disk says; nothing is lost by it, and it can be tried again.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        while self.frozen.is_some() {
            self.finish_flush()?;
        }
        if !self.memtable.is_empty() || self.journal.bytes_since_freeze() > 0 {
            self.freeze();
            self.finish_flush()?;
        }
        self.collect();
        Ok(())
    }

    /// Calls `each` with all keys from `from` on and their values, in order, until it breaks.
    ///
    /// Damaged entries are passed over; [`damages`](Self::damages) names them.
    ///
    /// # Errors
    /// Whatever the disk says when a run is read.
    pub fn scan(
        &self,
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut merging = self.merging(from)?;
        while let Some(entry) = merging.entry() {
            if each(entry.key, entry.value).is_break() {
                break;
            }
            merging.advance()?;
        }
        Ok(())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Whatever the disk says when a run is read.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let frozen = self.frozen.as_ref().map(|frozen| &*frozen.memtable);
        for memtable in [Some(&self.memtable), frozen].into_iter().flatten() {
            let entry = memtable.entry(memtable.first_from(key));
            if let Some(entry) = entry.filter(|entry| entry.key == key) {
                return Ok(value_of(&entry));
            }
        }
        for run in &self.runs {
            let cursor = RunCursor::new(Arc::clone(run), key, self.ledger)?;
            if let Some(entry) = cursor.entry().filter(|entry| entry.key == key) {
                return Ok(value_of(&entry));
            }
        }
        Ok(None)
    }

    /// Lets the newest entries take so many bytes of memory from now on
    /// ([`Options::memtable_bytes`](crate::Options)).
    pub fn set_memtable_bytes(&mut self, bytes: usize) {
        self.options.memtable_bytes = bytes.max(PAGE_BYTES);
    }

    /// Does what is to be done between commits: collects what the background has done, hands it a
    /// full memtable, keeps a spare segment. To be called after commits and now and then when
    /// idle. Says whether there is more to do at once; on a background thread there never is.
    ///
    /// It does not fail: what fails is tried again later, and [`last_error`](Self::last_error)
    /// says why.
    pub fn maintain(&mut self) -> bool {
        self.collect();
        self.log.quarantine_new(&*self.disk);
        self.retry();
        if self.frozen.is_none() && self.is_due() {
            if self.memtable.has_much_garbage() && !self.journal_is_long() {
                self.memtable = self.memtable.compacted();
            } else {
                self.freeze();
            }
        }
        self.ask_for_spare();
        let more = self.background.step();
        self.collect();
        more
    }

    /// What the store takes.
    pub fn space(&self) -> Space {
        let (journal_bytes, segments) = self.journal.files();
        let frozen = self.frozen.as_ref().map(|frozen| &frozen.memtable);
        let mut space = Space {
            files: segments + self.runs.len(),
            journal_bytes,
            replay_bytes: self.journal.bytes_since_freeze(),
            runs: self.runs.len(),
            memtable_bytes: self.memtable.bytes() + frozen.map_or(0, |frozen| frozen.bytes()),
            bytes_written: self.journal.bytes_written()
                + self.run_bytes_written.load(Ordering::Relaxed),
            ..Space::default()
        };
        let mut counts: Vec<_> = self.runs.iter().map(|run| run.counts).collect();
        counts.push(self.memtable.counts());
        counts.extend(frozen.map(|frozen| frozen.counts()));
        for counts in counts {
            space.values += counts.values;
            space.deletes += counts.deletes;
        }
        space.run_bytes = self.runs.iter().map(|run| run.bytes).sum();
        let garbage = garbage_bytes(space.deletes, space.values, space.run_bytes);
        space.garbage_bytes = garbage.min(space.run_bytes);
        space
    }

    /// Damage that was met in runs since the store was opened, when it was opened included.
    pub fn damages(&self) -> Vec<Damage> {
        self.log.all()
    }

    /// Damage that was met in runs since this was last asked; what was met while the store was
    /// opened is in the [`Recovery`](crate::Recovery).
    pub fn new_damages(&mut self) -> Vec<Damage> {
        self.log.news(&*self.disk)
    }

    /// Why work in the background failed last, once.
    pub fn last_error(&mut self) -> Option<io::Error> {
        self.last_error.take()
    }

    /// The number of the last batch that was committed.
    pub fn committed(&self) -> u64 {
        self.journal.next_sequence() - 1
    }

    /// The number of the last batch that is durable.
    pub fn durable(&self) -> u64 {
        self.journal.synced_through()
    }

    fn merging(&self, from: &[u8]) -> io::Result<Merging<Box<dyn Cursor + '_>>> {
        let mut sources: Vec<Box<dyn Cursor + '_>> = Vec::with_capacity(self.runs.len() + 2);
        sources.push(Box::new(MemtableCursor::new(&self.memtable, from)));
        if let Some(frozen) = &self.frozen {
            sources.push(Box::new(MemtableCursor::new(&frozen.memtable, from)));
        }
        for run in &self.runs {
            sources.push(Box::new(RunCursor::new(Arc::clone(run), from, self.ledger)?));
        }
        Merging::new(sources, true)
    }

    /// Puts a batch into the frame buffer; says what is in it.
    fn encode<'a>(&mut self, changes: impl IntoIterator<Item = Change<'a>>) -> io::Result<Counts> {
        let mut counts = Counts::default();
        let Buffers { frame, writer, .. } = &mut self.buffers;
        frame.clear();
        frame.resize(FRAME_HEADER_BYTES, 0);
        writer.begin(frame, seed(self.journal.next_sequence()));
        for change in changes {
            let entry = change.entry();
            if writer.bytes(frame) + entry.encoded_bytes() > BODY_BYTES_MAX {
                let why = "a batch of more than a gigabyte";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            writer.push(frame, entry);
            counts.add(entry.kind);
        }
        writer.finish(frame);
        Ok(counts)
    }

    fn shrink_buffers(&mut self) {
        let Buffers { frame, writer, body, charge } = &mut self.buffers;
        frame.clear();
        frame.shrink_to(BUFFER_BYTES_KEPT);
        charge.set(frame.heap_bytes() + writer.heap_bytes() + body.heap_bytes());
    }

    /// Before the memtable grows: sees to it that it may.
    fn make_memory(&mut self) -> io::Result<()> {
        if self.memtable.bytes() < self.options.memtable_bytes {
            return Ok(());
        }
        self.maintain();
        while self.memtable.bytes() >= self.options.memtable_bytes * MEMTABLE_STRETCH {
            self.finish_flush()?;
            self.maintain();
        }
        Ok(())
    }

    fn journal_is_long(&self) -> bool {
        self.journal.bytes_since_freeze() >= self.options.journal_bytes_max
    }

    /// Whether the memtable should become a run.
    fn is_due(&self) -> bool {
        self.memtable.bytes() >= self.options.memtable_bytes
            || self.journal_is_long()
            || self.deletes_are_many()
            || (self.is_squeezed && self.journal.has_closed())
    }

    /// Whether the memtable's deletes would free a large part of the runs, and so much that it is
    /// worth an early run: the memtable of a busy queue always has some deletes.
    fn deletes_are_many(&self) -> bool {
        let deletes = self.memtable.counts().deletes;
        if deletes == 0 {
            return false;
        }
        let values: u64 = self.runs.iter().map(|run| run.counts.values).sum();
        let bytes: u64 = self.runs.iter().map(|run| run.bytes).sum();
        deletes * GARBAGE_PART >= values
            && garbage_bytes(deletes, values, bytes) >= self.options.memtable_bytes as u64 * 4
    }

    /// Hands the memtable over to become a run, and begins a new one.
    fn freeze(&mut self) {
        let memtable = std::mem::replace(
            &mut self.memtable,
            Memtable::new(self.ledger, self.options.memtable_bytes),
        );
        let through = self.journal.next_sequence() - 1;
        self.journal.frozen();
        self.frozen = Some(Frozen { memtable: Arc::new(memtable), through, is_submitted: false });
        self.submit_frozen();
    }

    fn submit_frozen(&mut self) {
        let Some(frozen) = &mut self.frozen else { return };
        if frozen.is_submitted {
            return;
        }
        let memtable = Arc::clone(&frozen.memtable);
        frozen.is_submitted = true;
        let job = Job::Flush { memtable, through: frozen.through };
        if let Err(error) = self.background.submit(job) {
            frozen.is_submitted = false;
            self.flush_failure = Some((error.kind(), error.to_string()));
            self.last_error = Some(error);
        }
    }

    /// Waits until the frozen memtable, if there is one, is in a run.
    fn finish_flush(&mut self) -> io::Result<()> {
        self.submit_frozen();
        while self.frozen.is_some() {
            let event = self.background.wait()?;
            self.take(event);
            if self.frozen.as_ref().is_some_and(|frozen| !frozen.is_submitted) {
                return Err(match self.flush_failure.clone() {
                    Some((kind, why)) => io::Error::new(kind, why),
                    None => io::Error::other("a memtable could not be written"),
                });
            }
        }
        Ok(())
    }

    /// Takes up all that the background has done.
    fn collect(&mut self) {
        while let Some(event) = self.background.poll() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event<D>) {
        match event {
            Event::Flushed { runs, through } => {
                self.runs = runs;
                self.frozen = None;
                self.backoff = Backoff::default();
                self.merge_failed = false;
                self.journal.in_runs_through(through);
                self.journal.release(through);
            }
            Event::Merged { runs } => self.runs = runs,
            Event::FlushFailed(error) => {
                self.flush_failure = Some((error.kind(), error.to_string()));
                if let Some(frozen) = &mut self.frozen {
                    frozen.is_submitted = false;
                }
                if is_full(&error) && self.journal.give_up_spare() {
                    self.submit_frozen();
                } else {
                    self.fail(error);
                }
            }
            Event::MergeFailed(error) => {
                self.merge_failed = true;
                self.fail(error);
            }
            Event::Spare(made) => {
                self.spare_is_asked = false;
                match made {
                    Ok(number) => self.journal.adopt_spare(number),
                    Err(error) => self.fail(error),
                }
            }
        }
    }

    /// Notes a failure.
    fn fail(&mut self, error: io::Error) {
        self.backoff.failures = (self.backoff.failures + 1).min(BACKOFF_DOUBLINGS_MAX);
        self.backoff.calls_left = 1 << self.backoff.failures;
        self.last_error = Some(error);
    }

    /// Tries again what failed, when it is time.
    fn retry(&mut self) {
        if self.backoff.calls_left > 0 {
            self.backoff.calls_left -= 1;
            return;
        }
        self.submit_frozen();
        if self.merge_failed && self.background.submit(Job::Retry).is_ok() {
            self.merge_failed = false;
        }
    }

    fn ask_for_spare(&mut self) {
        if self.spare_is_asked || self.backoff.failures > 0 || !self.journal.wants_spare() {
            return;
        }
        let job = Job::Spare { number: self.numbers.take(), bytes: self.options.segment_bytes };
        self.spare_is_asked = self.background.submit(job).is_ok();
    }
}

fn value_of(entry: &Entry<'_>) -> Option<Vec<u8>> {
    (entry.kind != Kind::Delete).then(|| entry.value.to_vec())
}
