//! One exchange over HTTP/2: a stream whose connection is driven by a thread of its own.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::{Fields, Piece, wait};

pub struct Channel {
    pub incoming: Option<RecvStream>,
    pub outgoing: Option<SendStream<Bytes>>,
    /// With which reason this side gives it up.
    breaks_with: Reason,
}

impl Channel {
    pub fn new(incoming: Option<RecvStream>, outgoing: Option<SendStream<Bytes>>, breaks_with: Reason) -> Channel {
        Channel {
            incoming,
            outgoing,
            breaks_with,
        }
    }

    pub fn piece(&mut self) -> Piece {
        let Some(incoming) = &mut self.incoming else {
            return Piece::End(Fields::default());
        };
        match wait(incoming.data()).expect("the body goes on") {
            Some(Ok(data)) if data.is_empty() => self.piece(),
            Some(Ok(data)) => {
                let credit = incoming.flow_control().release_capacity(data.len());
                credit.expect("what came can be given back");
                Piece::Data(data.to_vec())
            }
            Some(Err(_)) => Piece::Cut,
            None => match wait(incoming.trailers()).expect("the body ends") {
                Ok(trailers) => Piece::End(Fields::of_map(&trailers.unwrap_or_default())),
                Err(_) => Piece::Cut,
            },
        }
    }

    pub fn data(&mut self, bytes: &[u8]) {
        let mut left = Bytes::copy_from_slice(bytes);
        while !left.is_empty() {
            let Some(outgoing) = &mut self.outgoing else { return };
            outgoing.reserve_capacity(left.len());
            let capacity = wait(poll_fn(|context| outgoing.poll_capacity(context))).expect("the other side takes more");
            let sent = match capacity {
                Some(Ok(capacity)) => outgoing.send_data(left.split_to(capacity.min(left.len())), false),
                Some(Err(error)) => Err(error),
                None => {
                    self.outgoing = None;
                    return;
                }
            };
            if sent.is_err() {
                self.outgoing = None;
            }
        }
    }

    pub fn end(&mut self, trailers: &Fields) {
        let Some(outgoing) = &mut self.outgoing else { return };
        // A stream that was given up takes no end either.
        let _ = if trailers == &Fields::default() {
            outgoing.send_data(Bytes::new(), true)
        } else {
            outgoing.send_trailers(trailers.to_map())
        };
    }

    pub fn break_off(&mut self) {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.send_reset(self.breaks_with);
        }
        (self.incoming, self.outgoing) = (None, None);
    }
}
