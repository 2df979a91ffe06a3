//! The experiment: what pooled connections are worth, measured on the user's own machine.
//!
//! Nothing of the proxy runs in here. What is measured runs in processes of its own, started from the same program, so
//! that the CPU time of each can be told apart; this module makes the load, looks at the kernel's sockets, and draws
//! what came of it.

pub mod capacity;
mod certificate;
pub mod chart;
pub mod children;
pub mod counters;
pub mod cpu;
pub mod display;
pub mod exhaust;
pub mod experiment;
pub mod figures;
pub mod load;
pub mod machine;
pub mod report;
mod run;
pub mod sockets;
pub mod subject;
pub mod text;
