//! What a process says, line by line.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Instant,
};

use super::{eventually::eventually, wire::DEADLINE};

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: Option<()>,
}

/// The lines of one output of a process, read by a thread of their own so that the process never blocks.
#[derive(Clone, Default)]
pub struct Lines {
    said: Arc<(Mutex<Said>, Condvar)>,
}

impl Lines {
    pub fn read(source: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let writing = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                writing.change(|said| said.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            writing.change(|said| said.ended = Some(()));
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.0.lock().expect("nobody panics in here")
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.lock());
        self.said.1.notify_all();
    }

    pub fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// All lines, once there can be no more.
    pub fn wait_for_end(&self) -> Vec<String> {
        eventually("the output ends", || self.lock().ended.is_some());
        self.all()
    }

    /// How many lines contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.lock().lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until a line contains `text`; false when the output ends before, or at the deadline.
    pub fn wait_for(&self, text: &str) -> bool {
        let until = Instant::now() + DEADLINE;
        let mut said = self.lock();
        loop {
            if said.lines.iter().any(|line| line.contains(text)) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if said.ended.is_some() || left.is_zero() {
                return false;
            }
            said = self.said.1.wait_timeout(said, left).expect("nobody panics in here").0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_and_an_end_is_noticed() {
        let lines = Lines::read(&b"one\ntwo\n"[..]);
        assert!(lines.wait_for("two"));
        assert!(!lines.wait_for("three"));
        assert_eq!(lines.all(), ["one", "two"]);
    }
}
