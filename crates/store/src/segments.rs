//! Making segment files, and writing into them by whole pages.

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::options::PAGE_BYTES;

/// Bytes of zeros written at once.
const ZEROS_BYTES: usize = 256 * 1024;
/// What is longer is written with two calls instead of being copied for one.
const COPIED_BYTES_MAX: usize = 256 * 1024;

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
    let zeros = vec![0; ZEROS_BYTES.min(length as usize)];
    let mut at = 0;
    while at < length {
        let bytes = (length - at).min(zeros.len() as u64);
        file.write_at(at, &zeros[..bytes as usize])?;
        at += bytes;
    }
    file.sync()
}

/// Writes `bytes` at `at` and zeros up to the end of the page, so that a page that is touched for
/// the first time is never read. Says how many bytes of pages were touched.
pub(crate) fn write_padded<F: DiskFile>(
    file: &F,
    at: u64,
    bytes: &[u8],
    page: &mut Vec<u8>,
) -> io::Result<u64> {
    let end = at as usize + bytes.len();
    let padded_end = end.next_multiple_of(PAGE_BYTES);
    page.clear();
    if bytes.len() > COPIED_BYTES_MAX {
        file.write_at(at, bytes)?;
        page.resize(padded_end - end, 0);
        file.write_at(end as u64, page)?;
    } else {
        page.extend_from_slice(bytes);
        page.resize(padded_end - at as usize, 0);
        file.write_at(at, page)?;
    }
    let first_page = at as usize / PAGE_BYTES * PAGE_BYTES;
    Ok((padded_end - first_page) as u64)
}
