//! What every privileged helper of Bryo does first and last.
//!
//! A helper is started by an unprivileged user, who chooses its arguments, environment, open files, limits,
//! signals and working directory. [`guard::run`] makes all of that harmless before the helper looks at its
//! request, and says afterwards what was done. In between stands the helper's own decision.
//!
//! | module | for |
//! |---|---|
//! | [`guard`] | the order of the first steps, and of the last ones |
//! | [`rights`] | the capabilities, the same after either way to install |
//! | [`surroundings`] | signals, limits, file descriptors, arguments |
//! | [`caller`] | who asks |
//! | [`policy_file`] | files of the administrator that may be believed |
//! | [`filter`] | the system calls that are left to a helper |
//! | [`report`] | one line for the user, one for the log, the exit status |
//! | [`sys`] | all unsafe code |

#![deny(unsafe_code)]

pub mod caller;
pub mod filter;
pub mod guard;
pub mod policy_file;
pub mod report;
pub mod rights;
pub mod surroundings;
#[allow(unsafe_code, reason = "the one place of the helpers that calls the kernel and libc")]
pub mod sys;
