//! Least loaded: the power of two choices.
//!
//! Two random endpoints are compared and the one with less load for its weight is picked. That comes close to the
//! least loaded of all, without the herd that runs to one endpoint when every worker knows which it is
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! The first of the two is drawn by weight and wins a tie: so the weights also hold while nothing is in flight. The
//! second is drawn without regard to weight: so even a light endpoint is compared with a heavy one that is overloaded.

use std::iter::repeat_with;

use fastrand::Rng;

use super::{lighter, scan::scan};

/// Draws for each of the two before all endpoints are looked at.
const DRAWS: usize = 4;

#[derive(Debug)]
pub(super) struct Draw {
    /// For each endpoint the sum of the weights up to and including its own; `None` when all weights are equal.
    sums: Option<Box<[u64]>>,
}

impl Draw {
    pub(super) fn new(weights: &[u32]) -> Self {
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let sums = weights.iter().scan(0, |sum, &weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self {
            sums: (!equal).then(|| sums.collect()),
        }
    }

    /// The pick among at least two endpoints.
    pub(super) fn pick(
        &self,
        weights: &[u32],
        random: &mut Rng,
        usable: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let first = repeat_with(|| self.by_weight(weights.len(), random))
            .take(DRAWS)
            .find(|&index| usable(index));
        let second = first.and_then(|first| {
            repeat_with(|| other_than(first, weights.len(), random))
                .take(DRAWS)
                .find(|&index| usable(index))
        });
        let (Some(first), Some(second)) = (first, second) else {
            return scan(weights, random, usable, load);
        };
        let second_is_lighter = lighter(load(second), weights[second], load(first), weights[first]);
        Some(if second_is_lighter { second } else { first })
    }

    fn by_weight(&self, count: usize, random: &mut Rng) -> usize {
        match self.sums.as_deref() {
            None => random.usize(..count),
            Some(sums) => {
                let point = random.u64(..sums[count - 1]);
                sums.partition_point(|&sum| sum <= point)
            }
        }
    }
}

fn other_than(index: usize, count: usize, random: &mut Rng) -> usize {
    let other = random.usize(..count - 1);
    if other < index { other } else { other + 1 }
}
