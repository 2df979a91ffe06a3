//! How values become text: the one encoder for every field, in both formats.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

/// Bytes of a path that are written.
pub(super) const PATH_LIMIT: usize = 2048;
/// Bytes of any other field that are written.
pub(super) const DEFAULT_LIMIT: usize = 256;

/// Writes `bytes` so that they can stand between double quotes in JSON (RFC 8259 7), and on one line of text.
///
/// Quotes, backslashes and everything that could move a cursor or end a line (C0, DEL, C1, U+2028, U+2029) are
/// escaped; what is not UTF-8 becomes U+FFFD. More than `limit` bytes are cut, and `…` says so.
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let (bytes, cut) = if bytes.len() > limit {
        (&bytes[..char_boundary(bytes, limit)], "…")
    } else {
        (bytes, "")
    };
    // Nearly every value is plain, and this look over it costs a fraction of decoding it.
    if bytes
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\')
    {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            valid(out, chunk.valid());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    out.extend_from_slice(cut.as_bytes());
}

/// The last place at or before `limit` that is not inside a character.
fn char_boundary(bytes: &[u8], limit: usize) -> usize {
    let is_boundary = |i: &usize| bytes[*i] & 0xC0 != 0x80;
    // A character has at most four bytes; where that many do not begin one, the bytes are not UTF-8 anyway.
    (limit.saturating_sub(3)..=limit)
        .rev()
        .find(is_boundary)
        .unwrap_or(limit)
}

fn valid(out: &mut Vec<u8>, text: &str) {
    let mut start = 0;
    for (i, c) in text.char_indices() {
        if c != '"' && c != '\\' && !c.is_control() && c != '\u{2028}' && c != '\u{2029}' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[start..i]);
        start = i + c.len_utf8();
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c => display(out, &format_args!("\\u{:04x}", u32::from(c))),
        }
    }
    out.extend_from_slice(&text.as_bytes()[start..]);
}

pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds with three digits after the point.
pub(super) fn milliseconds(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    digits(out, micros % 1000, 3);
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T18:16:41.023Z`.
///
/// A clock before 1970 is written as 1970, one after the year 9999 as that year's end: four digits is all that the
/// format has (RFC 3339 5.6).
pub(super) fn time(out: &mut Vec<u8>, time: SystemTime) {
    const LAST: Duration = Duration::from_millis(253_402_300_799_999);
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .min(LAST);
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    for (value, width, separator) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (seconds / 3600 % 24, 2, b':'),
        (seconds / 60 % 60, 2, b':'),
        (seconds % 60, 2, b'.'),
        (since.subsec_millis().into(), 3, b'Z'),
    ] {
        digits(out, value, width);
        out.push(separator);
    }
}

/// Year, month and day (both from 1) of the day that is `days` after 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from 1 March, so that the leap day is the last one of its year; the calendar repeats after 400
/// years, which are 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on the months have 31, 30, 31, 30, 31 days, again and again: 153 in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (400 * era + year_of_era + carry, month, day)
}

/// `value` with leading zeros, `width` digits in all.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// What says itself without anything that needs escaping.
pub(super) fn display(out: &mut Vec<u8>, value: &impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(bytes: &[u8], limit: usize) -> String {
        let mut out = Vec::new();
        text(&mut out, bytes, limit);
        String::from_utf8(out).unwrap()
    }

    fn time_of(millis: u64) -> String {
        let mut out = Vec::new();
        time(&mut out, SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_break_a_line_is_escaped() {
        assert_eq!(text_of(b"a\"b\\c\n\0\x7f", 99), r#"a\"b\\c\u000a\u0000\u007f"#);
        assert_eq!(
            text_of("\u{85}\u{2028}\u{2029}é😀".as_bytes(), 99),
            r"\u0085\u2028\u2029é😀"
        );
        assert_eq!(text_of(b"x\xff\xfey\xe2\x82", 99), "x\u{fffd}\u{fffd}y\u{fffd}");
    }

    #[test]
    fn a_cut_is_marked_and_splits_no_character() {
        assert_eq!(text_of(b"abcd", 4), "abcd");
        assert_eq!(text_of(b"abcde", 4), "abcd…");
        assert_eq!(text_of("abc😀".as_bytes(), 4), "abc…");
        assert_eq!(text_of("abc😀".as_bytes(), 6), "abc…");
        assert_eq!(text_of("abé!".as_bytes(), 4), "abé…");
        assert_eq!(text_of(&[0x80; 20], 4).chars().count(), 5);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time_of(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time_of(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time_of(951_868_799_999), "2000-02-29T23:59:59.999Z");
        assert_eq!(time_of(1_709_164_800_001), "2024-02-29T00:00:00.001Z");
        assert_eq!(time_of(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(time_of(u64::MAX / 1000), "9999-12-31T23:59:59.999Z");
        let mut out = Vec::new();
        time(&mut out, SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(out, b"1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn days_follow_one_another() {
        let length = |year: u64, month| match month {
            4 | 6 | 9 | 11 => 30,
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(civil(days), expected);
            expected = match expected {
                (year, 12, 31) => (year + 1, 1, 1),
                (year, month, day) if day == length(year, month) => (year, month + 1, 1),
                (year, month, day) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn milliseconds_keep_the_microseconds() {
        let mut out = Vec::new();
        milliseconds(&mut out, Duration::from_nanos(12_003_456_789));
        assert_eq!(out, b"12003.456");
    }

    proptest! {
        #[test]
        fn no_raw_control_and_a_bounded_length(
            bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 4usize..100,
        ) {
            let written = text_of(&bytes, limit);
            prop_assert!(!written.chars().any(char::is_control));
            prop_assert!(written.len() <= 6 * limit + "…".len());
            let back: String = serde_json::from_str(&format!("\"{written}\"")).unwrap();
            if bytes.len() <= limit {
                prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
            }
        }
    }
}
