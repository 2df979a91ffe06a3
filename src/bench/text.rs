//! Numbers and paragraphs, as people read them.

/// A number without its fraction, in groups of three; small ones keep a digit of it.
pub fn count(value: f64) -> String {
    if value.fract() != 0.0 && value.abs() < 99.5 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if value < 0.0 { format!("-{grouped}") } else { grouped }
}

/// Microseconds as milliseconds, with three significant digits at least.
pub fn milliseconds(microseconds: f64) -> String {
    decimal(microseconds / 1000.0)
}

/// With three significant digits at least, and no more than two behind the point.
pub fn decimal(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude < 9.995 => format!("{value:.2}"),
        magnitude if magnitude < 99.95 => format!("{value:.1}"),
        _ => count(value.round()),
    }
}

/// A share as a percentage. Only all is 100 %, and only nothing 0 %.
pub fn percent(share: f64) -> String {
    let percentage = share * 100.0;
    if percentage == 0.0 || (share == 1.0) {
        return format!("{percentage:.0} %");
    }
    if share > 0.9995 && share < 1.0 {
        return "> 99.9 %".to_owned();
    }
    if percentage < 0.1 {
        return "< 0.1 %".to_owned();
    }
    if percentage < 9.95 || (share > 0.9 && share < 1.0) {
        return format!("{percentage:.1} %");
    }
    format!("{percentage:.0} %")
}

/// Breaks a paragraph into lines of at most so many characters, unless a word is longer; all but the first are indented.
pub fn wrap(paragraph: &str, width: usize, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        let needed = line.chars().count() + 1 + word.chars().count();
        if line.trim().is_empty() {
            line.push_str(word);
        } else if needed <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("{:indent$}{word}", ""));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_in_groups_of_three() {
        for (value, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (7.25, "7.2"),
            (99.4, "99.4"),
            (99.6, "100"),
            (999.4, "999"),
            (1000.0, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn times_keep_what_tells_them_apart() {
        for (microseconds, text) in [
            (0.0, "0.00"),
            (42.0, "0.04"),
            (1234.0, "1.23"),
            (12_345.0, "12.3"),
            (123_456.0, "123"),
            (9_999_000.0, "9,999"),
        ] {
            assert_eq!(milliseconds(microseconds), text);
        }
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.0001, "< 0.1 %"),
            (0.012, "1.2 %"),
            (0.5, "50 %"),
            (0.954, "95.4 %"),
            (0.99999, "> 99.9 %"),
            (1.0, "100 %"),
            (1.2, "120 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn paragraphs_are_broken_between_words() {
        assert_eq!(wrap("one two  three four", 9, 2), "one two\n  three\n  four");
        assert_eq!(wrap("unbreakable words", 4, 0), "unbreakable\nwords");
        assert_eq!(wrap("", 4, 0), "");
    }
}
