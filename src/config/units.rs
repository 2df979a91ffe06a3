//! Durations (`"4s"`) and sizes (`"64KiB"`) as they are written.

use std::time::Duration;

use super::problem::Wrong;

/// From the largest to the smallest, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Nothing in a proxy lasts longer; it also keeps every deadline far from the end of the clock.
const YEAR: Longest = Longest {
    years: 1,
    words: "a duration of more than a year",
};

/// For what is only told to others: two years are a usual Strict-Transport-Security.
const DECADE: Longest = Longest {
    years: 10,
    words: "a duration of more than ten years",
};

struct Longest {
    years: u64,
    words: &'static str,
}

impl Longest {
    fn days(&self) -> u64 {
        self.years * 365
    }

    fn exceeded(&self) -> Wrong {
        Wrong::new(self.words).help(format!("write at most \"{}d\"", self.days()))
    }
}

/// From the largest to the smallest, in bytes.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads one or more whole numbers, each with a unit: `250ms`, `4s`, `10m`, `1h30m`, `7d`.
///
/// # Errors
/// Anything else, and more than a year.
pub fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    parse_within(text, &YEAR)
}

/// As [`parse_duration`], up to ten years: for what the proxy itself does not wait for.
pub(super) fn parse_age(text: &str) -> Result<Duration, Wrong> {
    parse_within(text, &DECADE)
}

fn parse_within(text: &str, longest: &Longest) -> Result<Duration, Wrong> {
    let wrong = || {
        let message = format!("{text:?} is not a duration");
        let help = match text.parse::<u64>() {
            Ok(number) => {
                format!("add a unit: \"{number}ms\", \"{number}s\", \"{number}m\", \"{number}h\" or \"{number}d\"")
            }
            Err(_) => "write whole numbers with a unit (ms, s, m, h, d): \"250ms\", \"4s\", \"1h30m\"".to_owned(),
        };
        Wrong::new(message).help(help)
    };
    let mut milliseconds: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, unit, after) = split_quantity(rest).ok_or_else(wrong)?;
        let (_, factor) = DURATION_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let part = number.checked_mul(*factor).ok_or_else(|| longest.exceeded())?;
        milliseconds = milliseconds.checked_add(part).ok_or_else(|| longest.exceeded())?;
        rest = after;
    }
    let duration = Duration::from_millis(milliseconds);
    if duration > Duration::from_secs(longest.days() * 86_400) {
        Err(longest.exceeded())
    } else {
        Ok(duration)
    }
}

/// `"10m30s"` is 10, `m`, `30s`. `None` without a number that fits.
fn split_quantity(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let after = &text[digits..];
    let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    Some((number, &after[..letters], &after[letters..]))
}

/// The shortest text that [`parse_duration`] reads as `duration`, which it rounds up to a millisecond.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let whole = DURATION_UNITS
        .iter()
        .find(|(_, factor)| milliseconds.is_multiple_of(*factor));
    let (unit, factor) = whole.expect("a millisecond divides everything");
    format!("{}{unit}", milliseconds / factor)
}

/// Reads a whole number with a unit (`64KiB`, `1MiB`, `512B`) as bytes.
///
/// # Errors
/// Anything else, and what does not fit.
pub fn parse_size(text: &str) -> Result<u64, Wrong> {
    let wrong = || {
        let wrong = Wrong::new(format!("{text:?} is not a size"));
        match text
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .trim_end()
            .parse::<u64>()
        {
            Ok(number) => wrong.help(format!(
                "write \"{number}KiB\" or \"{number}MiB\", or the bytes as a plain number"
            )),
            Err(_) => wrong.help("write a whole number with a unit (B, KiB, MiB, GiB), or the bytes as a plain number"),
        }
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let (_, factor) = SIZE_UNITS
        .iter()
        .find(|(unit, _)| *unit == &text[digits..])
        .ok_or_else(wrong)?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

/// The shortest text that [`parse_size`] reads as `bytes`.
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let whole = SIZE_UNITS.iter().find(|(_, factor)| bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.expect("a byte divides everything");
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("250ms", 250),
            ("4s", 4_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "4",
            "s",
            "4 s",
            "4S",
            "4M",
            "-4s",
            "1.5s",
            "4s5",
            "4sec",
            "366d",
            "99999999999999999999s",
        ] {
            let wrong = parse_duration(text).unwrap_err();
            assert!(wrong.what_to_write().is_some(), "{text}");
        }
        assert!(
            parse_duration("15")
                .unwrap_err()
                .what_to_write()
                .unwrap()
                .contains("\"15s\"")
        );
    }

    #[test]
    fn what_is_told_to_others_may_last_longer() {
        assert_eq!(parse_age("730d"), Ok(Duration::from_secs(63_072_000)));
        for text in ["3651d", "9999999999999d", "213503982334d213503982334d"] {
            let wrong = parse_age(text).unwrap_err();
            assert_eq!(wrong.what_to_write(), Some("write at most \"3650d\""), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1MiB", 1_048_576),
            ("2GiB", 1 << 31),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "64kb", "64K", "KiB", "-1KiB", "1.5MiB", "99999999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(
            parse_size("64K")
                .unwrap_err()
                .what_to_write()
                .unwrap()
                .contains("\"64KiB\"")
        );
    }

    proptest! {
        #[test]
        fn what_is_formatted_is_read_back(milliseconds in 0_u64..=31_536_000_000, bytes: u64) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_is_too_odd_to_be_refused(text in "\\PC*|[0-9]{0,22}[a-zA-Zµ]{0,4}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
