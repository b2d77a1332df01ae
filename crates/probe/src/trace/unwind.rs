//! From registers and a copy of the stack to the calls that led there.
//!
//! Compilers leave tables for this in every program (`.eh_frame`), also where there is no frame pointer. Where a file
//! has none, the stack is searched for the next address that a call returns to: a guess, and marked as one.

use std::collections::HashMap;

use gimli::{CfaRule, Register, RegisterRule, UnwindContext};

use super::module::Module;
use super::tables::{Slice, Tables};
use crate::process::Process;
use crate::process::maps::{self, Mapping};
use crate::process::memory::{Memory, words_of};

/// Calls deeper than this are left out.
const DEPTH_MAX: usize = 64;
/// Numbers that DWARF gives to registers of x86-64.
const RBX: usize = 3;
const RBP: usize = 6;
const RSP: usize = 7;
const RETURN: usize = 16;
const REGISTERS: usize = 17;

/// Stands for the address of a call that lies further out than the stack was copied.
pub(super) const BEYOND: u64 = 0;

/// A call: the address that it returns to, or [`BEYOND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) address: u64,
    /// Found by searching the stack, not by a table.
    pub(super) guessed: bool,
}

/// Registers at a sample, as the program in the kernel lists them, and the stack's copy.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) registers: [u64; 8],
    pub(super) stack_start: u64,
    pub(super) stack: &'a [u8],
}

impl Snapshot<'_> {
    fn end(&self) -> u64 {
        self.stack_start + self.stack.len() as u64
    }

    fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.stack_start)?).ok()?;
        self.stack.get(offset..)?.first_chunk().map(|word| u64::from_ne_bytes(*word))
    }
}

/// What unwinding needs to know of a process. Files are read when a call first leads into them.
pub(super) struct Unwinder {
    process: Process,
    memory: Memory,
    mappings: Vec<Mapping>,
    modules: HashMap<String, Option<Module>>,
    context: UnwindContext<usize>,
}

impl Unwinder {
    /// For a process, as it is mapped now.
    pub(super) fn new(process: &Process) -> Result<Self, crate::problem::Problem> {
        Ok(Self {
            memory: Memory::of(process)?,
            mappings: process.mappings()?,
            process: process.clone(),
            modules: HashMap::new(),
            context: UnwindContext::new(),
        })
    }

    /// The file that `address` is code of.
    pub(super) fn module(&mut self, address: u64) -> Option<&Module> {
        if maps::of(address, &self.mappings).is_none_or(|mapping| !mapping.executable) {
            return None;
        }
        let mapping = maps::of(address, &self.mappings)?;
        let process = &self.process;
        self.modules
            .entry(mapping.file.clone())
            .or_insert_with(|| Module::of(process, mapping))
            .as_ref()
    }

    /// Asks again what is mapped: a library may have been loaded.
    pub(super) fn refresh(&mut self) {
        if let Ok(mappings) = self.process.mappings() {
            self.mappings = mappings;
        }
    }

    /// The calls that led to a sample, innermost first.
    pub(super) fn calls(&mut self, snapshot: &Snapshot<'_>) -> Vec<Call> {
        let mut registers = [None; REGISTERS];
        // rip, rsp, rbp, rbx, r12 to r15.
        for (from, to) in [RETURN, RSP, RBP, RBX, 12, 13, 14, 15].into_iter().enumerate() {
            registers[to] = Some(snapshot.registers[from]);
        }
        let mut calls = vec![Call { address: snapshot.registers[0], guessed: false }];
        while calls.len() < DEPTH_MAX {
            let Some(address) = registers[RETURN].filter(|address| *address != 0) else { break };
            let stack_pointer = registers[RSP];
            match self.step(address, &mut registers, snapshot) {
                Step::Caller => {}
                Step::Outermost => break,
                Step::Beyond => {
                    calls.push(Call { address: BEYOND, guessed: false });
                    break;
                }
                Step::Unknown => {
                    let Some((slot, caller)) = self.search(registers[RSP], snapshot) else { break };
                    registers[RETURN] = Some(caller);
                    registers[RSP] = Some(slot + 8);
                    calls.push(Call { address: caller, guessed: true });
                    continue;
                }
            }
            // The stack only grows smaller on the way out.
            if registers[RSP] <= stack_pointer {
                break;
            }
            if let Some(address) = registers[RETURN].filter(|address| *address != 0) {
                calls.push(Call { address, guessed: false });
            }
        }
        calls
    }

    /// To the caller of the function that `address` returns into.
    fn step(
        &mut self,
        address: u64,
        registers: &mut [Option<u64>; REGISTERS],
        snapshot: &Snapshot<'_>,
    ) -> Step {
        let mut context = std::mem::take(&mut self.context);
        let step = match self.module(address) {
            Some(module) => {
                by_table(&module.tables, module.bias, address, registers, snapshot, &mut context)
            }
            None => None,
        };
        self.context = context;
        step.unwrap_or(Step::Unknown)
    }

    /// The next word on the stack that a call returns to, and where it stands.
    fn search(&self, stack_pointer: Option<u64>, snapshot: &Snapshot<'_>) -> Option<(u64, u64)> {
        let from = stack_pointer?.next_multiple_of(8);
        let offset = usize::try_from(from.checked_sub(snapshot.stack_start)?).ok()?;
        let words = words_of(snapshot.stack.get(offset..)?);
        words
            .enumerate()
            .map(|(at, word)| (from + at as u64 * 8, word))
            .find(|(_, word)| self.is_behind_a_call(*word))
    }

    fn is_behind_a_call(&self, address: u64) -> bool {
        if maps::of(address, &self.mappings).is_none_or(|mapping| !mapping.executable) {
            return false;
        }
        let mut code = [0; 7];
        self.memory.read(address.wrapping_sub(7), &mut code) == 7 && ends_with_a_call(code)
    }
}

