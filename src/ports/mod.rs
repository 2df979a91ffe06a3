//! The source ports: which source address the next connection takes, what is known to be used up, and how long the rest
//! will last.
//!
//! A port is a matter of (source address, destination), since the kernel tells connections apart by both ends. So there
//! is one [`Pair`] for each, shared by all clusters ([`Ports`]), and a [`Ledger`] for each endpoint of a cluster, which
//! chooses among the pairs that the cluster may use. A connection holds a [`Reservation`] from before `connect()` until
//! its port is free again.
//!
//! # What is counted?
//! Our own connections exactly, as they come and go; the TIME_WAIT sockets that our closes leave behind, for as long as
//! they last; and, as of a look at the kernel's own list every few seconds, what others hold of the same ports.

pub mod budget;
mod ledger;
mod pair;
mod recent;
mod registry;

use std::io;

pub use ledger::{Ledger, Reservation};
pub use pair::{BACK_OFF, Observed, Pair, PairStatus, Presence};
pub use recent::TIME_WAIT_SECONDS;
pub use registry::Ports;

/// Whether a failed `connect()` says that this machine has no source port left, which is never the endpoint's fault.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}
