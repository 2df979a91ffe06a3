use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::{
    Addresses, Beginning, Header, MAX_SIZE, Malformed, Version,
    binary::{LOCAL, PROXY, SIGNATURE, crc32c},
    encode, parse,
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn header(length: usize, addresses: Option<(&str, &str)>) -> Result<Beginning, Malformed> {
    let addresses = addresses.map(|(source, destination)| Addresses {
        source: address(source),
        destination: address(destination),
    });
    Ok(Beginning::Header(Header { length, addresses }))
}

/// A header of version 2 with a true length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

/// The addresses and ports of [`IPV4`] with TLVs behind them.
fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    v2(PROXY, 0x11, &[&IPV4, tlvs].concat())
}

#[test]
fn lines_name_the_client() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET";
    assert_eq!(
        parse(line),
        header(line.len() - 3, Some(("192.0.2.1:12345", "198.51.100.2:443")))
    );
    let line = b"PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 0 65535\r\n";
    assert_eq!(
        parse(line),
        header(line.len(), Some(("[2001:db8::1]:0", "[::ffff:10.0.0.1]:65535")))
    );
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN \r\n",
        "PROXY UNKNOWN what ever 1 2 3\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), header(line.len(), None), "{line:?}");
    }
    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {ones} {ones} 65535 65535\r\n");
    assert_eq!((longest.len(), parse(longest.as_bytes())), (107, header(107, None)));
}

#[test]
fn lines_are_read_strictly() {
    use Malformed::*;
    let spaces = |count| format!("PROXY UNKNOWN{}\r\n", " ".repeat(count));
    for (line, expected) in [
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", UnknownProtocol),
        ("PROXY \r\n", UnknownProtocol),
        ("PROXY UNKNOWNS\r\n", UnknownProtocol),
        ("PROXY unknown\r\n", UnknownProtocol),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", UnknownProtocol),
        ("PROXY TCP4\r\n", BadWords),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", BadWords),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", BadWords),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", BadWords),
        ("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", BadAddress),
        ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", BadAddress),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", BadAddress),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", BadAddress),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", BadAddress),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", BadAddress),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", BadAddress),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", BadPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", BadPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", BadPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", BadPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1  2\r\n", BadPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", BadLine),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rG", BadLine),
        ("PROXY\tTCP4", BadLine),
        ("PROXY UNKNOWN a\0b\r\n", BadLine),
        ("PROXY UNKNOWN a\nGET / HTTP/1.1\r\n", BadLine),
        (&spaces(93), TooLong),
        (&spaces(94), TooLong),
        (&spaces(300), TooLong),
        // The last byte that a line may have, whatever follows.
        (&spaces(93).replace('\n', ""), TooLong),
        (&spaces(93).replace('\n', "x"), TooLong),
    ] {
        let expected = match line.as_bytes() {
            // Not the signature, so it may be anything.
            [b'P', b'R', b'O', b'X', b'Y', b'\t', ..] => Ok(Beginning::Other),
            _ => Err(expected),
        };
        assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
    }
    assert_eq!(parse(spaces(92).as_bytes()), header(107, None));
}

#[test]
fn binary_headers_name_the_client() {
    let ipv4 = with_tlvs(b"");
    let known = Some(("192.0.2.1:12345", "198.51.100.2:443"));
    assert_eq!(parse(&[&ipv4[..], b"GET"].concat()), header(28, known));
    let [one, two] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let rest = [&one[..], &two, &[0, 1, 0, 2]].concat();
    assert_eq!(
        parse(&v2(PROXY, 0x21, &rest)),
        header(52, Some(("[2001:db8::1]:1", "[2001:db8::2]:2")))
    );
    // TLVs of an application protocol, of nothing, and of an unknown type.
    let tlvs = [&[0x01, 0, 2][..], b"h2", &[0x04, 0, 0], &[0xee, 0, 1, 7]].concat();
    assert_eq!(parse(&with_tlvs(&tlvs)), header(28 + tlvs.len(), known));
}

#[test]
fn headers_that_name_nobody_keep_the_address_of_the_connection() {
    for (command, family, rest) in [
        (LOCAL, 0x00, &b""[..]),
        (LOCAL, 0x11, &IPV4),
        (LOCAL, 0xff, b"anything"),
        (PROXY, 0x00, b""),
        (PROXY, 0x00, b"anything"),
        (PROXY, 0x12, &IPV4),
        (PROXY, 0x22, &[1; 36]),
        (PROXY, 0x31, &[b'/'; 216]),
        (PROXY, 0x32, &[b'/'; 216]),
    ] {
        let bytes = v2(command, family, rest);
        assert_eq!(parse(&bytes), header(16 + rest.len(), None), "{command:x} {family:x}");
    }
}

