//! As much of x86-64's machine code as is needed to place probes: what an instruction at a function's beginning changes,
//! and which functions one leads to.

/// An instruction without jumps, calls or the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// Its bytes.
    pub(super) length: usize,
    /// The number of the general register that it changes.
    pub(super) changes: Option<u8>,
}

/// Numbers of registers in machine code.
pub(super) mod register {
    pub(in crate::trace) const RDX: u8 = 2;
    pub(in crate::trace) const RSP: u8 = 4;
    pub(in crate::trace) const RSI: u8 = 6;
    pub(in crate::trace) const RDI: u8 = 7;
}

/// Which operand an instruction changes.
enum Changes {
    /// The register.
    Register,
    /// The register or memory.
    Place,
    None,
}

/// The plain instruction that `code` begins with: moves, comparisons and arithmetic as compilers put them before a
/// function's first branch. Nothing for any other.
pub(super) fn plain(code: &[u8]) -> Option<Plain> {
    if code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) {
        return Some(Plain { length: 4, changes: None }); // endbr64
    }
    let mut at = usize::from(code.first() == Some(&0x64)); // relative to fs
    let rex = code.get(at).copied().filter(|byte| (0x40..=0x4f).contains(byte)).unwrap_or(0);
    at += usize::from(rex != 0);
    let opcode = *code.get(at)?;
    at += 1;
    match opcode {
        0x25 | 0x3d => {
            let changes = (opcode == 0x25).then_some(0); // and, cmp: eax with a number
            return Some(Plain { length: at + 4, changes });
        }
        0xb8..=0xbf => {
            let number = if rex & 8 == 0 { 4 } else { 8 };
            let changes = Some(opcode - 0xb8 + ((rex & 1) << 3));
            return Some(Plain { length: at + number, changes });
        }
        _ => {}
    }
    let form = *code.get(at)?;
    let operation = form >> 3 & 7;
    let (changes, number) = match opcode {
        0x38 | 0x39 | 0x3a | 0x3b | 0x84 | 0x85 => (Changes::None, 0), // cmp, test
        0x03 | 0x0b | 0x23 | 0x2b | 0x33 | 0x8b | 0x8d => (Changes::Register, 0), // add … mov, lea
        0x01 | 0x09 | 0x21 | 0x29 | 0x31 | 0x89 | 0xd1 => (Changes::Place, 0), // …, shift by one
        0x80 | 0x81 | 0x83 => {
            let number = if opcode == 0x81 { 4 } else { 1 };
            (if operation == 7 { Changes::None } else { Changes::Place }, number)
        }
        0xc1 => (Changes::Place, 1),                  // shift
        0xf6 if operation == 0 => (Changes::None, 1), // test with a number
        0xf7 if operation == 0 => (Changes::None, 4),
        _ => return None,
    };
    let length = at + operands(&code[at..])? + number;
    let place_is_register = form >> 6 == 3;
    let changes = match changes {
        Changes::Register => Some(operation | (rex & 4) << 1),
        Changes::Place if place_is_register => Some(form & 7 | (rex & 1) << 3),
        Changes::Place | Changes::None => None,
    };
    (length <= code.len()).then_some(Plain { length, changes })
}

/// Bytes that say what the operands are: the form, a scaled index, a distance.
fn operands(code: &[u8]) -> Option<usize> {
    let form = *code.first()?;
    let (mode, place) = (form >> 6, form & 7);
    let scaled = mode != 3 && place == 4;
    let base = if scaled { *code.get(1)? & 7 } else { place };
    let distance = match mode {
        0 if base == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(1 + usize::from(scaled) + distance)
}

/// Addresses that `code`, which stands at `address`, calls or jumps to by a distance of 32 bits. Bytes within other
/// instructions may look like that, but will hardly hit a function's first one.
pub(super) fn targets(code: &[u8], address: u64) -> impl Iterator<Item = u64> + '_ {
    (0..code.len()).filter_map(move |at| {
        let distance = match code[at..] {
            [0xe8 | 0xe9, ..] => at + 1,
            [0x0f, 0x80..=0x8f, ..] => at + 2,
            _ => return None,
        };
        let bytes = code[distance..].first_chunk::<4>()?;
        let next = address.wrapping_add(distance as u64 + 4);
        Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(*bytes))))
    })
}

