//! A process's memory, read while it goes on running.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::Process;
use crate::problem::Problem;

/// Of an entry of `/proc/PID/pagemap`: the page is in memory, or in swap.
const PRESENT: u64 = 1 << 63 | 1 << 62;
/// Entries of the page map that are read at once.
const ENTRIES: usize = 4096;

/// The memory of a process. Nothing stops meanwhile: two reads need not fit together.
#[derive(Debug)]
pub struct Memory {
    memory: File,
    pages: Option<File>,
    page_size: u64,
}

impl Memory {
    /// Opens it for reading.
    pub fn of(process: &Process) -> Result<Self, Problem> {
        let memory =
            File::open(process.path("mem")).map_err(|error| process.cannot_read("mem", &error))?;
        let pages = File::open(process.path("pagemap")).ok();
        let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Ok(Self { memory, pages, page_size })
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Reads from `address` on as much as there is; answers how much that was.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            match self.memory.read_at(&mut buffer[done..], address + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        done
    }

    /// The `N` words at `address`, if all of them can be read.
    pub fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut bytes = vec![0; N * 8];
        if self.read(address, &mut bytes) < bytes.len() {
            return None;
        }
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(words_of(&bytes)) {
            *word = bytes;
        }
        Some(words)
    }

    /// The parts of a range that hold anything. Pages that were never touched are left out: reading them would
    /// give the process tables for them. Where the kernel does not say, it is all of the range.
    pub fn held(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let Some(pages) = &self.pages else { return vec![range.clone()] };
        let mut held: Vec<Range<u64>> = Vec::new();
        let mut entries = vec![0; ENTRIES * 8];
        let mut page = range.start / self.page_size;
        let end = range.end.div_ceil(self.page_size);
        while page < end {
            let count = (end - page).min(ENTRIES as u64);
            let wanted = &mut entries[..count as usize * 8];
            if pages.read_exact_at(wanted, page * 8).is_err() {
                held.push(page * self.page_size..range.end);
                break;
            }
            for entry in words_of(wanted) {
                let start = page * self.page_size;
                page += 1;
                if entry & PRESENT == 0 {
                    continue;
                }
                match held.last_mut().filter(|last| last.end == start) {
                    Some(last) => last.end = page * self.page_size,
                    None => held.push(start..page * self.page_size),
                }
            }
        }
        held
    }
}

/// Bytes as words, in the order of the machine: the process is of the same.
pub fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Memory {
        Memory::of(&Process::find(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn reads_what_stands_there() {
        let words = Box::new([11_u64, 22, 33]);
        let address = words.as_ptr() as u64;
        assert_eq!(own().words::<3>(address), Some([11, 22, 33]));
        assert_eq!(own().words::<3>(8), None);
        assert_eq!(own().read(8, &mut [0; 8]), 0);
    }

    #[test]
    fn untouched_pages_are_not_held() {
        let page = usize::try_from(own().page_size()).unwrap();
        // Large enough to come from the kernel as zeros that nobody has touched.
        let mut bytes = vec![0_u8; 4096 * page];
        let start = (bytes.as_ptr() as u64).div_ceil(page as u64) * page as u64;
        let range = start..start + 4094 * page as u64;
        let offset = (start - bytes.as_ptr() as u64) as usize + 100 * page;
        bytes[offset] = 1;
        let touched = start + 100 * page as u64;
        let held = own().held(&range);
        assert!(held.iter().any(|run| run.contains(&touched)), "{held:?}");
        let pages: u64 = held.iter().map(|run| (run.end - run.start) / page as u64).sum();
        // A huge page is 512 of them.
        assert!(pages <= 1024, "{pages}");
        assert_eq!(bytes[offset], 1);
    }
}
