mod identities;
mod model;
mod policies;
mod puppet;
mod threads;
mod waiting;

use std::{sync::Mutex, time::Duration};

use puppet::{Alive, Puppet, Strings};

use super::{idle::tests::policy, *};

/// That of the policy of these tests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

fn pool_of(policy: &config::Pool, workers: usize) -> Arc<Pool<Puppet>> {
    let learning = Arc::new(Mutex::new(Learning::new(Instant::now())));
    Pool::new(policy, workers, learning)
}

fn limits(max_idle: usize, max_connections: usize) -> config::Pool {
    config::Pool {
        max_idle,
        max_connections,
        ..policy()
    }
}

/// What connections for a server of this name have in common.
fn named(name: &str) -> Identity {
    Identity {
        server_name: Some(name.into()),
        ..Identity::default()
    }
}

/// The connection that a checkout is to open.
fn open(pool: &Arc<Pool<Puppet>>, worker: usize, id: u32, now: Instant) -> Pooled<Puppet> {
    match pool.try_checkout(worker, Wanted::ANY, now) {
        Some(Checkout::Open(permit, reason)) => pool.opened(Puppet::new(id), permit, reason, now),
        other => panic!("a permit for {id}, not {other:?}"),
    }
}

/// As many connections as `ids`, all active.
fn open_all<const N: usize>(pool: &Arc<Pool<Puppet>>, ids: [u32; N], now: Instant) -> [Pooled<Puppet>; N] {
    ids.map(|id| open(pool, 0, id, now))
}

/// The kept connection that a checkout is to find.
fn reuse(pool: &Arc<Pool<Puppet>>, worker: usize, now: Instant) -> Pooled<Puppet> {
    match pool.try_checkout(worker, Wanted::ANY, now) {
        Some(Checkout::Reused(pooled)) => pooled,
        other => panic!("a kept connection, not {other:?}"),
    }
}

/// Why a checkout opens a connection; gives the permit back.
fn open_reason(pool: &Arc<Pool<Puppet>>, worker: usize, now: Instant) -> OpenReason {
    match pool.try_checkout(worker, Wanted::ANY, now) {
        Some(Checkout::Open(_, reason)) => reason,
        other => panic!("a permit, not {other:?}"),
    }
}

fn closed(pool: &Pool<Puppet>) -> Vec<(CloseReason, u64)> {
    let mut by_reason: Vec<(CloseReason, u64)> = Vec::new();
    for (reason, _, count) in pool.status().closed {
        match by_reason.last_mut() {
            Some((known, total)) if *known == reason => *total += count,
            _ => by_reason.push((reason, count)),
        }
    }
    by_reason
}

fn opened(pool: &Pool<Puppet>) -> Vec<(OpenReason, u64)> {
    let all = pool.status().opened;
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn the_newest_is_reused_first() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    for pooled in open_all(&pool, [1, 2, 3], now) {
        assert_eq!(pooled.reused(), Reused::No);
        pooled.check_in(0, now);
    }
    let held = [3, 2, 1].map(|id| {
        let pooled = reuse(&pool, 0, now);
        assert_eq!((pooled.id, pooled.reused()), (id, Reused::Yes));
        pooled
    });
    assert_eq!(
        (pool.status().reused, pool.status().stolen, pool.status().idle),
        (3, 0, 0)
    );
    drop(held);
}

#[test]
fn the_own_shard_comes_before_a_siblings() {
    let (pool, now) = (pool_of(&policy(), 3), Instant::now());
    for (pooled, worker) in open_all(&pool, [1, 2, 3], now).into_iter().zip([1, 0, 2]) {
        pooled.check_in(worker, now);
    }
    let held = [2, 1, 3].map(|id| {
        let pooled = reuse(&pool, 0, now);
        assert_eq!(pooled.id, id);
        pooled
    });
    let status = pool.status();
    assert_eq!((status.reused, status.stolen, status.connections), (3, 2, 3));
    drop(held);
}

#[test]
fn what_cannot_be_adopted_is_closed_with_its_reason_and_the_next_is_tried() {
    let (pool, now) = (pool_of(&policy(), 3), Instant::now());
    let connections = open_all(&pool, [1, 2, 3], now);
    let strings = [0, 1, 2].map(|index: usize| Arc::clone(&connections[index].strings));
    for (pooled, worker) in connections.into_iter().zip([2, 1, 1]) {
        pooled.check_in(worker, now);
    }
    strings[1].set(Liveness::Readable);
    strings[2].set(Liveness::Reset);
    let found = reuse(&pool, 0, now);
    assert_eq!(found.id, 1);
    assert_eq!(strings[1].ended(), Some(CloseReason::UnexpectedBytes));
    assert_eq!(strings[2].ended(), Some(CloseReason::ResetByEndpoint));
    assert_eq!(
        closed(&pool),
        [(CloseReason::ResetByEndpoint, 1), (CloseReason::UnexpectedBytes, 1)]
    );
    let status = pool.status();
    assert_eq!((status.stolen, status.connections, status.idle), (1, 1, 0));
}

