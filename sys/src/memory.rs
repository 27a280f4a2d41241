//! What a process that waits most of its life gives back of its memory.

use rustix::mm::{Advice, madvise};

/// Gives back what the allocator keeps free. Source: malloc_trim(3).
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes an integer and touches free memory of the allocator alone, under the allocator's own lock.
    let _whether_there_was_some = unsafe { libc::malloc_trim(0) };
}

/// Gives back the pages of the program's own code and constants, which are read anew from its file where they are used.
///
/// Part of its caller, and without a call of a function: the kernel maps 64 kB and more around a byte that runs, so what runs
/// from here to the end of a wait is to lie in one place. Source: madvise(2).
#[inline(always)]
pub(crate) fn drop_code() {
    unsafe extern "C" {
        /// Where the program begins, and where its code ends. Source: the linker, end(3).
        static __executable_start: u8;
        static etext: u8;
    }
    let (first, end) = (&raw const __executable_start, &raw const etext);
    // SAFETY: the pages between the two are mapped from the program's file and written by nobody, since the loader makes no
    // text relocations: what the kernel drops it reads again from the file. The program's file cannot be written while it runs.
    let _whether_it_could =
        unsafe { madvise(first.cast_mut().cast(), end as usize - first as usize, Advice::LinuxDontNeed) };
}