#[test]
fn binary_headers_are_read_strictly() {
    use Malformed::*;
    for (command, family, rest, expected) in [
        (0x22, 0x11, &IPV4[..], BadCommand),
        (0x11, 0x11, &IPV4, BadCommand),
        (0x31, 0x11, &IPV4, BadCommand),
        (0x01, 0x11, &IPV4, BadCommand),
        (PROXY, 0x01, &IPV4, BadFamily),
        (PROXY, 0x10, &IPV4, BadFamily),
        (PROXY, 0x13, &IPV4, BadFamily),
        (PROXY, 0x41, &IPV4, BadFamily),
        (PROXY, 0x11, &IPV4[..11], TooShort),
        (PROXY, 0x11, b"", TooShort),
        (PROXY, 0x21, &[1; 35], TooShort),
        (PROXY, 0x31, &[1; 215], TooShort),
        (PROXY, 0x21, &[1; MAX_SIZE], TooLong),
        (LOCAL, 0x00, &[1; MAX_SIZE], TooLong),
    ] {
        let bytes = v2(command, family, rest);
        assert_eq!(parse(&bytes), Err(expected), "{command:x} {family:x} {}", rest.len());
    }
    for tlvs in [
        &[1][..],
        &[1, 0],
        &[1, 0, 1],
        &[1, 0, 0, 1],
        &[1, 0xff, 0xff, 0],
        &[3, 0, 3, 1, 2, 3],
    ] {
        assert_eq!(parse(&with_tlvs(tlvs)), Err(BadTlv), "{tlvs:?}");
    }
    assert_eq!(parse(&v2(LOCAL, 0x11, &[1; MAX_SIZE - 16])), header(MAX_SIZE, None));
}

#[test]
fn a_checksum_is_held_to() {
    // RFC 3720 B.4: 32 bytes of zeros.
    assert_eq!(crc32c(&[0; 32], 0), 0x8a91_36aa);
    assert_eq!(crc32c(b"123456789", 99), 0xe306_9283);
    let sum = |tlvs: &[u8]| {
        let mut bytes = with_tlvs(&[tlvs, &[3, 0, 4, 0, 0, 0, 0], &[4, 0, 1, 0]].concat());
        let place = 28 + tlvs.len() + 3;
        let sum = crc32c(&bytes, place).to_be_bytes();
        bytes[place..place + 4].copy_from_slice(&sum);
        bytes
    };
    for tlvs in [&b""[..], &[0xee, 0, 2, 8, 9]] {
        let right = sum(tlvs);
        assert!(matches!(parse(&right), Ok(Beginning::Header(_))));
        // But for the type of the checksum, without which there is none.
        for index in (16..right.len()).filter(|&index| index != 28 + tlvs.len()) {
            let mut wrong = right.clone();
            wrong[index] ^= 0x10;
            assert!(parse(&wrong).is_err(), "{index}");
        }
    }
    let twice = with_tlvs(&[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]);
    assert_eq!(parse(&twice), Err(Malformed::BadTlv));
}

#[test]
fn a_client_and_a_destination_of_different_families_are_both_written_as_ipv6() {
    let (source, destination) = (address("192.0.2.1:1"), address("[2001:db8::1]:2"));
    assert_eq!(
        encode(Version::V1, source, destination),
        b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n"
    );
    let mapped = address("[::ffff:192.0.2.9]:2");
    assert_eq!(
        encode(Version::V1, source, mapped),
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\n"
    );
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
}

/// Bytes that often come near a header.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "PROXY ",
        "TCP4",
        "TCP6",
        "UNKNOWN",
        " ",
        "1.2.3.4",
        "::1",
        "0",
        "443",
        "\r\n",
        "\r",
        "\n",
        "GET / HTTP/1.1",
    ]);
    let line = prop::collection::vec(words, 0..12).prop_map(|words| words.concat().into_bytes());
    let binary = (any::<[u8; 2]>(), prop::collection::vec(any::<u8>(), 0..60), 0_u16..80).prop_map(
        |([command, family], rest, length)| {
            let fixed = [command & 0x23, family & 0x33];
            [SIGNATURE, &fixed, &length.to_be_bytes(), &rest].concat()
        },
    );
    let any = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![line, binary, any]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(source in addresses(), destination in addresses(), rest: Vec<u8>) {
        for version in [Version::V1, Version::V2] {
            let written = encode(version, source, destination);
            let read = parse(&[&written[..], &rest].concat());
            let Ok(Beginning::Header(Header { length, addresses: Some(read) })) = read else {
                panic!("{written:?} gives {read:?}");
            };
            prop_assert_eq!(length, written.len());
            let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            prop_assert_eq!((canonical(read.source), canonical(read.destination)), (source, destination));
        }
    }

    /// Byte by byte the outcome is the one of all at once, and a part of a header never passes for something else.
    #[test]
    fn the_outcome_does_not_depend_on_how_the_bytes_come(bytes in near()) {
        let whole = parse(&bytes);
        let first = (0..=bytes.len()).map(|length| parse(&bytes[..length])).find(|part| *part != Ok(Beginning::Partial));
        prop_assert_eq!(first.unwrap_or(Ok(Beginning::Partial)), whole);
        if let Ok(Beginning::Header(header)) = whole {
            prop_assert!(header.length <= bytes.len().min(MAX_SIZE));
            for length in 0..header.length {
                prop_assert_eq!(parse(&bytes[..length]), Ok(Beginning::Partial));
            }
        }
    }
}
