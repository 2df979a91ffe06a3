//! Waits to the microsecond.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{self, Instant},
};

/// The runtime's own timer counts in milliseconds and rounds up, which would be most of the latency of a request that
/// takes 100 µs; the kernel's is late by some 50 µs.
#[derive(Debug)]
pub(super) enum Alarm {
    Kernel(AsyncFd<OwnedFd>),
    /// Where the kernel gives none, and where the clock is paused.
    Runtime,
}

impl Alarm {
    pub fn new() -> Self {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        );
        match timer.ok().map(register) {
            Some(Ok(timer)) => Self::Kernel(timer),
            None | Some(Err(_)) => Self::Runtime,
        }
    }

    /// Cancellation: nothing is lost.
    pub async fn until(&self, at: Instant) {
        let Self::Kernel(timer) = self else {
            return time::sleep_until(at).await;
        };
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let set = timerfd_settime(timer, TimerfdTimerFlags::empty(), &once(left));
            // Fails on no timer that was set once; what is left is rounded up then.
            let (Ok(_), Ok(mut expired)) = (set, timer.readable().await) else {
                return time::sleep_until(at).await;
            };
            // Each expiry is an event of its own, so that the count of them need not be read.
            expired.clear_ready();
        }
    }
}

#[expect(
    deprecated,
    reason = "what it is deprecated for cannot happen: the descriptor is owned, and the same until it is dropped"
)]
fn register(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(timer, Interest::READABLE)
}

/// `left` is not zero, which would disarm the timer.
fn once(left: Duration) -> Itimerspec {
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    Itimerspec {
        it_interval: none,
        it_value: Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_never_early_and_can_be_set_again() {
        let alarm = Alarm::new();
        assert!(matches!(alarm, Alarm::Kernel(_)));
        for micros in [0, 1, 300, 2000, 100] {
            let at = Instant::now() + Duration::from_micros(micros);
            alarm.until(at).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn an_alarm_that_was_given_up_does_not_end_the_next() {
        let alarm = Alarm::new();
        let soon = Instant::now() + Duration::from_micros(200);
        tokio::select! {
            biased;
            () = alarm.until(soon) => {}
            () = std::future::ready(()) => {}
        }
        let later = Instant::now() + Duration::from_millis(3);
        alarm.until(later).await;
        assert!(Instant::now() >= later);
    }
}
