//! The manifest: which runs there are. A small file that is replaced as a whole.

use std::io;

use crate::disk::{Disk, DiskFile, read_all};
use crate::entries::{Body, BodyWriter, Entry, Kind, seed};
use crate::errors::OpenError;
use crate::header::{BadHeader, FileKind, HEADER_BYTES, Header};
use crate::names;
use crate::numbers::u64_at;
use crate::run::RunFacts;

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Counts the manifests of this directory.
    pub(crate) generation: u64,
    /// Batches up to this one are in the runs, so the journal before it is not needed.
    pub(crate) flushed: u64,
    /// All files have lower numbers, but for segments of the journal.
    pub(crate) next_number: u64,
    /// Newest first.
    pub(crate) runs: Vec<RunFacts>,
}

/// What was found in place of a manifest.
#[derive(Debug)]
pub(crate) enum Found {
    Sound(Manifest),
    /// There is none: a new store.
    None,
    /// There is one, of so many bytes, that says nothing.
    Damaged(u64),
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = [self.flushed, self.next_number, self.runs.len() as u64, 0, 0];
        let header = Header { kind: FileKind::Manifest, number: self.generation, words };
        let mut bytes = header.encode().to_vec();
        let mut body = BodyWriter::default();
        body.begin(&bytes, seed(self.generation));
        for run in &self.runs {
            let mut value = Vec::new();
            for word in [run.first_age, run.last_age, run.through] {
                value.extend_from_slice(&u64::to_le_bytes(word));
            }
            let key = run.number.to_le_bytes();
            body.push(&mut bytes, Entry { kind: Kind::Put, key: &key, value: &value });
        }
        body.finish(&mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = Header::decode(bytes, FileKind::Manifest)?;
        let [flushed, next_number, count, ..] = header.words;
        let rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let mut body = Body::default();
        body.read(rest, seed(header.number));
        if !body.is_whole() || body.entries.len() as u64 != count {
            return Err(BadHeader::Damaged);
        }
        let runs = body.entries.iter().map(|placed| {
            let Entry { key, value, .. } = placed.entry(rest);
            let [first_age, last_age, through] = [0, 8, 16].map(|at| u64_at(value, at));
            RunFacts { number: u64_at(key, 0), first_age, last_age, through }
        });
        Ok(Self { generation: header.number, flushed, next_number, runs: runs.collect() })
    }

    /// Reads the manifest of a disk.
    pub(crate) fn read<D: Disk>(disk: &D) -> Result<Found, OpenError> {
        if !disk.list()?.iter().any(|name| name == names::MANIFEST) {
            return Ok(Found::None);
        }
        let bytes = read_all(&disk.open(names::MANIFEST)?)?;
        match Self::decode(&bytes) {
            Ok(manifest) => Ok(Found::Sound(manifest)),
            Err(BadHeader::Damaged) => Ok(Found::Damaged(bytes.len() as u64)),
            Err(BadHeader::Newer(version)) => {
                Err(OpenError::UnknownVersion { file: names::MANIFEST.to_owned(), version })
            }
        }
    }

    /// Puts this manifest in the old one's place. After an error either may be there.
    pub(crate) fn write<D: Disk>(&self, disk: &D) -> io::Result<u64> {
        let bytes = self.encode();
        let file = disk.create(names::MANIFEST_NEW)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(names::MANIFEST_NEW, names::MANIFEST)?;
        disk.sync_dir()?;
        Ok(bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_back_or_known_to_be_damaged() {
        let run = |number| RunFacts { number, first_age: 1, last_age: number, through: 70 };
        let runs = vec![run(9), run(4)];
        let manifest = Manifest { generation: 3, flushed: 77, next_number: 12, runs };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 4;
            assert_eq!(Manifest::decode(&bytes), Err(BadHeader::Damaged), "{at}");
            assert_eq!(Manifest::decode(&bytes[..at]), Err(BadHeader::Damaged), "{at}");
        }
    }
}
