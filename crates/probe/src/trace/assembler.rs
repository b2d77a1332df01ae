//! Instructions of eBPF, put together by hand: what a program of a few dozen needs, and nothing more.

/// A register. `R0` is what a call answers, `R1` to `R5` are its arguments and lost by it, `FP` is the end of the
/// stack of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    Fp,
}

/// Functions of the kernel (`enum bpf_func_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    Time = 5,
    Random = 7,
    Thread = 14,
    ReadUser = 112,
    RingReserve = 131,
    RingSubmit = 132,
    RingDiscard = 133,
    FunctionAddress = 173,
}

/// Conditions of jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum If {
    Equal = 0x10,
    NotEqual = 0x50,
    SignedGreater = 0x60,
}

/// Arithmetic on 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    And = 0x50,
    ShiftLeft = 0x60,
    Move = 0xb0,
}

/// A place that jumps go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<u64>,
    labels: Vec<usize>,
    jumps: Vec<(usize, Label)>,
}

const NOWHERE: usize = usize::MAX;

impl Assembler {
    fn push(&mut self, code: u8, to: Reg, from: u8, offset: i16, value: i32) {
        let registers = to as u64 | u64::from(from) << 4;
        let offset = u64::from(offset.cast_unsigned());
        let value = u64::from(value.cast_unsigned());
        self.code.push(u64::from(code) | registers << 8 | offset << 16 | value << 32);
    }

    /// `to` = `to` op `from`.
    pub(super) fn op(&mut self, op: Op, to: Reg, from: Reg) {
        self.push(op as u8 | 0x0f, to, from as u8, 0, 0);
    }

    /// `to` = `to` op `value`.
    pub(super) fn op_value(&mut self, op: Op, to: Reg, value: i32) {
        self.push(op as u8 | 0x07, to, 0, 0, value);
    }

    /// Loads the word at `from` + `offset`.
    pub(super) fn load(&mut self, to: Reg, from: Reg, offset: i16) {
        self.push(0x79, to, from as u8, offset, 0);
    }

    /// Stores a word at `to` + `offset`.
    pub(super) fn store(&mut self, to: Reg, offset: i16, from: Reg) {
        self.push(0x7b, to, from as u8, offset, 0);
    }

    /// Stores a number as a word at `to` + `offset`.
    pub(super) fn store_value(&mut self, to: Reg, offset: i16, value: i32) {
        self.push(0x7a, to, 0, offset, value);
    }

    /// Loads a map, to be an argument.
    pub(super) fn load_map(&mut self, to: Reg, map: i32) {
        self.push(0x18, to, 1, 0, map);
        self.code.push(0);
    }

    /// Loads the address of the one value of an array.
    pub(super) fn load_value_of(&mut self, to: Reg, map: i32) {
        self.push(0x18, to, 2, 0, map);
        self.code.push(0);
    }

    /// Calls a function of the kernel.
    pub(super) fn call(&mut self, helper: Helper) {
        self.push(0x85, Reg::R0, 0, 0, helper as i32);
    }

    /// `to` = address of the program's stack at `offset`.
    pub(super) fn stack(&mut self, to: Reg, offset: i16) {
        self.op(Op::Move, to, Reg::Fp);
        self.op_value(Op::Add, to, i32::from(offset));
    }

    /// A new label.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(NOWHERE);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn here(&mut self, label: Label) {
        self.labels[label.0] = self.code.len();
    }

    /// Jumps if `left` compares to a number.
    pub(super) fn jump_if(&mut self, condition: If, left: Reg, right: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(condition as u8 | 0x05, left, 0, 0, right);
    }

    /// Jumps if `left` compares to a register.
    pub(super) fn jump_if_register(&mut self, condition: If, left: Reg, right: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(condition as u8 | 0x0d, left, right as u8, 0, 0);
    }

    /// Jumps.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(0x05, Reg::R0, 0, 0, 0);
    }

    /// Ends the program with this answer.
    pub(super) fn exit(&mut self, answer: i32) {
        self.op_value(Op::Move, Reg::R0, answer);
        self.push(0x95, Reg::R0, 0, 0, 0);
    }

    /// The instructions. A jump to a label that is nowhere goes out of the program, which the kernel refuses.
    pub(super) fn finish(mut self) -> Vec<u64> {
        for (from, label) in self.jumps {
            let distance = self.labels[label.0].wrapping_sub(from + 1);
            let offset = u64::from((distance as i16).cast_unsigned());
            self.code[from] = self.code[from] & !0xffff_0000 | offset << 16;
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as `llvm-mc -triple bpfel` makes them.
    #[test]
    fn instructions_are_encoded() {
        let mut a = Assembler::default();
        let end = a.label();
        a.op(Op::Move, Reg::R6, Reg::R1);
        a.load(Reg::R7, Reg::R6, 112);
        a.jump_if(If::Equal, Reg::R7, 0, end);
        a.store(Reg::Fp, -8, Reg::R7);
        a.call(Helper::Time);
        a.here(end);
        a.exit(1);
        let code = a.finish();
        assert_eq!(
            code,
            [
                0x0000_0000_0000_16bf,
                0x0000_0000_0070_6779,
                0x0000_0000_0002_0715,
                0x0000_0000_fff8_7a7b,
                0x0000_0005_0000_0085,
                0x0000_0001_0000_00b7,
                0x0000_0000_0000_0095,
            ]
        );
    }
}
