//! One file of a simulated disk: what it holds, and what it may hold after a crash.

use std::collections::BTreeMap;

use super::{Random, SECTOR_BYTES};

/// Older contents of a sector that are remembered.
const IMAGES_MAX: usize = 4;
const PAGE_SECTORS: usize = 4096 / SECTOR_BYTES;

type Image = [u8; SECTOR_BYTES];

/// A sector that is not synced.
#[derive(Clone, Debug)]
struct Dirty {
    /// Contents that the medium may have, oldest first, without the present one.
    images: Vec<Image>,
    /// Its sync failed: the system takes it for clean now, so no later sync writes it.
    is_abandoned: bool,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    content: Vec<u8>,
    synced_len: usize,
    dirty: BTreeMap<usize, Dirty>,
}

impl FileState {
    pub(super) fn len(&self) -> usize {
        self.content.len()
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if bytes.is_empty() {
            return;
        }
        for sector in at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.remember(sector);
        }
        if end > self.content.len() {
            self.content.resize(end, 0);
        }
        self.content[at..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        for sector in len / SECTOR_BYTES..self.content.len().div_ceil(SECTOR_BYTES) {
            self.remember(sector);
        }
        self.content.resize(len, 0);
    }

    /// Before a sector changes: what it holds now may be what remains.
    fn remember(&mut self, sector: usize) {
        let image = self.image(sector);
        let dirty = self.dirty.entry(sector);
        let dirty = dirty.or_insert_with(|| Dirty { images: Vec::new(), is_abandoned: false });
        dirty.images.push(image);
        if dirty.images.len() > IMAGES_MAX {
            // The first is the synced one: that it remains is the most important case.
            dirty.images.remove(1);
        }
        dirty.is_abandoned = false;
    }

    fn image(&self, sector: usize) -> Image {
        let mut image = [0; SECTOR_BYTES];
        let rest = self.content.get(sector * SECTOR_BYTES..).unwrap_or_default();
        let bytes = rest.len().min(SECTOR_BYTES);
        image[..bytes].copy_from_slice(&rest[..bytes]);
        image
    }

    /// All but what an earlier sync gave up is durable now. Says how many bytes of pages that
    /// wrote.
    pub(super) fn sync(&mut self) -> u64 {
        let mut pages: Vec<_> = self
            .dirty
            .iter()
            .filter(|(_, dirty)| !dirty.is_abandoned)
            .map(|(sector, _)| sector / PAGE_SECTORS)
            .collect();
        pages.dedup();
        self.dirty.retain(|_, dirty| dirty.is_abandoned);
        self.synced_len = self.content.len();
        pages.len() as u64 * 4096
    }

    pub(super) fn fail_sync(&mut self) {
        self.dirty.values_mut().for_each(|dirty| dirty.is_abandoned = true);
    }

    pub(super) fn crash(&mut self, random: &mut Random) {
        let len = self.content.len();
        // A length that was not synced is the old one, the new one, or one between.
        let len = match random.below(3) {
            0 => self.synced_len,
            1 => len,
            _ => {
                let (least, most) = (len.min(self.synced_len), len.max(self.synced_len));
                least + random.below(most - least + 1)
            }
        };
        for (sector, dirty) in std::mem::take(&mut self.dirty) {
            let choice = random.below(dirty.images.len() + 1);
            let Some(image) = dirty.images.get(choice) else { continue };
            let at = sector * SECTOR_BYTES;
            let end = at + SECTOR_BYTES;
            if end > self.content.len() {
                self.content.resize(end, 0);
            }
            self.content[at..end].copy_from_slice(image);
        }
        self.content.resize(len, 0);
        self.synced_len = len;
    }

    pub(super) fn flip(&mut self, at: usize, bits: u8) -> bool {
        let Some(byte) = self.content.get_mut(at) else { return false };
        *byte ^= bits;
        for image in
            self.dirty.get_mut(&(at / SECTOR_BYTES)).into_iter().flat_map(|d| &mut d.images)
        {
            image[at % SECTOR_BYTES] ^= bits;
        }
        true
    }

    /// The same content, all of it synced.
    pub(super) fn synced_copy(&self) -> Self {
        let content = self.content.clone();
        Self { synced_len: content.len(), content, dirty: BTreeMap::new() }
    }
}
