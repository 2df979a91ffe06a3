//! The last resort of every policy: look at all endpoints.

use fastrand::Rng;

use super::lighter;

/// Of all usable endpoints the one with the least load for its weight; among equals one at random, by weight.
pub(super) fn scan(
    weights: &[u32],
    random: &mut Rng,
    usable: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> usize,
) -> Option<usize> {
    let mut best: Option<(usize, usize, u32)> = None;
    // The weights of the endpoints that are as good as the best one, itself included.
    let mut tied = 0_u64;
    for (index, &weight) in weights.iter().enumerate().filter(|&(index, _)| usable(index)) {
        let index_load = load(index);
        match best {
            Some((_, best_load, best_weight)) if lighter(best_load, best_weight, index_load, weight) => {}
            Some((_, best_load, best_weight)) if !lighter(index_load, weight, best_load, best_weight) => {
                // A reservoir of one: each of the equals ends up in it in proportion to its weight.
                tied += u64::from(weight);
                if random.u64(..tied) < u64::from(weight) {
                    best = Some((index, index_load, weight));
                }
            }
            _ => {
                tied = weight.into();
                best = Some((index, index_load, weight));
            }
        }
    }
    best.map(|(index, ..)| index)
}
