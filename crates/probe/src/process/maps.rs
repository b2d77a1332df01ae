//! `/proc/PID/maps`.

use std::ops::Range;

/// A stretch of a process's address space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// It may be read.
    pub readable: bool,
    /// It may be written.
    pub writable: bool,
    /// It may be executed.
    pub executable: bool,
    /// Writes are seen by others who have mapped the same.
    pub shared: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file's device and inode, as one text; `00:00 0` for none.
    pub file: String,
    /// The file, a name in brackets (`[heap]`), or nothing.
    pub path: String,
}

impl Mapping {
    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// How many bytes it spans.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// It belongs to no file: what a program has asked the kernel for, or a name that it gave to such.
    pub fn is_anonymous(&self) -> bool {
        self.file == "00:00 0"
    }

    /// The file's name without directories, and without what the kernel says of deleted ones.
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// The mapping that has `address`, in `mappings` that ascend.
pub fn of(address: u64, mappings: &[Mapping]) -> Option<&Mapping> {
    let after = mappings.partition_point(|mapping| mapping.start <= address);
    mappings[..after].last().filter(|mapping| address < mapping.end)
}

/// Reads the kernel's text. Lines that are not in its form are passed over.
pub fn parse(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let (field, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        field
    };
    let (start, end) = field().split_once('-')?;
    let rights = field().as_bytes();
    let offset = field();
    let (device, inode) = (field(), field());
    let &[read, write, execute, shared] = rights else { return None };
    let mapping = Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: read == b'r',
        writable: write == b'w',
        executable: execute == b'x',
        shared: shared == b's',
        offset: u64::from_str_radix(offset, 16).ok()?,
        file: format!("{device} {inode}"),
        path: rest.trim_start_matches(' ').to_owned(),
    };
    (mapping.start < mapping.end).then_some(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d0c3a00000-55d0c3a0b000 r--p 00000000 fe:00 1234                       /usr/sbin/mosquitto
55d0c3a0b000-55d0c3a3f000 r-xp 0000b000 fe:00 1234                       /usr/sbin/mosquitto
55d0c4f00000-55d0c4f21000 rw-p 00000000 00:00 0                          [heap]
7f00000a0000-7f00000b0000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0000100000-7f0000200000 rw-p 00000000 00:00 0 
not a mapping
7ffc1c000000-7ffc1c021000 rw-p 00000000 00:00 0                          [a name with spaces]
";

    #[test]
    fn reads_the_kernels_form() {
        let mappings = parse(TEXT);
        assert_eq!(mappings.len(), 6);
        assert_eq!(mappings[1].offset, 0xb000);
        assert!(mappings[1].executable && !mappings[1].writable && !mappings[1].shared);
        assert_eq!(mappings[0].file, mappings[1].file);
        assert!(mappings[2].is_anonymous() && mappings[2].path == "[heap]");
        assert!(mappings[3].shared && !mappings[3].is_anonymous());
        assert_eq!(mappings[3].file_name(), "zero");
        assert_eq!(mappings[4].path, "");
        assert_eq!(mappings[5].path, "[a name with spaces]");
        assert_eq!(mappings[4].bytes(), 0x10_0000);
    }

    #[test]
    fn finds_by_address() {
        let mappings = parse(TEXT);
        assert_eq!(of(0x55d0_c3a0_b000, &mappings), Some(&mappings[1]));
        assert_eq!(of(0x55d0_c3a0_afff, &mappings), Some(&mappings[0]));
        assert_eq!(of(0x55d0_c3a3_f000, &mappings), None);
        assert_eq!(of(0, &mappings), None);
    }
}
