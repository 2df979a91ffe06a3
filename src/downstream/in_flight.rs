//! A request, from its head to the end of its answer.

use std::rc::Rc;

use super::state::State;

/// A request that has not been answered whole.
#[derive(Debug)]
pub(super) struct InFlight(Rc<State>);

impl InFlight {
    /// Counts a request that has begun.
    pub(super) fn begin(state: Rc<State>) -> Self {
        state.begin();
        Self(state)
    }

    /// The same for what goes on beyond the answer.
    pub(super) fn beyond(&self) -> Self {
        self.0.begin_beyond();
        Self(Rc::clone(&self.0))
    }

    pub(super) fn state(&self) -> &Rc<State> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}
