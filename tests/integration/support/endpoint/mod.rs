//! A scripted endpoint: it records every byte that reaches it and answers as a test tells it to.

mod exchange;

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

pub use exchange::Exchange;

use super::{
    tls_session::{EndpointTls, Handshake, Session},
    wire::{DEADLINE, End, Head, Wire},
};

/// Bytes recorded of each connection; what comes later is only counted.
const RECORDED: usize = 1 << 20;

/// One connection that the endpoint has accepted.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Where it came from; unknown of one that ended before it was accepted.
    pub peer: Option<SocketAddr>,
    /// The first [`RECORDED`] bytes that came.
    pub bytes: Vec<u8>,
    /// All bytes that came.
    pub received: u64,
    pub requests: usize,
    /// The PROXY header ahead of everything else, where the endpoint expects one.
    pub header: Vec<u8>,
    /// What was agreed on, once it was, where the endpoint speaks TLS.
    pub handshake: Option<Handshake>,
    /// Why there was no agreement.
    pub refusal: Option<String>,
    /// Whether the end was announced inside TLS (RFC 8446 6.1).
    pub notified: bool,
    /// `None` as long as it is open.
    pub end: Option<End>,
}

/// One request whose head has come.
#[derive(Debug, Clone)]
pub struct Request {
    /// The number of its connection, from 0 in the order of accepting.
    pub connection: usize,
    pub head: Head,
    /// What the script has read of the body.
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// How the connection ended before the body did.
    pub cut: Option<End>,
}

#[derive(Default)]
struct Record {
    connections: Vec<Connection>,
    requests: Vec<Request>,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        // A script that panicked has its own failure to show; what was recorded until then is still right.
        self.record.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record());
        self.changed.notify_all();
    }
}

type Script = Arc<dyn Fn(&mut Exchange) + Send + Sync>;

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Expected,
    Unexpected,
}

/// How each connection is served.
struct Serving {
    header: Header,
    tls: Option<EndpointTls>,
    script: Script,
}

