//! The worker's pipes of the kernel, which bytes pass on their way from one socket to another.
//!
//! A pipe is somebody's only while bytes are in it, so that a worker needs as many as it has clients that are slower than
//! their endpoints.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    os::fd::OwnedFd,
    time::Duration,
};

use tokio::time::Instant;

use super::sockopt;

/// What one holds. Per MiB, 64 KiB cost half as much processor time again, and 1 MiB no less.
pub(super) const CAPACITY: usize = 256 * 1024;
/// Pipes of one worker: two descriptors each. Eight workers stay within the 16,384 pages that the kernel lets a user without
/// privileges have (`pipe-user-pages-soft`).
const MOST: usize = 32;
/// Of the descriptors that the process may have, a worker's pipes take two in so many at most.
const SHARE: u64 = 64;
/// How long none is opened after that has failed.
const REST: Duration = Duration::from_secs(1);

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static LIMIT: OnceCell<usize> = const { OnceCell::new() };
    static RESTS_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

#[derive(Debug)]
pub(super) struct Pipe {
    /// What was written comes out here.
    pub(super) from: OwnedFd,
    pub(super) to: OwnedFd,
}

impl Pipe {
    /// An empty one, if there is one to be had.
    pub(super) fn take() -> Option<Self> {
        if let Some(pipe) = IDLE.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if OPEN.get() >= limit() || RESTS_UNTIL.get().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match sockopt::pipe(CAPACITY) {
            Ok((from, to)) => {
                OPEN.set(OPEN.get() + 1);
                Some(Self { from, to })
            }
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

fn limit() -> usize {
    LIMIT.with(|limit| {
        *limit.get_or_init(|| {
            let share = sockopt::open_file_limit().unwrap_or(0) / SHARE;
            usize::try_from(share).unwrap_or(MOST).min(MOST)
        })
    })
}

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
    }
}
