//! What a process has beside glibc's heap: another allocator, or a language's heap of its own.

use std::fs::File;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, ReadCache};

use crate::process::Process;
use crate::process::maps::Mapping;

/// Libraries and programs by the beginning of their file's name, and whose heap they have.
const FILES: [(&str, &str); 13] = [
    ("libjemalloc", JEMALLOC),
    ("libtcmalloc", TCMALLOC),
    ("libmimalloc", MIMALLOC),
    ("ld-musl-", MUSL),
    ("libjvm.so", "Java's heap"),
    ("libcoreclr.so", ".NET's heap"),
    ("libnode.so", V8),
    ("libpython3.", PYTHON),
    ("python3.", PYTHON),
    ("beam.smp", ERLANG),
    ("beam", ERLANG),
    ("node", V8),
    ("luajit", "LuaJIT's heap"),
];

/// Symbols of the program's own file, and whose they are.
const SYMBOLS: [(&str, &str); 7] = [
    ("mallctl", JEMALLOC),
    ("je_mallctl", JEMALLOC),
    ("_rjem_mallctl", JEMALLOC),
    ("tc_malloc", TCMALLOC),
    ("mi_malloc", MIMALLOC),
    ("__libc_malloc_impl", MUSL),
    ("runtime.mallocgc", GO),
];

/// Sections that only Go's linker writes, also if all symbols are stripped.
const GO_SECTIONS: [&str; 2] = [".go.buildinfo", ".note.go.buildid"];

const JEMALLOC: &str = "jemalloc";
const TCMALLOC: &str = "tcmalloc";
const MIMALLOC: &str = "mimalloc";
const MUSL: &str = "musl's malloc";
const GO: &str = "Go's heap";
const V8: &str = "V8's heap (JavaScript)";
const PYTHON: &str = "Python's small objects";
const ERLANG: &str = "Erlang's heaps";

/// Allocators that `malloc` leads to: a trace sees what they hand out.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const TRACEABLE: [&str; 4] = [JEMALLOC, TCMALLOC, MIMALLOC, MUSL];

/// The heaps of a process that are not glibc's, by name; none that is known of is an empty list.
pub(crate) fn heaps_beside_glibc(process: &Process, mappings: &[Mapping]) -> Vec<&'static str> {
    let mut heaps: Vec<&'static str> = mappings
        .iter()
        .filter(|mapping| !mapping.is_anonymous())
        .filter_map(|mapping| {
            let is_musl = mapping.path.contains("-linux-musl/libc.so");
            is_musl.then_some(MUSL).or_else(|| of_file(mapping.file_name()))
        })
        .chain(of_program(process))
        .collect();
    heaps.sort_unstable();
    heaps.dedup();
    heaps
}

/// Those of them that no `malloc` leads to: a trace does not see them.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn heaps_without_malloc(process: &Process, mappings: &[Mapping]) -> Vec<&'static str> {
    let mut heaps = heaps_beside_glibc(process, mappings);
    heaps.retain(|heap| !TRACEABLE.contains(heap));
    heaps
}

/// Names that end with a dash or dot are beginnings; programs have their whole name, or a version behind it.
fn of_file(name: &str) -> Option<&'static str> {
    let is_it = |known: &str| {
        name.strip_prefix(known)
            .is_some_and(|rest| known.ends_with(['-', '.']) || rest.is_empty() || is_version(rest))
    };
    FILES.iter().find(|(known, _)| is_it(known)).map(|(_, heap)| *heap)
}

/// `.so.2`, `_minimal.so.4`, `.11`, `-2.0.so`.
fn is_version(rest: &str) -> bool {
    rest.starts_with(['.', '_', '-'])
}

/// What is linked into the program's file.
fn of_program(process: &Process) -> Vec<&'static str> {
    let Ok(file) = File::open(process.path("exe")) else { return Vec::new() };
    let cache = ReadCache::new(file);
    let Ok(elf) = ElfFile64::<Endianness, _>::parse(&cache) else { return Vec::new() };
    let go = GO_SECTIONS.iter().any(|name| elf.section_by_name(name).is_some());
    elf.symbols()
        .chain(elf.dynamic_symbols())
        .filter(ObjectSymbol::is_definition)
        .filter_map(|symbol| {
            let name = symbol.name().ok()?;
            SYMBOLS.iter().find(|(known, _)| *known == name).map(|(_, heap)| *heap)
        })
        .chain(go.then_some(GO))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_programs_by_name() {
        assert_eq!(of_file("libjemalloc.so.2"), Some(JEMALLOC));
        assert_eq!(of_file("libtcmalloc_minimal.so.4.5.9"), Some(TCMALLOC));
        assert_eq!(of_file("libmimalloc.so.2.0"), Some(MIMALLOC));
        assert_eq!(of_file("ld-musl-x86_64.so.1"), Some(MUSL));
        assert_eq!(of_file("python3.11"), Some(PYTHON));
        assert_eq!(of_file("libpython3.11.so.1.0"), Some(PYTHON));
        assert_eq!(of_file("beam.smp"), Some(ERLANG));
        assert_eq!(of_file("nodes"), None);
        assert_eq!(of_file("libc.so.6"), None);
        assert_eq!(of_file("mosquitto"), None);
    }

    #[test]
    fn a_program_of_c_has_none() {
        let program = crate::fixture::Program::start("no_heap", &[]);
        let process = program.process();
        assert!(heaps_beside_glibc(&process, &process.mappings().unwrap()).is_empty());
    }
}