/// Whether these seven bytes of code end with a call: by distance, or through a register or memory.
fn ends_with_a_call(code: [u8; 7]) -> bool {
    // The second byte of an indirect call: its middle three bits are 2, and its length follows from the others.
    let through = |at: usize, length: usize| {
        code[at] == 0xff && code[at + 1] >> 3 & 7 == 2 && {
            let (mode, register) = (code[at + 1] >> 6, code[at + 1] & 7);
            let more = usize::from(register == 4 && mode != 3);
            let displacement = match mode {
                0 if register == 5 => 4,
                0 | 3 => 0,
                1 => 1,
                _ => 4,
            };
            2 + more + displacement == length
        }
    };
    code[2] == 0xe8
        || [(5, 2), (4, 3), (3, 4), (1, 6), (0, 7)]
            .into_iter()
            .any(|(at, length)| through(at, length))
}

enum Step {
    Caller,
    /// The program says that nobody has called this.
    Outermost,
    /// Its caller's address lies where the stack was not copied.
    Beyond,
    Unknown,
}

/// By the tables of the file that `address` is in.
fn by_table(
    tables: &Tables,
    bias: u64,
    address: u64,
    registers: &mut [Option<u64>; REGISTERS],
    snapshot: &Snapshot<'_>,
    context: &mut UnwindContext<usize>,
) -> Option<Step> {
    // The call, not what comes behind it: that may belong to another function.
    let within = address.wrapping_sub(1).wrapping_sub(bias);
    let (frames, entry) = (tables.frames(), tables.entry(within)?);
    let row = entry.unwind_info_for_address(&frames, tables.bases(), context, within).ok()?;
    let encoding = entry.cie().encoding();
    let read = |rule: gimli::UnwindExpression<usize>, base: Option<u64>| {
        let expression = rule.get(&frames).ok()?;
        evaluate(expression, encoding, base, bias, registers, snapshot)
    };
    let frame = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            (*registers.get(usize::from(register.0))?)?.wrapping_add_signed(*offset)
        }
        CfaRule::Expression(rule) => read(*rule, None)?,
    };
    let mut caller = [None; REGISTERS];
    for (number, value) in caller.iter_mut().enumerate() {
        *value = match row.register(Register(number as u16)) {
            None if number == RETURN => return None,
            // Kept over calls, or lost; of the lost ones no table says anything further out.
            None | Some(RegisterRule::SameValue) => registers[number],
            Some(RegisterRule::Undefined) if number == RETURN => return Some(Step::Outermost),
            Some(RegisterRule::Offset(offset)) => {
                let place = frame.wrapping_add_signed(offset);
                if number == RETURN && place >= snapshot.end() {
                    return Some(Step::Beyond);
                }
                snapshot.word(place)
            }
            Some(RegisterRule::ValOffset(offset)) => Some(frame.wrapping_add_signed(offset)),
            Some(RegisterRule::Register(other)) => {
                registers.get(usize::from(other.0)).copied().flatten()
            }
            Some(RegisterRule::Expression(rule)) => {
                read(rule, Some(frame)).and_then(|at| snapshot.word(at))
            }
            Some(RegisterRule::ValExpression(rule)) => read(rule, Some(frame)),
            Some(_) => None,
        };
    }
    // The frame begins where the stack was before the call.
    caller[RSP] = Some(frame);
    *registers = caller;
    registers[RETURN].map(|_| Step::Caller)
}

/// An expression of the tables; `base` lies on its stack at the start.
fn evaluate(
    expression: gimli::Expression<Slice<'_>>,
    encoding: gimli::Encoding,
    base: Option<u64>,
    bias: u64,
    registers: &[Option<u64>; REGISTERS],
    snapshot: &Snapshot<'_>,
) -> Option<u64> {
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(1000);
    if let Some(base) = base {
        evaluation.set_initial_value(base);
    }
    let mut result = evaluation.evaluate().ok()?;
    loop {
        result = match result {
            gimli::EvaluationResult::Complete => break,
            gimli::EvaluationResult::RequiresRegister { register, .. } => {
                let value = (*registers.get(usize::from(register.0))?)?;
                evaluation.resume_with_register(gimli::Value::Generic(value)).ok()?
            }
            gimli::EvaluationResult::RequiresMemory { address, .. } => evaluation
                .resume_with_memory(gimli::Value::Generic(snapshot.word(address)?))
                .ok()?,
            gimli::EvaluationResult::RequiresRelocatedAddress(address) => {
                evaluation.resume_with_relocated_address(address.wrapping_add(bias)).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.as_result().first()?.location {
        gimli::Location::Address { address } => Some(address),
        gimli::Location::Value { value } => value.to_u64(u64::MAX).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_bytes() {
        assert!(ends_with_a_call([0, 0, 0xe8, 1, 2, 3, 4]));
        assert!(ends_with_a_call([0, 0, 0, 0, 0, 0xff, 0xd0]), "call rax");
        assert!(ends_with_a_call([0, 0, 0, 0, 0x41, 0xff, 0xd4]), "call r12");
        assert!(ends_with_a_call([0, 0, 0, 0, 0xff, 0x50, 0x18]), "call [rax + 24]");
        assert!(ends_with_a_call([0, 0xff, 0x15, 1, 2, 3, 4]), "call [rip + …]");
        assert!(ends_with_a_call([0, 0, 0, 0xff, 0x54, 0x24, 8]), "call [rsp + 8]");
        assert!(!ends_with_a_call([0, 0, 0, 0, 0xff, 0xd0, 0]));
        assert!(!ends_with_a_call([0, 0, 0, 0, 0, 0xff, 0xe0]), "jmp rax");
    }
}
