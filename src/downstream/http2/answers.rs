//! Answers that have begun and not ended on the wire. Pure.
//!
//! The task of a stream ends when the engine has the last bytes of its answer, which then wait in memory until the client
//! opens its window. Nobody would notice that it never does, as long as the connection is used for something else.

use std::time::Duration;

use tokio::time::Instant;

/// How many streams a client may leave so.
const MAX_STUCK: usize = 8;
/// How often they are counted, at most.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Answers {
    /// The streams, and when something of each was last written.
    open: Vec<(u32, Instant)>,
    write_stall: Duration,
    counted: Instant,
}

impl Answers {
    pub(super) fn new(write_stall: Duration, now: Instant) -> Self {
        Self {
            open: Vec::new(),
            write_stall,
            counted: now,
        }
    }

    /// A part of the answer on `stream` was written, and more is to come.
    pub(super) fn wrote(&mut self, stream: u32, now: Instant) {
        match self.find(stream) {
            Some(place) => self.open[place].1 = now,
            None => self.open.push((stream, now)),
        }
    }

    /// The answer on `stream` is over.
    pub(super) fn end(&mut self, stream: u32) {
        if let Some(place) = self.find(stream) {
            self.open.swap_remove(place);
        }
    }

    /// The newest are the busiest.
    fn find(&self, stream: u32) -> Option<usize> {
        self.open.iter().rposition(|(other, _)| *other == stream)
    }

    /// Whether more answers make no progress than may. Of `in_flight` streams there is still a task, so that they may wait
    /// for their endpoint; the task also ends them if it is the client that they wait for.
    pub(super) fn are_stuck(&mut self, in_flight: usize, now: Instant) -> bool {
        if self.open.len() <= in_flight + MAX_STUCK || now.saturating_duration_since(self.counted) < INTERVAL {
            return false;
        }
        self.counted = now;
        let stalls = |since: Instant| now.saturating_duration_since(since) >= self.write_stall;
        let stalled = self.open.iter().filter(|(_, since)| stalls(*since)).count();
        stalled > in_flight + MAX_STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    #[test]
    fn answers_that_nobody_takes_and_nobody_waits_for_are_stuck() {
        let start = Instant::now();
        let mut answers = Answers::new(STALL, start);
        (0..20).for_each(|stream| answers.wrote(stream, start));
        assert!(!answers.are_stuck(0, start + STALL / 2), "it is too early");
        assert!(
            !answers.are_stuck(20, start + STALL),
            "they may wait for their endpoints"
        );
        assert!(!answers.are_stuck(12, start + STALL), "a few are let be");
        assert!(answers.are_stuck(11, start + STALL));
    }

    #[test]
    fn answers_that_go_on_or_have_ended_are_not() {
        let start = Instant::now();
        for change in [Answers::end, |answers: &mut Answers, stream| {
            answers.wrote(stream, Instant::now() + STALL);
        }] {
            let mut answers = Answers::new(STALL, start);
            (0..20).for_each(|stream| answers.wrote(stream, start));
            (0..12).for_each(|stream| change(&mut answers, stream));
            assert!(!answers.are_stuck(0, start + STALL));
        }
    }
}
