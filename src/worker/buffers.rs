//! Buffers of connections, recycled per worker, so that idle ones own none and busy ones allocate none.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderMap;

/// Large enough for the heads and small answers that most traffic consists of.
pub const READ_SIZE: usize = 16 * 1024;
/// One read of a body that did not come with its head. 64 KiB against 16 KiB: a third less processor time per MiB.
const BODY_READ: usize = 64 * 1024;
/// What is kept for the next exchanges, per worker and kind.
const KEPT: usize = 128;
/// A buffer that grew beyond this is not kept, nor one without memory.
const LARGEST_KEPT: usize = 64 * 1024;
/// A map with room for more fields than these is not kept.
const MOST_FIELDS: usize = 64;

thread_local! {
    static READ: RefCell<Kept<BytesMut>> = const { RefCell::new(Kept::NONE) };
    static WRITE: RefCell<Kept<Vec<u8>>> = const { RefCell::new(Kept::NONE) };
    static FIELDS: RefCell<Kept<HeaderMap>> = const { RefCell::new(Kept::NONE) };
}

/// An empty buffer to read into, which may have to grow again first.
pub fn take_read() -> BytesMut {
    let kept = READ.with_borrow_mut(Kept::take);
    kept.unwrap_or_else(|| BytesMut::with_capacity(READ_SIZE))
}

pub fn give_read(mut buffer: BytesMut) {
    buffer.clear();
    if (1..=LARGEST_KEPT).contains(&buffer.capacity()) {
        READ.with_borrow_mut(|kept| kept.give(buffer));
    }
}

/// How much is read at once of a body of which this is `left`.
pub fn body_read(left: u64) -> usize {
    usize::try_from(left).map_or(BODY_READ, |left| left.min(BODY_READ))
}

/// An empty buffer for a head that is to be sent.
pub fn take_write() -> Vec<u8> {
    WRITE
        .with_borrow_mut(Kept::take)
        .unwrap_or_else(|| Vec::with_capacity(1024))
}

pub fn give_write(mut buffer: Vec<u8>) {
    buffer.clear();
    if (1..=LARGEST_KEPT).contains(&buffer.capacity()) {
        WRITE.with_borrow_mut(|kept| kept.give(buffer));
    }
}

/// An empty map for the fields of a head.
pub fn take_fields() -> HeaderMap {
    FIELDS.with_borrow_mut(Kept::take).unwrap_or_default()
}

pub fn give_fields(mut fields: HeaderMap) {
    fields.clear();
    if (1..=MOST_FIELDS).contains(&fields.capacity()) {
        FIELDS.with_borrow_mut(|kept| kept.give(fields));
    }
}

/// Frees the buffers that the calling worker has not needed since this was last called: 128 of them are 2 MiB, which is
/// half a KiB for each of 4000 clients that were busy at once and are idle now.
pub fn drop_spare() {
    READ.with_borrow_mut(Kept::drop_spare);
    WRITE.with_borrow_mut(Kept::drop_spare);
    FIELDS.with_borrow_mut(Kept::drop_spare);
}

/// Buffers for the next exchanges; the one that came last, and is still in the caches, goes first.
#[derive(Debug)]
struct Kept<B> {
    buffers: Vec<B>,
    /// So many of them, the oldest, have lain here since the last look.
    spare: usize,
}

impl<B> Kept<B> {
    const NONE: Self = Self {
        buffers: Vec::new(),
        spare: 0,
    };

    fn take(&mut self) -> Option<B> {
        let buffer = self.buffers.pop();
        self.spare = self.spare.min(self.buffers.len());
        buffer
    }

    fn give(&mut self, buffer: B) {
        if self.buffers.len() < KEPT {
            self.buffers.push(buffer);
        }
    }

    fn drop_spare(&mut self) {
        self.buffers.drain(..self.spare);
        self.spare = self.buffers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_given_up_and_what_is_stays() {
        let mut kept = Kept::NONE;
        for buffer in 0..10 {
            kept.give(buffer);
        }
        kept.drop_spare();
        assert_eq!(kept.buffers.len(), 10, "they have just come");
        let used: Vec<_> = (0..3).map_while(|_| kept.take()).collect();
        assert_eq!(used, [9, 8, 7], "newest first");
        used.into_iter().for_each(|buffer| kept.give(buffer));
        kept.drop_spare();
        assert_eq!(kept.buffers, [9, 8, 7]);
        kept.drop_spare();
        assert!(kept.buffers.is_empty());
        assert!(kept.take().is_none());
    }

    #[test]
    fn what_is_taken_has_memory() {
        give_read(BytesMut::new());
        give_write(Vec::new());
        assert!(take_read().capacity() > 0 && take_write().capacity() > 0);
    }

    #[test]
    fn there_is_a_limit_to_what_is_kept() {
        let mut kept = Kept::NONE;
        for buffer in 0..2 * KEPT {
            kept.give(buffer);
        }
        assert_eq!(kept.buffers.len(), KEPT);
    }
}