/// If `code` at `address` is an entry of a linkage table (`jmp *distance(%rip)`), the address of the word that says
/// where it leads to.
pub(super) fn linkage(code: &[u8], address: u64) -> Option<u64> {
    let mut at = if code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
    at += usize::from(code.get(at) == Some(&0xf2));
    let distance = code.get(at..)?.strip_prefix(&[0xff, 0x25])?.first_chunk::<4>()?;
    let next = address.wrapping_add(at as u64 + 6);
    Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_at_the_beginning_of_functions() {
        let cases: [(&[u8], usize, Option<u8>); 16] = [
            (&[0xf3, 0x0f, 0x1e, 0xfa], 4, None), // endbr64
            (&[0x48, 0x85, 0xff], 3, None),       // test %rdi,%rdi
            (&[0x48, 0x89, 0xf8], 3, Some(0)),    // mov %rdi,%rax
            (&[0x49, 0x89, 0xf8], 3, Some(8)),    // mov %rdi,%r8
            (&[0x48, 0x8b, 0x15, 0x0e, 0x53, 0x0a, 0], 7, Some(2)), // mov 0xa530e(%rip),%rdx
            (&[0x64, 0x48, 0x8b, 0x38], 4, Some(7)), // mov %fs:(%rax),%rdi
            (&[0x64, 0x48, 0x03, 0x04, 0x25, 0, 0, 0, 0], 9, Some(0)), // add %fs:0x0,%rax
            (&[0x48, 0x81, 0xff, 0, 0x10, 0, 0], 7, None), // cmp $0x1000,%rdi
            (&[0x48, 0x81, 0xe1, 0, 0, 0, 0xc0], 7, Some(1)), // and $-0x40000000,%rcx
            (&[0x25, 0xf0, 0, 0, 0], 5, Some(0)), // and $0xf0,%eax
            (&[0x48, 0x3b, 0x88, 0xb0, 1, 0, 0], 7, None), // cmp 0x1b0(%rax),%rcx
            (&[0x48, 0xc1, 0xe8, 0x1a], 4, Some(0)), // shr $0x1a,%rax
            (&[0x48, 0x83, 0xec, 24], 4, Some(4)), // sub $24,%rsp
            (&[0x80, 0x3d, 0x71, 0x0e, 0x14, 0, 0], 7, None), // cmpb $0,0x140e71(%rip)
            (&[0x4d, 0x8b, 0x0c, 0xf0], 4, Some(9)), // mov (%r8,%rsi,8),%r9
            (&[0xb8, 0x16, 0, 0, 0], 5, Some(0)), // mov $0x16,%eax
        ];
        for (code, length, changes) in cases {
            assert_eq!(plain(code), Some(Plain { length, changes }), "{code:x?}");
        }
        for other in [&[0x55][..], &[0xc3], &[0xe8, 0, 0, 0, 0], &[0x48, 0x81, 0xff], &[]] {
            assert_eq!(plain(other), None, "{other:x?}");
        }
    }

    #[test]
    fn calls_and_jumps_lead_somewhere() {
        let code = [0x90, 0xe9, 0xfa, 0xff, 0xff, 0xff, 0x0f, 0x87, 0x10, 0, 0, 0];
        assert_eq!(targets(&code, 0x1000).collect::<Vec<_>>(), [0x1000, 0x101c]);
        assert_eq!(linkage(&[0xff, 0x25, 0x10, 0, 0, 0], 0x1000), Some(0x1016));
        let marked = [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0];
        assert_eq!(linkage(&marked, 0x1000), Some(0x101b));
        assert_eq!(linkage(&[0xff, 0x15, 0, 0, 0, 0], 0), None);
    }
}
