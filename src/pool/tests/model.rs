//! Random lives of a pool of three workers beside a model of it.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::config::Order;

const WORKERS: usize = 3;
const MIN_IDLE: usize = 2;
const MAX_IDLE: usize = 3;
const MAX_CONNECTIONS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Checkout(usize, Wanted<'static>),
    /// The n-th active connection, on a worker.
    CheckIn(usize, usize),
    Close(usize),
    Drop(usize),
    Replace(usize),
    /// The endpoint closes the n-th idle connection.
    Die(usize),
    Sweep(usize),
    Warm(usize, Warmed),
    Pass(Duration),
}

/// What becomes of a connection that is opened ahead of need.
#[derive(Debug, Clone, Copy)]
enum Warmed {
    Opened,
    Failed,
    GivenUp,
}

/// Whether connections differ.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Alike,
    Named,
}

fn any_identity(kind: Kind) -> impl Strategy<Value = Option<&'static Identity>> {
    static NAMED: LazyLock<[Identity; 3]> = LazyLock::new(|| ["a", "b", "c"].map(named));
    match kind {
        Kind::Alike => Just(None).boxed(),
        Kind::Named => (0..NAMED.len()).prop_map(|index| Some(&NAMED[index])).boxed(),
    }
}

fn any_wanted(kind: Kind) -> impl Strategy<Value = Wanted<'static>> {
    let under = |millis| Some(Duration::from_millis(millis));
    let idle_under = prop_oneof![
        3 => Just(None),
        2 => prop::sample::select(vec![0, 500, 1500]).prop_map(under),
    ];
    (idle_under, any_identity(kind)).prop_map(|(idle_under, identity)| Wanted { idle_under, identity })
}

fn any_step(kind: Kind) -> impl Strategy<Value = Step> {
    let worker = || 0..WORKERS;
    let warmed = prop::sample::select(vec![Warmed::Opened, Warmed::Opened, Warmed::Failed, Warmed::GivenUp]);
    prop_oneof![
        6 => (worker(), any_wanted(kind)).prop_map(|(worker, wanted)| Step::Checkout(worker, wanted)),
        5 => (0..MAX_CONNECTIONS, worker()).prop_map(|(which, worker)| Step::CheckIn(which, worker)),
        1 => (0..MAX_CONNECTIONS).prop_map(Step::Close),
        1 => (0..MAX_CONNECTIONS).prop_map(Step::Drop),
        1 => (0..MAX_CONNECTIONS).prop_map(Step::Replace),
        2 => (0..MAX_IDLE).prop_map(Step::Die),
        1 => worker().prop_map(Step::Sweep),
        1 => (worker(), warmed).prop_map(|(worker, warmed)| Step::Warm(worker, warmed)),
        2 => (0..6u64).prop_map(|halves| Step::Pass(Duration::from_millis(500 * halves))),
    ]
}

/// A connection as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    id: u32,
    strings: Arc<Strings>,
    requests: u64,
    idle_since: Instant,
    identity: Option<&'static Identity>,
}

impl Known {
    fn suits(&self, wanted: Wanted<'_>) -> bool {
        wanted.identity.is_none() || wanted.identity == self.identity
    }
}

struct Model {
    pool: Arc<Pool<Puppet>>,
    order: Order,
    now: Instant,
    shards: [Vec<Known>; WORKERS],
    active: Vec<(Pooled<Puppet>, Known)>,
    warm_resumes: Instant,
    opened: u64,
    closed: u64,
    reused: u64,
    stolen: u64,
}

impl Model {
    fn new(order: Order) -> Self {
        let policy = config::Pool {
            order,
            min_idle: MIN_IDLE,
            ..limits(MAX_IDLE, MAX_CONNECTIONS)
        };
        let now = Instant::now();
        Self {
            pool: pool_of(&policy, WORKERS),
            order,
            now,
            shards: Default::default(),
            active: Vec::new(),
            warm_resumes: now,
            opened: 0,
            closed: 0,
            reused: 0,
            stolen: 0,
        }
    }

