//! What the policy says beyond limits: writes, learning, connections kept ready, and ports that run out.

use super::*;

fn write_within(seconds: u64) -> Wanted<'static> {
    Wanted::idle_under(Duration::from_secs(seconds))
}

fn reason_for(pool: &Arc<Pool<Puppet>>, wanted: Wanted<'_>, now: Instant) -> OpenReason {
    match pool.try_checkout(0, wanted, now) {
        Some(Checkout::Open(_, reason)) => reason,
        other => panic!("a permit, not {other:?}"),
    }
}

#[test]
fn a_write_leaves_what_was_idle_for_too_long_to_others() {
    let (pool, now) = (pool_of(&policy(), 2), Instant::now());
    for (pooled, worker) in open_all(&pool, [1, 2], now).into_iter().zip([0, 1]) {
        pooled.check_in(worker, now);
    }
    let later = now + Duration::from_secs(2);
    assert_eq!(reason_for(&pool, write_within(1), later), OpenReason::WriteNeedsFresh);
    assert_eq!((pool.status().idle, closed(&pool)), (2, vec![]));
    let taken = pool.try_checkout(0, write_within(3), later);
    assert!(matches!(taken, Some(Checkout::Reused(_))));
}

#[test]
fn a_write_steals_only_what_was_in_use_a_moment_ago() {
    let (pool, now) = (pool_of(&policy(), 2), Instant::now());
    open(&pool, 0, 1, now).check_in(1, now);
    let later = now + Duration::from_secs(2);
    assert_eq!(reason_for(&pool, write_within(1), later), OpenReason::WriteNeedsFresh);
    assert!(matches!(
        pool.try_checkout(0, write_within(3), later),
        Some(Checkout::Reused(_))
    ));
    assert_eq!(pool.status().stolen, 1);
}

#[test]
fn at_the_limit_an_idle_connection_gives_way_to_a_write() {
    let (pool, now) = (pool_of(&limits(2, 2), 2), Instant::now());
    let [first, second] = open_all(&pool, [1, 2], now);
    let strings = Arc::clone(&first.strings);
    first.check_in(1, now);
    let later = now + Duration::from_secs(2);
    let found = pool.try_checkout(0, write_within(1), later);
    assert!(matches!(found, Some(Checkout::Open(_, OpenReason::WriteNeedsFresh))));
    assert_eq!(strings.ended(), Some(CloseReason::GaveWay));
    assert_eq!(pool.status().connections, 2, "its permit went to the new one");
    assert!(pool.try_checkout(0, Wanted::ANY, later).is_none());
    drop((found, second));
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn a_permit_is_free_only_once_the_connection_is_gone() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let strings = Arc::clone(&pooled.strings);
    strings.linger();
    pooled.close(CloseReason::EndpointAsked);
    assert_eq!((pool.status().connections, closed(&pool)), (1, vec![]));
    assert!(pool.try_checkout(0, Wanted::ANY, now).is_none());
    strings.finish(FirstClose::EndpointFin);
    assert_eq!(
        pool.status().closed,
        [(CloseReason::EndpointAsked, FirstClose::EndpointFin, 1)]
    );
    drop(open(&pool, 0, 2, now));
}

fn learning_policy() -> config::Pool {
    config::Pool {
        idle_timeout: config::IdleTimeout::Learn,
        ..policy()
    }
}

/// The idle timeout once what happened by `now` has been judged.
fn settled(pool: &Pool<Puppet>, now: Instant) -> Duration {
    pool.sweep(0, now + SWEEP_INTERVAL, Waker::noop());
    pool.status().idle_timeout
}

#[test]
fn closes_by_the_endpoint_shorten_a_learned_idle_timeout() {
    let (pool, now) = (pool_of(&learning_policy(), 2), Instant::now());
    let before = pool.status().idle_timeout;
    let pooled = open(&pool, 1, 1, now);
    let strings = Arc::clone(&pooled.strings);
    pooled.check_in(1, now);
    strings.set(Liveness::Closed);
    let later = now + Duration::from_secs(2);
    pool.sweep(1, later, Waker::noop());
    assert_eq!(pool.status().idle_timeout, before, "others may follow");
    let learned = settled(&pool, later);
    assert!(learned < Duration::from_secs(2) && learned < before, "{learned:?}");
    let pooled = open(&pool, 0, 2, later);
    pooled.check_in(0, later);
    pool.sweep(0, later + learned, Waker::noop());
    assert_eq!(
        closed(&pool),
        [(CloseReason::IdleTimeout, 1), (CloseReason::ClosedByEndpoint, 1)]
    );
    let heir = Pool::<Puppet>::new(&learning_policy(), 1, pool.learning());
    assert_eq!(heir.status().idle_timeout, learned);
}

