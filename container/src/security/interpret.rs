//! What the kernel does with a filter, for the tests of the compiler.

use sys::seccomp::Instruction;

use super::assemble::{AND, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, LOAD, RETURN};

/// A system call as a filter sees it. Source: linux/seccomp.h, struct seccomp_data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) args: [u64; 6],
}

impl Made {
    /// Loads a word. Source: linux/seccomp.h: number, architecture, instruction pointer, six arguments.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            other => panic!("a filter loads nothing at {other}"),
        }
    }
}

/// Runs the program and returns its answer.
pub(super) fn run(program: &[Instruction], made: &Made) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, operand, jump_true, jump_false } = program[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jump_true } else { jump_false });
        match code {
            LOAD => accumulator = made.word(operand),
            AND => accumulator &= operand,
            JUMP_EQUAL => jump(accumulator == operand),
            JUMP_GREATER => jump(accumulator > operand),
            JUMP_GREATER_OR_EQUAL => jump(accumulator >= operand),
            JUMP => at += operand as usize,
            RETURN => return operand,
            other => panic!("{other:#x} is no instruction of a filter"),
        }
    }
}
