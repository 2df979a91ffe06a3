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

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_deadline_holds_whether_it_is_later_or_earlier_than_the_last() {
        let mut patience = Patience::new();
        for seconds in [1, 5, 2, 3] {
            let begun = Instant::now();
            let deadline = begun + Duration::from_secs(seconds);
            assert_eq!(patience.until(deadline, pending::<()>()).await, None);
            assert_eq!(begun.elapsed().as_secs(), seconds);
            let kept = patience.until(deadline + Duration::from_secs(60), async { 7 });
            assert_eq!(kept.await, Some(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_holds_after_others_that_were_kept() {
        let mut patience = Patience::new();
        let second = Duration::from_secs(1);
        for _ in 0..3 {
            let kept = patience.until(Instant::now() + 3 * second, time::sleep(2 * second));
            assert_eq!(kept.await, Some(()));
        }
        let begun = Instant::now();
        let missed = patience.until(begun + 3 * second, time::sleep(4 * second)).await;
        assert_eq!((missed, begun.elapsed().as_secs()), (None, 3));
    }
}
