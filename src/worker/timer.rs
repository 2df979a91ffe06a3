//! Coarse deadlines: thousands of them for the price of a cell store each.
//!
//! A timeout on the data path is set with every request and almost never fires. A timer of the runtime costs a locked
//! insert and remove each time; here setting a deadline is one store into a slab that one task per worker scans every
//! [`TICK`]. A deadline therefore fires up to one tick late, never early.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How often deadlines are looked at. A scan of 10,000 entries takes about 20 µs.
pub const TICK: Duration = Duration::from_millis(25);

/// The deadlines of one worker.
#[derive(Debug, Clone)]
pub struct Timers(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    entries: RefCell<Entries>,
    used: Cell<usize>,
    now: Cell<Instant>,
    /// Wakes the scan when the first timer comes into being.
    first: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    /// `None`: not set, or fired.
    deadline: Option<Instant>,
    fired: bool,
    waker: Option<Waker>,
}

/// One deadline at a time; starts unset.
#[derive(Debug)]
pub struct Timer {
    timers: Rc<Shared>,
    slot: u32,
}

impl Timers {
    /// Starts the scan on the current worker; it ends when the last handle and timer are gone.
    pub fn start() -> Self {
        let shared = Rc::new(Shared {
            entries: RefCell::default(),
            used: Cell::new(0),
            now: Cell::new(Instant::now()),
            first: Notify::new(),
        });
        tokio::task::spawn_local(run(Rc::downgrade(&shared)));
        Self(shared)
    }

    /// The time as of the last tick: for what need not be exact, at the price of a load instead of a clock reading
    /// (30 ns, eight times per request).
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// The first instant at which `duration` has certainly passed.
    pub fn after(&self, duration: Duration) -> Instant {
        self.now() + TICK + duration
    }

    /// An unset timer.
    pub fn timer(&self) -> Timer {
        let mut entries = self.0.entries.borrow_mut();
        let slot = entries.free.pop().unwrap_or_else(|| {
            entries.slots.push(Slot::default());
            u32::try_from(entries.slots.len() - 1).expect("fewer timers than file descriptors and streams")
        });
        if self.0.used.replace(self.0.used.get() + 1) == 0 {
            self.0.now.set(Instant::now());
            self.0.first.notify_one();
        }
        Timer {
            timers: Rc::clone(&self.0),
            slot,
        }
    }

    /// Wakes every task that has a timer, so that it looks at what else may have changed.
    pub fn wake_all(&self) {
        let wakers: Vec<_> = self
            .0
            .entries
            .borrow()
            .slots
            .iter()
            .filter_map(|slot| slot.waker.clone())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until `deadline`, like `tokio::time::sleep_until`, a tick late at most.
    ///
    /// Cancellation: nothing is lost.
    pub async fn sleep_until(&self, deadline: Instant) {
        let timer = self.timer();
        timer.set(deadline);
        std::future::poll_fn(|context| timer.poll(context)).await;
    }
}

impl Timer {
    /// Sets or moves the deadline.
    pub fn set(&self, deadline: Instant) {
        let mut entries = self.timers.entries.borrow_mut();
        let slot = &mut entries.slots[self.slot as usize];
        slot.deadline = Some(deadline);
        slot.fired = false;
    }

    /// Sets the deadline to `duration` from now, or to `limit` if that is earlier.
    pub fn set_after(&self, duration: Duration, limit: Option<Instant>) {
        let deadline = self.now() + TICK + duration;
        self.set(limit.map_or(deadline, |limit| limit.min(deadline)));
    }

    /// As [`Timers::now`].
    pub fn now(&self) -> Instant {
        self.timers.now.get()
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        let mut entries = self.timers.entries.borrow_mut();
        let slot = &mut entries.slots[self.slot as usize];
        slot.deadline = None;
        slot.fired = false;
    }

    /// Ready once the deadline has passed, until it is set anew; the task is woken for it.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut entries = self.timers.entries.borrow_mut();
        let slot = &mut entries.slots[self.slot as usize];
        if slot.fired {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Fires it now, whatever its deadline.
    pub fn fire(&self) {
        let waker = {
            let mut entries = self.timers.entries.borrow_mut();
            let slot = &mut entries.slots[self.slot as usize];
            slot.deadline = None;
            slot.fired = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the deadline has passed, as of the last tick.
    pub fn has_fired(&self) -> bool {
        self.timers.entries.borrow().slots[self.slot as usize].fired
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut entries = self.timers.entries.borrow_mut();
        let slot = std::mem::take(&mut entries.slots[self.slot as usize]);
        entries.free.push(self.slot);
        self.timers.used.set(self.timers.used.get() - 1);
        drop(entries);
        drop(slot);
    }
}

async fn run(timers: Weak<Shared>) {
    let mut woken = Vec::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let Some(shared) = timers.upgrade() else { return };
        if shared.used.get() == 0 {
            // Nothing to watch: an idle worker sleeps. The strong handle lives only while the wait is polled by a
            // worker that is alive; it ends with the runtime.
            shared.first.notified().await;
        }
        drop(shared);
        ticks.tick().await;
        // Not when the tick was due: after a sleep that lies as far back as the sleep was long.
        let now = Instant::now();
        let Some(shared) = timers.upgrade() else { return };
        shared.now.set(now);
        shared.entries.borrow_mut().fire(now, &mut woken);
        drop(shared);
        woken.drain(..).for_each(Waker::wake);
    }
}

impl Entries {
    /// Marks what is due and collects whom to wake, so that nobody is woken under the borrow.
    fn fire(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        for slot in &mut self.slots {
            if slot.deadline.is_some_and(|deadline| deadline <= now) {
                slot.deadline = None;
                slot.fired = true;
                woken.extend(slot.waker.take());
            }
        }
        // A burst of clients must not cost a long scan for ever after.
        if self.slots.len() > 1024 && self.free.len() == self.slots.len() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    async fn on_local(test: impl AsyncFnOnce()) {
        LocalSet::new().run_until(test()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fires_after_the_deadline_and_at_most_a_tick_late() {
        on_local(async || {
            let timers = Timers::start();
            let start = Instant::now();
            timers.sleep_until(start + Duration::from_millis(110)).await;
            let late = start.elapsed() - Duration::from_millis(110);
            assert!(late <= TICK, "{late:?}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_deadline_fires_once_at_its_new_time() {
        on_local(async || {
            let timers = Timers::start();
            let timer = timers.timer();
            let start = Instant::now();
            timer.set(start + Duration::from_millis(50));
            timer.set(start + Duration::from_millis(500));
            std::future::poll_fn(|context| timer.poll(context)).await;
            assert!(start.elapsed() >= Duration::from_millis(500));
            timer.clear();
            assert!(!timer.has_fired());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_right_after_a_pause_without_any_timer() {
        on_local(async || {
            let timers = Timers::start();
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_secs(60)).await;
            let _timer = timers.timer();
            let begin = Instant::now();
            assert_eq!(timers.now(), begin);
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert!(timers.now() >= begin, "{:?} ago", begin - timers.now());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_used_again() {
        on_local(async || {
            let timers = Timers::start();
            let first = timers.timer().slot;
            assert_eq!(timers.timer().slot, first);
        })
        .await;
    }
}
