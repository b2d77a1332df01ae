//! The programs that run in the kernel whenever the process allocates or frees.
//!
//! An allocation costs a trap, a few loads and a comparison. Only if it is sampled is its return waited for, its
//! stack copied, and its address kept in a map; a free looks its address up there.

use super::assembler::{Assembler, Helper, If, Label, Op, Reg};

/// Offsets within the registers of a process that is stopped at a probe (`struct pt_regs` of x86-64).
mod registers {
    pub(super) const R15: i16 = 0;
    pub(super) const R14: i16 = 8;
    pub(super) const R13: i16 = 16;
    pub(super) const R12: i16 = 24;
    pub(super) const RBP: i16 = 32;
    pub(super) const RBX: i16 = 40;
    pub(super) const RAX: i16 = 80;
    pub(super) const RDX: i16 = 96;
    pub(super) const RSI: i16 = 104;
    pub(super) const RDI: i16 = 112;
    pub(super) const RIP: i16 = 128;
    pub(super) const RSP: i16 = 152;
}

/// Stands for what every block costs beyond what was asked for, so that blocks of no bytes are sampled too.
pub(super) const OVERHEAD: u64 = 16;
/// Distances to the next sample that one is drawn from.
pub(super) const DISTANCES: usize = 4096;
/// Bytes of a stack that are copied at once: what is not there ends the copy, and never ends within a page.
pub(super) const STACK_PIECE: usize = 512;

/// The value of the map `control`, in words: whether samples are taken, the mean distance, and distances.
pub(super) const CONTROL_WORDS: usize = 2 + DISTANCES;
const SAMPLING: i16 = 0;
const MEAN: i16 = 8;
const FIRST_DISTANCE: i16 = 16;

/// The value of the map `counters`, in words.
pub(super) mod counter {
    /// Bytes until the next sample.
    pub(in crate::trace) const LEFT: usize = 0;
    /// Allocations.
    pub(in crate::trace) const ALLOCATIONS: usize = 1;
    /// Bytes asked for, each block with its overhead.
    pub(in crate::trace) const BYTES: usize = 2;
    /// Frees.
    pub(in crate::trace) const FREES: usize = 3;
    /// Samples that found no room on their way to us.
    pub(in crate::trace) const LOST: usize = 4;
    /// Samples that found no room in the map of blocks.
    pub(in crate::trace) const FULL: usize = 5;
    /// How many there are.
    pub(in crate::trace) const WORDS: usize = 6;
}

/// A sample, in words; behind them comes the stack.
pub(super) mod sample {
    /// The block's address.
    pub(in crate::trace) const ADDRESS: usize = 0;
    /// Bytes asked for.
    pub(in crate::trace) const SIZE: usize = 1;
    /// Nanoseconds of the kernel's monotonic clock; together with the address, the sample's identity.
    pub(in crate::trace) const TIME: usize = 2;
    /// The mean distance of samples at that time.
    pub(in crate::trace) const MEAN: usize = 3;
    /// rip, rsp, rbp, rbx, r12, r13, r14, r15 of the caller.
    pub(in crate::trace) const REGISTERS: usize = 4;
    /// The address that the copy of the stack begins at.
    pub(in crate::trace) const STACK: usize = 12;
    /// Bytes of it.
    pub(in crate::trace) const STACK_BYTES: usize = 13;
    /// How many words there are.
    pub(in crate::trace) const WORDS: usize = 14;
}

/// The value of the map `pending`, in words: size, place of the result, stack pointer.
pub(super) const PENDING_WORDS: usize = 3;

/// What a function of an allocator does, by what its arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// Size first.
    Malloc,
    /// Count and size.
    Calloc,
    /// Old block, then size.
    Realloc,
    /// The same of a function that leaves it to another to allocate, if there is no old block.
    ReallocOld,
    /// Alignment, then size.
    Aligned,
    /// Place for the result, alignment, size.
    PosixMemalign,
    /// Block first.
    Free,
}

/// Maps that the programs use, by descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps {
    pub(super) control: i32,
    pub(super) counters: i32,
    pub(super) pending: i32,
    pub(super) blocks: i32,
    pub(super) ring: i32,
}

