//! The functions by which a process allocates and frees, and the instruction to stop at in each.

use std::path::PathBuf;

use super::module::{openable, symbols};
use super::programs::Role;
use crate::problem::Problem;
use crate::process::Process;

/// A function of an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// What it does.
    pub(super) role: Role,
    /// Its symbol.
    pub(super) name: String,
    /// The file that it is in, for people.
    pub(super) module: String,
    /// A path to that.
    pub(super) file: PathBuf,
    /// Where in the file the probe goes.
    pub(super) offset: u64,
    /// The kernel emulates the instruction there, which is several times cheaper than stepping over it.
    pub(super) emulated: bool,
}

/// Prefixes of allocators' symbols: glibc, musl and others as `malloc`, jemalloc, jemalloc in Rust, tcmalloc.
const PREFIXES: [&str; 4] = ["", "je_", "_rjem_", "tc_"];

const ROLES: [(&str, Role); 14] = [
    ("malloc", Role::Malloc),
    ("valloc", Role::Malloc),
    ("pvalloc", Role::Malloc),
    ("mallocx", Role::Malloc),
    ("calloc", Role::Calloc),
    ("realloc", Role::Realloc),
    ("rallocx", Role::Realloc),
    ("memalign", Role::Aligned),
    ("aligned_alloc", Role::Aligned),
    ("posix_memalign", Role::PosixMemalign),
    ("free", Role::Free),
    ("cfree", Role::Free),
    ("dallocx", Role::Free),
    ("sdallocx", Role::Free),
];

const MIMALLOC: [(&str, Role); 8] = [
    ("mi_malloc", Role::Malloc),
    ("mi_zalloc", Role::Malloc),
    ("mi_malloc_aligned", Role::Malloc),
    ("mi_zalloc_aligned", Role::Malloc),
    ("mi_calloc", Role::Calloc),
    ("mi_realloc", Role::Realloc),
    ("mi_realloc_aligned", Role::Realloc),
    ("mi_free", Role::Free),
];

fn role(symbol: &str) -> Option<Role> {
    let mimalloc = MIMALLOC.iter().find(|(name, _)| *name == symbol);
    let others = || {
        PREFIXES.iter().find_map(|prefix| {
            let name = symbol.strip_prefix(prefix)?;
            ROLES.iter().find(|(known, _)| *known == name)
        })
    };
    mimalloc.or_else(others).map(|(_, role)| *role)
}

/// All such functions in what the process has mapped.
pub(super) fn of(process: &Process) -> Result<Vec<Function>, Problem> {
    let mut functions = Vec::new();
    let mut files: Vec<String> = Vec::new();
    for mapping in process.mappings()?.iter().filter(|mapping| mapping.executable) {
        // The loader has a small allocator of its own, for itself.
        if files.contains(&mapping.file) || mapping.file_name().starts_with("ld-") {
            continue;
        }
        files.push(mapping.file.clone());
        let Some(file) = openable(process, mapping) else { continue };
        // What is no ELF file has no functions.
        for symbol in symbols(&file, |name| role(name).is_some()).unwrap_or_default() {
            let Some(role) = role(&symbol.name) else { continue };
            let (ahead, emulated) = place(role, &symbol.code);
            functions.push(Function {
                role,
                name: symbol.name,
                module: mapping.file_name().to_owned(),
                file: file.clone(),
                offset: symbol.offset + ahead,
                emulated,
            });
        }
    }
    let has = |free: bool| functions.iter().any(|function| (function.role == Role::Free) == free);
    if !has(true) || !has(false) {
        return Err(Problem::NotThisProgram(format!(
            "process {} ({}) has no malloc and free that can be found: neither its program nor its libraries have \
             symbols of an allocator that is known (malloc, je_malloc, _rjem_malloc, mi_malloc, tc_malloc). A static \
             program must not be stripped; a JVM or Go has its heap elsewhere",
            process.pid(),
            process.name()
        )));
    }
    Ok(functions)
}

