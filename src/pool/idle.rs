//! The idle connections of one endpoint on one worker: which is taken next and which must go. Pure: time comes in.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{CloseReason, Connection, Identity, limit::Permit};
use crate::config::{self, Order};

/// A connection with what the pool must know of it.
#[derive(Debug)]
pub(super) struct Idle<C> {
    pub(super) connection: C,
    pub(super) permit: Permit<C>,
    pub(super) opened: Instant,
    pub(super) idle_since: Instant,
    /// When it is too old for a further request; `None`: never.
    pub(super) retires: Option<Instant>,
    /// Requests that it has carried.
    pub(super) requests: u64,
}

/// What a connection must fulfil to be kept and used: the policy, with the idle timeout that is in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) idle_timeout: Duration,
    pub(super) policy: config::Pool,
}

/// Which of the idle connections a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Only one that has not been idle for as long as this: for a request that must not be sent twice, since an endpoint
    /// rarely closes what it has just used.
    pub idle_under: Option<Duration>,
    /// Only one of this identity; `None` where all are alike.
    pub identity: Option<&'a Identity>,
}

impl Wanted<'_> {
    pub const ANY: Self = Self {
        idle_under: None,
        identity: None,
    };

    pub fn idle_under(limit: Duration) -> Self {
        Self {
            idle_under: Some(limit),
            ..Self::ANY
        }
    }

    pub(super) fn is_any(self) -> bool {
        self == Self::ANY
    }

    /// Whether it may have this connection, as far as that does not depend on the policy.
    fn accepts<C: Connection>(self, idle: &Idle<C>, now: Instant) -> bool {
        self.accepts_identity(&idle.connection)
            && self
                .idle_under
                .is_none_or(|limit| now.saturating_duration_since(idle.idle_since) < limit)
    }

    pub(super) fn accepts_identity<C: Connection>(self, connection: &C) -> bool {
        self.identity.is_none() || connection.identity() == self.identity
    }
}

/// One worker's idle connections, in the order in which they came. Boxed, since a connection is handed from place to
/// place several times per request.
#[derive(Debug)]
pub(super) struct IdleSet<C> {
    connections: VecDeque<Box<Idle<C>>>,
}

/// What was sorted out, to be closed once the lock is released.
pub(super) type Evicted<C> = Vec<(Box<Idle<C>>, CloseReason)>;

