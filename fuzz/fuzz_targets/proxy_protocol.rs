//! A PROXY header: no panic, the same outcome byte by byte, and what it names is read back from what we would write.
#![no_main]

use forebay::net::proxy_protocol::{Beginning, MAX_SIZE, Version, encode, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let first = (0..=bytes.len())
        .map(|length| parse(&bytes[..length]))
        .find(|part| *part != Ok(Beginning::Partial));
    assert_eq!(first.unwrap_or(Ok(Beginning::Partial)), whole);
    let Ok(Beginning::Header(header)) = whole else { return };
    assert!(header.length <= bytes.len().min(MAX_SIZE));
    let Some(addresses) = header.addresses else { return };
    for version in [Version::V1, Version::V2] {
        let written = encode(version, addresses.source, addresses.destination);
        let Ok(Beginning::Header(again)) = parse(&written) else { panic!("{written:?}") };
        let again = again.addresses.expect("addresses were written");
        assert_eq!(again.source.ip().to_canonical(), addresses.source.ip().to_canonical());
        assert_eq!(again.destination.port(), addresses.destination.port());
    }
});
