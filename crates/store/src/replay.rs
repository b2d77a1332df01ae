//! Reading the journal at the start: which batches hold, what is torn, what is damaged.
//!
//! Frames say up to which batch all were durable when they were written. Up to the highest of
//! these, everything must be there, so what is not is damage: it is stepped over, and the rest is
//! served. Behind it nothing was promised, and batches hold only as an unbroken sequence of whole
//! frames: the first that is torn or missing ends it.

use std::io;

use crate::damage::{Damage, DamagedPart};
use crate::disk::{Disk, DiskFile, read_all};
use crate::entries::{Body, Entry, seed};
use crate::errors::OpenError;
use crate::frame::{FRAME_HEADER_BYTES, Found, FrameHeader, FrameKind, Frames, body_of};
use crate::header::{BadHeader, FileKind, HEADER_BYTES, Header};
use crate::journal::Closed;
use crate::names::{self, Name};

/// The end of the journal where a crash tore it. Nothing there had been synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's file name.
    pub file: String,
    /// Where the first incomplete batch begins, in bytes.
    pub offset: u64,
    /// Bytes of what was cut, as far as that can be told.
    pub bytes: u64,
}

/// What the journal had to say.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) batches: u64,
    pub(crate) entries: u64,
    pub(crate) last_sequence: u64,
    pub(crate) torn: Option<TornTail>,
    pub(crate) damages: Vec<Damage>,
    pub(crate) segments: Vec<Closed>,
}

/// What one look at a segment tells.
#[derive(Debug, Default)]
struct Segment {
    number: u64,
    bytes: u64,
    /// Batches from this one on lie here or in later segments.
    first_sequence: Option<u64>,
    last_sequence: u64,
    synced_through: u64,
    header_is_damaged: bool,
}

/// Reads all segments and hands each entry of each batch behind `flushed` to `each`, in order,
/// with its batch's number.
pub(crate) fn replay<D: Disk>(
    disk: &D,
    flushed: u64,
    each: &mut dyn FnMut(u64, Entry<'_>),
) -> Result<Replayed, OpenError> {
    let segments = survey(disk)?;
    let synced = segments.iter().map(|segment| segment.synced_through).max().unwrap_or(0);
    let mut reader = Reader {
        expected: flushed + 1,
        synced: synced.max(flushed),
        gap: None,
        body: Body::default(),
        done: Replayed { last_sequence: flushed, ..Replayed::default() },
        each,
    };
    for (at, segment) in segments.iter().enumerate() {
        let later = segments.iter().skip(at + 1);
        let limit = later.filter_map(|segment| segment.first_sequence).min().unwrap_or(u64::MAX);
        if segment.header_is_damaged {
            let file = names::journal(segment.number);
            let damage = Damage::new(file, 0, HEADER_BYTES as u64, DamagedPart::Header);
            reader.done.damages.push(damage);
        }
        if reader.done.torn.is_none() && segment.last_sequence > flushed {
            reader.segment(disk, segment, limit)?;
        }
        let Segment { number, bytes, last_sequence, .. } = *segment;
        reader.done.segments.push(Closed { number, last_sequence, bytes, was_read: true });
    }
    reader.end();
    Ok(reader.done)
}

/// Takes the headers of all frames behind the last batch that holds from the disk. They were torn,
/// or had been written anew in a later segment; if they stayed, they could come back to life once
/// the segments are gone that keep them from it now. Needs no room on the disk.
pub(crate) fn scrub<D: Disk>(disk: &D, replayed: &mut Replayed) -> io::Result<()> {
    let last = replayed.last_sequence;
    for segment in &mut replayed.segments {
        if segment.last_sequence <= last {
            continue;
        }
        let file = disk.open(&names::journal(segment.number))?;
        let content = read_all(&file)?;
        for found in Frames::new(&content, segment.number, HEADER_BYTES) {
            if let Found::Frame(frame) = found
                && frame.kind == FrameKind::Batch
                && frame.sequence > last
            {
                file.write_at(frame.offset, &[0; FRAME_HEADER_BYTES])?;
            }
        }
        file.sync()?;
        segment.last_sequence = last;
    }
    Ok(())
}

/// The first look at all segments.
fn survey<D: Disk>(disk: &D) -> Result<Vec<Segment>, OpenError> {
    let mut segments = Vec::new();
    for name in disk.list()? {
        if let Name::Journal(number) = names::parse(&name) {
            segments.push(look_at(disk, &name, number)?);
        }
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok(segments)
}

fn look_at<D: Disk>(disk: &D, name: &str, number: u64) -> Result<Segment, OpenError> {
    let content = read_all(&disk.open(name)?)?;
    let header = match Header::decode(&content, FileKind::Journal) {
        Err(BadHeader::Newer(version)) => {
            return Err(OpenError::UnknownVersion { file: name.to_owned(), version });
        }
        Ok(header) => Some(header),
        Err(BadHeader::Damaged) => None,
    };
    let bytes = content.len() as u64;
    if header.is_some_and(|header| header.number != number) {
        // It was about to be used again, under a name that a crash undid or did too early. Nothing
        // in it was promised under this name.
        return Ok(Segment { number, bytes, ..Segment::default() });
    }
    let mut segment = Segment {
        number,
        bytes,
        first_sequence: header.map(|header| header.words[0]),
        last_sequence: 0,
        synced_through: header.map_or(0, |header| header.words[0].saturating_sub(1)),
        header_is_damaged: false,
    };
    for found in Frames::new(&content, number, HEADER_BYTES) {
        let Found::Frame(frame) = found else { continue };
        segment.synced_through = segment.synced_through.max(frame.synced_through);
        segment.header_is_damaged = header.is_none();
        segment.first_sequence.get_or_insert(frame.sequence);
        let last = if frame.kind == FrameKind::Batch { frame.sequence } else { frame.sequence - 1 };
        segment.last_sequence = segment.last_sequence.max(last);
    }
    Ok(segment)
}

/// Bytes of the journal that hold no sound frame.
#[derive(Debug)]
struct Gap {
    file: String,
    at: usize,
    bytes: Vec<u8>,
}

struct Reader<'e> {
    /// The number of the batch that must come next.
    expected: u64,
    /// All batches up to this one were durable.
    synced: u64,
    gap: Option<Gap>,
    body: Body,
    done: Replayed,
    each: &'e mut dyn FnMut(u64, Entry<'_>),
}

