//! The functions by which a process allocates and frees, and the instruction to stop at in each.

use std::path::PathBuf;

use super::allocators::{role, working};
use super::instructions::{self, register};
use super::module::{openable, symbols};
use super::programs::Role;
use crate::problem::Problem;
use crate::process::Process;
use crate::process::maps::Mapping;
use crate::program;

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

/// The functions of allocators in all that the process has mapped.
pub(super) fn of(process: &Process) -> Result<Vec<Function>, Problem> {
    let mut functions = Vec::new();
    let mut files: Vec<String> = Vec::new();
    let mappings = process.mappings()?;
    for mapping in mappings.iter().filter(|mapping| mapping.executable) {
        if files.contains(&mapping.file) || is_loader_of_glibc(mapping.file_name()) {
            continue;
        }
        files.push(mapping.file.clone());
        let Some(file) = openable(process, mapping) else { continue };
        // What is no ELF file has no functions.
        let symbols = symbols(&file, |name| role(name).is_some()).unwrap_or_default();
        for (role, symbol) in working(symbols) {
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
        return Err(not_found(process, &mappings));
    }
    Ok(functions)
}

fn not_found(process: &Process, mappings: &[Mapping]) -> Problem {
    let heaps = program::heaps_without_malloc(process, mappings);
    let instead = if heaps.is_empty() {
        "A static program must not be stripped".to_owned()
    } else {
        format!("It has {}, which no malloc leads to", heaps.join(", "))
    };
    Problem::NotThisProgram(format!(
        "process {} ({}) has no malloc and free that can be found: neither its program nor its libraries have \
         symbols of an allocator that is known (malloc, je_malloc, _rjem_malloc, mi_malloc, tc_malloc). {instead}",
        process.pid(),
        process.name()
    ))
}

/// glibc's loader has a small allocator of its own, for itself. (musl's loader is its C library.)
fn is_loader_of_glibc(name: &str) -> bool {
    name.starts_with("ld-linux") || name.starts_with("ld-2.")
}

/// How far behind a function's beginning a probe may stand.
const AHEAD_MAX: usize = 64;

/// How far into a function its probe goes, and whether the instruction there is emulated. Instructions may be passed
/// that leave the arguments as they are, and the return address where the kernel looks for it; of a function that only
/// frees, nothing but its first argument matters.
fn place(role: Role, code: &[u8]) -> (u64, bool) {
    let needed: &[u8] = match role {
        Role::Free => &[register::RDI],
        Role::Malloc => &[register::RDI, register::RSP],
        Role::Aligned => &[register::RSI, register::RSP],
        Role::Calloc | Role::Realloc | Role::ReallocOld => {
            &[register::RDI, register::RSI, register::RSP]
        }
        Role::PosixMemalign => &[register::RDI, register::RDX, register::RSP],
    };
    let mut ahead = 0;
    while ahead < AHEAD_MAX.min(code.len()) && !is_emulated(&code[ahead..]) {
        let passed = instructions::plain(&code[ahead..])
            .filter(|plain| plain.changes.is_none_or(|changed| !needed.contains(&changed)));
        let Some(plain) = passed else { return (0, false) };
        ahead += plain.length;
    }
    if !code.get(ahead..).is_some_and(is_emulated) || comes_back(code, ahead) {
        return (0, is_emulated(code));
    }
    (ahead as u64, true)
}

/// Whether a function jumps back to one of its first `ahead` bytes, or the one behind: a probe there would stop it
/// more than once.
fn comes_back(code: &[u8], ahead: usize) -> bool {
    let before = 1..=ahead as u64;
    let near = instructions::targets(code, 0).any(|target| before.contains(&target));
    let short = (0..code.len().saturating_sub(1)).any(|at| {
        let distance = code[at + 1].cast_signed();
        let jumps = matches!(code[at], 0x70..=0x7f | 0xeb) && distance < 0;
        jumps && before.contains(&(at as u64 + 2).wrapping_add_signed(i64::from(distance)))
    });
    ahead > 0 && (near || short)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_go_where_they_are_cheap() {
        // glibc 2.36: test rdi, rdi; je …
        assert_eq!(place(Role::Free, &[0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0]), (3, true));
        // With CET: endbr64; sub rsp, 24; then something unknown: nowhere cheap.
        assert_eq!(
            place(Role::Free, &[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 24, 0xc4, 0x8b, 0x05]),
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
        // jemalloc 5.3, malloc: cmp $0x1000,%rdi; ja …
        let compared = [0x48, 0x81, 0xff, 0, 0x10, 0, 0, 0x0f, 0x87, 0x93, 0, 0, 0];
        assert_eq!(place(Role::Malloc, &compared), (7, true));
        // mimalloc 2.0, malloc: the size is moved, and its register has something else then.
        let moved = [0x48, 0x89, 0xfe, 0x64, 0x48, 0x8b, 0x38, 0x77, 7];
        assert_eq!(place(Role::Malloc, &moved), (0, false));
        // A loop: test %rdi,%rdi; je +1; nop; jmp to the je.
        assert_eq!(place(Role::Free, &[0x48, 0x85, 0xff, 0x74, 1, 0x90, 0xeb, 0xfb]), (0, false));
    }

    #[test]
    fn a_program_without_symbols() {
        let program = crate::fixture::Program::start_with("no_heap", &["-static", "-s"], &[]);
        let problem = of(&program.process()).unwrap_err();
        assert!(matches!(problem, Problem::NotThisProgram(_)), "{problem}");
    }
}
