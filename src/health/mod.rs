//! Fitness of endpoints: a periodic question to each, and what its answers add up to.
//!
//! # When is an endpoint healthy?
//!
//! A new one is, until its first probe says otherwise: that probe is sent at once, and if it fails, the endpoint is
//! unhealthy without a wait for `fall` failures. Afterwards it takes `fall` failures in a row to become unhealthy and
//! `rise` successes in a row to become healthy again.
//!
//! # What is not the endpoint's failure?
//!
//! A kept connection that turned out dead: a new one is tried within the same probe. And whatever this machine lacks
//! (source ports, descriptors, memory): such a probe counts neither way.

mod exchange;
mod grpc;
mod probe;
mod state;

pub use probe::{ProbeConnection, ProbeError, describe_metrics, run};
pub use state::{Change, Health, Outcome, Report, Streak};
