//! Answers on HTTP/2 streams whose client takes nothing.
//!
//! A stream whose window is shut is not polled by the engine, so neither it nor the body of its answer can notice that
//! the client has stalled; meanwhile it holds memory, and a connection to an endpoint. The other streams of the client may
//! be fine, so its connection is no measure. Each stream is therefore a task that a sweep may end, which resets the stream.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::super::tunnel::Writers;

/// The streams of one listener on one worker.
#[derive(Debug, Default)]
pub(in crate::downstream) struct Streams(RefCell<Vec<Weak<Stream>>>);

/// One stream: its task, and the body of its answer, hold it.
#[derive(Debug)]
pub(in crate::downstream) struct Stream {
    /// Since when it is the client's turn to take what it was given.
    offered: Cell<Option<Instant>>,
    write_stall: Duration,
    stalled: Cell<Stalled>,
    task: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stalled {
    No,
    Yes,
}

/// Runs the streams of a connection as tasks of its worker.
///
/// Invariant: the engine calls the service for a request and then executes the stream that results, before it calls the
/// service again, so that the stream which the service has made is that of the next task.
#[derive(Debug, Clone, Default)]
pub(super) struct OnWorker {
    begun: Rc<RefCell<Option<Rc<Stream>>>>,
    /// All other tasks write for tunnels.
    pub(super) writers: Writers,
}

impl Streams {
    fn open(&self, write_stall: Duration) -> Rc<Stream> {
        let stream = Rc::new(Stream {
            offered: Cell::new(None),
            write_stall,
            stalled: Cell::new(Stalled::No),
            task: RefCell::new(None),
        });
        self.0.borrow_mut().push(Rc::downgrade(&stream));
        stream
    }

    /// Ends the streams whose client has taken nothing for too long.
    pub(in crate::downstream) fn sweep(&self, now: Instant) {
        let mut stalled = Vec::new();
        self.0.borrow_mut().retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            let is_stalled = stream.is_overdue(now);
            if is_stalled {
                stream.stalled.set(Stalled::Yes);
                stalled.extend(stream.task.take());
            }
            !is_stalled
        });
        // Outside, since a task that is woken may do anything.
        stalled.into_iter().for_each(Waker::wake);
    }
}

impl Stream {
    /// The answer has something for the client, who has not yet taken all of what came before.
    pub(in crate::downstream) fn offer(&self, now: Instant) {
        self.offered.set(Some(now));
    }

    /// It is not the client that is waited for.
    pub(in crate::downstream) fn await_endpoint(&self) {
        self.offered.set(None);
    }

    /// Whether it was ended because its client took nothing.
    pub(in crate::downstream) fn is_stalled(&self) -> bool {
        self.stalled.get() == Stalled::Yes
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.offered
            .get()
            .is_some_and(|since| now.saturating_duration_since(since) >= self.write_stall)
    }

    fn poll_stalled(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_stalled() {
            return Poll::Ready(());
        }
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl OnWorker {
    /// A stream for the request that the engine has just handed out.
    pub(super) fn begin(&self, streams: &Streams, write_stall: Duration) -> Rc<Stream> {
        let stream = streams.open(write_stall);
        self.begun.replace(Some(Rc::clone(&stream)));
        stream
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnWorker {
    fn execute(&self, task: F) {
        match self.begun.take() {
            Some(stream) => {
                // Boxed, since the runtime moves a task several times before it is at its place: at 2 KiB that cost a
                // tenth of the time of a request.
                let mut task = Box::pin(task);
                // Cancellation: the engine resets a stream whose task is dropped.
                drop(tokio::task::spawn_local(poll_fn(move |context| {
                    match task.as_mut().poll(context) {
                        Poll::Pending => stream.poll_stalled(context),
                        done => done,
                    }
                })));
            }
            None => self.writers.note(tokio::task::spawn_local(task).abort_handle()),
        }
    }
}
