//! One view over cgroup v1, hybrid and v2.
//!
//! Deciding: [`Layout`] reads what is mounted and where the caller sits, [`Names`] decides how a container's groups are
//! called. Both are pure. Doing: [`Group`] is one cgroup in all the hierarchies that the caller may use, held by
//! directory fds; everything that is done to a group (place, limit, freeze, kill, measure, hand over, remove) is a
//! method of it. A hierarchy that cannot be used is never an error: its [`Access`] says why, and what then needs it
//! (a limit, the freezer) is refused with that reason.
//!
//! ```text
//! Layout::of(Base) -> Host::probe, or enter_scope -> BaseGroup::open_base -> take(monitor) -> clear(payload)
//!     -> place(self), make_with_controllers(payload)
//!     -> apply(limits), hand_over(group), entrance() ... kill, remove
//! ```
//! [`view::View`] reads what a group may use and uses, again and again, for who tells its processes so. [`Handle`] is a group written down: whoever cleans up after a monitor that was killed opens it again.

#![forbid(unsafe_code)]

mod access;
mod cpus;
mod freeze;
mod group;
mod handle;
mod kill;
mod layout;
mod limit;
mod names;
mod owner;
mod remove;
mod scope;
mod take;
mod tree;
mod usage;
pub mod view;

pub use access::{Access, Host, Verdict};
pub use cpus::CpuList;
pub use freeze::FreezeError;
pub use group::{Act, BaseGroup, Entrance, Error, Group, KeptBack, KeptBackWhy};
pub use handle::{Handle, HandlePlace};
pub use kill::KillError;
pub use layout::{Base, Hierarchy, Kind, Layout, Version};
pub use limit::{Applied, Limit, Missing, Outcome, Reason, Refusal};
pub use names::{Names, NamesError, Settings};
pub use remove::RemoveError;
pub use scope::{PATIENCE as SCOPE_PATIENCE, ScopeError, enter as enter_scope};
pub use usage::{IoBytes, Usage};
