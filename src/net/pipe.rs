//! The worker's pipes of the kernel, which bytes pass on their way from one socket to another.
//!
//! A pipe is somebody's only while bytes are in it, so that a worker needs as many as it has clients that are slower than
//! their endpoints.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::sockopt;

/// What one holds. Per MiB, 64 KiB cost half as much processor time again, and 1 MiB no less.
pub(super) const CAPACITY: usize = 256 * 1024;
/// Pipes of the process: three quarters of the 16,384 pages that the kernel lets a user without privileges have
/// (`pipe-user-pages-soft`).
const MOST: usize = 192;
/// One for so many descriptors that the process may have. It takes two.
const SHARE: u64 = 32;
/// How long none is opened after that has failed.
const REST: Duration = Duration::from_secs(1);

/// Pipes that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static RESTS_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

#[derive(Debug)]
pub(super) struct Pipe {
    /// What was written comes out here.
    pub(super) from: OwnedFd,
    pub(super) to: OwnedFd,
    _place: Place,
}

/// The right to have one open.
#[derive(Debug)]
struct Place;

impl Pipe {
    /// An empty one, if there is one to be had.
    pub(super) fn take() -> Option<Self> {
        if let Some(pipe) = IDLE.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if RESTS_UNTIL.get().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let place = Place::take()?;
        match sockopt::pipe(CAPACITY) {
            Ok((from, to)) => Some(Self {
                from,
                to,
                _place: place,
            }),
            Err(error) => {
                tracing::debug!(%error, "there is no pipe to be had");
                RESTS_UNTIL.set(Some(Instant::now() + REST));
                None
            }
        }
    }

    /// It is empty again.
    pub(super) fn give_back(self) {
        IDLE.with_borrow_mut(|idle| idle.push(self));
    }
}

/// The kernel cannot do what pipes are for; none is given for a while.
pub(super) fn refused(error: &io::Error) {
    tracing::debug!(%error, "nothing can be spliced here");
    RESTS_UNTIL.set(Some(Instant::now() + REST));
    drop(IDLE.take());
}

impl Place {
    fn take() -> Option<Self> {
        static LIMIT: OnceLock<usize> = OnceLock::new();
        let limit = *LIMIT.get_or_init(|| {
            let share = sockopt::open_file_limit().unwrap_or(0) / SHARE;
            usize::try_from(share).unwrap_or(MOST).min(MOST)
        });
        let place = OPEN.fetch_add(1, Relaxed);
        // It gives itself back.
        let taken = Self;
        (place < limit).then_some(taken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}
