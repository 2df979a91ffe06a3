//! Numbers, times, lists and port budgets as they are read.

use std::time::Duration;

use crate::ports::budget::{Budget, Demand, Pooling, Verdict, leaves_time_wait};

/// Names that are shown where all are alike; of the others it is said how many they are.
const NAMED: usize = 2;

/// `a`, `a and b`, `a, b and 3 more alike`.
pub(super) fn names(names: &[String]) -> String {
    match names {
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        _ => format!("{} and {} more alike", names[..NAMED].join(", "), names.len() - NAMED),
    }
}

/// A number to the digits that matter.
pub(super) fn rate(number: f64) -> String {
    if number >= 10.0 {
        return format!("{number:.0}");
    }
    let text = format!("{number:.2}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "0" if number > 0.0 => "0.01".to_owned(),
        text => text.to_owned(),
    }
}

pub(super) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else if duration < Duration::from_secs(10) {
        format!("{} s", rate(duration.as_secs_f64()))
    } else {
        format!("{} s", duration.as_secs())
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<_> = items.into_iter().map(String::as_str).collect();
    match items.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `unpooled, fin (61 s)`.
pub(super) fn policy(demand: &Demand) -> String {
    let pooling = match demand.pooling {
        Pooling::Off => "unpooled",
        Pooling::On { .. } => "pooled",
    };
    let close = demand.close.name();
    if leaves_time_wait(demand.close) {
        return format!("{pooling}, {close} ({})", time(demand.time_wait));
    }
    format!("{pooling}, {close}")
}

/// How long the ports last.
pub(super) fn runs_out(budget: &Budget) -> String {
    match budget.verdict {
        Verdict::RunsOut { after } if after.is_zero() => "at once".to_owned(),
        Verdict::RunsOut { after } => time(after),
        _ => "never".to_owned(),
    }
}

/// The requests per second that can go on for ever; `None`: beyond every machine.
pub(super) fn sustains(requests_per_second: Option<f64>) -> String {
    requests_per_second.map_or_else(|| "any rate".to_owned(), |number| format!("{}/s", rate(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        for (number, text) in [
            (0.0, "0"),
            (0.001, "0.01"),
            (0.5, "0.5"),
            (1.25, "1.25"),
            (9.999, "10"),
            (462.8, "463"),
        ] {
            assert_eq!(rate(number), text);
        }
        for (milliseconds, text) in [(40, "40 ms"), (1000, "1 s"), (2500, "2.5 s"), (35_990, "35 s")] {
            assert_eq!(time(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn lists_read_as_sentences() {
        let items = ["a", "b", "c", "d"].map(str::to_owned);
        for (count, all, alike) in [
            (1, "a", "a"),
            (2, "a and b", "a and b"),
            (4, "a, b, c and d", "a, b and 2 more alike"),
        ] {
            assert_eq!(list(&items[..count]), all);
            assert_eq!(names(&items[..count]), alike);
        }
    }
}
