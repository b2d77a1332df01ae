//! The names by which allocators' functions are known, and which of them do the work.

use super::module::Symbol;
use super::programs::Role;

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

const MIMALLOC: [(&str, Role); 16] = [
    ("mi_malloc", Role::Malloc),
    ("mi_malloc_small", Role::Malloc),
    ("mi_zalloc", Role::Malloc),
    ("mi_zalloc_small", Role::Malloc),
    ("mi_malloc_aligned", Role::Malloc),
    ("mi_zalloc_aligned", Role::Malloc),
    ("mi_calloc", Role::Calloc),
    ("mi_mallocn", Role::Calloc),
    ("mi_realloc", Role::Realloc),
    ("mi_realloc_aligned", Role::Realloc),
    ("mi_memalign", Role::Aligned),
    ("mi_aligned_alloc", Role::Aligned),
    ("mi_posix_memalign", Role::PosixMemalign),
    ("mi_free", Role::Free),
    ("mi_free_size", Role::Free),
    ("mi_free_aligned", Role::Free),
];

/// C++'s `operator new` and `operator delete`, all forms of them by their beginning. Size or block is the first
/// argument of each.
const OPERATORS: [(&str, Role); 4] = [
    ("_Znwm", Role::Malloc),
    ("_Znam", Role::Malloc),
    ("_ZdlPv", Role::Free),
    ("_ZdaPv", Role::Free),
];

/// What the function with this symbol does, if an allocator's functions have such names.
pub(super) fn role(symbol: &str) -> Option<Role> {
    let mimalloc = MIMALLOC.iter().find(|(name, _)| *name == symbol);
    // Compilers put what is seldom done of a function aside, and name that with a dot.
    let operator =
        || OPERATORS.iter().find(|(name, _)| symbol.starts_with(name) && !symbol.contains('.'));
    let others = || {
        PREFIXES.iter().find_map(|prefix| {
            let name = symbol.strip_prefix(prefix)?;
            ROLES.iter().find(|(known, _)| *known == name)
        })
    };
    mimalloc.or_else(operator).or_else(others).map(|(_, role)| *role)
}

/// Functions longer than this do work of their own before they call another.
const WRAPPER_MAX: usize = 512;

/// Of one file's functions, those that allocate and free, each block by one of them alone: a block that two of them
/// were stopped at would count twice.
///
/// - A short function that only hands on (musl's `calloc` to `malloc`, libstdc++'s `operator new`) is left out.
/// - glibc's `realloc` hands on to `malloc` what has no block yet: [`Role::ReallocOld`].
/// - C++'s operators count only beside a `malloc`: elsewhere they are libstdc++'s, or a program's own, and call one.
pub(super) fn working(symbols: Vec<Symbol>) -> Vec<(Role, Symbol)> {
    let mut found: Vec<(Role, Symbol)> =
        symbols.into_iter().filter_map(|symbol| Some((role(&symbol.name)?, symbol))).collect();
    if found.iter().all(|(_, symbol)| is_operator(&symbol.name)) {
        return Vec::new();
    }
    let places: Vec<(bool, u64)> =
        found.iter().map(|(role, symbol)| (*role == Role::Free, symbol.offset)).collect();
    found.retain_mut(|(role, symbol)| {
        let frees = *role == Role::Free;
        let hands_on = places.iter().any(|(alike, at)| {
            *alike == frees && *at != symbol.offset && symbol.calls.contains(at)
        });
        if hands_on && *role == Role::Realloc {
            *role = Role::ReallocOld;
            return true;
        }
        !hands_on || symbol.code.len() > WRAPPER_MAX
    });
    found
}

fn is_operator(symbol: &str) -> bool {
    OPERATORS.iter().any(|(name, _)| symbol.starts_with(name))
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
        assert_eq!(role("_ZnwmSt11align_val_tRKSt9nothrow_t"), Some(Role::Malloc));
        assert_eq!(role("_ZdaPvm"), Some(Role::Free));
        assert_eq!(role("_Znwm.cold"), None);
        assert_eq!(role("xmalloc"), None);
        assert_eq!(role("mosquitto__malloc"), None);
    }

    /// A function at `offset` that calls the one at `target`.
    fn function(name: &str, offset: u64, length: usize, target: Option<u64>) -> Symbol {
        let (code, calls) = (vec![0x90; length], target.into_iter().collect());
        Symbol { name: name.to_owned(), offset, code, calls }
    }

    fn names(working: &[(Role, Symbol)]) -> Vec<(&str, Role)> {
        working.iter().map(|(role, symbol)| (&*symbol.name, *role)).collect()
    }

    #[test]
    fn a_block_is_counted_by_one_function() {
        let working = working(vec![
            function("malloc", 0x1000, 64, None),
            function("calloc", 0x2000, 200, Some(0x1000)),
            function("memalign", 0x3000, 600, Some(0x1000)),
            function("realloc", 0x4000, 300, Some(0x1000)),
            function("free", 0x5000, 64, None),
            function("_Znwm", 0x6000, 80, Some(0x1000)),
            function("_ZdlPvm", 0x7000, 16, Some(0x8000)),
            function("_ZdlPv", 0x8000, 16, Some(0x5000)),
            function("_Znam", 0x9000, 80, Some(0x1001)),
        ]);
        let expected = [
            ("malloc", Role::Malloc),
            ("memalign", Role::Aligned),
            ("realloc", Role::ReallocOld),
            ("free", Role::Free),
            ("_Znam", Role::Malloc),
        ];
        assert_eq!(names(&working), expected);
    }

    #[test]
    fn operators_without_a_malloc_beside_them_call_one_elsewhere() {
        let of_libstdcxx =
            vec![function("_Znwm", 0x1000, 80, None), function("_ZdlPv", 0x2000, 16, None)];
        assert_eq!(names(&working(of_libstdcxx)), []);
    }

    #[test]
    fn a_realloc_that_frees_is_no_wrapper() {
        let alone =
            vec![function("free", 0x1000, 64, None), function("realloc", 0x2000, 64, Some(0x1000))];
        assert_eq!(names(&working(alone)), [("free", Role::Free), ("realloc", Role::Realloc)]);
    }
}
