//! The HTTP/1.1 codec: what one request costs in bytes read and written, without any socket.

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay::http1::{
    CHUNK_END, ChunkedDecoder, ChunkedLimits, Framing, Limits, Part, RequestHead, Version, check_path, chunk_head,
    decode_request_head, decode_response_head, encode_response_head, last_chunk, parse_authority,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

const SMALL_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\
    Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: endpoint\r\n\r\n";

const LARGER_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.31.0\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 5120\r\nConnection: keep-alive\r\n\
    Keep-Alive: timeout=5\r\nETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
    Cache-Control: max-age=3600, must-revalidate\r\nX-Request-Id: 7d9f1c0a-5a5e-4a7c-9a51-0b6d4f6e8a11\r\n\r\n";

const REQUEST: &[u8] =
    b"GET /api/v1/items?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux)\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, br\r\nAccept-Language: en\r\n\
    Cookie: session=0123456789abcdef\r\n\r\n";

fn response_heads(criterion: &mut Criterion) {
    for (name, head) in [
        ("response head, 4 fields", SMALL_RESPONSE),
        ("response head, 9 fields", LARGER_RESPONSE),
    ] {
        criterion.bench_function(name, |bencher| {
            let limits = Limits::default();
            let mut recycled = HeaderMap::with_capacity(16);
            let mut buffer = BytesMut::with_capacity(8192);
            bencher.iter(|| {
                // As a connection does it: the memory of the head before is free again once its fields are dropped.
                buffer.reserve(4096);
                buffer.put_slice(black_box(head));
                let head = decode_response_head(&mut buffer, &Method::GET, &mut recycled, &limits);
                recycled = head.expect("well formed").expect("complete").headers;
                recycled.clear();
            });
        });
    }
}

fn request_heads(criterion: &mut Criterion) {
    criterion.bench_function("request head, 7 fields, encode", |bencher| {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("shop.example"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; Linux)"));
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/html,application/xhtml+xml"),
        );
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
        headers.insert(header::COOKIE, HeaderValue::from_static("session=0123456789abcdef"));
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            let mut head = RequestHead::start(&mut out, &Method::POST, black_box(b"/api/v1/items?page=2"));
            for (name, value) in &headers {
                head.field(name, value);
            }
            head.raw_field("x-forwarded-for", b"192.0.2.17");
            head.length(128);
            head.finish();
            black_box(&out);
        });
    });
    criterion.bench_function("request head, 7 fields, decode", |bencher| {
        let limits = Limits::default();
        let mut recycled = HeaderMap::with_capacity(16);
        let mut buffer = BytesMut::with_capacity(8192);
        bencher.iter(|| {
            buffer.reserve(4096);
            buffer.put_slice(black_box(REQUEST));
            let head = decode_request_head(&mut buffer, &mut recycled, &limits, 8192);
            recycled = head.expect("well formed").expect("complete").headers;
            recycled.clear();
        });
    });
    criterion.bench_function("response head, 4 fields, encode", |bencher| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::DATE, HeaderValue::from_static("Tue, 15 Nov 1994 08:12:31 GMT"));
        headers.insert(header::SERVER, HeaderValue::from_static("endpoint"));
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            encode_response_head(
                &mut out,
                Version::Http11,
                StatusCode::OK,
                black_box(&headers),
                Framing::Length(128),
                None,
                b"",
            );
            black_box(&out);
        });
    });
    criterion.bench_function("path, 30 bytes, check", |bencher| {
        bencher.iter(|| check_path(black_box(b"/api/v1/items/some%20item/edit")));
    });
    criterion.bench_function("authority, parse", |bencher| {
        bencher.iter(|| parse_authority(black_box(b"www.shop.example:8443")));
    });
}

fn chunked_bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked body, decode");
    for size in [64, 1024, 16 * 1024] {
        let mut body = Vec::new();
        for _ in 0..16 {
            chunk_head(&mut body, size);
            body.resize(body.len() + size, b'x');
            body.extend_from_slice(CHUNK_END);
        }
        last_chunk(&mut body, None);
        group.throughput(Throughput::Elements(16));
        group.bench_function(format!("16 chunks of {size} bytes"), |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&body[..]),
                |buffer| {
                    let mut decoder = ChunkedDecoder::new(&ChunkedLimits::default());
                    while decoder.decode(buffer).expect("well formed").expect("complete") != Part::End {}
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, response_heads, request_heads, chunked_bodies);
criterion_main!(benches);
