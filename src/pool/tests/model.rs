//! Random lives of a pool of three workers beside a model of it.

use proptest::prelude::*;

use super::*;

const WORKERS: usize = 3;
const MAX_IDLE: usize = 3;
const MAX_CONNECTIONS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Checkout(usize),
    /// The n-th active connection, on a worker.
    CheckIn(usize, usize),
    Close(usize),
    Drop(usize),
    Replace(usize),
    /// The endpoint closes the n-th idle connection.
    Die(usize),
    Sweep(usize),
    Pass(Duration),
}

fn any_step() -> impl Strategy<Value = Step> {
    let worker = || 0..WORKERS;
    prop_oneof![
        6 => worker().prop_map(Step::Checkout),
        5 => (0..MAX_CONNECTIONS, worker()).prop_map(|(which, worker)| Step::CheckIn(which, worker)),
        1 => (0..MAX_CONNECTIONS).prop_map(Step::Close),
        1 => (0..MAX_CONNECTIONS).prop_map(Step::Drop),
        1 => (0..MAX_CONNECTIONS).prop_map(Step::Replace),
        2 => (0..MAX_IDLE).prop_map(Step::Die),
        1 => worker().prop_map(Step::Sweep),
        2 => (0..3u64).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
    ]
}

/// A connection as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    id: u32,
    strings: Arc<Strings>,
    requests: u64,
    idle_since: Instant,
}

struct Model {
    pool: Arc<Pool<Puppet>>,
    now: Instant,
    shards: [Vec<Known>; WORKERS],
    active: Vec<(Pooled<Puppet>, Known)>,
    opened: u64,
    closed: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            pool: Pool::new(&limits(MAX_IDLE, MAX_CONNECTIONS), WORKERS),
            now: Instant::now(),
            shards: Default::default(),
            active: Vec::new(),
            opened: 0,
            closed: 0,
        }
    }

    fn idle(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    fn is_fit(&self, known: &Known) -> bool {
        known.strings.liveness() == Liveness::Silent && self.now - known.idle_since < policy().idle_timeout
    }

    /// What a checkout is to find: the newest fit one of the first shard that has one.
    fn take(&mut self, worker: usize) -> Option<Known> {
        for shard in (0..WORKERS).map(|step| (worker + step) % WORKERS) {
            while let Some(known) = self.shards[shard].pop() {
                if self.is_fit(&known) {
                    return Some(known);
                }
                self.closed += 1;
            }
        }
        None
    }

    fn open(&mut self, permit: Permit<Puppet>, reason: OpenReason) {
        let id = self.opened as u32;
        self.opened += 1;
        let pooled = self
            .pool
            .opened(Puppet::new(id), permit, reason, self.now, Duration::ZERO);
        let known = Known {
            id,
            strings: Arc::clone(&pooled.strings),
            requests: 0,
            idle_since: self.now,
        };
        self.active.push((pooled, known));
    }

    fn checkout(&mut self, worker: usize) {
        let closed_before = self.closed;
        let expected = self.take(worker);
        match (self.pool.try_checkout(worker, self.now), expected) {
            (Some(Checkout::Reused(pooled)), Some(known)) => {
                assert_eq!(pooled.id, known.id);
                self.active.push((pooled, known));
            }
            (Some(Checkout::Open(permit, reason)), None) => {
                let all_expired = self.closed > closed_before;
                assert_eq!(reason == OpenReason::AllExpired, all_expired, "{reason:?}");
                self.open(permit, reason);
            }
            (None, None) => assert_eq!(self.active.len(), MAX_CONNECTIONS),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    fn check_in(&mut self, which: usize, worker: usize) {
        let (pooled, mut known) = self.active.swap_remove(which);
        pooled.check_in(worker, self.now);
        known.requests += 1;
        known.idle_since = self.now;
        if known.requests < policy().max_requests && self.idle() < MAX_IDLE {
            self.shards[worker].push(known);
        } else {
            self.closed += 1;
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Checkout(worker) => self.checkout(worker),
            Step::CheckIn(which, worker) if which < self.active.len() => self.check_in(which, worker),
            Step::Close(which) if which < self.active.len() => {
                self.active.swap_remove(which).0.close(CloseReason::Timeout);
                self.closed += 1;
            }
            Step::Drop(which) if which < self.active.len() => {
                drop(self.active.swap_remove(which));
                self.closed += 1;
            }
            Step::Replace(which) if which < self.active.len() => {
                let permit = self.active.swap_remove(which).0.replace(CloseReason::Stale);
                self.closed += 1;
                self.open(permit, OpenReason::ReplacedStale);
            }
            Step::Die(which) => {
                if let Some(known) = self.shards.iter().flatten().nth(which) {
                    known.strings.set(Liveness::Closed);
                }
            }
            Step::Sweep(worker) => {
                self.pool.sweep(worker, self.now);
                let shard = std::mem::take(&mut self.shards[worker]);
                let before = shard.len();
                self.shards[worker] = shard.into_iter().filter(|known| self.is_fit(known)).collect();
                self.closed += (before - self.shards[worker].len()) as u64;
            }
            Step::Pass(time) => self.now += time,
            // There is no such connection now.
            Step::CheckIn(..) | Step::Close(_) | Step::Drop(_) | Step::Replace(_) => {}
        }
    }

    fn compare(&self) {
        let status = self.pool.status();
        let opened: u64 = status.opened.iter().map(|(_, count)| count).sum();
        let closed: u64 = status.closed.iter().map(|(_, count)| count).sum();
        assert_eq!((opened, closed), (self.opened, self.closed));
        assert_eq!(status.idle, self.idle());
        assert_eq!(status.connections, self.idle() + self.active.len());
        assert_eq!(opened - closed, status.connections as u64);
    }
}

proptest! {
    #[test]
    fn the_counts_are_those_of_the_model(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
            model.compare();
        }
        model.active.clear();
        model.pool.close(CloseReason::Drain);
        let status = model.pool.status();
        prop_assert_eq!((status.idle, status.connections), (0, 0));
    }
}
