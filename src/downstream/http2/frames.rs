//! Where the frames of an HTTP/2 connection begin and end: a walk over their headers (RFC 9113 4.1) that copies no
//! payload. Pure: the same frames are seen however the bytes are split.

/// The client's connection preface (RFC 9113 3.4), ahead of its first frame.
const PREFACE: usize = 24;
const HEAD: usize = 9;
/// Bytes of each payload that are looked at.
const START: usize = 4;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;

/// A frame, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of the payload.
    pub(super) length: u32,
    /// The first bytes of the payload; zeros where it is shorter.
    pub(super) start: [u8; START],
}

impl Frame {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface or of a payload that are passed over.
    skip: u32,
    /// The beginning of the next frame, as far as it has come.
    held: [u8; HEAD + START],
    length: usize,
    /// The frame whose payload is being passed over.
    kind: Option<u8>,
    preface: Preface,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preface {
    Coming,
    Over,
}

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self {
            // No payload is so short that it could not hold this.
            skip: PREFACE as u32,
            preface: Preface::Coming,
            ..Self::of_server()
        }
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self {
            skip: 0,
            held: [0; HEAD + START],
            length: 0,
            kind: None,
            preface: Preface::Over,
        }
    }

    /// Walks on over `bytes`; `see` gets each frame once its header and the start of its payload are there.
    pub(super) fn walk(&mut self, mut bytes: &[u8], mut see: impl FnMut(Frame)) {
        loop {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                bytes = &bytes[skipped..];
                self.skip -= skipped as u32;
                if self.skip > 0 {
                    return;
                }
                self.preface = Preface::Over;
                self.kind = None;
            }
            if bytes.is_empty() {
                return;
            }
            let Some(frame) = self.next(&mut bytes) else { return };
            self.kind = Some(frame.kind);
            self.skip = frame.length.saturating_sub(START as u32);
            if self.skip == 0 {
                self.kind = None;
            }
            see(frame);
        }
    }

    /// The next frame, whose beginning may have come with earlier bytes.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let wanted = match self.held[..self.length].first_chunk::<HEAD>() {
                Some(head) => HEAD + START.min(payload_length(head) as usize),
                None => HEAD,
            };
            if self.length == wanted {
                break;
            }
            let taken = bytes.len().min(wanted - self.length);
            self.held[self.length..][..taken].copy_from_slice(&bytes[..taken]);
            self.length += taken;
            *bytes = &bytes[taken..];
            if self.length < wanted {
                return None;
            }
        }
        let length = std::mem::take(&mut self.length);
        self.held[length..].fill(0);
        let [a, b, c, kind, flags, s1, s2, s3, s4, start @ ..] = self.held;
        Some(Frame {
            kind,
            flags,
            // The first bit means nothing (RFC 9113 4.1).
            stream: u32::from_be_bytes([s1, s2, s3, s4]) & 0x7fff_ffff,
            length: u32::from_be_bytes([0, a, b, c]),
            start,
        })
    }

    /// Whether a frame could begin with the next byte.
    pub(super) fn is_at_border(&self) -> bool {
        self.skip == 0 && self.length == 0
    }

    /// Whether something has begun and is waited for that is no payload of DATA: the preface, or another frame.
    pub(super) fn is_within_control(&self) -> bool {
        match (self.preface, self.kind) {
            (Preface::Coming, _) => true,
            (_, Some(kind)) => kind != DATA,
            (_, None) => self.length > 0 && (self.length <= 3 || self.held[3] != DATA),
        }
    }
}

fn payload_length(head: &[u8; HEAD]) -> u32 {
    u32::from_be_bytes([0, head[0], head[1], head[2]])
}

