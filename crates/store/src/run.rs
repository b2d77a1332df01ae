//! A run: entries in the order of their keys, in a file that never changes.

use std::io;
use std::sync::Arc;

use plimsoll_ledger::{Account, Charge, Ledger};

use crate::cursor::Cursor;
use crate::damage::{Damage, DamageLog, DamagedPart};
use crate::disk::{Disk, DiskFile, read_into};
use crate::entries::{Body, Entry, seed};
use crate::errors::OpenError;
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::header::{BadHeader, FileKind, HEADER_BYTES, Header};
use crate::index::Index;
use crate::memtable::Counts;
use crate::names;
use crate::numbers::{u32_at, u64_at};

/// What is known of a run without reading its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunFacts {
    /// Its file's number.
    pub(crate) number: u64,
    /// Memtables are numbered as they are written; the run holds those from here …
    pub(crate) first_age: u64,
    /// … to here.
    pub(crate) last_age: u64,
    /// The last batch of the journal that is in there, or in an older run.
    pub(crate) through: u64,
}

/// An open run.
#[derive(Debug)]
pub(crate) struct Run<D: Disk> {
    pub(crate) facts: RunFacts,
    pub(crate) bytes: u64,
    pub(crate) counts: Counts,
    pub(crate) index: Index,
    pub(crate) file: D::File,
    pub(crate) log: Arc<DamageLog>,
    charge: Charge,
}

/// Bytes read at once when looking for the next sound block.
const WINDOW_BYTES: usize = 1 << 20;

impl<D: Disk> Run<D> {
    /// A run that was just written.
    pub(crate) fn written(
        facts: RunFacts,
        file: D::File,
        bytes: u64,
        counts: Counts,
        index: Index,
        context: &RunContext,
    ) -> Self {
        let log = Arc::clone(&context.log);
        let charge = context.ledger.charge(Account::Store, 0);
        let mut run = Self { facts, bytes, counts, index, file, log, charge };
        run.measure();
        run
    }

    /// Opens a run of the disk. `known` is what the manifest says of it.
    pub(crate) fn open(
        disk: &D,
        number: u64,
        known: Option<RunFacts>,
        context: &RunContext,
    ) -> Result<Self, OpenError> {
        let name = names::run(number);
        let file = disk.open(&name)?;
        let bytes = file.len()?;
        let header = read_header(&file, &name, 0, FileKind::Run)?;
        let end_at = bytes.saturating_sub(HEADER_BYTES as u64);
        let end = read_header(&file, &name, end_at, FileKind::RunEnd)?;
        let header = header.filter(|header| header.number == number);
        let end = end.filter(|end| end.number == number);
        let facts = known.unwrap_or_else(|| facts_of(number, header.as_ref(), end.as_ref()));
        let mut run =
            Self::written(facts, file, bytes, Counts::default(), Index::default(), context);
        if header.is_none() {
            run.report(0, HEADER_BYTES as u64, DamagedPart::Header);
        }
        if !end.is_some_and(|end| run.read_index(&end, end_at).is_ok_and(|whole| whole)) {
            let at = end.map_or(end_at, |end| end.words[0].min(end_at));
            run.report(at, bytes - at, DamagedPart::Index);
            run.rebuild_index()?;
        }
        run.index.shrink();
        run.measure();
        Ok(run)
    }

    pub(crate) fn name(&self) -> String {
        names::run(self.facts.number)
    }

    /// Reads the index; says whether it is sound.
    fn read_index(&mut self, end: &Header, end_at: u64) -> io::Result<bool> {
        let [at, values, deletes, ..] = end.words;
        let Some(length) = end_at.checked_sub(at) else { return Ok(false) };
        let mut content = Vec::new();
        read_into(&self.file, at, length as usize, &mut content)?;
        let number = self.facts.number;
        let Some(frame) = FrameHeader::decode(&content, at, number) else { return Ok(false) };
        let to = FRAME_HEADER_BYTES + frame.body_bytes as usize;
        let Some(bytes) = content.get(FRAME_HEADER_BYTES..to) else { return Ok(false) };
        let mut body = Body::default();
        body.read(bytes, seed(number));
        for placed in &body.entries {
            let entry = placed.entry(bytes);
            self.index.push(entry.key, u64_at(entry.value, 0), u32_at(entry.value, 8));
        }
        self.counts = Counts { values, deletes };
        Ok(frame.kind == FrameKind::Index && body.is_whole())
    }

    /// Makes the index from the blocks themselves.
    fn rebuild_index(&mut self) -> io::Result<()> {
        self.index = Index::default();
        self.counts = Counts::default();
        let number = self.facts.number;
        let (mut content, mut body) = (Vec::new(), Body::default());
        let mut at = HEADER_BYTES as u64;
        while at + (FRAME_HEADER_BYTES as u64) < self.bytes {
            read_into(&self.file, at, FRAME_HEADER_BYTES, &mut content)?;
            let Some(frame) = FrameHeader::decode(&content, at, number) else {
                let next = self.resynchronise(at + FRAME_ALIGN as u64)?;
                self.report(at, next - at, DamagedPart::Block);
                at = next;
                continue;
            };
            if frame.kind == FrameKind::Block {
                let from = at + FRAME_HEADER_BYTES as u64;
                read_into(&self.file, from, frame.body_bytes as usize, &mut content)?;
                body.read(&content, seed(number));
                let first = body.entries.first().map(|placed| placed.entry(&content));
                if let Some(first) = first {
                    let bytes = frame.body_bytes + FRAME_HEADER_BYTES as u32;
                    self.index.push(first.key, at, bytes);
                }
                body.entries.iter().for_each(|entry| self.counts.add(entry.entry(&content).kind));
            }
            at += frame.frame_bytes() as u64;
        }
        Ok(())
    }

