//! The policy files of the host that say what an unprivileged user may have: who owns which subordinate ids, and who may
//! have which network devices.
//!
//! Used alike by the privileged helpers, which obey it, and by the runtime, which plans and explains with it.
//! So nothing here reads a file: text goes in, a decision comes out. What does not parse never grants.

#![forbid(unsafe_code)]

pub mod decimal;
pub mod lines;
pub mod nsswitch;
pub mod slots;
pub mod subid;
pub mod usernet;
