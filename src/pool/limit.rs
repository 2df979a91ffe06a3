//! How many connections an endpoint may have, exactly, over all workers; and who waits for one.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::idle::Idle;

/// How soon one more connection is tried after it turned out that no further one could be opened.
const CEILING_RISES: Duration = Duration::from_secs(1);

/// No ceiling.
const OPEN: usize = usize::MAX;

/// The limit of one endpoint and the queue of those who wait at it.
#[derive(Debug)]
pub(super) struct Limit<C> {
    held: AtomicUsize,
    max: AtomicUsize,
    /// As many connections as there turned out to be source ports for; [`OPEN`] while there are enough.
    ceiling: AtomicUsize,
    /// Length of `queue`, readable without its lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue<C>>,
}

#[derive(Debug)]
struct Queue<C> {
    waiters: VecDeque<(u64, oneshot::Sender<Grant<C>>)>,
    next: u64,
    /// When the ceiling is raised by one, to see whether it still holds.
    ceiling_rises: Option<Instant>,
    /// The ceiling was raised, and nothing has failed since.
    is_rising: bool,
}

/// The right to hold one connection; gives itself back when dropped. Only [`Limit`] makes one.
#[derive(Debug)]
pub struct Permit<C>(Option<Arc<Limit<C>>>);

/// What ends a wait.
#[derive(Debug)]
pub(super) enum Grant<C> {
    /// The right to open a connection.
    Permit(Permit<C>),
    /// A connection that has just become idle, perhaps on another worker.
    Connection(Box<Idle<C>>),
}

/// A place in the queue; leaving it is dropping it.
#[derive(Debug)]
pub(super) struct Waiter<C> {
    limit: Arc<Limit<C>>,
    id: u64,
    pub(super) granted: oneshot::Receiver<Grant<C>>,
}

