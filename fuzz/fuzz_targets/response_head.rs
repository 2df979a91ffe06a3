//! A response head: no panic, the same result in one read and in two, exactly the head is taken.
#![no_main]

use bytes::BytesMut;
use forebay::http1::{Limits, decode_response_head};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (method, cut, bytes) = input;
    let method = [Method::GET, Method::HEAD, Method::CONNECT][usize::from(method) % 3].clone();
    let limits = Limits {
        max_head_size: 4096,
        max_headers: 16,
    };
    let decode = |buffer: &mut BytesMut| {
        decode_response_head(buffer, &method, &mut HeaderMap::new(), &limits)
            .map(|head| head.map(|head| format!("{head:?}")))
    };
    let mut whole = BytesMut::from(bytes);
    let expected = decode(&mut whole);

    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut split = BytesMut::from(first);
    let mut outcome = decode(&mut split);
    split.extend_from_slice(second);
    if outcome == Ok(None) {
        outcome = decode(&mut split);
    }
    assert_eq!(expected, outcome);
    if expected.is_ok() {
        assert_eq!(whole, split);
    }
    if let Ok(Some(_)) = expected {
        assert!(bytes[..bytes.len() - whole.len()].ends_with(b"\r\n\r\n"));
    }
});
