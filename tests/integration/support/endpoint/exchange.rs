//! One request at a scripted endpoint, as its script sees it.

use std::{io::Write, time::Duration};

use super::{Request, Shared};
use crate::support::wire::{Body, End, Framing, Head, Wire};

/// What becomes of the connection when the script is through.
enum After {
    Keep,
    Close,
    Cut,
    Reset,
    Ended(End),
}

/// A request whose head has come; the body waits until the script asks for it.
pub struct Exchange<'a> {
    wire: &'a mut Wire,
    shared: &'a Shared,
    /// The place of this request in the record.
    index: usize,
    /// From 0, in the order of accepting.
    pub connection: usize,
    /// From 0, on this connection.
    pub number: usize,
    pub head: Head,
    unread: Option<Framing>,
    after: After,
}

impl Exchange<'_> {
    pub fn target(&self) -> &str {
        self.head.target()
    }

    /// The whole body of the request; empty when it was asked for already.
    pub fn body(&mut self) -> Vec<u8> {
        let Some(framing) = self.unread.take() else {
            return Vec::new();
        };
        let Body { bytes, trailers, cut } = self.wire.read_body(framing);
        let recorded = bytes.clone();
        self.shared.change(|record| {
            record.requests[self.index].body = recorded;
            record.requests[self.index].trailers = trailers;
            record.requests[self.index].cut = cut;
        });
        if let Some(end) = cut {
            self.after = After::Ended(end);
        }
        bytes
    }

    /// Some bytes of the body as they are on the wire, framing included; `None` when the connection has ended.
    /// The script then answers for reading the rest of it.
    pub fn raw_body(&mut self) -> Option<Vec<u8>> {
        self.unread = None;
        match self.wire.read_some() {
            Ok(bytes) => Some(bytes),
            Err(end) => {
                self.after = After::Ended(end);
                None
            }
        }
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.wire.send(bytes).is_err() {
            self.after = After::Ended(End::Reset);
        }
    }

    /// Sends status 200 with this body, after the request's body was read.
    pub fn respond(&mut self, body: impl AsRef<[u8]>) {
        self.respond_with("", body);
    }

    /// As [`Exchange::respond`], with further field lines, each with its CRLF.
    pub fn respond_with(&mut self, fields: &str, body: impl AsRef<[u8]>) {
        self.body();
        let body = body.as_ref();
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat());
    }

    /// The bytes that are there, at least one, of a connection that is no longer HTTP; `None` at its end.
    pub fn read_some(&mut self) -> Option<Vec<u8>> {
        self.raw_body()
    }

    /// All that still comes of such a connection, and how it ends.
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        self.unread = None;
        let (bytes, end) = self.wire.read_to_end();
        self.after = After::Ended(end);
        (bytes, end)
    }

    /// Sends no more, but goes on reading.
    pub fn finish(&self) {
        self.wire.finish();
    }

    /// Sends these bytes below TLS.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let mut stream = self.wire.stream();
        if stream.write_all(bytes).is_err() {
            self.after = After::Ended(End::Reset);
        }
    }

    /// Says inside TLS that no more will be sent (RFC 8446 6.1), and goes on reading.
    pub fn notify(&mut self) {
        let (session, stream) = self.wire.tls().expect("this endpoint speaks TLS");
        session.notify(stream);
    }

    /// Changes the keys of TLS 1.3.
    pub fn update_keys(&mut self) {
        let (session, stream) = self.wire.tls().expect("this endpoint speaks TLS");
        session.update_keys(stream);
    }

    /// Closes without a word inside TLS, when the script is through.
    pub fn cut(&mut self) {
        self.after = After::Cut;
    }

    /// Closes in order when the script is through.
    pub fn close(&mut self) {
        self.after = After::Close;
    }

    /// Resets the connection when the script is through.
    pub fn reset(&mut self) {
        self.after = After::Reset;
    }

    /// Closes when the next byte does not come within `patience`, as an endpoint does with its idle connections.
    pub fn close_if_idle_for(&mut self, patience: Duration) {
        if matches!(self.after, After::Keep) && self.wire.is_silent_for(patience) {
            self.after = After::Close;
        }
    }

    /// Reads until the proxy ends the connection, and says how it did.
    pub fn wait_for_end(&mut self) -> End {
        let (_, end) = self.wire.read_to_end();
        self.after = After::Ended(end);
        end
    }
}

/// Serves one connection until it ends.
pub(super) fn run(
    wire: &mut Wire,
    connection: usize,
    shared: &Shared,
    script: &(dyn Fn(&mut Exchange) + Send + Sync),
) -> End {
    let mut number = 0;
    loop {
        let head = match wire.read_head() {
            Ok(head) => head,
            Err(end) => return end,
        };
        let mut index = 0;
        shared.change(|record| {
            index = record.requests.len();
            record.connections[connection].requests += 1;
            let head = head.clone();
            record.requests.push(Request {
                connection,
                head,
                body: Vec::new(),
                trailers: Vec::new(),
                cut: None,
            });
        });
        let unread = Some(head.framing(Framing::Empty));
        let mut exchange = Exchange {
            wire,
            shared,
            index,
            connection,
            number,
            head,
            unread,
            after: After::Keep,
        };
        script(&mut exchange);
        if matches!(exchange.after, After::Keep) {
            exchange.body();
        }
        match exchange.after {
            After::Keep => number += 1,
            After::Close => {
                if let Some((session, stream)) = wire.tls() {
                    session.notify(stream);
                }
                return End::Ours;
            }
            After::Cut => return End::Ours,
            After::Reset => {
                wire.reset_on_close();
                return End::Ours;
            }
            After::Ended(end) => return end,
        }
    }
}
