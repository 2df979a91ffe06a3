//! Waiting for what has no event of its own to wait for.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::wire::DEADLINE;

/// Waits until `condition` holds; panics at the deadline with `what` was waited for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "it never came true that {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A gate that a script waits at until the test opens it.
#[derive(Clone, Default)]
pub struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    pub fn open(&self) {
        *self.open.0.lock().expect("nobody panics in here") = true;
        self.open.1.notify_all();
    }

    /// Panics when the gate stays shut until the deadline.
    pub fn wait(&self) {
        let (lock, changed) = &*self.open;
        let shut = lock.lock().expect("nobody panics in here");
        let (open, _) = changed
            .wait_timeout_while(shut, DEADLINE, |open| !*open)
            .expect("nobody panics in here");
        assert!(*open, "the gate was never opened");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_holds_until_it_is_opened() {
        let gate = Gate::default();
        let waiter = thread::spawn({
            let gate = gate.clone();
            move || gate.wait()
        });
        assert!(!waiter.is_finished());
        gate.open();
        waiter.join().expect("the waiter passes");
    }
}
