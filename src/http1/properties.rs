//! What holds for every input: no panic, the same result for every split into reads, exact borders, and agreement with
//! the encoders and with `httparse`.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Texts that matter to these parsers, so that random input comes close to what they accept.
const PIECES: [&str; 44] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 204\r\n",
    "HTTP/1.1 101 X\r\n",
    "HTTP/1.",
    "GET / HTTP/1.1\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "0",
    "5",
    "5",
    "a",
    "ff",
    "7fffffffffffffff",
    "0\r\n",
    "0\r\n\r\n",
    "1\r\na\r\n",
    "2;x=y\r\nab\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length:",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:",
    "chunked",
    "Connection: close\r\n",
    "Connection: X-A, Date\r\n",
    "Upgrade: websocket\r\n",
    "Keep-Alive: timeout=5\r\n",
    "X-A: b\r\n",
    "Host: a\r\n",
    "name",
    "hello",
    "\u{e4}",
    ".",
    "/",
    "%2e",
];

fn near_misses() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A head that is complete and mostly valid.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = select(vec![
        "Content-Length: 5",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Connection: close, X-A",
        "X-A: b",
        "x-a:c",
        "Date: today",
        "Upgrade: websocket",
        "Keep-Alive: timeout=5",
        "Trailer: x",
        "Set-Cookie: a=b; c",
        "X-Text: \u{e4}\t",
    ]);
    let status = select(vec![
        "1.1 200 OK",
        "1.1 304",
        "1.1 204 ",
        "1.0 200 OK",
        "1.1 103 Hints",
        "1.1 101 Upgrade",
    ]);
    (status, vec(line, 0..8), vec(any::<u8>(), 0..8)).prop_map(|(status, lines, body)| {
        let mut head = format!("HTTP/{status}\r\n").into_bytes();
        for line in lines {
            head.extend_from_slice(line.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(&body);
        head
    })
}

/// As [`heads`], of a request.
fn request_heads() -> impl Strategy<Value = Vec<u8>> {
    let field = select(vec![
        "Host: a",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Connection: close, X-A",
        "X-A: b",
        "x-a:c",
        "Expect: 100-continue",
        "X-Text: \u{e4}\t",
    ]);
    let line = select(vec![
        "GET / HTTP/1.1",
        "POST /a?b HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "GET http://a/b HTTP/1.1",
        "GET / HTTP/2.0",
    ]);
    (line, vec(field, 0..5), vec(any::<u8>(), 0..8)).prop_map(|(line, fields, body)| {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        [format!("{line}\r\n{fields}\r\n").as_bytes(), &body].concat()
    })
}

/// The result of a decoder in a form that can be compared, with what it left in the buffer.
type Outcome = (Result<Option<String>, ResponseError>, Vec<u8>);

/// Feeds `bytes` in reads that end at `cuts`, which come in any order and may lie beyond the end.
fn reads<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts
        .iter()
        .map(|cut| cut % (bytes.len() + 1))
        .chain([bytes.len()])
        .collect();
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| &bytes[std::mem::replace(&mut start, end)..end])
        .collect()
}

fn decode_head(reads: &[&[u8]], method: &Method, limits: &Limits) -> Outcome {
    let (mut buffer, mut recycled) = (BytesMut::new(), HeaderMap::new());
    let mut outcome = Ok(None);
    for read in reads {
        buffer.extend_from_slice(read);
        if matches!(outcome, Ok(None)) {
            outcome = decode_response_head(&mut buffer, method, &mut recycled, limits)
                .map(|head| head.map(|head| format!("{head:?}")));
        }
    }
    // After an error nobody reads on, so that only then may the border differ.
    let left = if outcome.is_err() { Vec::new() } else { buffer.to_vec() };
    (outcome, left)
}

fn decode_request(reads: &[&[u8]], limits: &Limits) -> Result<(Option<String>, Vec<u8>), RequestProblem> {
    let (mut buffer, mut recycled) = (BytesMut::new(), HeaderMap::new());
    let mut decoded = None;
    for read in reads {
        buffer.extend_from_slice(read);
        if decoded.is_none() {
            let head = decode_request_head(&mut buffer, &mut recycled, limits, 1024)?;
            decoded = head.map(|head| format!("{head:?}"));
        }
    }
    Ok((decoded, buffer.to_vec()))
}

