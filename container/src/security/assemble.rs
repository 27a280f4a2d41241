//! Writing classic BPF from its end: whatever jumps goes forward only, so every target is known when its jump is written.
//!
//! A conditional jump reaches 255 instructions; where the target is farther, an unconditional one is put between.

use sys::seccomp::Instruction;

/// Operations. Source: linux/bpf_common.h.
pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const AND: u16 = 0x54;
pub(super) const RETURN: u16 = 0x06;

/// A place in the program: how many instructions there are from it to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program that grows towards its beginning.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    fn put(&mut self, code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Label {
        self.reversed.push(Instruction { code, jump_true, jump_false, operand });
        self.here()
    }

    /// Returns the place of the instruction written last.
    fn here(&self) -> Label {
        Label(self.reversed.len())
    }

    /// How many instructions lie between the next one to be written and `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0
    }

    /// Writes the end of the program with a value; the same value is written once.
    pub(super) fn give(&mut self, value: u32) -> Label {
        if let Some((_, label)) = self.returns.iter().find(|(known, _)| *known == value) {
            return *label;
        }
        let label = self.put(RETURN, value, 0, 0);
        self.returns.push((value, label));
        label
    }

    /// Makes what is written next go on at `target`.
    fn lead_to(&mut self, target: Label) {
        let distance = self.distance(target);
        if distance > 0 {
            // A filter is never longer than an operand is wide.
            self.put(JUMP, u32::try_from(distance).unwrap_or(u32::MAX), 0, 0);
        }
    }

    /// Writes an instruction that does one thing and goes on at `next`.
    pub(super) fn act(&mut self, code: u16, operand: u32, next: Label) -> Label {
        self.lead_to(next);
        self.put(code, operand, 0, 0)
    }

    /// Writes a comparison of the accumulator with `operand`.
    pub(super) fn branch(&mut self, code: u16, operand: u32, yes: Label, no: Label) -> Label {
        let (yes, no) = (self.within_reach(yes), self.within_reach(no));
        self.put(code, operand, self.offset(yes), self.offset(no))
    }

    /// Returns a label near enough for a conditional jump that leads to `target`.
    fn within_reach(&mut self, target: Label) -> Label {
        // One is kept for the jump that the other target may need.
        if self.distance(target) < usize::from(u8::MAX) {
            return target;
        }
        self.lead_to(target);
        self.here()
    }

    fn offset(&self, target: Label) -> u8 {
        u8::try_from(self.distance(target)).expect("targets were brought within reach")
    }

    /// Returns the program, in the order in which the kernel runs it.
    pub(super) fn finish(self) -> Vec<Instruction> {
        self.reversed.into_iter().rev().collect()
    }
}
