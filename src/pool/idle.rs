//! The idle connections of one endpoint on one worker: which is taken next and which must go. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

use super::{CloseReason, Connection, Liveness, limit::Permit};
use crate::config;

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

/// One worker's idle connections, the newest last. Boxed, since a connection is handed from place to place several
/// times per request.
#[derive(Debug)]
#[allow(clippy::vec_box, reason = "see above")]
pub(super) struct IdleSet<C> {
    connections: Vec<Box<Idle<C>>>,
}

/// What [`IdleSet::take`] and [`IdleSet::evict`] sorted out, to be closed once the lock is released.
pub(super) type Evicted<C> = Vec<(Box<Idle<C>>, CloseReason)>;

impl<C: Connection> IdleSet<C> {
    pub(super) fn new() -> Self {
        Self {
            connections: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn push(&mut self, idle: Box<Idle<C>>) {
        self.connections.push(idle);
    }

    /// The most recently used connection that is fit for a request. Newest first keeps the set as small as the load
    /// allows: the ones at the other end grow old and are evicted.
    pub(super) fn take(
        &mut self,
        policy: &config::Pool,
        now: Instant,
        evicted: &mut Evicted<C>,
    ) -> Option<Box<Idle<C>>> {
        while let Some(idle) = self.connections.pop() {
            match unfit(&idle, policy, now) {
                None => return Some(idle),
                Some(reason) => evicted.push((idle, reason)),
            }
        }
        None
    }

    /// The newest connection as it is, for a sibling worker, who looks at it himself.
    pub(super) fn steal(&mut self) -> Option<Box<Idle<C>>> {
        self.connections.pop()
    }

    /// Sorts out everything that is no longer fit for a request.
    pub(super) fn evict(&mut self, policy: &config::Pool, now: Instant, evicted: &mut Evicted<C>) {
        let unfit = self
            .connections
            .extract_if(.., |idle| unfit(idle, policy, now).is_some());
        evicted.extend(unfit.map(|idle| {
            let reason = self::unfit(&idle, policy, now).unwrap_or(CloseReason::ClosedByEndpoint);
            (idle, reason)
        }));
    }

    /// Sorts out the `count` that have been here for the longest.
    pub(super) fn evict_oldest(&mut self, count: usize, evicted: &mut Evicted<C>) {
        let count = count.min(self.connections.len());
        evicted.extend(self.connections.drain(..count).map(|idle| (idle, CloseReason::Surplus)));
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) -> Vec<Box<Idle<C>>> {
        std::mem::take(&mut self.connections)
    }
}

/// Why a connection may not carry a further request; `None`: it may.
pub(super) fn unfit<C: Connection>(idle: &Idle<C>, policy: &config::Pool, now: Instant) -> Option<CloseReason> {
    match idle.connection.liveness() {
        Liveness::Silent => {}
        Liveness::Closed => return Some(CloseReason::ClosedByEndpoint),
        Liveness::Reset => return Some(CloseReason::ResetByEndpoint),
        Liveness::Readable => return Some(CloseReason::UnexpectedBytes),
    }
    too_old(idle, policy, now)
}

/// Why a connection has done its work, by age and use alone: all that a worker can tell of a sibling's.
pub(super) fn too_old<C>(idle: &Idle<C>, policy: &config::Pool, now: Instant) -> Option<CloseReason> {
    if now.saturating_duration_since(idle.idle_since) >= policy.idle_timeout {
        Some(CloseReason::IdleTimeout)
    } else if idle.retires.is_some_and(|at| now >= at) {
        Some(CloseReason::MaxLifetime)
    } else if policy.max_requests > 0 && idle.requests >= policy.max_requests {
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
    use super::{super::limit::Limit, *};
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
        fn liveness(&self) -> Liveness {
            self.liveness.get()
        }

        fn adopt(self) -> Result<Self, CloseReason> {
            match self.liveness.get() {
                Liveness::Silent => Ok(self),
                _ => Err(CloseReason::ClosedByEndpoint),
            }
        }

        fn close(self, reason: CloseReason) {
            if let Some(closed) = &self.closed {
                let _ = closed.send((self.id, reason));
            }
        }
    }

    pub(in super::super) fn policy() -> config::Pool {
        config::Pool {
            idle_timeout: Duration::from_secs(4),
            max_lifetime: Duration::from_secs(600),
            max_requests: 3,
            max_idle: 8,
            max_connections: 8,
            wait: config::Wait {
                timeout: Duration::from_secs(1),
                queue: 10,
            },
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

    #[test]
    fn the_newest_is_taken_first() {
        let (limit, now, mut set) = (Limit::new(9), Instant::now(), IdleSet::new());
        set.push(idle(&limit, 1, now));
        set.push(idle(&limit, 2, now));
        let mut evicted = Vec::new();
        assert_eq!(set.take(&policy(), now, &mut evicted).map(|i| i.connection.id), Some(2));
        assert_eq!(set.take(&policy(), now, &mut evicted).map(|i| i.connection.id), Some(1));
        assert!(set.take(&policy(), now, &mut evicted).is_none() && evicted.is_empty());
    }

    #[test]
    fn each_kind_of_unfitness_has_its_reason() {
        let (limit, now, mut set) = (Limit::new(9), Instant::now(), IdleSet::new());
        let later = now + Duration::from_secs(3);
        for (id, liveness) in [(1, Liveness::Closed), (2, Liveness::Reset), (3, Liveness::Readable)] {
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
        set.evict(&policy(), later, &mut evicted);
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
