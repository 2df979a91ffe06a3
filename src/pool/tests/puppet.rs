//! A connection that does what its test says and tells how it ended.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicIsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Waker},
};

use super::{CloseReason, Connection, End, FirstClose, Identity, Liveness};

#[derive(Debug)]
pub(super) struct Puppet {
    pub(super) id: u32,
    pub(super) strings: Arc<Strings>,
    alive: Option<Arc<Alive>>,
    identity: Option<Identity>,
}

/// What the test keeps of it.
#[derive(Debug)]
pub(super) struct Strings {
    liveness: Mutex<Liveness>,
    ended: Mutex<Option<CloseReason>>,
    /// Rings when the liveness changes.
    alarm: Mutex<Option<Waker>>,
    /// Whether its end takes until the test says that it is done.
    lingers: AtomicBool,
    lingering: Mutex<Option<(Puppet, End<Puppet>)>>,
}

/// How many connections exist, and the most that ever did.
#[derive(Debug, Default)]
pub(super) struct Alive {
    pub(super) now: AtomicIsize,
    pub(super) peak: AtomicIsize,
}

impl Puppet {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            strings: Arc::new(Strings {
                liveness: Mutex::new(Liveness::Silent),
                ended: Mutex::new(None),
                alarm: Mutex::new(None),
                lingers: AtomicBool::new(false),
                lingering: Mutex::new(None),
            }),
            alive: None,
            identity: None,
        }
    }

    /// Opened for this.
    pub(super) fn of(id: u32, identity: Option<&Identity>) -> Self {
        let mut puppet = Self::new(id);
        puppet.identity = identity.cloned();
        puppet
    }

    pub(super) fn counted(id: u32, alive: &Arc<Alive>) -> Self {
        let now = alive.now.fetch_add(1, SeqCst) + 1;
        alive.peak.fetch_max(now, SeqCst);
        let mut puppet = Self::new(id);
        puppet.alive = Some(Arc::clone(alive));
        puppet
    }
}

impl Puppet {
    pub(super) fn counted_of(id: u32, alive: &Arc<Alive>, identity: &Identity) -> Self {
        let mut puppet = Self::counted(id, alive);
        puppet.identity = Some(identity.clone());
        puppet
    }
}

impl Strings {
    pub(super) fn set(&self, liveness: Liveness) {
        *self.liveness.lock().expect("unpoisoned") = liveness;
        if let Some(alarm) = &*self.alarm.lock().expect("unpoisoned") {
            alarm.wake_by_ref();
        }
    }

    pub(super) fn liveness(&self) -> Liveness {
        *self.liveness.lock().expect("unpoisoned")
    }

    pub(super) fn ended(&self) -> Option<CloseReason> {
        *self.ended.lock().expect("unpoisoned")
    }

    /// From now on its close waits for [`Strings::finish`].
    pub(super) fn linger(&self) {
        self.lingers.store(true, Relaxed);
    }

    /// The close that has begun is done.
    pub(super) fn finish(&self, first: FirstClose) {
        let lingering = self.lingering.lock().expect("unpoisoned").take();
        let (puppet, end) = lingering.expect("its close has begun");
        drop(puppet);
        end.done(first);
    }

    fn end(&self, reason: CloseReason) {
        let before = self.ended.lock().expect("unpoisoned").replace(reason);
        assert_eq!(before, None, "it ends once");
    }
}

impl Connection for Puppet {
    fn liveness(&mut self) -> Liveness {
        self.strings.liveness()
    }

    fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    fn watch(&self, context: &mut Context<'_>) {
        *self.strings.alarm.lock().expect("unpoisoned") = Some(context.waker().clone());
    }

    fn adopt(self) -> Result<Self, (CloseReason, FirstClose)> {
        let ended = match self.strings.liveness() {
            Liveness::Silent => return Ok(self),
            Liveness::Closed => (CloseReason::ClosedByEndpoint, FirstClose::EndpointFin),
            Liveness::Reset => (CloseReason::ResetByEndpoint, FirstClose::EndpointReset),
            Liveness::Readable => (CloseReason::UnexpectedBytes, FirstClose::OurReset),
            Liveness::SourceGone => (CloseReason::SourceGone, FirstClose::OurReset),
            Liveness::ClientLeft => (CloseReason::ClientLeft, FirstClose::OurFin),
        };
        self.strings.end(ended.0);
        Err(ended)
    }

    fn close(self, end: End<Self>) {
        self.strings.end(end.reason);
        if self.strings.lingers.load(Relaxed) {
            let strings = Arc::clone(&self.strings);
            *strings.lingering.lock().expect("unpoisoned") = Some((self, end));
        } else {
            // Its permit comes free only once it is gone.
            drop(self);
            end.done(FirstClose::OurFin);
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.now.fetch_sub(1, SeqCst);
        }
    }
}