    fn idle(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    fn connections(&self) -> usize {
        self.idle() + self.active.len()
    }

    fn is_old(&self, known: &Known) -> bool {
        self.now - known.idle_since >= IDLE_TIMEOUT
    }

    fn is_fit(&self, known: &Known) -> bool {
        known.strings.liveness() == Liveness::Silent && !self.is_old(known)
    }

    /// The next one of a shard that a checkout looks at. Where chance decides, the pool has: it is one that the pool has
    /// closed for this checkout, or `found`, the one that it gave out.
    fn next(&mut self, shard: usize, wanted: Wanted<'_>, found: Option<u32>) -> Option<Known> {
        let shard = &mut self.shards[shard];
        let fresh = |known: &Known| {
            wanted
                .idle_under
                .is_none_or(|limit| self.now - known.idle_since < limit)
        };
        let index = match self.order {
            _ if wanted != Wanted::ANY => shard.iter().rposition(|known| known.suits(wanted) && fresh(known))?,
            Order::NewestFirst => shard.len().checked_sub(1)?,
            Order::OldestFirst => 0,
            Order::Random => {
                let closed = shard.iter().position(|known| known.strings.ended().is_some());
                let index = closed.or_else(|| shard.iter().position(|known| Some(known.id) == found));
                assert!(index.is_some() || shard.is_empty(), "looked at all of them");
                index?
            }
        };
        (index < shard.len()).then(|| shard.remove(index))
    }

    /// What a checkout is to find: the next fit one of the first shard that has one; or why it is to open one.
    fn take(&mut self, worker: usize, wanted: Wanted<'_>, found: Option<u32>) -> Result<Known, OpenReason> {
        let mut reason = OpenReason::NoneIdle;
        for step in 0..WORKERS {
            while let Some(known) = self.next((worker + step) % WORKERS, wanted, found) {
                if self.is_fit(&known) {
                    self.stolen += u64::from(step > 0);
                    self.reused += 1;
                    return Ok(known);
                }
                self.closed += 1;
                reason = match step {
                    // What a worker sees of a sibling's without taking it over is its age.
                    1.. if !self.is_old(&known) => OpenReason::StealMiss,
                    _ => OpenReason::AllExpired,
                };
            }
        }
        if wanted != Wanted::ANY && self.idle() > 0 {
            let suited = self.shards.iter().flatten().any(|known| known.suits(wanted));
            reason = if suited {
                OpenReason::WriteNeedsFresh
            } else {
                OpenReason::IdentityDiffers
            };
        }
        Err(reason)
    }

    /// Whether the pool may open one for `reason`: there is room, or the oldest idle one of the first shard that has
    /// one makes room.
    fn may_open(&mut self, worker: usize, reason: OpenReason) -> bool {
        if self.connections() < MAX_CONNECTIONS {
            return true;
        }
        let mut shards = (0..WORKERS).map(|step| (worker + step) % WORKERS);
        let shard = shards.find(|shard| !self.shards[*shard].is_empty());
        match shard {
            Some(shard) if [OpenReason::WriteNeedsFresh, OpenReason::IdentityDiffers].contains(&reason) => {
                let oldest = self.shards[shard].remove(0);
                assert_eq!(oldest.strings.ended(), Some(CloseReason::GaveWay));
                self.closed += 1;
                true
            }
            _ => false,
        }
    }

    fn known(&mut self, strings: &Arc<Strings>, identity: Option<&'static Identity>) -> Known {
        let id = self.opened as u32;
        self.opened += 1;
        Known {
            id,
            strings: Arc::clone(strings),
            requests: 0,
            idle_since: self.now,
            identity,
        }
    }

    fn open(&mut self, permit: Permit<Puppet>, reason: OpenReason, identity: Option<&'static Identity>) {
        let puppet = Puppet::of(self.opened as u32, identity);
        let known = self.known(&puppet.strings, identity);
        let pooled = self.pool.opened(puppet, permit, reason, self.now);
        self.active.push((pooled, known));
    }

    fn checkout(&mut self, worker: usize, wanted: Wanted<'static>) {
        let found = self.pool.try_checkout(worker, wanted, self.now);
        let id = match &found {
            Some(Checkout::Reused(pooled)) => Some(pooled.id),
            _ => None,
        };
        let expected = self.take(worker, wanted, id);
        match (found, expected) {
            (Some(Checkout::Reused(pooled)), Ok(known)) => {
                assert_eq!(pooled.id, known.id);
                assert!(wanted.accepts_identity(&*pooled), "it serves another");
                self.active.push((pooled, known));
            }
            (Some(Checkout::Open(permit, reason)), Err(expected)) => {
                assert!(self.may_open(worker, expected), "{reason:?}");
                let of_no_use = [OpenReason::AllExpired, OpenReason::StealMiss];
                // Which of the useless ones came last, chance decides too.
                let is_chance = self.order == Order::Random && of_no_use.contains(&expected);
                assert!(
                    reason == expected || is_chance && of_no_use.contains(&reason),
                    "{reason:?}"
                );
                self.open(permit, reason, wanted.identity);
            }
            (None, Err(reason)) => assert!(!self.may_open(worker, reason), "{reason:?}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    fn check_in(&mut self, which: usize, worker: usize) {
        let (pooled, mut known) = self.active.swap_remove(which);
        pooled.check_in(worker, self.now);
        known.requests += 1;
        known.idle_since = self.now;
        if known.requests >= policy().max_requests {
            self.closed += 1;
            return;
        }
        if self.idle() == MAX_IDLE {
            self.closed += 1;
            let mut shards = (0..WORKERS).map(|step| (worker + step) % WORKERS);
            match shards.find(|shard| !self.shards[*shard].is_empty()) {
                Some(shard) if known.identity.is_some() => drop(self.shards[shard].remove(0)),
                _ => return,
            }
        }
        self.shards[worker].push(known);
    }

    fn warm(&mut self, worker: usize, warmed: Warmed) {
        let may = self.now >= self.warm_resumes && self.idle() < MIN_IDLE && self.connections() < MAX_CONNECTIONS;
        let mut warmings = self.pool.warm(self.now);
        assert_eq!(warmings.len(), usize::from(may), "one at a time");
        let Some(warming) = warmings.pop() else { return };
        match warmed {
            Warmed::Opened => {
                let puppet = Puppet::new(self.opened as u32);
                let known = self.known(&puppet.strings, None);
                warming.opened(puppet, worker, self.now);
                self.shards[worker].push(known);
            }
            Warmed::Failed => {
                warming.failed(self.now);
                self.warm_resumes = self.now + WARM_REST;
            }
            Warmed::GivenUp => drop(warming),
        }
    }

    fn sweep(&mut self, worker: usize) {
        self.pool.sweep(worker, self.now, Waker::noop());
        let shard = std::mem::take(&mut self.shards[worker]);
        let before = shard.len();
        self.shards[worker] = shard.into_iter().filter(|known| self.is_fit(known)).collect();
        self.closed += (before - self.shards[worker].len()) as u64;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Checkout(worker, wanted) => self.checkout(worker, wanted),
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
                let (stale, known) = self.active.swap_remove(which);
                let permit = stale.replace(CloseReason::Stale);
                self.closed += 1;
                self.open(permit, OpenReason::ReplacedStale, known.identity);
            }
            Step::Die(which) => {
                if let Some(known) = self.shards.iter().flatten().nth(which) {
                    known.strings.set(Liveness::Closed);
                }
            }
            Step::Sweep(worker) => self.sweep(worker),
            Step::Warm(worker, warmed) => self.warm(worker, warmed),
            Step::Pass(time) => self.now += time,
            // There is no such connection now.
            Step::CheckIn(..) | Step::Close(_) | Step::Drop(_) | Step::Replace(_) => {}
        }
    }

    fn compare(&self) {
        let status = self.pool.status();
        let opened: u64 = status.opened.iter().map(|(_, count)| count).sum();
        let closed: u64 = status.closed.iter().map(|(.., count)| count).sum();
        assert_eq!((opened, closed), (self.opened, self.closed));
        assert_eq!((status.reused, status.stolen), (self.reused, self.stolen));
        assert_eq!((status.idle, status.connections), (self.idle(), self.connections()));
        assert_eq!(opened - closed, status.connections as u64);
    }
}

fn live(order: Order, steps: &[Step]) {
    let mut model = Model::new(order);
    for step in steps {
        model.step(step);
        model.compare();
    }
    model.active.clear();
    model.pool.close(CloseReason::Drain);
    let status = model.pool.status();
    assert_eq!((status.idle, status.connections), (0, 0));
}

fn any_order() -> impl Strategy<Value = Order> {
    prop::sample::select(vec![Order::NewestFirst, Order::OldestFirst, Order::Random])
}

proptest! {
    #[test]
    fn the_pool_does_what_the_model_does(
        order in any_order(),
        steps in prop::collection::vec(any_step(Kind::Alike), 1..120),
    ) {
        live(order, &steps);
    }

    #[test]
    fn so_does_one_whose_connections_differ(
        order in any_order(),
        steps in prop::collection::vec(any_step(Kind::Named), 1..120),
    ) {
        live(order, &steps);
    }
}
