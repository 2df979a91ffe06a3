//! The screen, and the authority: no panic; a head that passes has none of the bytes that make two readers disagree.
#![no_main]

use forebay::http1::{parse_authority, screen_request_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(authority) = parse_authority(bytes) {
        assert!(bytes.starts_with(authority.host.as_bytes()));
    }
    if screen_request_head(bytes).is_ok() {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a screened head has its end")
            + 4;
        for line in bytes[..end - 2].split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r\n").expect("every line ends in CRLF");
            assert!(!line.contains(&b'\r') && !line.contains(&0));
        }
        assert!(
            !bytes[..end]
                .windows(3)
                .any(|window| window == b"\r\n " || window == b"\r\n\t"),
            "a folded line"
        );
        assert!(
            screen_request_head(&bytes[..end]).is_ok(),
            "what follows a head must not matter"
        );
        assert!(screen_request_head(&bytes[..end - 1]).is_err(), "a head needs its end");
    }
});