/// GOAWAY (RFC 9113 6.8) with an error code and words for whoever looks into it.
pub(super) fn goaway(last_stream: u32, code: u32, words: &str) -> Vec<u8> {
    let length = u32::try_from(8 + words.len())
        .expect("a reason is a word")
        .to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], GOAWAY, 0, 0, 0, 0, 0];
    frame.extend(last_stream.to_be_bytes());
    frame.extend(code.to_be_bytes());
    frame.extend(words.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn bytes_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn walked(frames: &mut Frames, bytes: &[u8]) -> Vec<Frame> {
        let mut seen = Vec::new();
        frames.walk(bytes, |frame| seen.push(frame));
        seen
    }

    #[test]
    fn frames_are_seen_behind_the_preface() {
        let mut frames = Frames::of_client();
        assert!(frames.is_within_control() && !frames.is_at_border());
        let sent = [
            REQUEST,
            &bytes_of(SETTINGS, 0, 0, &[]),
            &bytes_of(PING, ACK, 0, b"12345678"),
        ]
        .concat();
        let seen = walked(&mut frames, &sent);
        let kinds: Vec<_> = seen
            .iter()
            .map(|frame| (frame.kind, frame.length, frame.start))
            .collect();
        assert_eq!(kinds, [(SETTINGS, 0, [0; 4]), (PING, 8, *b"1234")]);
        assert!(frames.is_at_border() && !frames.is_within_control());
    }

    #[test]
    fn the_reserved_bit_is_no_part_of_the_stream() {
        let seen = walked(&mut Frames::of_server(), &bytes_of(DATA, 0, 0x8000_0001, b"abc"));
        assert_eq!((seen[0].stream, seen[0].start), (1, *b"abc\0"));
    }

    #[test]
    fn only_payload_of_data_may_take_its_time() {
        for (kind, is_control) in [(DATA, false), (HEADERS, true), (SETTINGS, true), (0xbb, true)] {
            let frame = bytes_of(kind, 0, 1, b"123456789");
            let mut frames = Frames::of_server();
            for length in 1..frame.len() {
                walked(&mut frames, &frame[length - 1..length]);
                assert_eq!(frames.is_within_control(), is_control || length <= 3, "{kind} {length}");
            }
            walked(&mut frames, &frame[frame.len() - 1..]);
            assert!(frames.is_at_border() && !frames.is_within_control());
        }
    }

    #[test]
    fn a_goaway_is_a_frame() {
        let bytes = goaway(7, 11, "ping-flood");
        let mut frames = Frames::of_server();
        let seen = walked(&mut frames, &bytes);
        assert_eq!(
            (seen[0].kind, seen[0].length, seen[0].start),
            (GOAWAY, 18, [0, 0, 0, 7])
        );
        assert!(frames.is_at_border());
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            sent in vec((any::<u8>(), any::<u8>(), 0..=0x7fff_ffff_u32, vec(any::<u8>(), 0..40)), 0..8),
            rest in vec(any::<u8>(), 0..5),
            cuts in vec(0..400_usize, 0..12),
        ) {
            let frames: Vec<u8> = sent.iter().flat_map(|(kind, flags, stream, payload)| {
                bytes_of(*kind, *flags, *stream, payload)
            }).collect();
            let bytes = [REQUEST, &frames, &rest].concat();
            let mut whole = Frames::of_client();
            let expected = walked(&mut whole, &bytes);
            prop_assert_eq!(expected.len(), sent.len());
            for (frame, (kind, flags, stream, payload)) in expected.iter().zip(&sent) {
                prop_assert_eq!((frame.kind, frame.flags, frame.stream), (*kind, *flags, *stream));
                prop_assert_eq!(frame.length as usize, payload.len());
                let start = payload.len().min(START);
                prop_assert_eq!(&frame.start[..start], &payload[..start]);
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut parts = Frames::of_client();
            let seen: Vec<_> = cuts.windows(2).flat_map(|cut| walked(&mut parts, &bytes[cut[0]..cut[1]])).collect();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(parts.is_at_border(), whole.is_at_border());
            prop_assert_eq!(parts.is_within_control(), whole.is_within_control());
        }
    }
}
