//! How often each endpoint is picked.

use std::cell::RefCell;

use proptest::{collection::vec, prelude::*};

use super::{Balancer, PickState};
use crate::config::Balance::{self, LeastLoaded, RoundRobin};

const BOTH: [Balance; 2] = [RoundRobin, LeastLoaded];

fn picks(balancer: &Balancer, count: usize, usable: impl Fn(usize) -> bool, load: impl Fn(usize) -> usize) -> Vec<u32> {
    let state = PickState::with_seed(7);
    let mut picks = vec![0; balancer.len()];
    for _ in 0..count {
        picks[balancer.pick(&state, &usable, &load).expect("one is usable")] += 1;
    }
    picks
}

fn assert_shares(picks: &[u32], expected: &[f64]) {
    let total = f64::from(picks.iter().sum::<u32>());
    for (index, (&picked, expected)) in picks.iter().zip(expected).enumerate() {
        let share = f64::from(picked) / total;
        assert!(
            (share - expected).abs() < 0.015,
            "endpoint {index}: {share} instead of {expected}: {picks:?}"
        );
    }
}

#[test]
fn equal_endpoints_take_turns() {
    let balancer = Balancer::new(RoundRobin, [1; 5]);
    let state = PickState::with_seed(1);
    let picked: Vec<_> = (0..50).filter_map(|_| balancer.pick(&state, |_| true, |_| 0)).collect();
    assert_eq!(picked.len(), 50);
    assert!(picked.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 5), "{picked:?}");
}

#[test]
fn weights_are_exact_over_a_cycle_and_light_endpoints_come_evenly() {
    let balancer = Balancer::new(RoundRobin, [5, 1, 2]);
    assert_eq!(picks(&balancer, 8 * 100, |_| true, |_| 0), [500, 100, 200]);
    let state = PickState::with_seed(3);
    let picked: Vec<_> = (0..80).filter_map(|_| balancer.pick(&state, |_| true, |_| 0)).collect();
    let places: Vec<_> = (0..80).filter(|&place| picked[place] == 1).collect();
    assert!(
        places.windows(2).all(|pair| (7..=9).contains(&(pair[1] - pair[0]))),
        "{places:?}"
    );
}

