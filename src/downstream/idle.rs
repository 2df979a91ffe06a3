//! The idle clients of one listener on one worker, the longest idle first: who gives way under pressure.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::state::{Ending, State};

/// A list through a slab, so that a client that falls idle or wakes, which happens with every request, costs a few
/// stores. Whoever falls idle is younger than all before, so the list is in order by itself.
#[derive(Debug)]
pub(super) struct IdleClients {
    nodes: RefCell<Nodes>,
    parked: Cell<usize>,
    /// Whether a client has left memory behind, by parking or for good, since this was last asked.
    memory_left: Cell<bool>,
}

#[derive(Debug, Default)]
struct Nodes {
    slab: Vec<Node>,
    free: Vec<u32>,
    first: Option<u32>,
    last: Option<u32>,
}

#[derive(Debug)]
struct Node {
    state: Weak<State>,
    /// `None` while the client is busy, and not in the list.
    since: Option<Instant>,
    previous: Option<u32>,
    next: Option<u32>,
}

/// A client's node; gives itself back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    clients: Rc<IdleClients>,
    node: u32,
}

/// A client counted as parked, until it is dropped.
#[derive(Debug)]
pub(super) struct Parked<'a>(&'a IdleClients);

impl IdleClients {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            nodes: RefCell::default(),
            parked: Cell::new(0),
            memory_left: Cell::new(false),
        })
    }

    /// A place for a client, who is busy at first.
    pub(super) fn place(self: &Rc<Self>, state: Weak<State>) -> Place {
        let mut nodes = self.nodes.borrow_mut();
        let node = Node {
            state,
            since: None,
            previous: None,
            next: None,
        };
        let index = match nodes.free.pop() {
            Some(index) => {
                nodes.slab[index as usize] = node;
                index
            }
            None => {
                nodes.slab.push(node);
                u32::try_from(nodes.slab.len() - 1).expect("fewer clients than file descriptors")
            }
        };
        Place {
            clients: Rc::clone(self),
            node: index,
        }
    }

    pub(super) fn park(&self) -> Parked<'_> {
        self.parked.set(self.parked.get() + 1);
        self.note_memory_left();
        Parked(self)
    }

    /// A client has left memory behind.
    pub(super) fn note_memory_left(&self) {
        self.memory_left.set(true);
    }

    pub(super) fn take_memory_left(&self) -> bool {
        self.memory_left.take()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked.get()
    }

    /// Since when the longest-idle client has been idle.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let nodes = self.nodes.borrow();
        nodes.slab[nodes.first? as usize].since
    }

    /// Ends the longest-idle client; `false` when nobody is idle.
    pub(super) fn shed_one(&self) -> bool {
        let state = {
            let mut nodes = self.nodes.borrow_mut();
            let Some(first) = nodes.first else { return false };
            nodes.unlink(first);
            nodes.slab[first as usize].state.upgrade()
        };
        if let Some(state) = state {
            state.end_with(Ending::Shed);
        }
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

impl Place {
    /// The client has fallen idle.
    pub(super) fn enter(&self, since: Instant) {
        self.clients.nodes.borrow_mut().link(self.node, since);
    }

    /// The client is busy.
    pub(super) fn leave(&self) {
        self.clients.nodes.borrow_mut().unlink(self.node);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.note_memory_left();
        let mut nodes = self.clients.nodes.borrow_mut();
        nodes.unlink(self.node);
        nodes.slab[self.node as usize].state = Weak::new();
        nodes.free.push(self.node);
        if nodes.free.len() == nodes.slab.len() {
            // After a burst of clients, and when the last is gone.
            *nodes = Nodes::default();
        }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.set(self.0.parked.get() - 1);
    }
}

impl Nodes {
    fn link(&mut self, index: u32, since: Instant) {
        let last = self.last;
        let node = &mut self.slab[index as usize];
        if node.since.is_some() {
            return;
        }
        (node.since, node.previous, node.next) = (Some(since), last, None);
        match last {
            Some(last) => self.slab[last as usize].next = Some(index),
            None => self.first = Some(index),
        }
        self.last = Some(index);
    }

    fn unlink(&mut self, index: u32) {
        let node = &mut self.slab[index as usize];
        if node.since.take().is_none() {
            return;
        }
        let (previous, next) = (node.previous.take(), node.next.take());
        match previous {
            Some(previous) => self.slab[previous as usize].next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => self.slab[next as usize].previous = previous,
            None => self.last = previous,
        }
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

    #[test]
    fn the_longest_idle_is_first_whoever_leaves_in_between() {
        let clients = IdleClients::new();
        let places: Vec<_> = (0..4).map(|_| clients.place(Weak::new())).collect();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clients.oldest(), None);
        for (index, place) in places.iter().enumerate() {
            place.enter(at(index as u64));
        }
        places[0].leave();
        places[2].leave();
        assert_eq!(clients.oldest(), Some(at(1)));
        places[0].enter(at(9));
        places[1].leave();
        assert_eq!(clients.oldest(), Some(at(3)));
        assert!(clients.shed_one());
        assert_eq!(clients.oldest(), Some(at(9)));
        drop(places);
        assert_eq!(clients.oldest(), None);
        assert!(!clients.shed_one());
    }
}