fn decode_body(reads: &[&[u8]]) -> (Vec<u8>, HeaderMap, Result<Option<Vec<u8>>, ChunkedError>) {
    let limits = ChunkedLimits {
        max_extension_size: 8,
        max_trailers: 2,
        max_trailer_size: 40,
    };
    let mut decoder = ChunkedDecoder::new(&limits);
    let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    let mut ended = false;
    for read in reads {
        buffer.extend_from_slice(read);
        while !ended {
            match decoder.decode(&mut buffer) {
                Ok(Some(Part::Data(part))) => data.extend_from_slice(&part),
                Ok(Some(Part::Trailers(part))) => trailers = part,
                Ok(Some(Part::End)) => ended = true,
                Ok(None) => break,
                Err(error) => return (data, trailers, Err(error)),
            }
        }
    }
    (data, trailers, Ok(ended.then(|| buffer.to_vec())))
}

fn field_names() -> impl Strategy<Value = HeaderName> {
    "[a-zA-Z][a-zA-Z0-9-]{0,12}".prop_map(|name| HeaderName::from_bytes(name.as_bytes()).expect("a token"))
}

fn field_values() -> impl Strategy<Value = HeaderValue> {
    vec(
        prop_oneof![8 => 0x21..=0x7eu8, 1 => Just(b' '), 1 => Just(b'\t'), 1 => 0x80..=0xffu8],
        0..20,
    )
    .prop_map(|bytes| HeaderValue::from_bytes(field::trim(&bytes)).expect("no control bytes"))
}