impl<C: Connection> IdleSet<C> {
    pub(super) fn new() -> Self {
        Self {
            connections: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn push(&mut self, idle: Box<Idle<C>>) {
        self.connections.push_back(idle);
    }

    /// The next connection that is fit for a request.
    pub(super) fn take(
        &mut self,
        terms: &Terms,
        wanted: Wanted<'_>,
        now: Instant,
        evicted: &mut Evicted<C>,
    ) -> Option<Box<Idle<C>>> {
        while let Some(mut idle) = self.next(terms.policy.order, wanted, now) {
            match unfit(&mut idle, terms, now) {
                None => return Some(idle),
                Some(reason) => evicted.push((idle, reason)),
            }
        }
        None
    }

    /// The next connection as it is, for a sibling worker, who looks at it himself.
    pub(super) fn steal(&mut self, order: Order, wanted: Wanted<'_>, now: Instant) -> Option<Box<Idle<C>>> {
        self.next(order, wanted, now)
    }

    /// The one that came last, as it is.
    pub(super) fn pop_newest(&mut self) -> Option<Box<Idle<C>>> {
        self.connections.pop_back()
    }

    fn next(&mut self, order: Order, wanted: Wanted<'_>, now: Instant) -> Option<Box<Idle<C>>> {
        if !wanted.is_any() {
            // The newest that will do, whatever the order: it is the least likely to be closed just now.
            let newest = self.connections.iter().rposition(|idle| wanted.accepts(idle, now))?;
            return self.connections.remove(newest);
        }
        match order {
            // Keeps the set as small as the load allows: those at the other end grow old and are evicted.
            Order::NewestFirst => self.connections.pop_back(),
            Order::OldestFirst => self.connections.pop_front(),
            Order::Random => {
                let last = self.connections.len().checked_sub(1)?;
                self.connections.remove(fastrand::usize(..=last))
            }
        }
    }

    /// Sorts out everything that is no longer fit for a request.
    pub(super) fn evict(&mut self, terms: &Terms, now: Instant, evicted: &mut Evicted<C>) {
        let mut ended = self.connections.iter_mut().enumerate();
        let Some((first, reason)) = ended.find_map(|(index, idle)| Some((index, unfit(idle, terms, now)?))) else {
            return;
        };
        let mut rest = self.connections.split_off(first);
        evicted.extend(rest.pop_front().map(|idle| (idle, reason)));
        for mut idle in rest {
            match unfit(&mut idle, terms, now) {
                None => self.connections.push_back(idle),
                Some(reason) => evicted.push((idle, reason)),
            }
        }
    }

    /// Sorts out the `count` that have been here for the longest.
    pub(super) fn evict_oldest(&mut self, count: usize, evicted: &mut Evicted<C>) {
        let count = count.min(self.connections.len());
        evicted.extend(self.connections.drain(..count).map(|idle| (idle, CloseReason::Surplus)));
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) -> VecDeque<Box<Idle<C>>> {
        std::mem::take(&mut self.connections)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        self.connections.iter().map(|idle| &idle.connection)
    }
}

/// Why a connection may not carry a further request; `None`: it may.
pub(super) fn unfit<C: Connection>(idle: &mut Idle<C>, terms: &Terms, now: Instant) -> Option<CloseReason> {
    let dead = idle.connection.liveness().reason_to_close();
    dead.or_else(|| too_old(idle, terms, now))
}

/// Why a connection has done its work, by age and use alone: all that a worker can tell of a sibling's.
pub(super) fn too_old<C>(idle: &Idle<C>, terms: &Terms, now: Instant) -> Option<CloseReason> {
    if now.saturating_duration_since(idle.idle_since) >= terms.idle_timeout {
        Some(CloseReason::IdleTimeout)
    } else {
        worn_out(idle, &terms.policy, now)
    }
}

/// Why a connection has done its work, however long it has been idle.
fn worn_out<C>(idle: &Idle<C>, policy: &config::Pool, now: Instant) -> Option<CloseReason> {
    if idle.retires.is_some_and(|at| now >= at) {
        Some(CloseReason::MaxLifetime)
    } else if policy.max_requests > 0 && idle.requests >= policy.max_requests {
        Some(CloseReason::MaxRequests)
    } else {
        None
    }
}

/// Why the request that a connection now carries is its last; `None`: it may carry more. One that retires before its
/// idle timeout could end it counts as if it retired now.
pub(super) fn last_use<C>(idle: &Idle<C>, terms: &Terms, now: Instant) -> Option<CloseReason> {
    if idle.retires.is_some_and(|at| now + terms.idle_timeout >= at) {
        Some(CloseReason::MaxLifetime)
    } else if terms.policy.max_requests > 0 && idle.requests + 1 >= terms.policy.max_requests {
        Some(CloseReason::MaxRequests)
    } else {
        None
    }
}

/// When a connection opened now retires: `max_lifetime`, shortened by up to a tenth (`random` in 0..1) so that
/// connections opened together do not end together. Zero is no limit.
pub(super) fn retirement(opened: Instant, max_lifetime: Duration, random: f64) -> Option<Instant> {
    (!max_lifetime.is_zero()).then(|| opened + max_lifetime.mul_f64(1.0 - 0.1 * random))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{End, FirstClose, Liveness, limit::Limit},
        *,
    };
    use std::{cell::Cell, sync::Arc};

    /// A connection that is what the test says it is.
    #[derive(Debug)]
    pub(in super::super) struct Scripted {
        pub id: u32,
        pub liveness: Cell<Liveness>,
        pub closed: Option<std::sync::mpsc::Sender<(u32, CloseReason)>>,
    }

    impl Scripted {
        pub fn new(id: u32) -> Self {
            Self {
                id,
                liveness: Cell::new(Liveness::Silent),
                closed: None,
            }
        }
    }

    impl Connection for Scripted {
        fn liveness(&mut self) -> Liveness {
            self.liveness.get()
        }

        fn watch(&self, _: &mut std::task::Context<'_>) {}

        fn adopt(self) -> Result<Self, (CloseReason, FirstClose)> {
            match self.liveness.get() {
                Liveness::Silent => Ok(self),
                _ => Err((CloseReason::ClosedByEndpoint, FirstClose::EndpointFin)),
            }
        }

        fn close(self, end: End<Self>) {
            if let Some(closed) = &self.closed {
                let _ = closed.send((self.id, end.reason));
            }
            end.done(FirstClose::OurFin);
        }
    }

    pub(in super::super) fn policy() -> config::Pool {
        config::Pool {
            idle_timeout: config::IdleTimeout::After(Duration::from_secs(4)),
            max_lifetime: Duration::from_secs(600),
            max_requests: 3,
            max_idle: 8,
            max_connections: 8,
            wait: config::Wait {
                timeout: Duration::from_secs(1),
                queue: 10,
            },
            ..config::Pool::default()
        }
    }

    fn terms(order: Order) -> Terms {
        Terms {
            idle_timeout: Duration::from_secs(4),
            policy: config::Pool { order, ..policy() },
        }
    }

    fn idle(limit: &Arc<Limit<Scripted>>, id: u32, now: Instant) -> Box<Idle<Scripted>> {
        Box::new(Idle {
            connection: Scripted::new(id),
            permit: limit.try_acquire().expect("enough permits"),
            opened: now,
            idle_since: now,
            retires: None,
            requests: 1,
        })
    }

    fn order_of_use(order: Order) -> Vec<u32> {
        let (limit, now, mut set) = (Limit::new(9), Instant::now(), IdleSet::new());
        for id in 1..=5 {
            set.push(idle(&limit, id, now));
        }
        let mut evicted = Vec::new();
        let take = || set.take(&terms(order), Wanted::ANY, now, &mut evicted);
        let used = std::iter::from_fn(take).map(|idle| idle.connection.id).collect();
        assert!(evicted.is_empty());
        used
    }

    #[test]
    fn connections_are_used_in_the_order_of_the_policy() {
        assert_eq!(order_of_use(Order::NewestFirst), [5, 4, 3, 2, 1]);
        assert_eq!(order_of_use(Order::OldestFirst), [1, 2, 3, 4, 5]);
        let orders: std::collections::HashSet<_> = (0..100).map(|_| order_of_use(Order::Random)).collect();
        assert!(orders.len() > 10, "{orders:?}");
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn a_write_gets_only_what_was_idle_for_a_short_time_and_leaves_the_rest() {
        let (limit, now, mut set) = (Limit::new(9), Instant::now(), IdleSet::new());
        set.push(idle(&limit, 1, now));
        set.push(idle(&limit, 2, now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(2);
        let (write, mut evicted) = (Wanted::idle_under(Duration::from_millis(1500)), Vec::new());
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let taken = set.take(&terms(order), write, later, &mut evicted);
            let expected = (order == Order::OldestFirst).then_some(2);
            assert_eq!(taken.map(|idle| idle.connection.id), expected, "{order:?}");
        }
        assert_eq!((set.len(), evicted.len()), (1, 0));
        assert!(
            set.take(&terms(Order::NewestFirst), Wanted::ANY, later, &mut evicted)
                .is_some()
        );
    }

    #[test]
    fn the_last_use_is_foreseen() {
        let (limit, now) = (Limit::new(9), Instant::now());
        let terms = terms(Order::NewestFirst);
        let with = |requests, retires| Idle {
            requests,
            retires,
            ..*idle(&limit, 1, now)
        };
        let soon = Some(now + Duration::from_secs(4));
        let late = Some(now + Duration::from_secs(5));
        assert_eq!(last_use(&with(1, late), &terms, now), None);
        assert_eq!(last_use(&with(2, None), &terms, now), Some(CloseReason::MaxRequests));
        assert_eq!(last_use(&with(0, soon), &terms, now), Some(CloseReason::MaxLifetime));
    }

    #[test]
    fn each_kind_of_unfitness_has_its_reason() {
        let (limit, now, mut set) = (Limit::new(9), Instant::now(), IdleSet::new());
        let later = now + Duration::from_secs(3);
        for (id, liveness) in [
            (1, Liveness::Closed),
            (2, Liveness::Reset),
            (3, Liveness::Readable),
            (8, Liveness::SourceGone),
        ] {
            let idle = idle(&limit, id, now);
            idle.connection.liveness.set(liveness);
            set.push(idle);
        }
        set.push(Box::new(Idle {
            idle_since: now - Duration::from_secs(1),
            ..*idle(&limit, 4, now)
        }));
        set.push(Box::new(Idle {
            retires: Some(later),
            ..*idle(&limit, 5, now)
        }));
        set.push(Box::new(Idle {
            requests: 3,
            ..*idle(&limit, 6, now)
        }));
        set.push(idle(&limit, 7, now));
        let mut evicted = Vec::new();
        set.evict(&terms(Order::NewestFirst), later, &mut evicted);
        let reasons: Vec<_> = evicted
            .iter()
            .map(|(idle, reason)| (idle.connection.id, *reason))
            .collect();
        assert_eq!(
            reasons,
            [
                (1, CloseReason::ClosedByEndpoint),
                (2, CloseReason::ResetByEndpoint),
                (3, CloseReason::UnexpectedBytes),
                (8, CloseReason::SourceGone),
                (4, CloseReason::IdleTimeout),
                (5, CloseReason::MaxLifetime),
                (6, CloseReason::MaxRequests),
            ]
        );
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn lifetimes_are_spread_and_zero_is_for_ever() {
        let now = Instant::now();
        let at = |random| retirement(now, Duration::from_secs(100), random).expect("limited") - now;
        assert_eq!(at(0.0), Duration::from_secs(100));
        assert_eq!(at(1.0), Duration::from_secs(90));
        assert_eq!(retirement(now, Duration::ZERO, 0.5), None);
    }
}