impl<C> Limit<C> {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            ceiling: AtomicUsize::new(OPEN),
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(Queue {
                waiters: VecDeque::new(),
                next: 0,
                ceiling_rises: None,
                is_rising: false,
            }),
        })
    }

    /// Changes the limit. A lower one is reached as connections end.
    pub(super) fn set_max(self: &Arc<Self>, max: usize) {
        self.max.store(max, SeqCst);
        self.serve_waiters();
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<Permit<C>> {
        let max = self.max.load(SeqCst).min(self.ceiling.load(SeqCst));
        self.held
            .fetch_update(SeqCst, SeqCst, |held| (held < max).then_some(held + 1))
            .ok()?;
        Some(Permit(Some(Arc::clone(self))))
    }

    /// Whether a permit could be had at the moment.
    pub(super) fn has_room(&self) -> bool {
        self.held() < self.max.load(SeqCst).min(self.ceiling.load(SeqCst))
    }

    /// Whether connections are wanting because no further one can be opened, and not because of the limit.
    pub(super) fn is_under_ceiling(&self) -> bool {
        self.ceiling.load(SeqCst) != OPEN
    }

    /// Gives back a permit for which no connection could be opened for want of source ports, and lets nobody try again
    /// until one comes free: a connection ends, or [`CEILING_RISES`] has passed.
    pub(super) fn lower_ceiling(&self, permit: Permit<C>, now: Instant) {
        let mut queue = self.queue.lock().expect("no panic under this lock");
        queue.ceiling_rises = Some(now + CEILING_RISES);
        queue.is_rising = false;
        let held = self.held.fetch_sub(1, SeqCst) - 1;
        self.ceiling.fetch_min(held, SeqCst);
        drop(queue);
        permit.forget();
    }

    /// A connection was opened: while the ceiling is being raised, two more may try, so that it is gone soon. Otherwise
    /// it has only taken the place of one that ended.
    pub(super) fn note_opened(self: &Arc<Self>) {
        if !self.is_under_ceiling() {
            return;
        }
        let is_rising = self.queue.lock().expect("no panic under this lock").is_rising;
        if is_rising {
            let lifted = |ceiling: usize| (ceiling != OPEN).then(|| ceiling.max(self.held()).saturating_add(2));
            let _ = self.ceiling.fetch_update(SeqCst, SeqCst, lifted);
            self.serve_waiters();
        }
    }

    /// Raises the ceiling if its time has come; takes it away when nobody waits any more.
    pub(super) fn tick(self: &Arc<Self>, now: Instant) {
        if !self.is_under_ceiling() {
            return;
        }
        let mut queue = self.queue.lock().expect("no panic under this lock");
        if queue.ceiling_rises.is_some_and(|at| now < at) {
            return;
        }
        let ceiling = if queue.waiters.is_empty() {
            queue.ceiling_rises = None;
            OPEN
        } else {
            queue.ceiling_rises = Some(now + CEILING_RISES);
            queue.is_rising = true;
            self.ceiling.load(SeqCst).max(self.held()).saturating_add(1)
        };
        self.ceiling.store(ceiling, SeqCst);
        drop(queue);
        self.serve_waiters();
    }

    /// Takes a place at the end of the queue; `None` when `length` wait already.
    ///
    /// Invariant: whoever joins tries once more for a permit and an idle connection afterwards, since one may have come
    /// back just before; whoever gives one back looks at the queue afterwards. So no wake-up is lost.
    pub(super) fn join(self: &Arc<Self>, length: usize) -> Option<Waiter<C>> {
        let mut queue = self.queue.lock().expect("no panic under this lock");
        if queue.waiters.len() >= length {
            return None;
        }
        let (sender, granted) = oneshot::channel();
        let id = queue.next;
        queue.next += 1;
        queue.waiters.push_back((id, sender));
        self.waiting.store(queue.waiters.len(), SeqCst);
        Some(Waiter {
            limit: Arc::clone(self),
            id,
            granted,
        })
    }

    /// Gives a connection to the first in the queue; back to the caller when nobody waits.
    pub(super) fn hand_over(&self, mut idle: Box<Idle<C>>) -> Option<Box<Idle<C>>> {
        while let Some(waiter) = self.pop() {
            match waiter.send(Grant::Connection(idle)) {
                Ok(()) => return None,
                Err(Grant::Connection(back)) => idle = back,
                Err(Grant::Permit(_)) => unreachable!("what comes back is what was sent"),
            }
        }
        Some(idle)
    }

    fn serve_waiters(self: &Arc<Self>) {
        let mut permit = None;
        while self.waiting() > 0 {
            permit = permit.or_else(|| self.try_acquire());
            let Some(held) = permit.take() else { return };
            let Some(waiter) = self.pop() else {
                permit = Some(held);
                break;
            };
            if let Err(Grant::Permit(back)) = waiter.send(Grant::Permit(held)) {
                permit = Some(back);
            }
        }
        drop(permit);
    }

    fn pop(&self) -> Option<oneshot::Sender<Grant<C>>> {
        let mut queue = self.queue.lock().expect("no panic under this lock");
        let waiter = queue.waiters.pop_front();
        self.waiting.store(queue.waiters.len(), SeqCst);
        waiter.map(|(_, sender)| sender)
    }

    fn leave(&self, id: u64) {
        let mut queue = self.queue.lock().expect("no panic under this lock");
        queue.waiters.retain(|(other, _)| *other != id);
        self.waiting.store(queue.waiters.len(), SeqCst);
    }
}

impl<C> Drop for Permit<C> {
    fn drop(&mut self) {
        if let Some(limit) = &self.0 {
            limit.held.fetch_sub(1, SeqCst);
            limit.serve_waiters();
        }
    }
}