fn methods() -> impl Strategy<Value = Method> {
    select(vec![Method::GET, Method::HEAD, Method::POST, Method::CONNECT])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_head_does_not_depend_on_the_reads(
        bytes in prop_oneof![near_misses(), heads()],
        cuts in vec(any::<usize>(), 0..8),
        method in methods(),
        max_head_size in select(vec![5, 40, 65_536]),
    ) {
        let limits = Limits { max_head_size, max_headers: 4 };
        let whole = decode_head(&[&bytes], &method, &limits);
        prop_assert_eq!(&whole, &decode_head(&reads(&bytes, &cuts), &method, &limits));
        let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&whole, &decode_head(&one_by_one, &method, &limits));
    }

    #[test]
    fn a_body_does_not_depend_on_the_reads(bytes in near_misses(), cuts in vec(any::<usize>(), 0..8)) {
        let whole = decode_body(&[&bytes]);
        prop_assert_eq!(&whole, &decode_body(&reads(&bytes, &cuts)));
        let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&whole, &decode_body(&one_by_one));
    }

    #[test]
    fn whatever_is_accepted_httparse_reads_in_the_same_way(bytes in prop_oneof![near_misses(), heads()]) {
        let mut buffer = BytesMut::from(&bytes[..]);
        let decoded = decode_response_head(&mut buffer, &Method::GET, &mut HeaderMap::new(), &Limits::default());
        if let Ok(Some(head)) = decoded {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut other = httparse::Response::new(&mut fields);
            prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(bytes.len() - buffer.len())));
            prop_assert_eq!(other.code, Some(head.status.as_u16()));
            for (name, value) in &head.headers {
                let found = other.headers.iter().any(|field| {
                    field.name.eq_ignore_ascii_case(name.as_str()) && field.value == value.as_bytes()
                });
                prop_assert!(found, "{:?}", name);
            }
        }
    }

    #[test]
    fn a_request_head_does_not_depend_on_the_reads(
        bytes in prop_oneof![near_misses(), request_heads()],
        cuts in vec(any::<usize>(), 0..8),
        max_head_size in select(vec![5, 40, 65_536]),
    ) {
        let limits = Limits { max_head_size, max_headers: 4 };
        let whole = decode_request(&[&bytes], &limits);
        // What is wrong may be found out earlier, and then is another thing that is wrong.
        let in_parts = decode_request(&reads(&bytes, &cuts), &limits);
        prop_assert_eq!(whole.is_err(), in_parts.is_err());
        if whole.is_ok() {
            prop_assert_eq!(whole, in_parts);
        }
    }

    #[test]
    fn an_accepted_request_is_read_by_httparse_in_the_same_way(bytes in prop_oneof![near_misses(), request_heads()]) {
        let mut buffer = BytesMut::from(&bytes[..]);
        let decoded = decode_request_head(&mut buffer, &mut HeaderMap::new(), &Limits::default(), 1024);
        if let Ok(Some(head)) = decoded {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut other = httparse::Request::new(&mut fields);
            prop_assert_eq!(other.parse(&bytes), Ok(httparse::Status::Complete(bytes.len() - buffer.len())));
            prop_assert_eq!(other.method, Some(head.method.as_str()));
            prop_assert_eq!(other.headers.len(), head.headers.len());
            for (name, value) in &head.headers {
                let found = other.headers.iter().any(|field| {
                    field.name.eq_ignore_ascii_case(name.as_str()) && field.value == value.as_bytes()
                });
                prop_assert!(found, "{:?}", name);
            }
        }
    }

    #[test]
    fn an_encoded_response_head_is_decoded_to_the_same_fields(
        status in 200..600u16,
        length in 0..=i64::MAX as u64,
        fields in vec((field_names(), field_values()), 0..12),
        body in vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(status != 204);
        let mut bytes = format!("HTTP/1.1 {status} Reason\r\ncontent-length: {length}\r\n").into_bytes();
        let mut expected = HeaderMap::new();
        expected.append("content-length", HeaderValue::from(length));
        for (name, value) in fields {
            // The prefix keeps it from being a field that ends here.
            let name = HeaderName::from_bytes(format!("x-{name}").as_bytes()).expect("a token");
            bytes.extend_from_slice(&[name.as_str().to_ascii_uppercase().as_bytes(), b":\t", value.as_bytes(), b" \r\n"].concat());
            expected.append(name, value);
        }
        bytes.extend_from_slice(b"\r\n");
        let mut buffer = BytesMut::from(&[&bytes[..], &body].concat()[..]);
        let head = decode_response_head(&mut buffer, &Method::GET, &mut HeaderMap::new(), &Limits::default())
            .expect("well formed").expect("complete");
        prop_assert_eq!(head.status, StatusCode::from_u16(status).expect("three digits"));
        prop_assert_eq!(head.framing, if status == 304 { Framing::None } else { Framing::Length(length) });
        prop_assert_eq!(head.headers, expected);
        prop_assert_eq!(&buffer[..], &body[..]);
    }

    #[test]
    fn an_encoded_request_head_is_read_back(
        path in "/[a-zA-Z0-9%&()*+,./:;=@_~?-]{0,20}",
        fields in vec((field_names(), field_values()), 0..12),
        length in 0..=i64::MAX as u64,
    ) {
        let mut out = Vec::new();
        let mut head = RequestHead::start(&mut out, &Method::PUT, path.as_bytes());
        let fields: Vec<_> = fields.into_iter().filter(|(name, _)| name != "host" && name != "content-length").collect();
        for (name, value) in &fields {
            head.field(name, value);
        }
        head.length(length);
        head.finish();
        let mut buffer = BytesMut::from(&out[..]);
        let decoded = decode_request_head(&mut buffer, &mut HeaderMap::new(), &Limits::default(), 1024);
        prop_assert!(matches!(decoded, Ok(Some(_))) && buffer.is_empty());
        let mut parsed = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut parsed);
        prop_assert_eq!(request.parse(&out), Ok(httparse::Status::Complete(out.len())));
        prop_assert_eq!((request.method, request.path), (Some("PUT"), Some(&path[..])));
        let read: Vec<_> = request.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
        let mut written: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
        written.push(("content-length".to_owned(), length.to_string().into_bytes()));
        prop_assert_eq!(read, written);
    }

    #[test]
    fn encoded_chunks_are_decoded_to_the_same_data(
        chunks in vec(vec(any::<u8>(), 1..300), 0..6),
        trailer in proptest::option::of("[a-z]{1,5}"),
        cuts in vec(any::<usize>(), 0..8),
        rest in vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            chunk_head(&mut bytes, chunk.len());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(CHUNK_END);
        }
        let mut trailers = HeaderMap::new();
        if let Some(value) = trailer {
            trailers.insert("grpc-status", HeaderValue::from_str(&value).expect("letters"));
        }
        last_chunk(&mut bytes, Some(&trailers));
        bytes.extend_from_slice(&rest);
        let decoded = decode_body(&reads(&bytes, &cuts));
        prop_assert_eq!(decoded, (chunks.concat(), trailers, Ok(Some(rest))));
    }

    #[test]
    fn no_bytes_make_a_check_panic(bytes in prop_oneof![near_misses(), vec(any::<u8>(), 0..64)]) {
        if let Ok(authority) = parse_authority(&bytes) {
            prop_assert!(bytes.starts_with(authority.host.as_bytes()));
        }
        if check_path(&bytes).is_ok() {
            prop_assert!(is_safe_path(&bytes));
        }
    }
}
