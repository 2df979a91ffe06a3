//! Lines on their way to the writing thread.
//!
//! Lines are copied into one buffer under a lock and taken out all at once, by exchanging it for an empty one. So
//! nothing is allocated per line, one system call writes many of them, and the memory is bounded in bytes: a channel
//! of lines would let clients with long paths fill hundreds of megabytes while the disk stands still.

use std::{
    fs::File,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::telemetry::counter::SharedCounter;

/// Lines that may be queued.
const MAX_LINES: usize = 8192;
/// Bytes that may be queued.
const MAX_BYTES: usize = 4 << 20;
/// How long a first line waits for others, so that a busy log does not wake its thread for each line.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes after which no more are waited for.
const BATCH_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Queue<T = File> {
    state: Mutex<State<T>>,
    /// There is something to do for the writing thread.
    work: Condvar,
    /// The writing thread has finished a batch.
    settled: Condvar,
    pub(super) dropped: SharedCounter,
}

#[derive(Debug)]
struct State<T> {
    bytes: Vec<u8>,
    lines: usize,
    /// Lines ever queued, and how many of them were written or dropped since.
    queued: u64,
    settled: u64,
    /// Replaces the output after what is queued.
    output: Option<T>,
    urgent: Urgency,
    closed: Closed,
}

#[derive(Debug, PartialEq)]
enum Urgency {
    Gather,
    /// Somebody waits for the batch.
    Now,
}

#[derive(Debug, PartialEq)]
enum Closed {
    Open,
    /// No handle is left.
    Closed,
}

/// What the writing thread has to do next.
pub(super) enum Work<T> {
    /// The buffer that was passed in holds lines, whole ones; afterwards the output changes, if there is one.
    Write {
        lines: u64,
        then: Option<T>,
    },
    End,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let state = State {
            bytes: Vec::new(),
            lines: 0,
            queued: 0,
            settled: 0,
            output: None,
            urgent: Urgency::Gather,
            closed: Closed::Open,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            settled: Condvar::new(),
            dropped: SharedCounter::new(),
        }
    }

    /// A panic under the lock leaves counts and whole lines behind, so the log goes on.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line that ends in a line feed, or counts it as dropped. The lock is held for a copy, never for output.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines >= MAX_LINES || state.bytes.len() + line.len() > MAX_BYTES {
            drop(state);
            self.dropped.add(1);
            return;
        }
        let before = state.bytes.len();
        state.bytes.extend_from_slice(line);
        state.lines += 1;
        state.queued += 1;
        // Only the first line of a batch and the one that fills it cost a system call.
        let wake = before == 0 || (before < BATCH_BYTES && state.bytes.len() >= BATCH_BYTES);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    pub(super) fn replace_output(&self, output: T) {
        let mut state = self.lock();
        state.output = Some(output);
        state.urgent = Urgency::Now;
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = Closed::Closed;
        self.work.notify_one();
    }

    /// Whether all that was queued before is settled within `timeout`.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let goal = state.queued;
        if state.settled < goal {
            state.urgent = Urgency::Now;
            self.work.notify_one();
        }
        let waited = self
            .settled
            .wait_timeout_while(state, timeout, |state| state.settled < goal || state.output.is_some());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits for work and exchanges `buffer` (empty) for what is queued.
    pub(super) fn take(&self, buffer: &mut Vec<u8>) -> Work<T> {
        let nothing_to_do =
            |state: &mut State<T>| state.lines == 0 && state.output.is_none() && state.closed == Closed::Open;
        let gathering = |state: &mut State<T>| {
            state.bytes.len() < BATCH_BYTES && state.urgent == Urgency::Gather && state.closed == Closed::Open
        };
        let state = self
            .work
            .wait_while(self.lock(), nothing_to_do)
            .unwrap_or_else(PoisonError::into_inner);
        let gathered = self.work.wait_timeout_while(state, GATHER, gathering);
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        if state.lines == 0 && state.output.is_none() && state.closed == Closed::Closed {
            return Work::End;
        }
        mem::swap(&mut state.bytes, buffer);
        state.urgent = Urgency::Gather;
        Work::Write {
            lines: mem::take(&mut state.lines) as u64,
            then: state.output.take(),
        }
    }

    /// So many lines are written or counted as dropped.
    pub(super) fn settle(&self, lines: u64) {
        self.lock().settled += lines;
        self.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_without_waiting() {
        let queue = Queue::<()>::new();
        for _ in 0..MAX_LINES + 10 {
            queue.push(b"x\n");
        }
        assert_eq!(queue.dropped.get(), 10);
        let mut buffer = Vec::new();
        assert!(matches!(queue.take(&mut buffer), Work::Write { lines, then: None } if lines == MAX_LINES as u64));
        assert_eq!(buffer.len(), 2 * MAX_LINES);
        queue.push(b"y\n");
        assert_eq!(queue.dropped.get(), 10);
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let queue = Queue::<()>::new();
        let line = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..5 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped.get(), 1);
    }

    #[test]
    fn the_output_changes_after_what_was_queued() {
        let queue = Queue::new();
        queue.push(b"1\n");
        queue.replace_output("new");
        let mut buffer = Vec::new();
        assert!(matches!(
            queue.take(&mut buffer),
            Work::Write {
                lines: 1,
                then: Some("new")
            }
        ));
        assert_eq!(buffer, b"1\n");
    }

    #[test]
    fn a_closed_queue_is_emptied_before_it_ends() {
        let queue = Queue::<()>::new();
        queue.push(b"1\n");
        queue.close();
        let mut buffer = Vec::new();
        assert!(matches!(queue.take(&mut buffer), Work::Write { lines: 1, .. }));
        buffer.clear();
        assert!(matches!(queue.take(&mut buffer), Work::End));
    }

    #[test]
    fn a_flush_waits_for_what_was_queued_and_no_longer_than_it_may() {
        let queue = Queue::<()>::new();
        assert!(queue.flush(Duration::ZERO));
        queue.push(b"1\n");
        assert!(!queue.flush(Duration::from_millis(1)));
        queue.settle(1);
        assert!(queue.flush(Duration::ZERO));
    }
}