impl<C> Permit<C> {
    /// For whoever has given it back already.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl<C> Waiter<C> {
    /// What was granted but not taken up, for whoever gives up waiting.
    pub(super) fn abandon(&mut self) -> Option<Grant<C>> {
        self.limit.leave(self.id);
        self.granted.close();
        self.granted.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_returns_itself() {
        let limit = Limit::<()>::new(1);
        let permit = limit.try_acquire().expect("free");
        assert!(limit.try_acquire().is_none());
        drop(permit);
        assert!(limit.try_acquire().is_some());
        assert_eq!(limit.held(), 0);
    }

    #[test]
    fn waiters_are_served_in_order_and_the_queue_is_bounded() {
        let limit = Limit::<()>::new(1);
        let permit = limit.try_acquire().expect("free");
        let mut first = limit.join(2).expect("room");
        let mut second = limit.join(2).expect("room");
        assert!(limit.join(2).is_none());
        drop(permit);
        let Ok(Grant::Permit(permit)) = first.granted.try_recv() else {
            panic!("the first is served first")
        };
        assert!(second.granted.try_recv().is_err());
        drop(permit);
        assert!(matches!(second.granted.try_recv(), Ok(Grant::Permit(_))));
        assert_eq!((limit.held(), limit.waiting()), (0, 0));
    }

    #[test]
    fn who_leaves_the_queue_is_passed_over() {
        let limit = Limit::<()>::new(1);
        let permit = limit.try_acquire().expect("free");
        let mut first = limit.join(9).expect("room");
        let mut second = limit.join(9).expect("room");
        assert!(first.abandon().is_none());
        drop(permit);
        assert!(matches!(second.granted.try_recv(), Ok(Grant::Permit(_))));
    }

    #[test]
    fn a_grant_that_comes_as_its_waiter_leaves_is_not_lost() {
        let limit = Limit::<()>::new(1);
        let permit = limit.try_acquire().expect("free");
        let mut waiter = limit.join(9).expect("room");
        drop(permit);
        drop(waiter.abandon().expect("it was granted"));
        assert_eq!(limit.held(), 0);
    }

    #[test]
    fn nobody_tries_again_until_a_connection_ends_or_a_second_has_passed() {
        let (limit, now) = (Limit::<()>::new(9), Instant::now());
        let held = limit.try_acquire().expect("free");
        limit.lower_ceiling(limit.try_acquire().expect("free"), now);
        assert_eq!(limit.held(), 1);
        assert!(limit.is_under_ceiling() && limit.try_acquire().is_none());
        let mut first = limit.join(9).expect("room");
        let mut second = limit.join(9).expect("room");
        drop(held);
        let Ok(Grant::Permit(permit)) = first.granted.try_recv() else {
            panic!("a port came free with the connection")
        };
        limit.tick(now + CEILING_RISES - Duration::from_millis(1));
        assert!(second.granted.try_recv().is_err());
        limit.tick(now + CEILING_RISES);
        assert!(matches!(second.granted.try_recv(), Ok(Grant::Permit(_))));
        drop(permit);
    }

    #[test]
    fn a_ceiling_is_gone_soon_when_ports_are_there_again() {
        let (limit, now) = (Limit::<()>::new(9), Instant::now());
        limit.lower_ceiling(limit.try_acquire().expect("free"), now);
        let waiters: Vec<_> = (0..9).map(|_| limit.join(9).expect("room")).collect();
        limit.tick(now + CEILING_RISES);
        let mut opened = Vec::new();
        for mut waiter in waiters {
            opened.push(waiter.granted.try_recv().expect("each success lets two more try"));
            limit.note_opened();
        }
        assert_eq!(limit.held(), 9);
        limit.tick(now + CEILING_RISES);
        assert!(limit.is_under_ceiling(), "it has been raised just now");
        limit.tick(now + 2 * CEILING_RISES);
        assert!(!limit.is_under_ceiling());
    }

    #[test]
    fn a_raised_limit_serves_waiters_at_once() {
        let limit = Limit::<()>::new(0);
        let mut waiter = limit.join(9).expect("room");
        limit.set_max(1);
        assert!(matches!(waiter.granted.try_recv(), Ok(Grant::Permit(_))));
    }
}