/// How far into a function its probe goes, and whether the instruction there is emulated. Instructions may be passed
/// that leave the arguments as they are, and the return address where the kernel looks for it; of a function that only
/// frees, nothing but its first argument matters.
fn place(role: Role, code: &[u8]) -> (u64, bool) {
    let mut ahead = 0;
    while !is_emulated(&code[ahead..]) {
        let Some(length) = passable(&code[ahead..], role == Role::Free) else { break };
        ahead += length;
    }
    let emulated = is_emulated(&code[ahead..]);
    (if emulated { ahead as u64 } else { 0 }, emulated)
}

/// Whether the kernel emulates the instruction that `code` begins with: `push`, `nop`, jumps and calls by distance
/// (arch/x86/kernel/uprobes.c). Any other it has to step over, which costs some forty times as much on a virtual machine.
fn is_emulated(code: &[u8]) -> bool {
    matches!(
        code,
        [0x50..=0x57 | 0x70..=0x7f | 0x90 | 0xe8 | 0xe9 | 0xeb, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0x0f, 0x1f | 0x80..=0x8f, ..]
    )
}

/// The length of an instruction that may be passed: `test rdi, rdi`, `endbr64`, a comparison with a flag in memory,
/// `mov` from rdi to a register that is kept over calls, and `sub rsp, n` if the return address does not matter.
fn passable(code: &[u8], is_free: bool) -> Option<usize> {
    match code {
        [0x48, 0x85, 0xff, ..] | [0x48, 0x89, 0xfb | 0xfd, ..] | [0x49, 0x89, 0xfc..=0xff, ..] => {
            Some(3)
        }
        [0xf3, 0x0f, 0x1e, 0xfa, ..] => Some(4),
        [0x80, 0x3d, _, _, _, _, _, ..] => Some(7),
        [0x48, 0x83, 0xec, _, ..] if is_free => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_allocators() {
        assert_eq!(role("malloc"), Some(Role::Malloc));
        assert_eq!(role("_rjem_sdallocx"), Some(Role::Free));
        assert_eq!(role("mi_calloc"), Some(Role::Calloc));
        assert_eq!(role("je_posix_memalign"), Some(Role::PosixMemalign));
        assert_eq!(role("xmalloc"), None);
        assert_eq!(role("mosquitto__malloc"), None);
    }

    #[test]
    fn probes_go_where_they_are_cheap() {
        // glibc 2.36: test rdi, rdi; je …
        assert_eq!(place(Role::Free, &[0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0]), (3, true));
        // With CET: endbr64; sub rsp, 24; then a load: nowhere cheap.
        assert_eq!(
            place(Role::Free, &[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 24, 0x48, 0x8b, 0x05]),
            (0, false)
        );
        assert_eq!(place(Role::Free, &[0xf3, 0x0f, 0x1e, 0xfa, 0x55]), (4, true));
        assert_eq!(place(Role::Malloc, &[0x41, 0x54, 0x55]), (0, true));
        // glibc 2.36, memalign: cmp byte [rip + …], 0; je …
        assert_eq!(place(Role::Aligned, &[0x80, 0x3d, 0x71, 0x0e, 0x14, 0, 0, 0x74, 7]), (7, true));
        // Where a result is waited for, the stack pointer has to be as at the entry.
        let moved = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 24, 0x55];
        assert_eq!(place(Role::Malloc, &moved), (0, false));
        assert_eq!(place(Role::Free, &moved), (8, true));
        assert_eq!(place(Role::Malloc, &[]), (0, false));
    }

    #[test]
    fn a_program_without_symbols() {
        let program = crate::fixture::Program::start_with("no_heap", &["-static", "-s"], &[]);
        let problem = of(&program.process()).unwrap_err();
        assert!(matches!(problem, Problem::NotThisProgram(_)), "{problem}");
    }
}
