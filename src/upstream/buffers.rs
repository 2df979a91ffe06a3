//! Buffers of the exchanges, recycled per worker, so that idle connections own none and busy ones allocate none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Large enough for the heads and small answers that most traffic consists of.
pub(super) const READ_SIZE: usize = 16 * 1024;
/// What is kept for the next exchanges, per worker and kind.
const KEPT: usize = 128;
/// A buffer that grew beyond this is not kept.
const LARGEST_KEPT: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static WRITE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn take_read() -> BytesMut {
    let kept = READ.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(READ_SIZE))
}

pub(super) fn give_read(mut buffer: BytesMut) {
    buffer.clear();
    READ.with_borrow_mut(|kept| {
        if kept.len() < KEPT && buffer.capacity() <= LARGEST_KEPT {
            kept.push(buffer);
        }
    });
}

/// An empty buffer for a request head.
pub fn take_write() -> Vec<u8> {
    WRITE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(1024))
}

pub(super) fn give_write(mut buffer: Vec<u8>) {
    buffer.clear();
    WRITE.with_borrow_mut(|kept| {
        if kept.len() < KEPT && buffer.capacity() <= LARGEST_KEPT {
            kept.push(buffer);
        }
    });
}