#[test]
fn a_siblings_connection_that_was_idle_for_too_long_is_not_taken() {
    let (pool, now) = (pool_of(&policy(), 2), Instant::now());
    open(&pool, 0, 1, now).check_in(0, now);
    let later = now + IDLE_TIMEOUT;
    assert_eq!(open_reason(&pool, 1, later), OpenReason::AllExpired);
    assert_eq!(closed(&pool), [(CloseReason::IdleTimeout, 1)]);
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn opening_says_whether_there_was_nothing_or_only_what_was_of_no_use() {
    let (pool, now) = (pool_of(&policy(), 2), Instant::now());
    assert_eq!(open_reason(&pool, 0, now), OpenReason::NoneIdle);
    for worker in [0, 1] {
        let pooled = open(&pool, 0, 1, now);
        let strings = Arc::clone(&pooled.strings);
        pooled.check_in(worker, now);
        strings.set(Liveness::Closed);
        let expected = [OpenReason::AllExpired, OpenReason::StealMiss][worker];
        assert_eq!(open_reason(&pool, 0, now), expected, "idle on {worker}");
    }
    assert_eq!(closed(&pool), [(CloseReason::ClosedByEndpoint, 2)]);
}

#[test]
fn without_pooling_every_request_opens_its_own() {
    let (pool, now) = (pool_of(&limits(0, 8), 2), Instant::now());
    for id in 1..=3 {
        let pooled = open(&pool, 0, id, now);
        let strings = Arc::clone(&pooled.strings);
        pooled.check_in(0, now);
        assert_eq!(strings.ended(), Some(CloseReason::PoolingOff));
    }
    assert_eq!(opened(&pool), [(OpenReason::PoolingOff, 3)]);
    assert_eq!(closed(&pool), [(CloseReason::PoolingOff, 3)]);
    assert_eq!((pool.status().connections, pool.status().reused), (0, 0));
}

#[test]
fn max_idle_counts_the_idle_of_all_workers() {
    let (pool, now) = (pool_of(&limits(2, 8), 3), Instant::now());
    for (pooled, worker) in open_all(&pool, [1, 2, 3, 4], now).into_iter().zip([0, 1, 2, 0]) {
        pooled.check_in(worker, now);
    }
    assert_eq!(closed(&pool), [(CloseReason::Surplus, 2)]);
    assert_eq!((pool.status().idle, pool.status().connections), (2, 2));
}

#[test]
fn a_connection_that_has_done_its_work_is_not_kept() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    open(&pool, 0, 1, now).check_in(0, now);
    reuse(&pool, 0, now).check_in(0, now);
    reuse(&pool, 0, now).check_in(0, now);
    assert_eq!(closed(&pool), [(CloseReason::MaxRequests, 1)]);

    let lifetime = policy().max_lifetime;
    let aged = open(&pool, 0, 2, now);
    assert_eq!(aged.age(now + lifetime), lifetime);
    aged.check_in(0, now + lifetime);
    assert_eq!(
        closed(&pool),
        [(CloseReason::MaxLifetime, 1), (CloseReason::MaxRequests, 1)]
    );
}

#[test]
fn a_dead_connection_is_not_kept() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    let ends = [
        (Liveness::Closed, CloseReason::ClosedByEndpoint),
        (Liveness::Reset, CloseReason::ResetByEndpoint),
        (Liveness::Readable, CloseReason::UnexpectedBytes),
    ];
    for (liveness, reason) in ends {
        let pooled = open(&pool, 0, 1, now);
        let strings = Arc::clone(&pooled.strings);
        strings.set(liveness);
        pooled.check_in(0, now);
        assert_eq!(strings.ended(), Some(reason));
    }
    assert_eq!(closed(&pool), ends.map(|(_, reason)| (reason, 1)));
    assert_eq!((pool.status().idle, pool.status().connections), (0, 0));
}

#[test]
fn a_closed_pool_keeps_nothing_and_says_why_it_was_closed() {
    for reason in [CloseReason::EndpointRemoved, CloseReason::Drain] {
        let (pool, now) = (pool_of(&policy(), 2), Instant::now());
        let [first, second, active] = open_all(&pool, [1, 2, 3], now);
        first.check_in(0, now);
        second.check_in(1, now);
        pool.close(reason);
        assert_eq!(closed(&pool), [(reason, 2)]);
        assert_eq!((pool.status().idle, pool.status().connections), (0, 1));
        active.check_in(1, now);
        assert_eq!(closed(&pool), [(reason, 3)]);
        assert_eq!((pool.status().idle, pool.status().connections), (0, 0));
    }
}

