//! The vocabulary of Bryo: names, ids, states and signals as types, parsed once at the border.
//!
//! Every crate may use this one, the privileged helpers included, so it does no I/O and depends on nothing
//! (`serde` is optional, and never enabled by the helpers).

mod digest;
mod idmap;
mod ids;
mod ifname;
mod mountinfo;
mod name;
mod published;
mod serve;
mod signal;
pub mod source;
mod state;
mod text;

pub use digest::{BadDigest, Digest};
pub use idmap::{IdExtent, IdKind, IdMap, IdMapError};
pub use ids::{HostGid, HostUid, IdRange, IdRangeError, NsGid, NsUid};
pub use ifname::{IfName, IfNameError};
pub use mountinfo::MountLine;
pub use name::{ContainerName, NameError};
pub use published::{Bind, Protocol, Published, PublishedError};
pub use serve::{GONE, KEEP, LAST, MAKE_WAY, Serve, Served, Unknown, WHICH, program};
pub use signal::{Signal, SignalError};
pub use state::{State, StateError};
pub use text::is_shown;
