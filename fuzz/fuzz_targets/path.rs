//! A path: no panic; one that passes stays where it is when an endpoint decodes and resolves it.
#![no_main]

use forebay::http1::{check_path, is_safe_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    if check_path(path).is_err() {
        return;
    }
    assert!(is_safe_path(path));
    let decoded = decode(path);
    assert_eq!(slashes(path), slashes(&decoded), "an escape must not add a segment");
    for segment in decoded.split(|&byte| byte == b'/' || byte == b'\\') {
        assert!(segment != b"." && segment != b"..");
    }
});

fn slashes(path: &[u8]) -> usize {
    path.iter().filter(|&&byte| byte == b'/' || byte == b'\\').count()
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    loop {
        match rest {
            [b'%', high, low, after @ ..] => {
                let digits = [char::from(*high), char::from(*low)];
                let value = digits.iter().fold(0, |value, digit| {
                    value * 16 + digit.to_digit(16).expect("a valid escape")
                });
                decoded.push(u8::try_from(value).expect("two digits"));
                rest = after;
            }
            [byte, after @ ..] => {
                decoded.push(*byte);
                rest = after;
            }
            [] => return decoded,
        }
    }
}
