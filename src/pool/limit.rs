//! How many connections an endpoint may have, exactly, over all workers; and who waits for one.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::oneshot;

use super::idle::Idle;

/// The limit of one endpoint and the queue of those who wait at it.
#[derive(Debug)]
pub(super) struct Limit<C> {
    held: AtomicUsize,
    max: AtomicUsize,
    /// Length of `queue`, readable without its lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue<C>>,
}

#[derive(Debug)]
struct Queue<C> {
    waiters: VecDeque<(u64, oneshot::Sender<Grant<C>>)>,
    next: u64,
}

/// The right to hold one connection; gives itself back when dropped. Only [`Limit`] makes one.
#[derive(Debug)]
pub struct Permit<C>(Arc<Limit<C>>);

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
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(Queue {
                waiters: VecDeque::new(),
                next: 0,
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
        let max = self.max.load(SeqCst);
        self.held
            .fetch_update(SeqCst, SeqCst, |held| (held < max).then_some(held + 1))
            .ok()?;
        Some(Permit(Arc::clone(self)))
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
        self.0.held.fetch_sub(1, SeqCst);
        self.0.serve_waiters();
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
    fn a_raised_limit_serves_waiters_at_once() {
        let limit = Limit::<()>::new(0);
        let mut waiter = limit.join(9).expect("room");
        limit.set_max(1);
        assert!(matches!(waiter.granted.try_recv(), Ok(Grant::Permit(_))));
    }
}
