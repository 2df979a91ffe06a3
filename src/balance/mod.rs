//! Which endpoint of a cluster takes a request.
//!
//! * `round-robin`: every endpoint in turn, as often as its weight says ([`turns`]).
//! * `least-loaded`: of two endpoints drawn at random, the one with less load for its weight ([`draw`]).
//!
//! A [`Balancer`] is immutable and shared by all workers; what changes from pick to pick is in the [`PickState`] that
//! each worker has for each cluster. So a pick writes nothing that another core reads, allocates nothing, and the
//! workers do not go through the endpoints in step with each other.
//!
//! # What happens when endpoints are unusable?
//!
//! They are passed over without a gain for their neighbours. After a few misses, all endpoints are looked at once
//! ([`scan`]), so a usable one is always found if there is one.

mod draw;
mod scan;
mod turns;

use std::cell::Cell;

use fastrand::Rng;

use self::{draw::Draw, turns::Turns};
use crate::config;

/// The policy of one cluster over a fixed set of endpoints, which it knows by their positions.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    weights: Box<[u32]>,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(Turns),
    LeastLoaded(Draw),
}

/// What one worker remembers from pick to pick; it stays valid when the endpoints change.
#[derive(Debug)]
pub struct PickState {
    turn: Cell<u64>,
    /// The random source between two picks, as the seed of the next.
    seed: Cell<u64>,
}

impl PickState {
    /// A state that begins at a random endpoint.
    pub fn new() -> Self {
        Self::with_seed(fastrand::u64(..))
    }

    /// A state whose picks are a function of `seed` alone.
    pub fn with_seed(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        // 32 bits, so that counting on from there cannot overflow.
        Self {
            turn: Cell::new(random.u32(..).into()),
            seed: Cell::new(random.get_seed()),
        }
    }

    fn next_turn(&self) -> u64 {
        self.turn.replace(self.turn.get() + 1)
    }

    fn with_random<R>(&self, decide: impl FnOnce(&mut Rng) -> R) -> R {
        let mut random = Rng::with_seed(self.seed.get());
        let result = decide(&mut random);
        self.seed.set(random.get_seed());
        result
    }
}

impl Default for PickState {
    fn default() -> Self {
        Self::new()
    }
}

impl Balancer {
    /// The balancer for as many endpoints as there are `weights`; a weight of 0 counts as 1.
    pub fn new(balance: config::Balance, weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Box<[u32]> = weights.into_iter().map(|weight| weight.max(1)).collect();
        let policy = match balance {
            config::Balance::RoundRobin => Policy::RoundRobin(Turns::new(&weights)),
            config::Balance::LeastLoaded => Policy::LeastLoaded(Draw::new(&weights)),
        };
        Self { policy, weights }
    }

    /// The number of endpoints.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The position of the endpoint for one request; `None` where none is usable.
    ///
    /// `usable` says whether the endpoint at a position may be picked, `load` how many requests are in flight to it.
    /// Both may be asked several times for one endpoint.
    pub fn pick(
        &self,
        state: &PickState,
        usable: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        if self.weights.len() <= 1 {
            return (!self.weights.is_empty() && usable(0)).then_some(0);
        }
        match &self.policy {
            Policy::RoundRobin(turns) => turns.pick(&self.weights, state, usable),
            Policy::LeastLoaded(draw) => state.with_random(|random| draw.pick(&self.weights, random, usable, load)),
        }
    }
}

/// Whether an endpoint with `load` and `weight` has less to do for its weight than `other`.
fn lighter(load: usize, weight: u32, other_load: usize, other_weight: u32) -> bool {
    load as u128 * u128::from(other_weight) < other_load as u128 * u128::from(weight)
}

#[cfg(test)]
mod tests;
