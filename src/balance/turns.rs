//! Round robin: every endpoint in turn.
//!
//! The only state is a count of turns. With equal weights, turn `t` is the endpoint at `t mod n`. With unequal
//! ones the endpoints are gone through in rounds, and the heaviest takes a request in every round, another only in so
//! many rounds as its weight is of the heaviest. Which rounds, is computed from the number of the round: evenly spread for
//! each endpoint, and in different rounds for different ones. So neither weights nor the number of endpoints make a pick
//! write more than that count.

use super::{PickState, scan::scan};

#[derive(Debug)]
pub(super) enum Turns {
    Equal,
    Weighted { heaviest: u64 },
}

/// Golden ratio in 32 bits: spreads the rounds in which light endpoints take a request (Knuth, vol. 3, 6.4).
const GOLDEN: u64 = 0x9E37_79B9;

impl Turns {
    /// Every weight is at least 1.
    pub(super) fn new(weights: &[u32]) -> Self {
        match (weights.iter().min(), weights.iter().max()) {
            (Some(lightest), Some(heaviest)) if lightest != heaviest => Self::Weighted {
                heaviest: u64::from(*heaviest),
            },
            _ => Self::Equal,
        }
    }

    pub(super) fn pick(&self, weights: &[u32], state: &PickState, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let count = weights.len() as u64;
        match *self {
            // As many turns as endpoints ask each of them once.
            Self::Equal => weights.iter().find_map(|_| {
                let index = (state.next_turn() % count) as usize;
                usable(index).then_some(index)
            }),
            // Two rounds usually find one; not so when only light ones are usable.
            Self::Weighted { heaviest } => (0..2 * count)
                .find_map(|_| {
                    let turn = state.next_turn();
                    let index = (turn % count) as usize;
                    let takes = takes_in_round(turn / count, index, weights[index].into(), heaviest);
                    (takes && usable(index)).then_some(index)
                })
                .or_else(|| state.with_random(|random| scan(weights, random, &usable, |_| 0))),
        }
    }
}

/// Whether the endpoint at `index` takes a request in `round`: in exactly `weight` of any `heaviest` rounds in a row.
fn takes_in_round(round: u64, index: usize, weight: u64, heaviest: u64) -> bool {
    let offset = (((index as u64).wrapping_mul(GOLDEN) & 0xFFFF_FFFF) * heaviest) >> 32;
    // Whether the running sum of weights passes a multiple of the heaviest one here.
    (round * weight + offset) % heaviest + weight >= heaviest
}
