//! Request heads, and the authority: no panic; a head that is accepted has none of the bytes that make two readers
//! disagree, and of one that is refused nothing is lost.
#![no_main]

use bytes::BytesMut;
use forebay::http1::{Limits, decode_request_head, parse_authority, requested};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(authority) = parse_authority(bytes) {
        assert!(bytes.starts_with(authority.host.as_bytes()));
    }
    let decode = |bytes: &[u8]| {
        let mut buffer = BytesMut::from(bytes);
        let decoded = decode_request_head(&mut buffer, &mut HeaderMap::new(), &Limits::default(), 8192);
        if !matches!(decoded, Ok(Some(_))) {
            assert!(bytes.ends_with(&buffer), "something was taken");
            assert!(
                bytes[..bytes.len() - buffer.len()]
                    .chunks(2)
                    .all(|line| line == b"\r\n")
            );
        }
        if let Some((method, path)) = requested(&buffer) {
            assert!(!method.is_empty() && !path.contains(&b'\n'));
        }
        decoded.map(|decoded| decoded.map(|_| bytes.len() - buffer.len()))
    };
    let Ok(Some(end)) = decode(bytes) else { return };
    let head = &bytes[..end];
    assert!(head.ends_with(b"\r\n\r\n"));
    for line in head[..end - 2].split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("every line ends in CRLF");
        assert!(!line.contains(&b'\r') && !line.contains(&0));
    }
    assert!(
        !head.windows(3).any(|window| window == b"\r\n " || window == b"\r\n\t"),
        "a folded line"
    );
    assert_eq!(decode(head), Ok(Some(end)), "what follows a head must not matter");
    assert!(!matches!(decode(&head[..end - 1]), Ok(Some(_))), "a head needs its end");
});
