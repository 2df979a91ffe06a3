//! What a kept connection costs its request: a checkout with its check-in, on the own shard and from a sibling, and the
//! reservation of a source port that a new one needs.

use std::{
    hint::black_box,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forebay::{
    config,
    pool::{Checkout, CloseReason, Connection, End, FirstClose, Learning, Liveness, Pool, Pooled, Wanted},
    ports::{Ledger, Ports},
};
use tokio::time::Instant;

const WORKERS: usize = 8;

/// A connection without a socket, so that the pool alone is measured.
struct Free;

impl Connection for Free {
    fn liveness(&mut self) -> Liveness {
        Liveness::Silent
    }

    fn watch(&self, _: &mut std::task::Context<'_>) {}

    fn adopt(self) -> Result<Self, (CloseReason, FirstClose)> {
        Ok(self)
    }

    fn close(self, end: End<Self>) {
        end.done(FirstClose::OurFin);
    }
}

fn checkout(pool: &Arc<Pool<Free>>, worker: usize, now: Instant) -> Pooled<Free> {
    match pool.try_checkout(worker, Wanted::ANY, now) {
        Some(Checkout::Reused(pooled)) => pooled,
        Some(Checkout::Open(permit, reason)) => pool.opened(Free, permit, reason, now),
        None => unreachable!("one is in use, and many may be"),
    }
}

fn pool(criterion: &mut Criterion) {
    let now = Instant::now();
    let policy = config::Pool {
        idle_timeout: config::IdleTimeout::After(Duration::from_secs(3600)),
        ..config::Pool::default()
    };
    let mut group = criterion.benchmark_group("pool");
    for (name, others) in [("own shard", 0), ("steal from the next", 1), ("steal from the last", 7)] {
        let pool = Pool::new(&policy, WORKERS, Arc::new(Mutex::new(Learning::new(now))));
        checkout(&pool, 0, now).check_in(others, now);
        group.bench_function(name, |bencher| {
            bencher.iter(|| checkout(black_box(&pool), 0, now).check_in(others, now));
        });
        assert_eq!(pool.status().connections, 1, "the same one each time");
    }
    group.finish();
}

fn reserve(criterion: &mut Criterion) {
    let now = Instant::now();
    let (ports, destination) = (Ports::new(), SocketAddr::from(([10, 0, 0, 9], 80)));
    let mut group = criterion.benchmark_group("ports");
    for count in [1, 16] {
        let sources: Vec<_> = (1..=count).map(|last| IpAddr::from([10, 0, 1, last])).collect();
        let ledger = Ledger::new(&ports, sources, None, destination);
        group.bench_function(BenchmarkId::new("reserve", count), |bencher| {
            bencher.iter(|| black_box(&ledger).reserve(&[], now));
        });
    }
    group.finish();
}

criterion_group!(benches, pool, reserve);
criterion_main!(benches);
