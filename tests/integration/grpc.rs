//! gRPC through the proxy: what its clients are told, what is counted of it, and how real ones get along.

mod deadlines;
mod failures;
mod probes;
mod python;
mod statuses;

use crate::support::pairing::{Ask, Length, Pairing, Protocol};

const HTTP2: Pairing = Pairing {
    client: Protocol::Http2,
    endpoint: Protocol::Http2,
};

/// An endpoint that speaks HTTP/1.1, which some that make gRPC by hand do.
const TO_HTTP1: Pairing = Pairing {
    client: Protocol::Http2,
    endpoint: Protocol::Http1,
};

/// A call of a method, as gRPC clients make it.
fn call(method: &str) -> Ask {
    Ask::post(method, Length::Open)
        .with("content-type", "application/grpc")
        .with("te", "trailers")
}

/// A message with its head of five bytes.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a message is small").to_be_bytes();
    [&[0][..], &length, bytes].concat()
}