/// Which part of an allocation a program is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Entry and return; the answer at the entry says whether the return is wanted.
    Session,
    /// The entry.
    Entry,
    /// The return.
    Return,
}

/// The program for allocations by functions of a role.
pub(super) fn allocation(role: Role, part: Part, maps: &Maps, stack_bytes: usize) -> Vec<u64> {
    let mut a = Assembler::default();
    let returned = a.label();
    a.op(Op::Move, Reg::R6, Reg::R1);
    if part == Part::Session {
        a.call(Helper::FunctionAddress);
        a.load(Reg::R1, Reg::R6, registers::RIP);
        a.jump_if_register(If::NotEqual, Reg::R1, Reg::R0, returned);
    }
    if part != Part::Return {
        entry(&mut a, role, maps, i32::from(part == Part::Session));
    }
    if part != Part::Entry {
        a.here(returned);
        result(&mut a, role, maps, stack_bytes);
    }
    a.finish()
}

/// The program for frees.
pub(super) fn free(maps: &Maps) -> Vec<u64> {
    let mut a = Assembler::default();
    let end = a.label();
    a.op(Op::Move, Reg::R6, Reg::R1);
    counters(&mut a, maps, end);
    count(&mut a, Reg::R0, counter::FREES);
    forget_block(&mut a, maps);
    a.here(end);
    a.exit(0);
    a.finish()
}

/// R0 = the counters of this processor.
fn counters(a: &mut Assembler, maps: &Maps, none: Label) {
    a.store_value(Reg::Fp, -8, 0);
    a.load_map(Reg::R1, maps.counters);
    a.stack(Reg::R2, -8);
    a.call(Helper::MapLookup);
    a.jump_if(If::Equal, Reg::R0, 0, none);
}

fn count(a: &mut Assembler, counters: Reg, word: usize) {
    let offset = word as i16 * 8;
    a.load(Reg::R1, counters, offset);
    a.op_value(Op::Add, Reg::R1, 1);
    a.store(counters, offset, Reg::R1);
}

/// Takes the block in the first argument out of the map, if it is there. Looking is cheaper than deleting.
fn forget_block(a: &mut Assembler, maps: &Maps) {
    let none = a.label();
    a.load(Reg::R1, Reg::R6, registers::RDI);
    a.jump_if(If::Equal, Reg::R1, 0, none);
    a.store(Reg::Fp, -8, Reg::R1);
    a.load_map(Reg::R1, maps.blocks);
    a.stack(Reg::R2, -8);
    a.call(Helper::MapLookup);
    a.jump_if(If::Equal, Reg::R0, 0, none);
    a.load_map(Reg::R1, maps.blocks);
    a.stack(Reg::R2, -8);
    a.call(Helper::MapDelete);
    a.here(none);
}

/// At the entry: counts, and decides whether this one is sampled. `skip` is the answer if it is not.
fn entry(a: &mut Assembler, role: Role, maps: &Maps, skip: i32) {
    let (out, keep, draw) = (a.label(), a.label(), a.label());
    if role == Role::ReallocOld {
        a.load(Reg::R1, Reg::R6, registers::RDI);
        a.jump_if(If::Equal, Reg::R1, 0, out);
    }
    if matches!(role, Role::Realloc | Role::ReallocOld) {
        forget_block(a, maps);
    }
    let size = match role {
        Role::Malloc | Role::Calloc | Role::Free => registers::RDI,
        Role::Realloc | Role::ReallocOld | Role::Aligned => registers::RSI,
        Role::PosixMemalign => registers::RDX,
    };
    a.load(Reg::R7, Reg::R6, size);
    if role == Role::Calloc {
        a.load(Reg::R1, Reg::R6, registers::RSI);
        a.op(Op::Mul, Reg::R7, Reg::R1);
    }
    a.op_value(Op::Add, Reg::R7, OVERHEAD as i32);
    counters(a, maps, out);
    a.op(Op::Move, Reg::R8, Reg::R0);
    count(a, Reg::R8, counter::ALLOCATIONS);
    a.load(Reg::R1, Reg::R8, counter::BYTES as i16 * 8);
    a.op(Op::Add, Reg::R1, Reg::R7);
    a.store(Reg::R8, counter::BYTES as i16 * 8, Reg::R1);

    a.load_value_of(Reg::R9, maps.control);
    a.load(Reg::R1, Reg::R9, SAMPLING);
    a.jump_if(If::Equal, Reg::R1, 0, out);
    a.load(Reg::R1, Reg::R8, counter::LEFT as i16 * 8);
    a.jump_if(If::NotEqual, Reg::R1, 0, draw);
    // The first distance of this processor: drawn, and gone from the next allocation on.
    draw_distance(a);
    a.jump(out);

    a.here(draw);
    a.op(Op::Sub, Reg::R1, Reg::R7);
    a.jump_if(If::SignedGreater, Reg::R1, 0, keep);
    draw_distance(a);
    await_return(a, role, maps);
    a.exit(0);

    a.here(keep);
    a.store(Reg::R8, counter::LEFT as i16 * 8, Reg::R1);
    a.here(out);
    a.exit(skip);
}

