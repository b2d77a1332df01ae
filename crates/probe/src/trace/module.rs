//! The files of code that a process has mapped: their symbols, and their tables for unwinding.

use std::fs::File;
use std::path::PathBuf;

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, ReadCache, SymbolKind};

use crate::process::Process;
use crate::process::maps::Mapping;

/// Sections for unwinding, as they stand in the file.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// `.eh_frame_hdr`: the index.
    pub(super) index: Vec<u8>,
    pub(super) index_address: u64,
    /// `.eh_frame`.
    pub(super) frames: Vec<u8>,
    pub(super) frames_address: u64,
    pub(super) text_address: u64,
}

/// A file that code was mapped from.
#[derive(Debug)]
pub(super) struct Module {
    /// The file's name.
    pub(super) name: String,
    /// Where to open it, also if it lies in a container or was deleted.
    pub(super) file: PathBuf,
    /// Its path as the process sees it.
    pub(super) path: String,
    /// What to add to an address of the file for one of the process.
    pub(super) bias: u64,
    pub(super) tables: Tables,
}

/// Larger sections are not read.
const SECTION_MAX: u64 = 256 << 20;

impl Module {
    /// Reads what belongs to a mapping of code. Nothing if it is no file of ELF that can be read.
    pub(super) fn of(process: &Process, mapping: &Mapping) -> Option<Self> {
        let file = openable(process, mapping)?;
        let cache = ReadCache::new(File::open(&file).ok()?);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
        let endian = elf.endian();
        let headers = elf.elf_header().program_headers(endian, &cache).ok()?;
        let segment = headers.iter().find(|header| {
            let (offset, size) = header.file_range(endian);
            header.p_type(endian) == object::elf::PT_LOAD
                && (mapping.offset..mapping.offset + mapping.bytes()).contains(&offset)
                || (offset..offset + size).contains(&mapping.offset)
                    && header.p_type(endian) == object::elf::PT_LOAD
        })?;
        let offset = segment.p_offset(endian);
        let address = segment.p_vaddr(endian).wrapping_sub(offset).wrapping_add(mapping.offset);
        let section = |name: &str| {
            let section =
                elf.section_by_name(name).filter(|section| section.size() <= SECTION_MAX)?;
            Some((section.data().ok()?.to_vec(), section.address()))
        };
        let (index, index_address) = section(".eh_frame_hdr").unwrap_or_default();
        let (frames, frames_address) = section(".eh_frame").unwrap_or_default();
        let text_address = elf.section_by_name(".text").map_or(0, |section| section.address());
        Some(Self {
            name: mapping.file_name().to_owned(),
            file,
            path: mapping.path.clone(),
            bias: mapping.start.wrapping_sub(address),
            tables: Tables { index, index_address, frames, frames_address, text_address },
        })
    }
}

/// A path by which a mapping's file can be opened.
pub(super) fn openable(process: &Process, mapping: &Mapping) -> Option<PathBuf> {
    if mapping.is_anonymous() || !mapping.path.starts_with('/') {
        return None;
    }
    let exact = process.path(&format!("map_files/{:x}-{:x}", mapping.start, mapping.end));
    let seen = process.path(&format!("root{}", mapping.path));
    [exact, seen].into_iter().find(|path| File::open(path).is_ok())
}

/// A function that a file defines: its name, and where in the file it begins.
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) offset: u64,
    /// Its first bytes.
    pub(super) code: Vec<u8>,
}

/// Functions of a file for which `wanted` has a use.
pub(super) fn symbols(
    file: &PathBuf,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Symbol>, String> {
    let cache = ReadCache::new(File::open(file).map_err(|error| error.to_string())?);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| error.to_string())?;
    let endian = elf.endian();
    let headers =
        elf.elf_header().program_headers(endian, &cache).map_err(|error| error.to_string())?;
    let mut symbols: Vec<Symbol> = Vec::new();
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        let Ok(name) = symbol.name() else { continue };
        if !symbol.is_definition() || symbol.kind() != SymbolKind::Text || !wanted(name) {
            continue;
        }
        let address = symbol.address();
        let segment = headers.iter().find(|header| {
            let start = header.p_vaddr(endian);
            header.p_type(endian) == object::elf::PT_LOAD
                && (start..start + header.p_filesz(endian)).contains(&address)
        });
        let Some(segment) = segment else { continue };
        let offset = address - segment.p_vaddr(endian) + segment.p_offset(endian);
        if symbols.iter().any(|known| known.offset == offset) {
            continue;
        }
        let code = object::ReadRef::read_bytes_at(&cache, offset, 32).unwrap_or_default().to_vec();
        symbols.push(Symbol { name: name.to_owned(), offset, code });
    }
    Ok(symbols)
}
