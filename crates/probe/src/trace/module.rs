//! The files of code that a process has mapped: their symbols, and their tables for unwinding.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, ReadCache, ReadRef,
    RelocationTarget, SymbolKind,
};

use super::instructions;
use super::tables::Tables;
use crate::process::Process;
use crate::process::maps::Mapping;

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
        // Linkers let segments share a page of the file: the mapping may begin within the one before.
        let segment = headers.iter().find(|header| {
            let (offset, size) = header.file_range(endian);
            header.p_type(endian) == object::elf::PT_LOAD
                && header.p_flags(endian).0 & object::elf::PF_X.0 != 0
                && offset < mapping.offset.saturating_add(mapping.bytes())
                && mapping.offset < offset.saturating_add(size)
        })?;
        let offset = segment.p_offset(endian);
        let address = segment.p_vaddr(endian).wrapping_sub(offset).wrapping_add(mapping.offset);
        let section = |name: &str| {
            let section =
                elf.section_by_name(name).filter(|section| section.size() <= SECTION_MAX)?;
            Some((section.data().ok()?.to_vec(), section.address()))
        };
        let index = section(".eh_frame_hdr").unwrap_or_default();
        let frames = section(".eh_frame").unwrap_or_default();
        let text_address = elf.section_by_name(".text").map_or(0, |section| section.address());
        Some(Self {
            name: mapping.file_name().to_owned(),
            file,
            path: mapping.path.clone(),
            bias: mapping.start.wrapping_sub(address),
            tables: Tables::new(index, frames, text_address),
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

/// Bytes of a function that are read, if nothing says how long it is.
const CODE_MIN: u64 = 32;
/// The most that are read.
const CODE_MAX: u64 = 4096;

/// A function that a file defines: its name, and where in the file it begins.
#[derive(Debug)]
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) offset: u64,
    /// Its bytes, as far as they matter.
    pub(super) code: Vec<u8>,
    /// Where others of the file begin that it calls, or jumps to.
    pub(super) calls: Vec<u64>,
}

/// Functions of a file for which `wanted` has a use. Of several names for one, the shortest.
pub(super) fn symbols(
    file: &PathBuf,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Symbol>, String> {
    let cache = ReadCache::new(File::open(file).map_err(|error| error.to_string())?);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| error.to_string())?;
    let endian = elf.endian();
    let headers =
        elf.elf_header().program_headers(endian, &cache).map_err(|error| error.to_string())?;
    let offset_of = |address: u64| {
        let segment = headers.iter().find(|header| {
            let start = header.p_vaddr(endian);
            header.p_type(endian) == object::elf::PT_LOAD
                && (start..start.saturating_add(header.p_filesz(endian))).contains(&address)
        })?;
        Some(address - segment.p_vaddr(endian) + segment.p_offset(endian))
    };
    let code_at = |offset: u64, size: u64| cache.read_bytes_at(offset, size).unwrap_or_default();
    let mut found: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        let Ok(name) = symbol.name() else { continue };
        if !symbol.is_definition() || symbol.kind() != SymbolKind::Text || !wanted(name) {
            continue;
        }
        // Symbols of assembly may say no size.
        let size = if symbol.size() == 0 { CODE_MIN } else { symbol.size().min(CODE_MAX) };
        let known = found.entry(symbol.address()).or_insert_with(|| (name.to_owned(), size));
        if name.len() < known.0.len() {
            name.clone_into(&mut known.0);
        }
    }
    let links = links(&elf);
    // Directly, or by an entry of the table for what another file could define instead.
    let leads_to = |target: u64| {
        let entry = code_at(offset_of(target)?, LINKAGE_MAX);
        let slot = instructions::linkage(entry, target);
        offset_of(slot.map_or(Some(target), |slot| links.get(&slot).copied())?)
    };
    let symbols = found.into_iter().filter_map(|(address, (name, size))| {
        let offset = offset_of(address)?;
        let code = code_at(offset, size).to_vec();
        let calls = instructions::targets(&code, address).filter_map(leads_to).collect();
        Some(Symbol { name, offset, code, calls })
    });
    Ok(symbols.collect())
}

/// Bytes of an entry of a linkage table.
const LINKAGE_MAX: u64 = 16;

/// Words that the loader sets to the address of a symbol, by their address; if the file defines that itself, what it is.
fn links<'a>(elf: &ElfFile64<'a, Endianness, &'a ReadCache<File>>) -> HashMap<u64, u64> {
    let Some(table) = elf.dynamic_symbol_table() else { return HashMap::new() };
    let relocations = elf.dynamic_relocations().into_iter().flatten();
    let links = relocations.filter_map(|(slot, relocation)| {
        let RelocationTarget::Symbol(index) = relocation.target() else { return None };
        let symbol = table.symbol_by_index(index).ok()?;
        (symbol.is_definition() && symbol.kind() == SymbolKind::Text)
            .then(|| (slot, symbol.address()))
    });
    links.collect()
}
