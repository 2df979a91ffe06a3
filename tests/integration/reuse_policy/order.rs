//! Which idle connection is used next, seen by its number at the endpoint.

use std::collections::HashSet;

use super::{fill, numbering};
use crate::support::{Gate, Proxy};

const KEPT: usize = 3;

/// The connections that carried the next `count` requests, one after another, when three were idle.
fn used(order: &str, count: usize) -> Vec<String> {
    let gate = Gate::default();
    let endpoint = numbering(&gate);
    let pool = format!("[cluster.main.pool]\norder = \"{order}\"\nidle_timeout = \"1m\"");
    let proxy = Proxy::in_front_of(&endpoint).workers(1).with(&pool).start();
    fill(&proxy, &endpoint, &gate, KEPT);
    let mut client = proxy.connect();
    let used = (0..count).map(|_| client.get("/").text()).collect();
    assert_eq!(endpoint.opened(), KEPT);
    used
}

fn different(used: &[String]) -> usize {
    used.iter().collect::<HashSet<_>>().len()
}

#[test]
fn newest_first_uses_one_and_lets_the_others_grow_old() {
    let used = used("newest-first", 12);
    assert_eq!(different(&used), 1, "{used:?}");
}

#[test]
fn oldest_first_uses_all_in_turn() {
    let used = used("oldest-first", 12);
    assert_eq!(different(&used[..KEPT]), KEPT, "{used:?}");
    for turn in used.chunks(KEPT) {
        assert_eq!(turn, &used[..KEPT], "{used:?}");
    }
}

#[test]
fn random_uses_all_in_no_order() {
    // By chance, one of them would stay unused once in 10^17 runs.
    let used = used("random", 99);
    assert_eq!(different(&used), KEPT, "{used:?}");
    assert!(
        used.chunks(KEPT).any(|turn| turn != &used[..KEPT]),
        "all in turn: {used:?}"
    );
}
