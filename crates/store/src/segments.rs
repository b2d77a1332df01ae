//! Making segment files, and writing into them by whole pages.
//!
//! Never more than one page at a time: the system takes the length of a write for the size of the
//! folio that it caches, and counts the whole folio as written whenever a byte of it is. After
//! writes of 256 KiB a commit of 150 bytes costs 256 KiB of `write_bytes` (ext4, Linux 6.18).

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::options::PAGE_BYTES;

/// Makes a file of zeros that are really written: a file that is only lengthened would still
/// change its extents at each sync.
pub(crate) fn make_segment<D: Disk>(disk: &D, name: &str, length: u64) -> io::Result<D::File> {
    let file = disk.create(name)?;
    let filled = fill(&file, length);
    if filled.is_err() {
        // On a full disk half a segment would be in the way of everything else.
        let _ = disk.remove(name);
    }
    filled.map(|()| file)
}

fn fill<F: DiskFile>(file: &F, length: u64) -> io::Result<()> {
    let zeros = [0; PAGE_BYTES];
    for at in (0..length).step_by(PAGE_BYTES) {
        file.write_at(at, &zeros)?;
    }
    file.sync()
}

/// Writes `bytes` at `at` and zeros up to the end of the page, so that a page that is touched for
/// the first time is never read. Says how many bytes
/// of pages were touched.
pub(crate) fn write_padded<F: DiskFile>(
    file: &F,
    at: u64,
    bytes: &[u8],
    page: &mut Vec<u8>,
) -> io::Result<u64> {
    let (mut at, mut rest) = (at as usize, bytes);
    let first_page = at / PAGE_BYTES * PAGE_BYTES;
    while !rest.is_empty() {
        let room = PAGE_BYTES - at % PAGE_BYTES;
        let (now, later) = rest.split_at(room.min(rest.len()));
        page.clear();
        page.extend_from_slice(now);
        page.resize(room, 0);
        file.write_at(at as u64, page)?;
        at += room;
        rest = later;
    }
    Ok((at - first_page) as u64)
}