impl Reader<'_> {
    fn segment<D: Disk>(
        &mut self,
        disk: &D,
        segment: &Segment,
        limit: u64,
    ) -> Result<(), OpenError> {
        let file = names::journal(segment.number);
        let content = read_all(&disk.open(&file)?)?;
        let mut end = HEADER_BYTES;
        for found in Frames::new(&content, segment.number, HEADER_BYTES) {
            match found {
                Found::Gap { at, bytes } => self.gap = Some(gap(&file, &content, at, bytes)),
                Found::Frame(frame) => {
                    if frame.sequence >= limit && frame.kind == FrameKind::Batch {
                        break;
                    }
                    end = (frame.offset as usize + frame.frame_bytes()).min(content.len());
                    self.frame(&file, &content, &frame);
                    if self.done.torn.is_some() {
                        return Ok(());
                    }
                }
            }
        }
        if self.gap.is_none() {
            self.gap = Some(gap(&file, &content, end, content.len() - end));
        }
        Ok(())
    }

    /// Behind the last frame: what was promised and is not there is damage too.
    fn end(&mut self) {
        if self.done.torn.is_none()
            && self.expected <= self.synced
            && let Some(gap) = self.gap.take()
        {
            self.salvage(&gap);
            self.done.last_sequence = self.synced;
        }
    }

    fn frame(&mut self, file: &str, content: &[u8], frame: &FrameHeader) {
        let is_batch = frame.kind == FrameKind::Batch;
        if frame.sequence < self.expected {
            self.gap = None;
            return;
        }
        if frame.sequence > self.expected && !self.miss(file, frame) {
            return;
        }
        self.gap = None;
        if !is_batch {
            return;
        }
        let bytes = body_of(content, frame, &mut self.body);
        if !self.body.is_whole() {
            if frame.sequence > self.synced {
                self.tear(file, frame.offset, frame.frame_bytes() as u64);
                return;
            }
            self.note_damage(file, frame);
        }
        self.apply(bytes, frame.sequence);
        self.expected = frame.sequence + 1;
    }

    /// Batches before this frame are missing. Says whether the frame still holds.
    fn miss(&mut self, file: &str, frame: &FrameHeader) -> bool {
        if self.expected > self.synced {
            let (file, at) = match &self.gap {
                Some(gap) => (gap.file.clone(), gap.at as u64),
                None => (file.to_owned(), frame.offset),
            };
            self.tear(&file, at, frame.offset.saturating_sub(at));
            return false;
        }
        match self.gap.take() {
            Some(gap) => self.salvage(&gap),
            None => {
                let what = DamagedPart::Journal;
                self.done.damages.push(Damage::new(file.to_owned(), frame.offset, 0, what));
            }
        }
        self.expected = frame.sequence.min(self.synced + 1);
        if frame.sequence > self.expected {
            self.tear(file, frame.offset, frame.frame_bytes() as u64);
            return false;
        }
        true
    }

    /// Where only a header is damaged the entries behind it are sound.
    fn salvage(&mut self, gap: &Gap) {
        let bytes = gap.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        self.body.entries.clear();
        self.body.walk(bytes, seed(self.expected));
        self.apply(bytes, self.expected);
        let length = gap.bytes.len() as u64;
        let damage = Damage::new(gap.file.clone(), gap.at as u64, length, DamagedPart::Journal);
        self.done.damages.push(damage);
    }

    fn apply(&mut self, bytes: &[u8], sequence: u64) {
        for placed in &self.body.entries {
            (self.each)(sequence, placed.entry(bytes));
        }
        self.done.batches += 1;
        self.done.entries += self.body.entries.len() as u64;
        self.done.last_sequence = sequence;
    }

    fn note_damage(&mut self, file: &str, frame: &FrameHeader) {
        let front = frame.offset + FRAME_HEADER_BYTES as u64;
        for range in &self.body.damaged {
            let (offset, bytes) = (front + range.start as u64, range.len() as u64);
            let damage = Damage::new(file.to_owned(), offset, bytes, DamagedPart::Frame);
            self.done.damages.push(damage);
        }
    }

    fn tear(&mut self, file: &str, offset: u64, bytes: u64) {
        self.done.torn = Some(TornTail { file: file.to_owned(), offset, bytes });
    }
}

fn gap(file: &str, content: &[u8], at: usize, bytes: usize) -> Gap {
    let bytes = content.get(at..at + bytes).unwrap_or_default().to_vec();
    Gap { file: file.to_owned(), at, bytes }
}