/// A listening endpoint; it stops listening when it is dropped.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Endpoint {
    /// Starts an endpoint on a free port of 127.0.0.1 that runs `script` for each request head it has read.
    pub fn start(script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::start_on("127.0.0.1:0", script)
    }

    /// As [`Endpoint::start`], on an address of the caller's choice.
    pub fn start_on(address: &str, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::launch(address, Header::Unexpected, None, Arc::new(script))
    }

    /// As [`Endpoint::start`], over TLS.
    pub fn start_tls(tls: &EndpointTls, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::start_tls_on("127.0.0.1:0", tls, script)
    }

    /// As [`Endpoint::start_on`], over TLS.
    pub fn start_tls_on(
        address: &str,
        tls: &EndpointTls,
        script: impl Fn(&mut Exchange) + Send + Sync + 'static,
    ) -> Endpoint {
        Endpoint::launch(address, Header::Unexpected, Some(tls.clone()), Arc::new(script))
    }

    /// As [`Endpoint::start`], over TLS if there is any, where each connection begins with a PROXY header.
    pub fn start_behind_headers(
        tls: Option<&EndpointTls>,
        script: impl Fn(&mut Exchange) + Send + Sync + 'static,
    ) -> Endpoint {
        Endpoint::launch("127.0.0.1:0", Header::Expected, tls.cloned(), Arc::new(script))
    }

    /// The same in the clear, on an address of the caller's choice.
    pub fn start_behind_headers_on(address: &str, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::launch(address, Header::Expected, None, Arc::new(script))
    }

    /// As [`Endpoint::start`], on a socket that is there already.
    pub fn start_with(listener: TcpListener, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::launch_with(listener, Header::Unexpected, None, Arc::new(script))
    }

    fn launch(address: &str, header: Header, tls: Option<EndpointTls>, script: Script) -> Endpoint {
        let listener = TcpListener::bind(address).expect("the address can be bound");
        Endpoint::launch_with(listener, header, tls, script)
    }

    fn launch_with(listener: TcpListener, header: Header, tls: Option<EndpointTls>, script: Script) -> Endpoint {
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let serving = Serving { header, tls, script };
        thread::spawn(move || accept(&listener, &accepting, &Arc::new(serving)));
        Endpoint { address, shared }
    }

    /// An endpoint that answers every request with status 200 and `body`.
    pub fn answering(body: &'static str) -> Endpoint {
        Endpoint::start(move |exchange| exchange.respond(body))
    }

    /// An endpoint that answers every request with status 200 and the body of the request.
    pub fn echoing() -> Endpoint {
        Endpoint::start(|exchange| {
            let body = exchange.body();
            exchange.respond(body);
        })
    }

    /// An endpoint that answers every request with `bytes` exactly and keeps the connection open.
    pub fn saying(bytes: impl Into<Vec<u8>>) -> Endpoint {
        let bytes = bytes.into();
        Endpoint::start(move |exchange| {
            exchange.body();
            exchange.send(&bytes);
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn opened(&self) -> usize {
        self.shared.record().connections.len()
    }

    /// Connections that have ended.
    pub fn closed(&self) -> usize {
        self.connections()
            .iter()
            .filter(|connection| connection.end.is_some())
            .count()
    }

    pub fn connections(&self) -> Vec<Connection> {
        self.shared.record().connections.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.record().requests.clone()
    }

    /// The targets of all requests, in the order of their coming.
    pub fn targets(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request.head.target().to_owned())
            .collect()
    }

    /// Handshakes of TLS that began a session, and those that resumed one.
    pub fn handshakes(&self) -> (usize, usize) {
        let connections = self.connections();
        let seen: Vec<_> = connections
            .iter()
            .filter_map(|connection| connection.handshake.as_ref())
            .collect();
        let resumed = seen.iter().filter(|handshake| handshake.resumed).count();
        (seen.len() - resumed, resumed)
    }

    pub fn wait_opened(&self, count: usize) {
        self.wait("connections opened", |record| record.connections.len() >= count);
    }

    pub fn wait_requests(&self, count: usize) {
        self.wait("requests", |record| record.requests.len() >= count);
    }

    /// Waits until `count` connections have ended, and gives all of them.
    pub fn wait_closed(&self, count: usize) -> Vec<Connection> {
        self.wait("connections closed", |record| {
            record
                .connections
                .iter()
                .filter(|connection| connection.end.is_some())
                .count()
                >= count
        });
        self.connections()
    }

    fn wait(&self, what: &str, condition: impl Fn(&Record) -> bool) {
        let until = Instant::now() + DEADLINE;
        let mut record = self.shared.record();
        while !condition(&record) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the endpoint waited in vain for {what}; it saw {} connections and {} requests",
                record.connections.len(),
                record.requests.len(),
            );
            record = match self.shared.changed.wait_timeout(record, left) {
                Ok((record, _)) => record,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; when it is gone already, so is its listener.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, serving: &Arc<Serving>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let mut number = 0;
        shared.change(|record| {
            number = record.connections.len();
            record.connections.push(Connection {
                peer: stream.peer_addr().ok(),
                ..Connection::default()
            });
        });
        let (shared, serving) = (Arc::clone(shared), Arc::clone(serving));
        thread::spawn(move || serve(stream, number, &shared, &serving));
    }
}

fn serve(mut stream: TcpStream, number: usize, shared: &Arc<Shared>, serving: &Serving) {
    let tapped = Arc::clone(shared);
    let tap = move |bytes: &[u8]| {
        tapped.change(|record| {
            let connection = &mut record.connections[number];
            connection.received += bytes.len() as u64;
            let room = RECORDED.saturating_sub(connection.bytes.len()).min(bytes.len());
            connection.bytes.extend_from_slice(&bytes[..room]);
        });
    };
    // Held outside, so that the connection also ends when a script panics.
    let _ended = EndOnDrop { shared, number };
    stream.set_read_timeout(Some(DEADLINE)).expect("a duration above zero");
    if serving.header == Header::Expected {
        let Ok(header) = read_header(&mut stream) else { return };
        shared.change(|record| record.connections[number].header = header);
    }
    let mut session = None;
    if let Some(tls) = &serving.tls {
        match set_up(tls, &mut stream, number, shared) {
            Some(fresh) => session = Some(fresh),
            None => return,
        }
    }
    let mut wire = Wire::tapped(stream, Box::new(tap));
    if let Some(session) = session {
        wire = wire.over(session);
    }
    let end = exchange::run(&mut wire, number, shared, serving.script.as_ref());
    let notified = wire.tls().is_some_and(|(session, _)| session.is_notified());
    drop(wire);
    shared.change(|record| {
        record.connections[number].notified = notified;
        record.connections[number].end = Some(end);
    });
}

/// Exactly the header: what follows is not HTTP's to lose.
fn read_header(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut header = vec![0; 8];
    stream.read_exact(&mut header)?;
    let mut more = |header: &mut Vec<u8>, count: usize| {
        let before = header.len();
        header.resize(before + count, 0);
        stream.read_exact(&mut header[before..])
    };
    if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            more(&mut header, 1)?;
        }
    } else {
        more(&mut header, 8)?;
        let rest = u16::from_be_bytes([header[14], header[15]]);
        more(&mut header, usize::from(rest))?;
    }
    Ok(header)
}

fn set_up(tls: &EndpointTls, stream: &mut TcpStream, number: usize, shared: &Arc<Shared>) -> Option<Session> {
    match tls.accept(stream, |seen| {
        shared.change(|record| record.connections[number].handshake = Some(seen));
    }) {
        Ok(session) => Some(session),
        Err(error) => {
            shared.change(|record| record.connections[number].refusal = Some(error.to_string()));
            None
        }
    }
}

struct EndOnDrop<'a> {
    shared: &'a Shared,
    number: usize,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.shared.change(|record| {
            record.connections[self.number].end.get_or_insert(End::Ours);
        });
    }
}
