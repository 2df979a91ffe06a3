//! Requests that may not share connections, in a pool with room for few.

use std::{cell::RefCell, rc::Rc};

use proptest::prelude::*;

use super::*;

const WORKERS: usize = 3;
const MAX_CONNECTIONS: usize = 4;

/// A request, and what becomes of its connection.
#[derive(Debug, Clone)]
struct Request {
    comes: Duration,
    name: usize,
    worker: usize,
    takes: Duration,
    ends: Ends,
    /// Whether it must not be sent twice.
    writes: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ends {
    Well,
    /// Its client goes away.
    Badly,
    /// The endpoint closes the connection behind it.
    Closed,
}

fn any_request() -> impl Strategy<Value = Request> {
    let ends = prop::sample::select(vec![Ends::Well, Ends::Well, Ends::Well, Ends::Badly, Ends::Closed]);
    (0..400_u64, 0..20_usize, 0..WORKERS, 1..80_u64, ends, any::<bool>()).prop_map(
        |(comes, name, worker, takes, ends, writes)| Request {
            comes: Duration::from_millis(comes),
            name,
            worker,
            takes: Duration::from_millis(takes),
            ends,
            writes,
        },
    )
}

/// What all requests have seen.
#[derive(Debug, Default)]
struct Seen {
    opened: u32,
    /// The numbers of those who began to wait, and of those who were served, in order.
    joined: Vec<usize>,
    served: Vec<usize>,
}

async fn carry_out(
    number: usize,
    request: Request,
    pool: Arc<Pool<Puppet>>,
    alive: Arc<Alive>,
    seen: Rc<RefCell<Seen>>,
) {
    tokio::time::sleep(request.comes).await;
    let identity = named(&request.name.to_string());
    let wanted = Wanted {
        idle_under: request.writes.then_some(Duration::from_millis(50)),
        identity: Some(&identity),
    };
    let late = tokio::time::sleep(Duration::from_secs(60));
    let mut waits = false;
    let mut checkout = std::pin::pin!(pool.checkout(request.worker, wanted, Instant::now(), late));
    let found = std::future::poll_fn(|context| {
        let polled = checkout.as_mut().poll(context);
        if polled.is_pending() && !std::mem::replace(&mut waits, true) {
            seen.borrow_mut().joined.push(number);
        }
        polled
    });
    let found = found.await.expect("everybody is served in the end");
    if waits {
        seen.borrow_mut().served.push(number);
    }
    let pooled = match found {
        Checkout::Reused(pooled) => pooled,
        Checkout::Open(permit, reason) => {
            let id = seen.borrow().opened;
            seen.borrow_mut().opened += 1;
            pool.opened(
                Puppet::counted_of(id, &alive, &identity),
                permit,
                reason,
                Instant::now(),
            )
        }
    };
    assert_eq!(pooled.identity(), Some(&identity), "it serves another");
    tokio::time::sleep(request.takes).await;
    match request.ends {
        Ends::Well => pooled.check_in(request.worker, Instant::now()),
        Ends::Badly => drop(pooled),
        Ends::Closed => {
            pooled.strings.set(Liveness::Closed);
            pooled.check_in(request.worker, Instant::now());
        }
    }
}

/// Everybody is served, in the order in which they began to wait, over connections of their own.
async fn serve_all(requests: Vec<Request>) {
    let policy = config::Pool {
        wait: config::Wait {
            timeout: Duration::from_secs(60),
            queue: 1000,
        },
        max_requests: 0,
        ..limits(MAX_CONNECTIONS, MAX_CONNECTIONS)
    };
    let (pool, alive, seen) = (
        pool_of(&policy, WORKERS),
        Arc::default(),
        Rc::<RefCell<Seen>>::default(),
    );
    let all = requests.into_iter().enumerate().map(|(number, request)| {
        let carried = carry_out(number, request, Arc::clone(&pool), Arc::clone(&alive), Rc::clone(&seen));
        tokio::task::spawn_local(carried)
    });
    for task in all.collect::<Vec<_>>() {
        task.await.expect("nobody panics");
    }
    let seen = seen.borrow();
    assert_eq!(seen.joined, seen.served);
    assert!(alive.peak.load(std::sync::atomic::Ordering::SeqCst) <= MAX_CONNECTIONS as isize);
    let status = pool.status();
    assert_eq!((status.waiting, status.connections), (0, status.idle));
}

proptest! {
    #[test]
    fn a_few_connections_serve_many_names_in_order(requests in prop::collection::vec(any_request(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), serve_all(requests));
    }
}

#[test]
fn the_connection_of_another_name_gives_way_at_the_limit() {
    let (pool, now) = (pool_of(&limits(4, 1), 2), Instant::now());
    let (one, two) = (named("one.example"), named("two.example"));
    let wanted = |identity| Wanted {
        idle_under: None,
        identity: Some(identity),
    };
    let Some(Checkout::Open(permit, OpenReason::NoneIdle)) = pool.try_checkout(0, wanted(&one), now) else {
        panic!("there is room")
    };
    pool.opened(Puppet::of(1, Some(&one)), permit, OpenReason::NoneIdle, now)
        .check_in(0, now);
    let Some(Checkout::Open(_permit, reason)) = pool.try_checkout(1, wanted(&two), now) else {
        panic!("the idle one gives way")
    };
    assert_eq!(
        (reason, closed(&pool)),
        (OpenReason::IdentityDiffers, vec![(CloseReason::GaveWay, 1)])
    );
}

#[test]
fn of_too_many_idle_ones_the_oldest_goes() {
    let (pool, now) = (pool_of(&limits(2, 8), 2), Instant::now());
    for (id, name) in ["a", "b", "c"].into_iter().enumerate() {
        let identity = named(name);
        let wanted = Wanted {
            idle_under: None,
            identity: Some(&identity),
        };
        let Some(Checkout::Open(permit, reason)) = pool.try_checkout(id % 2, wanted, now) else {
            panic!("there is room for {name}")
        };
        pool.opened(Puppet::of(id as u32, Some(&identity)), permit, reason, now)
            .check_in(0, now);
    }
    assert_eq!(closed(&pool), [(CloseReason::Surplus, 1)]);
    for (name, is_kept) in [("a", false), ("b", true), ("c", true)] {
        let identity = named(name);
        let wanted = Wanted {
            idle_under: None,
            identity: Some(&identity),
        };
        let found = pool.try_checkout(1, wanted, now);
        assert_eq!(matches!(found, Some(Checkout::Reused(_))), is_kept, "{name}");
    }
}
