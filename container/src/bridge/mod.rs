//! A bridge of the host for the containers of ordinary users, as the administrator sets it up: with addresses, names, a way into
//! the world, and rules by which users who share it do not disturb each other.
//!
//! [`settings`] says what is wanted, [`Facts`] what the host is like, [`plan`] what is to be done, and [`carry_out`] does it.
//! What is done is known by marks in what it made: the group of the bridge, the names of tables, comments of rules, and an
//! argument of dnsmasq. So there is no file that could say something else than what is so.

mod carry_out;
mod facts;
mod firewall;
mod plan;
mod rules;
pub mod settings;
mod step;

pub use carry_out::{Turn, carry_out};
pub use facts::{Facts, settings as read_settings};
pub use plan::{MARK, Manner, Obstacle, Plan, set_up, tear_down};
pub use step::{Act, Program, Step};