/// Draws the distance to the next sample. R8 = counters, R9 = control.
fn draw_distance(a: &mut Assembler) {
    a.call(Helper::Random);
    a.op_value(Op::And, Reg::R0, DISTANCES as i32 - 1);
    a.op_value(Op::ShiftLeft, Reg::R0, 3);
    a.op(Op::Move, Reg::R1, Reg::R9);
    a.op(Op::Add, Reg::R1, Reg::R0);
    a.load(Reg::R1, Reg::R1, FIRST_DISTANCE);
    a.store(Reg::R8, counter::LEFT as i16 * 8, Reg::R1);
}

/// Remembers that this thread's call is sampled. R7 = size and overhead.
fn await_return(a: &mut Assembler, role: Role, maps: &Maps) {
    a.call(Helper::Thread);
    a.store(Reg::Fp, -8, Reg::R0);
    a.op_value(Op::Sub, Reg::R7, OVERHEAD as i32);
    a.store(Reg::Fp, -32, Reg::R7);
    let place = if role == Role::PosixMemalign { registers::RDI } else { registers::RAX };
    a.load(Reg::R1, Reg::R6, place);
    a.store(Reg::Fp, -24, Reg::R1);
    a.load(Reg::R1, Reg::R6, registers::RSP);
    a.store(Reg::Fp, -16, Reg::R1);
    a.load_map(Reg::R1, maps.pending);
    a.stack(Reg::R2, -8);
    a.stack(Reg::R3, -32);
    a.op_value(Op::Move, Reg::R4, 0);
    a.call(Helper::MapUpdate);
}

/// At the return: if this call is sampled, its block is kept, and a sample sent.
fn result(a: &mut Assembler, role: Role, maps: &Maps, stack_bytes: usize) {
    let (out, full, lost) = (a.label(), a.label(), a.label());
    a.call(Helper::Thread);
    a.store(Reg::Fp, -8, Reg::R0);
    a.load_map(Reg::R1, maps.pending);
    a.stack(Reg::R2, -8);
    a.call(Helper::MapLookup);
    a.jump_if(If::Equal, Reg::R0, 0, out);
    // A call within a call is not it: the stack pointer tells them apart.
    a.load(Reg::R1, Reg::R0, 16);
    a.op_value(Op::Add, Reg::R1, 8);
    a.load(Reg::R2, Reg::R6, registers::RSP);
    a.jump_if_register(If::NotEqual, Reg::R1, Reg::R2, out);
    a.load(Reg::R7, Reg::R0, 0);
    a.load(Reg::R8, Reg::R0, 8);
    a.load_map(Reg::R1, maps.pending);
    a.stack(Reg::R2, -8);
    a.call(Helper::MapDelete);
    block_of_result(a, role, out);

    a.load_map(Reg::R1, maps.ring);
    a.op_value(Op::Move, Reg::R2, (sample::WORDS * 8 + stack_bytes) as i32);
    a.op_value(Op::Move, Reg::R3, 0);
    a.call(Helper::RingReserve);
    a.jump_if(If::Equal, Reg::R0, 0, lost);
    a.op(Op::Move, Reg::R9, Reg::R0);
    a.call(Helper::Time);
    a.store(Reg::Fp, -24, Reg::R0);
    a.store(Reg::R9, word(sample::TIME), Reg::R0);
    a.load_map(Reg::R1, maps.blocks);
    a.stack(Reg::R2, -16);
    a.stack(Reg::R3, -24);
    a.op_value(Op::Move, Reg::R4, 0);
    a.call(Helper::MapUpdate);
    a.jump_if(If::NotEqual, Reg::R0, 0, full);
    fill(a, maps);
    copy_stack(a, stack_bytes);
    a.op(Op::Move, Reg::R1, Reg::R9);
    a.op_value(Op::Move, Reg::R2, 1); // nobody is woken: we look often enough
    a.call(Helper::RingSubmit);
    a.exit(0);

    a.here(full);
    a.op(Op::Move, Reg::R1, Reg::R9);
    a.op_value(Op::Move, Reg::R2, 1);
    a.call(Helper::RingDiscard);
    counters(a, maps, out);
    count(a, Reg::R0, counter::FULL);
    a.exit(0);

    a.here(lost);
    counters(a, maps, out);
    count(a, Reg::R0, counter::LOST);
    a.here(out);
    a.exit(0);
}