#[test]
fn the_endpoints_own_word_counts_at_once() {
    let (pool, now) = (pool_of(&policy(), 2), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    pooled.note_stated_timeout(Duration::from_secs(2));
    pooled.check_in(1, now);
    assert_eq!(pool.status().idle_timeout, Duration::from_secs(1));
    pool.sweep(1, now + Duration::from_secs(1), Waker::noop());
    assert_eq!(closed(&pool), [(CloseReason::IdleTimeout, 1)]);
}

fn warm_policy(min_idle: usize, max_connections: usize) -> config::Pool {
    config::Pool {
        min_idle,
        ..limits(max_connections, max_connections)
    }
}

/// One look of each worker; gives how many connections it opened.
fn warm_once(pool: &Arc<Pool<Puppet>>, workers: usize, now: Instant) -> usize {
    let looks = (0..workers).map(|worker| {
        let warmings = pool.warm(now);
        let count = warmings.len();
        for warming in warmings {
            warming.opened(Puppet::new(9), worker, now);
        }
        count
    });
    looks.sum()
}

#[test]
fn connections_are_made_ready_bit_by_bit_and_no_more_than_wanted() {
    let (pool, now) = (pool_of(&warm_policy(20, 64), 2), Instant::now());
    let steps: Vec<_> = (0..16).map(|_| warm_once(&pool, 2, now)).collect();
    assert!(steps.iter().all(|opened| *opened <= 4), "{steps:?}");
    assert_eq!(steps.iter().sum::<usize>(), 20);
    assert_eq!(
        (pool.status().idle, opened(&pool)),
        (20, vec![(OpenReason::MinIdle, 20)])
    );
    let reused = reuse(&pool, 0, now);
    assert_eq!(reused.reused(), Reused::Yes);
    assert_eq!(warm_once(&pool, 2, now), 1, "the one in use is replaced");
    drop(reused);
}

#[test]
fn a_connection_made_ready_has_carried_nothing_yet() {
    let policy = config::Pool {
        max_requests: 1,
        ..warm_policy(1, 4)
    };
    let (pool, now) = (pool_of(&policy, 1), Instant::now());
    assert_eq!(warm_once(&pool, 1, now), 1);
    reuse(&pool, 0, now).check_in(0, now);
    assert_eq!(closed(&pool), [(CloseReason::MaxRequests, 1)]);
}

#[test]
fn nothing_is_made_ready_beyond_the_limit_nor_for_a_closed_pool() {
    let (pool, now) = (pool_of(&warm_policy(2, 2), 1), Instant::now());
    let held = open_all(&pool, [1, 2], now);
    assert_eq!(warm_once(&pool, 1, now), 0);
    drop(held);
    assert_eq!(warm_once(&pool, 1, now), 1);
    pool.close(CloseReason::Drain);
    assert_eq!(warm_once(&pool, 1, now), 0);
}

#[test]
fn what_could_not_be_made_ready_is_tried_again_after_a_while() {
    let (pool, now) = (pool_of(&warm_policy(1, 4), 1), Instant::now());
    pool.warm(now).pop().expect("one is wanted").failed(now);
    assert!(pool.warm(now + WARM_REST / 2).is_empty());
    assert_eq!(pool.warm(now + WARM_REST).len(), 1, "and it was not opened");
    assert_eq!(pool.warm(now + WARM_REST).len(), 1);
    assert_eq!(pool.status().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn without_ports_a_request_gets_what_comes_back_or_an_error_of_its_own() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    let first = open(&pool, 0, 1, now);
    let Some(Checkout::Open(permit, _)) = pool.try_checkout(0, Wanted::ANY, now) else {
        panic!("the limit is far")
    };
    pool.note_no_port(permit, now);
    assert!(pool.lacks_ports() && pool.try_checkout(0, Wanted::ANY, now).is_none());
    let late = tokio::time::sleep(Duration::from_secs(1));
    let answer = pool.checkout(0, Wanted::ANY, now, late).await;
    assert!(matches!(answer, Err(CheckoutError::NoPort)), "{answer:?}");
    first.check_in(0, now);
    drop(reuse(&pool, 0, now));
    let later = now + Duration::from_secs(2);
    pool.sweep(0, later, Waker::noop());
    assert!(!pool.lacks_ports());
    assert_eq!(open_reason(&pool, 0, later), OpenReason::NoneIdle);
}

#[test]
fn the_share_of_requests_on_kept_connections_counts_stale_ones_as_new() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    assert_eq!(pool.status().reuse().ratio(), None);
    open(&pool, 0, 1, now).check_in(0, now);
    reuse(&pool, 0, now).check_in(0, now);
    let permit = reuse(&pool, 0, now).replace(CloseReason::Stale);
    drop(pool.opened(Puppet::new(2), permit, OpenReason::ReplacedStale, now));
    pool.count_opened(OpenReason::Probe);
    let reuse = pool.status().reuse();
    assert_eq!(reuse, Reuse { on_kept: 1, on_new: 2 });
    assert_eq!(reuse.plus(reuse).ratio(), Some(1.0 / 3.0));
}

#[test]
fn a_dead_connection_that_a_request_meets_teaches_too_and_unexpected_bytes_teach_nothing() {
    let (pool, now) = (pool_of(&learning_policy(), 1), Instant::now());
    let later = now + Duration::from_secs(3);
    let begin = pool.status().idle_timeout;
    for (liveness, teaches) in [(Liveness::Readable, false), (Liveness::Reset, true)] {
        let pooled = open(&pool, 0, 1, now);
        let strings = Arc::clone(&pooled.strings);
        pooled.check_in(0, now);
        strings.set(liveness);
        assert_eq!(open_reason(&pool, 0, later), OpenReason::AllExpired);
        assert_eq!(settled(&pool, later) < begin, teaches, "{liveness:?}");
    }
}

#[test]
fn what_was_learned_is_in_force_once_the_policy_asks_for_it_and_is_forgotten_slowly() {
    let (pool, now) = (pool_of(&policy(), 2), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let strings = Arc::clone(&pooled.strings);
    pooled.check_in(0, now);
    strings.set(Liveness::Closed);
    let later = now + Duration::from_secs(2);
    pool.sweep(0, later, Waker::noop());
    assert_eq!(settled(&pool, later), IDLE_TIMEOUT);
    pool.set_policy(&learning_policy());
    let learned = pool.status().idle_timeout;
    assert!(learned < Duration::from_secs(2), "{learned:?}");
    let much_later = now + Duration::from_secs(3600);
    pool.sweep(0, much_later, Waker::noop());
    let forgotten = pool.status().idle_timeout;
    assert!(forgotten > IDLE_TIMEOUT, "{forgotten:?}");
    // On every worker.
    open(&pool, 0, 2, much_later).check_in(1, much_later);
    pool.sweep(1, much_later + IDLE_TIMEOUT, Waker::noop());
    assert_eq!(pool.status().idle, 1);
}

#[test]
fn those_on_their_way_count_towards_what_is_kept_ready() {
    let (pool, now) = (pool_of(&warm_policy(2, 4), 1), Instant::now());
    let first = pool.warm(now);
    let second = pool.warm(now);
    assert_eq!((first.len(), second.len(), pool.warm(now).len()), (1, 1, 0));
    assert_eq!(pool.status().connections, 2, "each has its permit");
    drop((first, second));
    assert_eq!((pool.status().connections, pool.warm(now).len()), (0, 1));
}

/// Counts how often it rings.
#[derive(Default)]
struct Bell(AtomicUsize);

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn an_idle_connection_that_shows_anything_rings_for_a_sweep() {
    let (pool, now) = (pool_of(&policy(), 1), Instant::now());
    let bell = Arc::new(Bell::default());
    let [before, after] = open_all(&pool, [1, 2], now);
    let strings = [Arc::clone(&before.strings), Arc::clone(&after.strings)];
    before.check_in(0, now);
    pool.sweep(0, now, &Waker::from(Arc::clone(&bell)));
    after.check_in(0, now);
    for (rings, strings) in strings.iter().enumerate() {
        strings.set(Liveness::Closed);
        assert_eq!(bell.0.load(SeqCst), rings + 1);
    }
    pool.sweep(0, now, &Waker::from(bell));
    assert_eq!(closed(&pool), [(CloseReason::ClosedByEndpoint, 2)]);
}
