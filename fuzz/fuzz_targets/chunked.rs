//! A chunked body: no panic, and the same data and border in one read and byte by byte.
#![no_main]

use bytes::BytesMut;
use forebay::http1::{ChunkedDecoder, ChunkedError, ChunkedLimits, Part};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;

/// Data, trailers, and what is left behind the end if there is one.
type Body = (Vec<u8>, HeaderMap, Result<Option<usize>, ChunkedError>);

fn decode(bytes: &[u8], read: usize) -> Body {
    let limits = ChunkedLimits {
        max_extension_size: 32,
        max_trailers: 4,
        max_trailer_size: 128,
    };
    let mut decoder = ChunkedDecoder::new(&limits);
    let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    let mut unread = bytes;
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(Part::Data(part))) => data.extend_from_slice(&part),
            Ok(Some(Part::Trailers(part))) => trailers = part,
            Ok(Some(Part::End)) => return (data, trailers, Ok(Some(buffer.len() + unread.len()))),
            Ok(None) if unread.is_empty() => return (data, trailers, Ok(None)),
            Ok(None) => {
                let (next, rest) = unread.split_at(read.min(unread.len()));
                buffer.extend_from_slice(next);
                unread = rest;
            }
            Err(error) => return (data, trailers, Err(error)),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(decode(bytes, usize::MAX), decode(bytes, 1));
});
