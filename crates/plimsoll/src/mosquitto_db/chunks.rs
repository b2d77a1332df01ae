//! The file's head, and the chunks behind it.

use super::Error;
use super::fields::Fields;
use super::summary::Flaw;

/// What a file begins with.
const MAGIC: &[u8] = b"\x00\xB5\x00mosquitto db";

/// Versions of the format that there have been, as far as Mosquitto itself reads them.
const VERSIONS: core::ops::RangeInclusive<u32> = 2..=6;

/// A chunk of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    /// Where it begins in the file.
    pub(super) offset: usize,
    /// What is in it.
    pub(super) kind: u32,
    /// Its bytes, without its head.
    pub(super) body: &'a [u8],
}

/// The chunks of a file, one after the other.
#[derive(Debug)]
pub(super) struct Chunks<'a> {
    /// Version of the format.
    pub(super) version: u32,
    len: usize,
    rest: Fields<'a>,
}

impl<'a> Chunks<'a> {
    /// Reads the head: magic, checksum (always 0, and not looked at by Mosquitto), version.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty);
        }
        let mut rest = Fields(bytes.strip_prefix(MAGIC).ok_or(Error::NotMosquitto)?);
        let version = rest.u32().and_then(|_checksum| rest.u32()).ok_or(Error::CutShort)?;
        if !VERSIONS.contains(&version) {
            return Err(Error::Version(version));
        }
        Ok(Self { version, len: bytes.len(), rest })
    }

    /// The next chunk: `None` at the end, an error with its offset if the file ends within it.
    pub(super) fn next(&mut self) -> Option<Result<Chunk<'a>, (usize, Flaw)>> {
        if self.rest.0.is_empty() {
            return None;
        }
        let offset = self.len - self.rest.0.len();
        let chunk = self.chunk(offset);
        if chunk.is_none() {
            self.rest.0 = &[];
        }
        Some(chunk.ok_or((offset, Flaw::CutShort(self.len - offset))))
    }

    fn chunk(&mut self, offset: usize) -> Option<Chunk<'a>> {
        let kind = match self.version {
            ..=4 => self.rest.u16()?.into(),
            _ => self.rest.u32()?,
        };
        let len = self.rest.u32()?;
        let body = self.rest.bytes(usize::try_from(len).ok()?)?;
        Some(Chunk { offset, kind, body })
    }
}