#[test]
fn a_reload_lowers_and_raises_the_limits() {
    let (pool, now) = (pool_of(&limits(4, 4), 2), Instant::now());
    let connections = open_all(&pool, [1, 2, 3, 4], now);
    assert!(pool.try_checkout(0, Wanted::ANY, now).is_none());
    pool.set_policy(&limits(1, 2));
    for (pooled, worker) in connections.into_iter().zip([0, 0, 1, 1]) {
        pooled.check_in(worker, now);
    }
    assert_eq!(closed(&pool), [(CloseReason::Surplus, 3)]);
    let held = [reuse(&pool, 1, now), open(&pool, 1, 5, now)];
    assert!(pool.try_checkout(0, Wanted::ANY, now).is_none(), "two is the limit now");
    pool.set_policy(&limits(4, 3));
    let third = open(&pool, 0, 6, now);
    assert!(
        pool.try_checkout(0, Wanted::ANY, now).is_none(),
        "three is the limit now"
    );
    drop((held, third));
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn a_sweep_takes_what_a_lowered_max_idle_leaves_over_oldest_first() {
    let (pool, now) = (pool_of(&limits(3, 4), 2), Instant::now());
    let connections = open_all(&pool, [1, 2, 3], now);
    let oldest = Arc::clone(&connections[0].strings);
    for pooled in connections {
        pooled.check_in(0, now);
    }
    pool.set_policy(&limits(2, 4));
    pool.sweep(1, now, Waker::noop());
    assert_eq!(pool.status().idle, 3, "the other worker's are his own");
    pool.sweep(0, now, Waker::noop());
    assert_eq!(oldest.ended(), Some(CloseReason::Surplus));
    assert_eq!((pool.status().idle, pool.status().connections), (2, 2));
}

#[test]
fn a_sweep_closes_the_dead_and_the_old_with_their_reasons() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    let later = now + Duration::from_secs(3);
    let [dead, reset, speaking, tired, fit] = open_all(&pool, [1, 2, 3, 4, 5], now);
    pool.set_policy(&config::Pool {
        max_lifetime: Duration::from_secs(3),
        ..policy()
    });
    let old = open(&pool, 0, 6, now);
    let ends = [
        (Arc::clone(&dead.strings), Liveness::Closed),
        (Arc::clone(&reset.strings), Liveness::Reset),
        (Arc::clone(&speaking.strings), Liveness::Readable),
    ];
    tired.check_in(0, now - Duration::from_secs(1));
    for pooled in [dead, reset, speaking, old, fit] {
        pooled.check_in(0, now);
    }
    assert_eq!(pool.status().idle, 6);
    for (strings, liveness) in &ends {
        strings.set(*liveness);
    }
    pool.sweep(0, later, Waker::noop());
    let expected = [
        CloseReason::IdleTimeout,
        CloseReason::MaxLifetime,
        CloseReason::ClosedByEndpoint,
        CloseReason::ResetByEndpoint,
        CloseReason::UnexpectedBytes,
    ];
    assert_eq!(closed(&pool), expected.map(|reason| (reason, 1)));
    assert_eq!((pool.status().idle, pool.status().connections), (1, 1));
    let fit = reuse(&pool, 0, later);
    assert_eq!((fit.id, fit.idle_for(later)), (5, Duration::from_secs(3)));
}

#[test]
fn a_dropped_connection_is_closed_as_its_client_is_gone() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let strings = Arc::clone(&pooled.strings);
    drop(pooled);
    assert_eq!(strings.ended(), Some(CloseReason::ClientGone));
    assert_eq!(closed(&pool), [(CloseReason::ClientGone, 1)]);
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn a_replaced_connection_leaves_its_permit_to_the_next() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let strings = Arc::clone(&pooled.strings);
    let permit = pooled.replace(CloseReason::Stale);
    assert_eq!(strings.ended(), Some(CloseReason::Stale));
    assert!(
        pool.try_checkout(0, Wanted::ANY, now).is_none(),
        "the permit is still held"
    );
    let second = pool.opened(Puppet::new(2), permit, OpenReason::ReplacedStale, now);
    assert_eq!(pool.status().connections, 1);
    second.close(CloseReason::EndpointAsked);
    assert_eq!(pool.status().connections, 0);
    assert_eq!(
        opened(&pool),
        [(OpenReason::NoneIdle, 1), (OpenReason::ReplacedStale, 1)]
    );
    assert_eq!(
        closed(&pool),
        [(CloseReason::EndpointAsked, 1), (CloseReason::Stale, 1)]
    );
}

#[test]
fn a_pool_that_goes_away_closes_what_it_keeps() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let strings = Arc::clone(&pooled.strings);
    pooled.check_in(0, now);
    drop(pool);
    assert_eq!(strings.ended(), Some(CloseReason::EndpointRemoved));
}
