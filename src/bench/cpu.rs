//! CPU time of processes, as the kernel counts it (`man 5 proc`).

use std::{fs, time::Duration};

/// The clock ticks in `/proc/PID/stat`: 100 per second on every Linux that a program sees (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Where user and system time stand in `/proc/PID/stat` behind the name, counted from the state.
const USER_TIME: usize = 11;

/// The CPU time of all threads of a process so far, or `None` where there is none to be known.
///
/// In nanoseconds where the kernel keeps them (`schedstat`), else in ticks of 10 ms. A thread that has ended is missing
/// in the first; those of proxies and endpoints do not end while they serve.
pub fn cpu_time(process: u32) -> Option<Duration> {
    nanoseconds(process).or_else(|| ticks(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?))
}

fn nanoseconds(process: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let times = threads.map(|thread| on_cpu(&fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?));
    times.sum()
}

/// The first of its three numbers: nanoseconds on a CPU.
fn on_cpu(schedstat: &str) -> Option<Duration> {
    let first = schedstat.split_whitespace().next()?;
    first.parse().ok().map(Duration::from_nanos)
}

fn ticks(stat: &str) -> Option<Duration> {
    // The name stands in parentheses, and may hold some itself.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut numbers = behind_name.split_whitespace().skip(USER_TIME);
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let (user, system) = (next()?, next()?);
    TICK.checked_mul(user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_on_cpu_is_the_first_number() {
        assert_eq!(on_cpu("1234567 89 10\n"), Some(Duration::from_nanos(1_234_567)));
        for text in ["", "x 1 2"] {
            assert_eq!(on_cpu(text), None, "{text}");
        }
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 123 0 0 0 250 50 0 0 20 0 1 0 100\n";
        assert_eq!(ticks(stat), Some(Duration::from_secs(3)));
        for text in ["", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194304 123 0 0 0 x 50"] {
            assert_eq!(ticks(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_has_used_some_and_no_other_is_read() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_time(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_eq!(cpu_time(u32::MAX), None);
    }
}
