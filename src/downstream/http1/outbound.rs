//! What is on its way to a client, in order.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

use crate::{net, worker::buffers};

/// Up to here a head and its body are copied together and written by `send`, which costs 0.3 µs less than `writev`.
const SMALL: usize = 4096;
/// How many pieces one write takes.
pub(super) const SLICES: usize = 16;

/// Invariant: a [stand-in](crate::net::stands_in) is a piece of its own.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Heads and what is small, ahead of all pieces.
    front: Vec<u8>,
    written: usize,
    pieces: VecDeque<Bytes>,
    /// Bytes in the pieces.
    size: usize,
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.front.len() && self.pieces.is_empty()
    }

    /// Bytes that are not out.
    pub(super) fn len(&self) -> usize {
        self.front.len() - self.written + self.size
    }

    /// Appends what `write` writes.
    pub(super) fn write<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if self.pieces.is_empty() {
            if self.front.capacity() == 0 {
                self.front = buffers::take_write();
            }
            return write(&mut self.front);
        }
        let mut piece = Vec::new();
        let result = write(&mut piece);
        self.push_piece(piece.into());
        result
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if self.pieces.is_empty() && self.front.len() + data.len() <= SMALL && !net::stands_in(&data) {
            self.write(|front| front.extend_from_slice(&data));
        } else {
            self.push_piece(data);
        }
    }

    fn push_piece(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.size += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// What comes next, if it stands in for something else.
    pub(super) fn stand_in(&self) -> Option<&Bytes> {
        let first = self.pieces.front()?;
        (self.written == self.front.len() && net::stands_in(first)).then_some(first)
    }

    /// What comes next, up to what stands in for something else; gives the number of slices that are filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let front = &self.front[self.written..];
        let pieces = self.pieces.iter().take_while(|piece| !net::stands_in(piece));
        let ahead = Some(front).filter(|front| !front.is_empty()).into_iter();
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(ahead.chain(pieces.map(|piece| &piece[..]))) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// So many bytes are out.
    pub(super) fn advance(&mut self, mut count: usize) {
        let of_front = count.min(self.front.len() - self.written);
        self.written += of_front;
        count -= of_front;
        self.size -= count;
        while count > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let of_piece = count.min(piece.len());
            piece.advance(of_piece);
            count -= of_piece;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        if self.is_empty() {
            self.written = 0;
            self.front.clear();
        }
    }

    /// Gives the memory back of what is all out.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            buffers::give_write(std::mem::take(&mut self.front));
            if self.pieces.capacity() > SLICES {
                self.pieces = VecDeque::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(outbound: &Outbound) -> Vec<Vec<u8>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbound.slices(&mut slices);
        slices[..count].iter().map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn what_is_small_goes_out_together_and_what_is_large_behind_it() {
        let mut outbound = Outbound::default();
        outbound.write(|out| out.extend_from_slice(b"head"));
        outbound.push(Bytes::from_static(b"body"));
        let large = Bytes::from(vec![b'x'; SMALL]);
        outbound.push(large.clone());
        outbound.push(Bytes::new());
        outbound.write(|out| out.extend_from_slice(b"end"));
        assert_eq!(outbound.len(), 8 + SMALL + 3);
        assert_eq!(next(&outbound), [b"headbody".to_vec(), large.to_vec(), b"end".to_vec()]);
        outbound.advance(6);
        outbound.advance(2 + SMALL - 1);
        assert_eq!(next(&outbound), [b"x".to_vec(), b"end".to_vec()]);
        assert!(!outbound.is_empty());
        outbound.advance(4);
        assert!(outbound.is_empty());
        outbound.push(Bytes::from_static(b"next"));
        assert_eq!(next(&outbound), [b"next".to_vec()]);
    }

    #[test]
    fn one_write_takes_so_many_pieces() {
        let mut outbound = Outbound::default();
        for _ in 0..3 * SLICES {
            outbound.push_piece(Bytes::from_static(b"x"));
        }
        assert_eq!(next(&outbound).len(), SLICES);
        outbound.advance(SLICES + 1);
        assert_eq!(outbound.len(), 2 * SLICES - 1);
    }
}