    /// The next sound frame from `at` on, or the end of the file.
    fn resynchronise(&self, mut at: u64) -> io::Result<u64> {
        let mut window = Vec::new();
        while at < self.bytes {
            read_into(&self.file, at, WINDOW_BYTES, &mut window)?;
            for start in (0..window.len()).step_by(FRAME_ALIGN) {
                let offset = at + start as u64;
                let rest = &window[start..];
                if FrameHeader::decode(rest, offset, self.facts.number).is_some() {
                    return Ok(offset);
                }
            }
            // A header may lie across the end of the window.
            at += (WINDOW_BYTES - FRAME_HEADER_BYTES) as u64;
        }
        Ok(self.bytes)
    }

    /// Reads a block; what is damaged in it is reported. False behind the last.
    pub(crate) fn read_block(
        &self,
        at: usize,
        content: &mut Vec<u8>,
        body: &mut Body,
    ) -> io::Result<bool> {
        let Some(block) = self.index.block(at) else { return Ok(false) };
        read_into(&self.file, block.offset, block.bytes as usize, content)?;
        let number = self.facts.number;
        if FrameHeader::decode(content, block.offset, number).is_none() {
            self.report(block.offset, FRAME_HEADER_BYTES as u64, DamagedPart::Block);
        }
        content.drain(..FRAME_HEADER_BYTES.min(content.len()));
        body.read(content, seed(number));
        let front = block.offset + FRAME_HEADER_BYTES as u64;
        for range in &body.damaged {
            self.report(front + range.start as u64, range.len() as u64, DamagedPart::Block);
        }
        Ok(true)
    }

    fn report(&self, offset: u64, bytes: u64, what: DamagedPart) {
        self.log.report(Damage::new(self.name(), offset, bytes, what));
    }

    fn measure(&mut self) {
        let own = plimsoll_ledger::usable_size(size_of::<Self>() + 16, 8);
        self.charge.set(own + self.index.heap_bytes());
    }
}

/// What runs share: where to report, and whom to charge.
#[derive(Clone, Debug)]
pub(crate) struct RunContext {
    pub(crate) log: Arc<DamageLog>,
    pub(crate) ledger: &'static Ledger,
}

fn read_header<F: DiskFile>(
    file: &F,
    name: &str,
    at: u64,
    kind: FileKind,
) -> Result<Option<Header>, OpenError> {
    let mut bytes = Vec::new();
    read_into(file, at, HEADER_BYTES, &mut bytes)?;
    match Header::decode(&bytes, kind) {
        Ok(header) => Ok(Some(header)),
        Err(BadHeader::Damaged) => Ok(None),
        Err(BadHeader::Newer(version)) => {
            Err(OpenError::UnknownVersion { file: name.to_owned(), version })
        }
    }
}

/// What the file itself says, by its front or its end.
fn facts_of(number: u64, header: Option<&Header>, end: Option<&Header>) -> RunFacts {
    match (header, end) {
        (Some(header), _) => {
            let [first_age, last_age, through, ..] = header.words;
            RunFacts { number, first_age, last_age, through }
        }
        (None, Some(end)) => {
            let [.., first_age, last_age] = end.words;
            RunFacts { number, first_age, last_age, through: 0 }
        }
        (None, None) => RunFacts { number, first_age: number, last_age: number, through: 0 },
    }
}

/// Goes over the entries of a run.
pub(crate) struct RunCursor<D: Disk> {
    run: Arc<Run<D>>,
    block: usize,
    content: Vec<u8>,
    body: Body,
    at: usize,
    charge: Charge,
}

impl<D: Disk> RunCursor<D> {
    /// The first entry whose key is not less than `key`.
    pub(crate) fn new(run: Arc<Run<D>>, key: &[u8], ledger: &'static Ledger) -> io::Result<Self> {
        let block = run.index.find(key);
        let charge = ledger.charge(Account::Store, 0);
        let (content, body) = (Vec::new(), Body::default());
        let mut cursor = Self { run, block, content, body, at: 0, charge };
        cursor.load()?;
        while cursor.entry().is_some_and(|entry| entry.key < key) {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    /// Loads the block here, or the first one behind it in which an entry is sound.
    fn load(&mut self) -> io::Result<()> {
        self.at = 0;
        while self.run.read_block(self.block, &mut self.content, &mut self.body)? {
            if !self.body.entries.is_empty() {
                use plimsoll_ledger::Measure;
                self.charge.set(self.content.heap_bytes() + self.body.heap_bytes());
                return Ok(());
            }
            self.block += 1;
        }
        self.body.entries.clear();
        Ok(())
    }
}

impl<D: Disk> Cursor for RunCursor<D> {
    fn entry(&self) -> Option<Entry<'_>> {
        self.body.entries.get(self.at).map(|placed| placed.entry(&self.content))
    }

    fn advance(&mut self) -> io::Result<()> {
        self.at += 1;
        if self.at >= self.body.entries.len() && !self.body.entries.is_empty() {
            self.block += 1;
            self.load()?;
        }
        Ok(())
    }
}
