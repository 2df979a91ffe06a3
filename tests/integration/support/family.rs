//! All processes that a command under test has started, however they are related.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// What they are known by, since they inherit it.
const MARK: &str = "FOREBAY_TEST_MARK";

/// A name that no other test has.
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A command with all that it starts.
pub struct Family(String);

impl Family {
    pub fn of(command: &mut Command) -> Family {
        let mark = unique();
        command.env(MARK, &mark);
        Family(mark)
    }

    /// The command lines of those that live.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.0).into_bytes();
        let is_marked = |environment: &[u8]| environment.split(|byte| *byte == 0).any(|entry| entry == mark);
        let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
        processes
            .filter(|entry| fs::read(entry.path().join("environ")).is_ok_and(|environment| is_marked(&environment)))
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .collect()
    }
}
