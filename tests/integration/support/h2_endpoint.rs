//! An endpoint that speaks HTTP/2 in raw frames, as a script tells it to, so that it can also speak it wrongly.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{
    h2::{DATA, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, SETTINGS},
    wire::{End, Wire},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: u8 = 6;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The static table's `:status: 200` (RFC 7541, appendix A).
pub const OK: &[u8] = &[0x88];

/// A listening endpoint.
pub struct H2Endpoint {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

/// One connection, as its script has it.
pub struct H2Connection {
    wire: Wire,
    /// From 0, in the order of accepting.
    pub number: usize,
    /// How it ended.
    pub end: Option<End>,
}

impl H2Endpoint {
    /// Runs `script` for each connection, whose SETTINGS are out already, with these parameters.
    pub fn start(
        settings: &'static [(u16, u32)],
        script: impl Fn(&mut H2Connection) + Send + Sync + 'static,
    ) -> H2Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (opened, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&opened), Arc::clone(&closed));
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = counts.0.fetch_add(1, SeqCst);
                let (script, closed) = (Arc::clone(&script), Arc::clone(&counts.1));
                thread::spawn(move || {
                    if let Some(mut connection) = H2Connection::accept(stream, number, settings) {
                        script(&mut connection);
                    }
                    closed.fetch_add(1, SeqCst);
                });
            }
        });
        H2Endpoint {
            address,
            opened,
            closed,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn opened(&self) -> usize {
        self.opened.load(SeqCst)
    }

    /// Connections whose script has ended.
    pub fn closed(&self) -> usize {
        self.closed.load(SeqCst)
    }
}

impl H2Connection {
    fn accept(stream: TcpStream, number: usize, settings: &[(u16, u32)]) -> Option<H2Connection> {
        let mut wire = Wire::new(stream);
        wire.read_exactly(PREFACE.len()).ok().filter(|read| read == PREFACE)?;
        let mut connection = H2Connection {
            wire,
            number,
            end: None,
        };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        connection.send(SETTINGS, 0, 0, &payload);
        Some(connection)
    }

    /// A second handle, to answer with.
    pub fn try_clone(&self) -> H2Connection {
        let stream = self.wire.stream().try_clone().expect("a descriptor is left");
        H2Connection {
            wire: Wire::new(stream),
            number: self.number,
            end: None,
        }
    }

    pub fn is_silent_for(&mut self, patience: Duration) -> bool {
        self.wire.is_silent_for(patience)
    }

    /// What the proxy takes no more is lost, as the next read tells.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let _ = self.wire.send(&frame);
    }

    /// The next frame that is not the connection's own business; `None` at its end.
    pub fn read(&mut self) -> Option<Frame> {
        loop {
            let frame = self.step()?;
            if matches!(frame.kind, HEADERS | DATA | RST_STREAM | GOAWAY) {
                return Some(frame);
            }
        }
    }

    /// The next frame of any kind, once it has been given what is due to it.
    pub fn step(&mut self) -> Option<Frame> {
        let frame = match self.read_any() {
            Ok(frame) => frame,
            Err(end) => {
                self.end = Some(end);
                return None;
            }
        };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload),
            _ => {}
        }
        Some(frame)
    }

    fn read_any(&mut self) -> Result<Frame, End> {
        let head = self.wire.read_exactly(9).map_err(|(_, end)| end)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.read_exactly(length).map_err(|(_, end)| end)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        })
    }

    /// The stream of the next request, once that is whole; `None` at the end of the connection.
    pub fn request(&mut self) -> Option<u32> {
        loop {
            let frame = self.read()?;
            if frame.ends_stream() {
                return Some(frame.stream);
            }
        }
    }

    pub fn answer(&mut self, stream: u32, body: &[u8]) {
        self.send(HEADERS, END_HEADERS, stream, OK);
        self.send(DATA, END_STREAM, stream, body);
    }

    /// Answers every further request.
    pub fn serve(&mut self) {
        while let Some(stream) = self.request() {
            self.answer(stream, b"served");
        }
    }

    pub fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Says that no stream above `last` has been processed.
    pub fn go_away(&mut self, last: u32, code: u32) {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload);
    }

    /// Reads to the end of the connection and says nothing, not even what is due.
    pub fn wait_for_end_in_silence(&mut self) {
        while self.read_any().is_ok() {}
    }

    /// Reads to the end of the connection; whether the proxy said GOAWAY before.
    pub fn wait_for_end(&mut self) -> bool {
        let mut said = false;
        while let Some(frame) = self.read() {
            said |= frame.kind == GOAWAY;
        }
        said
    }
}
