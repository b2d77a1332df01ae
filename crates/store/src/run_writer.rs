//! Writing a run: blocks, index, end, and then its name.

use std::io;

use plimsoll_ledger::{Account, Charge, Measure};

use crate::disk::{Disk, DiskFile};
use crate::entries::{BodyWriter, Entry, Kind, seed};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, padded};
use crate::header::{FileKind, Header};
use crate::index::Index;
use crate::memtable::Counts;
use crate::names;
use crate::run::{Run, RunContext, RunFacts};

/// Bytes that are collected for one write.
const WRITE_BYTES: usize = 128 * 1024;
/// Bytes after which the file is synced in between, so that the journal's syncs, which share the
/// disk, never wait behind a large one.
const SYNC_BYTES: u64 = 8 << 20;

/// A run that is being written, under a name that means nothing after a crash.
#[derive(Debug)]
pub(crate) struct RunWriter<D: Disk> {
    facts: RunFacts,
    file: D::File,
    block_bytes: usize,
    /// Bytes that are in the file.
    at: u64,
    synced_at: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the open block's frame begins.
    block: Option<usize>,
    body: BodyWriter,
    first_key: Vec<u8>,
    index: Index,
    counts: Counts,
    charge: Charge,
    context: RunContext,
}

impl<D: Disk> RunWriter<D> {
    pub(crate) fn create(
        disk: &D,
        facts: RunFacts,
        block_bytes: usize,
        context: &RunContext,
    ) -> io::Result<Self> {
        let file = disk.create(&names::building(facts.number))?;
        let words = [facts.first_age, facts.last_age, facts.through, 0, 0];
        let header = Header { kind: FileKind::Run, number: facts.number, words };
        Ok(Self {
            facts,
            file,
            block_bytes,
            at: 0,
            synced_at: 0,
            buffer: header.encode().to_vec(),
            block: None,
            body: BodyWriter::default(),
            first_key: Vec::new(),
            index: Index::default(),
            counts: Counts::default(),
            charge: context.ledger.charge(Account::Store, 0),
            context: context.clone(),
        })
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn facts(&self) -> RunFacts {
        self.facts
    }

    /// Adds an entry; keys come in order.
    pub(crate) fn push(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let more = FRAME_HEADER_BYTES + entry.encoded_bytes();
        let is_full = self.body.bytes(&self.buffer) + more > self.block_bytes;
        if self.block.is_some() && is_full && self.body.count() > 0 {
            self.finish_block(FrameKind::Block)?;
        }
        if self.block.is_none() {
            self.begin_block();
            self.first_key.clear();
            self.first_key.extend_from_slice(entry.key);
        }
        self.body.push(&mut self.buffer, entry);
        self.counts.add(entry.kind);
        Ok(())
    }

    fn begin_block(&mut self) {
        self.block = Some(self.buffer.len());
        self.buffer.resize(self.buffer.len() + FRAME_HEADER_BYTES, 0);
        self.body.begin(&self.buffer, seed(self.facts.number));
    }

    fn finish_block(&mut self, kind: FrameKind) -> io::Result<()> {
        let Some(start) = self.block.take() else { return Ok(()) };
        self.body.finish(&mut self.buffer);
        let bytes = (self.buffer.len() - start) as u32;
        let offset = self.at + start as u64;
        let header = FrameHeader {
            kind,
            segment: self.facts.number,
            offset,
            sequence: self.facts.number,
            synced_through: 0,
            body_bytes: bytes - FRAME_HEADER_BYTES as u32,
        };
        self.buffer[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        self.buffer.resize(padded(self.buffer.len()), 0);
        if kind == FrameKind::Block {
            self.index.push(&self.first_key, offset, bytes);
        }
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        let buffers = self.buffer.heap_bytes() + self.body.heap_bytes();
        self.charge.set(buffers + self.index.heap_bytes());
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_BYTES);
        if self.at - self.synced_at >= SYNC_BYTES {
            self.file.sync()?;
            self.synced_at = self.at;
        }
        Ok(())
    }

    /// Ends the run and gives it its name, durably.
    pub(crate) fn finish(mut self, disk: &D) -> io::Result<Run<D>> {
        self.finish_block(FrameKind::Block)?;
        let index_at = self.bytes();
        self.begin_block();
        for (key, block) in self.index.iter() {
            let mut value = [0; 12];
            value[..8].copy_from_slice(&block.offset.to_le_bytes());
            value[8..].copy_from_slice(&block.bytes.to_le_bytes());
            self.body.push(&mut self.buffer, Entry { kind: Kind::Put, key, value: &value });
        }
        self.finish_block(FrameKind::Index)?;
        let RunFacts { number, first_age, last_age, .. } = self.facts;
        let words = [index_at, self.counts.values, self.counts.deletes, first_age, last_age];
        let end = Header { kind: FileKind::RunEnd, number, words };
        self.buffer.extend_from_slice(&end.encode());
        self.write()?;
        self.file.sync()?;
        disk.rename(&names::building(number), &names::run(number))?;
        disk.sync_dir()?;
        self.index.shrink();
        let Self { facts, file, at, counts, index, context, .. } = self;
        Ok(Run::written(facts, file, at, counts, index, &context))
    }
}
