//! One timer of a client for all its requests.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::time::{self, Instant, Sleep};

/// A timer that is moved when it fires, not when a deadline is set: deadlines that are kept cost no more than a look,
/// where a timer for each would be put into the wheel and taken out again.
#[derive(Debug)]
pub(super) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub fn new() -> Self {
        Self { timer: None }
    }

    /// What the future gives; `None`: the deadline came first.
    ///
    /// Cancellation: as of the future.
    pub async fn until<T>(&mut self, deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_deadline(deadline, context).map(|()| None),
        })
        .await
    }

    fn poll_deadline(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if deadline <= timer.deadline() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
