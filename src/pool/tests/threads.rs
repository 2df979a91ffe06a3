//! What must hold when workers meet.

use std::thread;

use super::*;

/// Long beyond every wait here: only a lost wake-up reaches it.
const NEVER: Duration = Duration::from_secs(10);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime").block_on(future)
}

/// Checks out and ends `rounds` connections in all ways; some die while they are idle.
async fn use_in_all_ways(pool: &Arc<Pool<Puppet>>, worker: usize, rounds: u64, alive: &Arc<Alive>) {
    let mut random = fastrand::Rng::with_seed(worker as u64);
    for _ in 0..rounds {
        let now = Instant::now();
        let found = pool.checkout(worker, Wanted::ANY, now, tokio::time::sleep(NEVER)).await;
        let pooled = match found.expect("no wake-up is lost") {
            Checkout::Reused(pooled) => pooled,
            Checkout::Open(permit, reason) => pool.opened(Puppet::counted(0, alive), permit, reason, now),
        };
        let strings = Arc::clone(&pooled.strings);
        match random.u8(..10) {
            0 => drop(pooled),
            1 => pooled.close(CloseReason::EndpointAsked),
            2 => {
                let permit = pooled.replace(CloseReason::Stale);
                let second = Puppet::counted(0, alive);
                let second = pool.opened(second, permit, OpenReason::ReplacedStale, now);
                second.check_in(worker, now);
            }
            3 => {
                pooled.check_in(worker, now);
                strings.set(Liveness::Closed);
            }
            4 => {
                pool.sweep(worker, now, Waker::noop());
                pooled.check_in(worker, now);
            }
            5 => {
                strings.linger();
                pooled.close(CloseReason::EndpointAsked);
                dawdle(&mut random);
                strings.finish(FirstClose::EndpointFin);
            }
            _ => pooled.check_in(worker, now),
        }
    }
}

#[test]
fn never_more_connections_than_max_and_all_permits_come_back() {
    const WORKERS: usize = 8;
    let mut policy = limits(2, 3);
    policy.wait.queue = WORKERS;
    let (pool, alive) = (pool_of(&policy, WORKERS), Arc::new(Alive::default()));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (pool, alive) = (&pool, &alive);
            scope.spawn(move || block_on(use_in_all_ways(pool, worker, 2000, alive)));
        }
    });
    // How many threads meet is the scheduler's choice; that they are never more is ours.
    assert!((1..=3).contains(&alive.peak.load(SeqCst)));
    let status = pool.status();
    assert!(status.idle <= 2 && status.waiting == 0, "{status:?}");
    assert_eq!(status.connections, status.idle);
    assert_eq!(alive.now.load(SeqCst), status.connections as isize);
    assert_eq!((status.wait_timeouts, status.queue_full), (0, 0));
    let opened: u64 = status.opened.iter().map(|(.., count)| count).sum();
    let closed: u64 = status.closed.iter().map(|(.., count)| count).sum();
    assert_eq!(opened - closed, status.connections as u64);
    pool.close(CloseReason::Drain);
    assert_eq!((pool.status().connections, alive.now.load(SeqCst)), (0, 0));
}

/// Two threads leave it at the same time; a futex would wake one of them too late to meet the other.
#[derive(Default)]
struct Gate(AtomicUsize);

impl Gate {
    fn pass(&self, round: usize) {
        self.0.fetch_add(1, SeqCst);
        while self.0.load(SeqCst) < 2 * round {
            thread::yield_now();
        }
    }
}

fn dawdle(random: &mut fastrand::Rng) {
    for _ in 0..random.u8(..100) {
        std::hint::spin_loop();
    }
}

#[test]
fn no_wake_up_is_lost_when_a_connection_comes_back_while_a_waiter_joins() {
    const ROUNDS: usize = 20_000;
    let policy = config::Pool {
        max_requests: 0,
        ..limits(1, 1)
    };
    let (pool, now) = (pool_of(&policy, 2), Instant::now());
    let (begin, end) = (Gate::default(), Gate::default());
    // What the waiter got, for the other to check in again.
    let handed = Mutex::new(Some(open(&pool, 0, 1, now)));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(1);
            for round in 1..=ROUNDS {
                let pooled = handed.lock().expect("unpoisoned").take();
                let Some(pooled) = pooled else { return };
                begin.pass(round);
                match round % 2 {
                    0 => dawdle(&mut random),
                    // Just after the waiter has joined, however the threads are scheduled.
                    _ => {
                        while pool.limit.waiting() == 0 {
                            thread::yield_now();
                        }
                    }
                }
                pooled.check_in(0, now);
                end.pass(round);
            }
        });
        block_on(async {
            let mut random = fastrand::Rng::with_seed(2);
            for round in 1..=ROUNDS {
                begin.pass(round);
                dawdle(&mut random);
                let found = pool.checkout(1, Wanted::ANY, now, tokio::time::sleep(NEVER)).await;
                let Ok(Checkout::Reused(pooled)) = found else {
                    end.pass(round);
                    panic!("a wake-up was lost in round {round}: {found:?}");
                };
                *handed.lock().expect("unpoisoned") = Some(pooled);
                end.pass(round);
            }
        });
    });
    let status = pool.status();
    assert_eq!((status.connections, status.reused), (1, ROUNDS as u64), "{status:?}");
}

#[test]
fn nothing_is_kept_that_comes_back_while_the_pool_is_closed() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..500 {
        let (pool, now) = (pool_of(&policy(), 2), Instant::now());
        let (connections, gate) = (open_all(&pool, [1, 2, 3, 4, 5, 6], now), Gate::default());
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.pass(1);
                pool.close(CloseReason::EndpointRemoved);
            });
            gate.pass(1);
            for pooled in connections {
                dawdle(&mut random);
                pooled.check_in(0, now);
            }
        });
        assert_eq!((pool.status().idle, pool.status().connections), (0, 0));
        assert_eq!(closed(&pool), [(CloseReason::EndpointRemoved, 6)]);
    }
}
