//! What a pick costs among 10 and among 1000 endpoints.

use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forebay::{
    balance::{Balancer, PickState},
    config::Balance,
};

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balance");
    for count in [10, 1000] {
        let loads: Vec<_> = (0..count).map(|index| AtomicUsize::new(index % 7)).collect();
        let load = |index: usize| loads[index].load(Relaxed);
        for (name, balance) in [
            ("round-robin", Balance::RoundRobin),
            ("least-loaded", Balance::LeastLoaded),
        ] {
            let equal = Balancer::new(balance, vec![1; count]);
            let weighted = Balancer::new(balance, (0..count).map(|index| [1, 2, 5][index % 3]));
            let state = PickState::with_seed(1);
            let mut run = |what: &str, balancer: &Balancer, usable: &dyn Fn(usize) -> bool| {
                group.bench_function(BenchmarkId::new(format!("{name}, {what}"), count), |bencher| {
                    bencher.iter(|| black_box(balancer).pick(&state, usable, load));
                });
            };
            run("equal weights", &equal, &|_| true);
            run("weights 1, 2, 5", &weighted, &|_| true);
            run("half unusable", &equal, &|index| index % 2 == 0);
            run("one usable", &equal, &|index| index == count - 1);
        }
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);
