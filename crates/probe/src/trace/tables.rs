//! The tables of one file that say how to get from a function to its caller.

use gimli::{
    BaseAddresses, CieOrFde, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice,
    FrameDescriptionEntry, NativeEndian, UnwindSection,
};

/// Bytes of a table.
pub(super) type Slice<'a> = EndianSlice<'a, NativeEndian>;

/// Sections for unwinding, as they stand in the file.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// `.eh_frame_hdr`: an index of the functions. A static program may have none.
    index: Vec<u8>,
    /// `.eh_frame`: an entry for each function.
    frames: Vec<u8>,
    bases: BaseAddresses,
    /// Where there is no index: each function's address, and the offset of its entry.
    starts: Vec<(u64, usize)>,
}

impl Tables {
    /// From sections, each with its address.
    pub(super) fn new(index: (Vec<u8>, u64), frames: (Vec<u8>, u64), text_address: u64) -> Self {
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(index.1)
            .set_eh_frame(frames.1)
            .set_text(text_address);
        let mut tables = Self { index: index.0, frames: frames.0, bases, starts: Vec::new() };
        if tables.index.is_empty() {
            tables.starts = tables.all_starts();
        }
        tables
    }

    fn all_starts(&self) -> Vec<(u64, usize)> {
        let frames = self.frames();
        let mut entries = frames.entries(&self.bases);
        let mut starts = Vec::new();
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            if let Ok(entry) = partial.parse(EhFrame::cie_from_offset) {
                starts.push((entry.initial_address(), entry.offset()));
            }
        }
        starts.sort_unstable();
        starts
    }

    /// All entries.
    pub(super) fn frames(&self) -> EhFrame<Slice<'_>> {
        EhFrame::from(Slice::new(&self.frames, NativeEndian))
    }

    /// What addresses in the entries are relative to.
    pub(super) fn bases(&self) -> &BaseAddresses {
        &self.bases
    }

    /// The entry of the function that has the file's address `within`.
    pub(super) fn entry(&self, within: u64) -> Option<FrameDescriptionEntry<Slice<'_>>> {
        let frames = self.frames();
        let entry = if self.index.is_empty() {
            let after = self.starts.partition_point(|(start, _)| *start <= within);
            let (_, offset) = self.starts[..after].last()?;
            let offset = EhFrameOffset(*offset);
            frames.fde_from_offset(&self.bases, offset, EhFrame::cie_from_offset).ok()?
        } else {
            let index = EhFrameHdr::from(Slice::new(&self.index, NativeEndian));
            let index = index.parse(&self.bases, 8).ok()?;
            index
                .table()?
                .fde_for_address(&frames, &self.bases, within, EhFrame::cie_from_offset)
                .ok()?
        };
        entry.contains(within).then_some(entry)
    }
}