#[test]
fn light_endpoints_do_not_all_come_in_the_same_round() {
    let balancer = Balancer::new(RoundRobin, [10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let state = PickState::with_seed(3);
    let picked: Vec<_> = (0..200)
        .filter_map(|_| balancer.pick(&state, |_| true, |_| 0))
        .collect();
    let longest = picked.split(|&index| index == 0).map(<[usize]>::len).max();
    assert!(longest <= Some(3), "{longest:?}: {picked:?}");
}

#[test]
fn workers_begin_at_different_endpoints() {
    let balancer = Balancer::new(RoundRobin, [1; 1000]);
    let first = |seed| balancer.pick(&PickState::with_seed(seed), |_| true, |_| 0);
    let mut firsts: Vec<_> = (0..8).filter_map(first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 8);
}

#[test]
fn without_load_shares_follow_the_weights() {
    for balance in BOTH {
        let shares = picks(&Balancer::new(balance, [1, 3, 6]), 50_000, |_| true, |_| 0);
        assert_shares(&shares, &[0.1, 0.3, 0.6]);
        assert_shares(
            &picks(&Balancer::new(balance, [4; 4]), 50_000, |_| true, |_| 0),
            &[0.25; 4],
        );
    }
}

#[test]
fn an_unusable_endpoint_leaves_its_share_to_all_others() {
    for balance in BOTH {
        let shares = picks(&Balancer::new(balance, [1; 5]), 50_000, |index| index != 2, |_| 0);
        assert_shares(&shares, &[0.25, 0.25, 0.0, 0.25, 0.25]);
        let shares = picks(&Balancer::new(balance, [1000, 1, 3]), 50_000, |index| index != 0, |_| 0);
        assert_shares(&shares, &[0.0, 0.25, 0.75]);
    }
}

#[test]
fn the_one_usable_of_many_is_found_and_else_there_is_none() {
    for balance in BOTH {
        for weights in [vec![2; 500], (1..=500).collect()] {
            let balancer = Balancer::new(balance, weights);
            let state = PickState::with_seed(11);
            for only in [0, 250, 499] {
                assert_eq!(balancer.pick(&state, |index| index == only, |_| 0), Some(only));
            }
            assert_eq!(balancer.pick(&state, |_| false, |_| 0), None);
        }
    }
}

#[test]
fn a_cluster_of_one_or_none() {
    for balance in BOTH {
        let state = PickState::with_seed(0);
        assert_eq!(Balancer::new(balance, [9]).pick(&state, |_| true, |_| 1000), Some(0));
        assert_eq!(Balancer::new(balance, [9]).pick(&state, |_| false, |_| 0), None);
        assert_eq!(Balancer::new(balance, []).pick(&state, |_| true, |_| 0), None);
    }
}

#[test]
fn the_less_loaded_of_two_is_always_picked() {
    let balancer = Balancer::new(LeastLoaded, [1, 1]);
    assert_eq!(picks(&balancer, 1000, |_| true, |index| [3, 2][index]), [0, 1000]);
    // For its weight, the first one has less to do.
    let balancer = Balancer::new(LeastLoaded, [10, 1]);
    assert_eq!(picks(&balancer, 1000, |_| true, |index| [19, 2][index]), [1000, 0]);
    // A heavy one that is overloaded gives way although it is nearly always drawn first.
    let balancer = Balancer::new(LeastLoaded, [1000, 1]);
    assert_eq!(picks(&balancer, 1000, |_| true, |index| [2000, 1][index]), [0, 1000]);
}

#[test]
fn load_spreads_in_proportion_to_weight() {
    let balancer = Balancer::new(LeastLoaded, (0..100).map(|index| if index < 50 { 1 } else { 3 }));
    let state = PickState::with_seed(5);
    let load = RefCell::new(vec![0_usize; 100]);
    for _ in 0..20_000 {
        let picked = balancer
            .pick(&state, |_| true, |index| load.borrow()[index])
            .expect("all are usable");
        load.borrow_mut()[picked] += 1;
    }
    let load = load.into_inner();
    assert!(load[..50].iter().all(|load| (85..=115).contains(load)), "{load:?}");
    assert!(load[50..].iter().all(|load| (270..=330).contains(load)), "{load:?}");
}

proptest! {
    #[test]
    fn a_pick_is_usable_and_there_is_one_if_any_endpoint_is(
        endpoints in vec((1..1000_u32, any::<bool>(), 0..50_usize), 0..60),
        least_loaded: bool,
        seed: u64,
    ) {
        let balance = if least_loaded { LeastLoaded } else { RoundRobin };
        let balancer = Balancer::new(balance, endpoints.iter().map(|endpoint| endpoint.0));
        let state = PickState::with_seed(seed);
        for _ in 0..20 {
            let picked = balancer.pick(&state, |index| endpoints[index].1, |index| endpoints[index].2);
            prop_assert_eq!(picked.is_some(), endpoints.iter().any(|endpoint| endpoint.1));
            prop_assert!(picked.is_none_or(|index| endpoints[index].1));
        }
    }

    #[test]
    fn every_cycle_of_rounds_gives_each_endpoint_its_weight(weights in vec(1..30_u32, 2..20), seed: u64) {
        let balancer = Balancer::new(RoundRobin, weights.iter().copied());
        let state = PickState::with_seed(seed);
        let cycle: u32 = weights.iter().sum();
        let mut picks = vec![0; weights.len()];
        for _ in 0..cycle {
            picks[balancer.pick(&state, |_| true, |_| 0).expect("all are usable")] += 1;
        }
        prop_assert_eq!(picks, weights);
    }
}