/// R8 and the stack's third word = address of the block; `none` if the allocation failed. R8 was the place for it.
fn block_of_result(a: &mut Assembler, role: Role, none: Label) {
    if role == Role::PosixMemalign {
        a.load(Reg::R1, Reg::R6, registers::RAX);
        a.jump_if(If::NotEqual, Reg::R1, 0, none);
        a.store_value(Reg::Fp, -16, 0);
        a.stack(Reg::R1, -16);
        a.op_value(Op::Move, Reg::R2, 8);
        a.op(Op::Move, Reg::R3, Reg::R8);
        a.call(Helper::ReadUser);
        a.load(Reg::R8, Reg::Fp, -16);
    } else {
        a.load(Reg::R8, Reg::R6, registers::RAX);
        a.store(Reg::Fp, -16, Reg::R8);
    }
    a.jump_if(If::Equal, Reg::R8, 0, none);
}

/// Fills the sample at R9. R7 = size, R8 = block.
fn fill(a: &mut Assembler, maps: &Maps) {
    a.store(Reg::R9, word(sample::ADDRESS), Reg::R8);
    a.store(Reg::R9, word(sample::SIZE), Reg::R7);
    a.load_value_of(Reg::R1, maps.control);
    a.load(Reg::R1, Reg::R1, MEAN);
    a.store(Reg::R9, word(sample::MEAN), Reg::R1);
    let saved = [
        registers::RIP,
        registers::RSP,
        registers::RBP,
        registers::RBX,
        registers::R12,
        registers::R13,
        registers::R14,
        registers::R15,
    ];
    for (at, register) in saved.into_iter().enumerate() {
        a.load(Reg::R1, Reg::R6, register);
        a.store(Reg::R9, word(sample::REGISTERS + at), Reg::R1);
    }
}

/// Copies the stack in pieces, as far as it is there. R7 = its start.
fn copy_stack(a: &mut Assembler, stack_bytes: usize) {
    let end = a.label();
    a.load(Reg::R7, Reg::R6, registers::RSP);
    a.op_value(Op::And, Reg::R7, -(STACK_PIECE as i32));
    a.store(Reg::R9, word(sample::STACK), Reg::R7);
    a.store_value(Reg::R9, word(sample::STACK_BYTES), 0);
    for at in (0..stack_bytes).step_by(STACK_PIECE) {
        a.op(Op::Move, Reg::R1, Reg::R9);
        a.op_value(Op::Add, Reg::R1, (sample::WORDS * 8 + at) as i32);
        a.op_value(Op::Move, Reg::R2, STACK_PIECE as i32);
        a.op(Op::Move, Reg::R3, Reg::R7);
        a.op_value(Op::Add, Reg::R3, at as i32);
        a.call(Helper::ReadUser);
        a.jump_if(If::NotEqual, Reg::R0, 0, end);
        a.store_value(Reg::R9, word(sample::STACK_BYTES), (at + STACK_PIECE) as i32);
    }
    a.here(end);
}

fn word(word: usize) -> i16 {
    word as i16 * 8
}
