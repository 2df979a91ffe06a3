//! The idle clients of one listener on one worker, the longest idle first: who gives way under pressure.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;

use super::state::{Ending, State};

#[derive(Debug, Default)]
pub(super) struct Parked {
    clients: RefCell<BTreeMap<(Instant, u64), Rc<State>>>,
    next: Cell<u64>,
}

/// A client's place among the parked; leaving it is dropping it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    parked: &'a Parked,
    key: (Instant, u64),
}

impl Parked {
    pub(super) fn enter(&self, state: &Rc<State>) -> Place<'_> {
        let key = (
            state.idle_since().unwrap_or_else(Instant::now),
            self.next.replace(self.next.get() + 1),
        );
        self.clients.borrow_mut().insert(key, Rc::clone(state));
        Place { parked: self, key }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Since when the longest-idle client has been idle.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.clients.borrow().keys().next().map(|(since, _)| *since)
    }

    /// Ends the longest-idle client; `false` when nobody is idle.
    pub(super) fn shed_one(&self) -> bool {
        let oldest = self.clients.borrow_mut().pop_first();
        let Some((_, state)) = oldest else { return false };
        state.end_with(Ending::Shed);
        true
    }

    /// Ends every client that has been idle for longer than `idle_timeout`.
    pub(super) fn shed_idle(&self, idle_timeout: Duration, now: Instant) {
        while self
            .oldest()
            .is_some_and(|since| now.saturating_duration_since(since) >= idle_timeout)
        {
            self.shed_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.parked.clients.borrow_mut().remove(&self.key);
    }
}

/// The idle timeout at a fill of `connections` out of `max`: whole up to 80 %, then falling in a straight line to a
/// tenth.
pub(super) fn idle_timeout_under_pressure(idle_timeout: Duration, connections: usize, max: usize) -> Duration {
    let fill = connections as f64 / max.max(1) as f64;
    let pressure = ((fill - 0.8) / 0.2).clamp(0.0, 1.0);
    idle_timeout.mul_f64(1.0 - 0.9 * pressure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_timeouts_shrink_above_four_fifths() {
        let at = |connections| idle_timeout_under_pressure(Duration::from_secs(60), connections, 100);
        assert_eq!(at(0), Duration::from_secs(60));
        assert_eq!(at(80), Duration::from_secs(60));
        assert_eq!(at(90).as_secs(), 33);
        assert_eq!(at(100).as_secs(), 6);
        assert_eq!(at(120).as_secs(), 6);
    }
}
