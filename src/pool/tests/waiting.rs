//! Those who wait for a connection or a permit.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use super::*;

type Answer = Result<Checkout<Puppet>, CheckoutError>;

/// One step of a wait, without a runtime; `None`: it goes on.
fn step(wait: &mut Pin<Box<impl Future<Output = Answer>>>) -> Option<Answer> {
    match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// A checkout without a deadline that has taken its place in the queue.
fn queued(pool: &Arc<Pool<Puppet>>, worker: usize, now: Instant) -> Pin<Box<impl Future<Output = Answer>>> {
    let mut wait = Box::pin(pool.checkout(worker, Wanted::ANY, now, std::future::pending()));
    assert!(step(&mut wait).is_none(), "everything is in use");
    wait
}

/// As [`queued`], for a request that needs a new connection.
fn queued_for_new(pool: &Arc<Pool<Puppet>>, now: Instant) -> Pin<Box<impl Future<Output = Answer>>> {
    let new = Wanted::idle_under(Duration::ZERO);
    let mut wait = Box::pin(pool.checkout(0, new, now, std::future::pending()));
    assert!(step(&mut wait).is_none(), "everything is in use");
    wait
}

fn reused(answer: Option<Answer>) -> Pooled<Puppet> {
    match answer {
        Some(Ok(Checkout::Reused(pooled))) => pooled,
        other => panic!("a kept connection, not {other:?}"),
    }
}

fn permitted(answer: Option<Answer>) -> (Permit<Puppet>, OpenReason) {
    match answer {
        Some(Ok(Checkout::Open(permit, reason))) => (permit, reason),
        other => panic!("a permit, not {other:?}"),
    }
}

#[test]
fn connections_that_come_back_go_to_the_waiters_in_order() {
    let (pool, now) = (pool_of(&limits(2, 2), 2), Instant::now());
    let [one, two] = open_all(&pool, [1, 2], now);
    let (mut first, mut second) = (queued(&pool, 1, now), queued(&pool, 0, now));
    two.check_in(0, now);
    assert!(step(&mut second).is_none(), "the first is first");
    let got = reused(step(&mut first));
    assert_eq!((got.id, got.reused()), (2, Reused::Yes));
    one.check_in(0, now);
    assert_eq!(reused(step(&mut second)).id, 1);
    let status = pool.status();
    assert_eq!(
        (status.waited, status.reused, status.waiting, status.idle),
        (2, 2, 0, 0)
    );
}

#[test]
fn a_closed_connection_leaves_its_permit_to_the_first_waiter() {
    let (pool, now) = (pool_of(&limits(1, 1), 2), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let (mut first, mut second) = (queued(&pool, 1, now), queued(&pool, 0, now));
    pooled.close(CloseReason::Timeout);
    assert!(step(&mut second).is_none(), "the first is first");
    let (permit, reason) = permitted(step(&mut first));
    assert_eq!((reason, pool.status().connections), (OpenReason::NoneIdle, 1));
    drop(permit);
    drop(permitted(step(&mut second)));
    assert_eq!((pool.status().connections, pool.status().waiting), (0, 0));
}

#[test]
fn a_waiter_whose_connection_died_on_the_way_opens_one_in_its_place() {
    let (pool, now) = (pool_of(&limits(1, 1), 2), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let strings = Arc::clone(&pooled.strings);
    let (mut first, mut second) = (queued(&pool, 1, now), queued(&pool, 0, now));
    pooled.check_in(0, now);
    strings.set(Liveness::Reset);
    let (permit, reason) = permitted(step(&mut first));
    assert_eq!(reason, OpenReason::StealMiss);
    assert_eq!(closed(&pool), [(CloseReason::ResetByEndpoint, 1)]);
    assert!(step(&mut second).is_none(), "the permit is the first's");
    drop(permit);
    drop(permitted(step(&mut second)));
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn without_pooling_a_waiter_gets_a_permit_and_never_a_used_connection() {
    let (pool, now) = (pool_of(&limits(0, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let mut wait = queued(&pool, 0, now);
    pooled.check_in(0, now);
    let (permit, _) = permitted(step(&mut wait));
    assert_eq!(closed(&pool), [(CloseReason::PoolingOff, 1)]);
    drop(permit);
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn a_raised_limit_serves_who_waits() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let mut wait = queued(&pool, 0, now);
    pool.set_policy(&limits(1, 2));
    drop(permitted(step(&mut wait)));
    drop(pooled);
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn a_sweep_serves_who_waits_while_a_reload_has_turned_pooling_off() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    open(&pool, 0, 1, now).check_in(0, now);
    pool.set_policy(&limits(0, 1));
    let mut wait = queued(&pool, 0, now);
    pool.sweep(0, now, Waker::noop());
    drop(permitted(step(&mut wait)));
    assert_eq!(closed(&pool), [(CloseReason::Surplus, 1)]);
    assert_eq!((pool.status().connections, pool.status().idle), (0, 0));
}

#[test]
fn a_full_queue_turns_the_next_away() {
    let mut policy = limits(1, 1);
    policy.wait.queue = 2;
    let (pool, now) = (pool_of(&policy, 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let waits = [queued(&pool, 0, now), queued(&pool, 0, now)];
    let mut third = Box::pin(pool.checkout(0, Wanted::ANY, now, std::future::pending()));
    assert!(matches!(step(&mut third), Some(Err(CheckoutError::QueueFull))));
    let status = pool.status();
    assert_eq!((status.queue_full, status.waiting, status.waited), (1, 2, 2));
    drop(waits);
    assert_eq!(pool.status().waiting, 0);
    drop(pooled);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_deadline() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let wait = pool.checkout(0, Wanted::ANY, now, tokio::time::sleep(policy().wait.timeout));
    assert!(matches!(wait.await, Err(CheckoutError::TimedOut)));
    assert_eq!(now.elapsed(), policy().wait.timeout);
    let status = pool.status();
    assert_eq!((status.wait_timeouts, status.waiting, status.waited), (1, 0, 1));
    pooled.check_in(0, now);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_at_the_moment_of_the_deadline_is_still_taken() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let mut wait = pin!(pool.checkout(0, Wanted::ANY, now, tokio::time::sleep(policy().wait.timeout)));
    let early = std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await;
    assert!(!early);
    tokio::time::advance(policy().wait.timeout).await;
    pooled.check_in(0, now);
    assert!(matches!(wait.await, Ok(Checkout::Reused(_))));
    assert_eq!(pool.status().wait_timeouts, 0);
}

#[test]
fn a_permit_granted_to_a_cancelled_wait_goes_to_the_next() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let (first, mut second) = (queued(&pool, 0, now), queued(&pool, 0, now));
    pooled.close(CloseReason::Timeout);
    drop(first);
    drop(permitted(step(&mut second)));
    assert_eq!((pool.status().connections, pool.status().waiting), (0, 0));
}

#[test]
fn a_connection_granted_to_a_cancelled_wait_goes_to_the_next() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let (first, mut second) = (queued(&pool, 0, now), queued(&pool, 0, now));
    pooled.check_in(0, now);
    drop(first);
    assert_eq!(reused(step(&mut second)).id, 1);
}

#[test]
fn a_connection_granted_to_the_last_wait_as_it_is_cancelled_is_closed() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let only = queued(&pool, 0, now);
    pooled.check_in(0, now);
    drop(only);
    assert_eq!(closed(&pool), [(CloseReason::Surplus, 1)]);
    assert_eq!((pool.status().connections, pool.status().idle), (0, 0));
}

#[test]
fn a_write_that_waits_for_a_new_connection_gets_the_place_of_the_one_that_comes_back() {
    let (pool, now) = (pool_of(&limits(1, 1), 1), Instant::now());
    let pooled = open(&pool, 0, 1, now);
    let mut wait = queued_for_new(&pool, now);
    pooled.check_in(0, now);
    let (permit, reason) = permitted(step(&mut wait));
    assert_eq!(reason, OpenReason::WriteNeedsFresh);
    assert_eq!(closed(&pool), [(CloseReason::GaveWay, 1)]);
    assert!(pool.try_checkout(0, Wanted::ANY, now).is_none(), "the permit is held");
    drop(permit);
    assert_eq!((pool.status().connections, pool.status().reused), (0, 0));
}

/// The pool has one connection and knows that there is no port for another.
fn without_ports(now: Instant) -> (Arc<Pool<Puppet>>, Pooled<Puppet>) {
    let pool = pool_of(&limits(8, 8), 2);
    let pooled = open(&pool, 0, 1, now);
    let Some(Checkout::Open(permit, _)) = pool.try_checkout(0, Wanted::ANY, now) else {
        panic!("the limit is far")
    };
    pool.note_no_port(permit, now);
    (pool, pooled)
}

#[test]
fn who_waits_for_a_port_gets_what_comes_back_first() {
    let now = Instant::now();
    let (pool, pooled) = without_ports(now);
    let (mut first, mut second) = (queued(&pool, 1, now), queued(&pool, 0, now));
    pooled.check_in(0, now);
    reused(step(&mut first)).close(CloseReason::EndpointAsked);
    let (permit, _) = permitted(step(&mut second));
    assert!(pool.lacks_ports() && pool.try_checkout(0, Wanted::ANY, now).is_none());
    drop(permit);
}

#[test]
fn one_who_waits_for_a_port_may_try_again_after_a_second() {
    let now = Instant::now();
    let (pool, pooled) = without_ports(now);
    let (mut first, mut second) = (queued(&pool, 0, now), queued(&pool, 0, now));
    pool.sweep(0, now + Duration::from_millis(999), Waker::noop());
    assert!(step(&mut first).is_none());
    pool.sweep(0, now + Duration::from_secs(1), Waker::noop());
    let (permit, _) = permitted(step(&mut first));
    assert!(step(&mut second).is_none(), "one at a time");
    pool.note_no_port(permit, now + Duration::from_secs(1));
    pool.sweep(0, now + Duration::from_millis(1999), Waker::noop());
    assert!(step(&mut second).is_none(), "there was none yet");
    pool.sweep(0, now + Duration::from_secs(2), Waker::noop());
    let (permit, reason) = permitted(step(&mut second));
    drop((pool.opened(Puppet::new(2), permit, reason, now), pooled));
    assert_eq!(pool.status().connections, 0);
}

#[test]
fn a_full_queue_at_the_end_of_the_ports_is_a_want_of_ports() {
    let now = Instant::now();
    let (pool, _pooled) = without_ports(now);
    let mut policy = limits(8, 8);
    policy.wait.queue = 0;
    pool.set_policy(&policy);
    let mut wait = Box::pin(pool.checkout(0, Wanted::ANY, now, std::future::pending()));
    assert!(matches!(step(&mut wait), Some(Err(CheckoutError::NoPort))));
}

#[test]
fn without_ports_an_idle_connection_gives_its_port_to_a_write_once_it_is_gone() {
    let now = Instant::now();
    let (pool, pooled) = without_ports(now);
    let strings = Arc::clone(&pooled.strings);
    pooled.check_in(1, now);
    strings.linger();
    let mut wait = queued_for_new(&pool, now);
    assert_eq!(strings.ended(), Some(CloseReason::GaveWay));
    assert_eq!(pool.status().connections, 1, "its port is not free yet");
    strings.finish(FirstClose::OurFin);
    drop(permitted(step(&mut wait)));
    assert_eq!(pool.status().connections, 0);
}
