//! An endpoint of either protocol that records what reaches it and answers as a story tells it to.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Request, Response, StatusCode};

use super::{Channel, Fields, Length, Piece, Protocol, http1, http2};
use crate::support::wire::{Framing, Wire};

/// What has reached the endpoint of one request.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// Host, or :authority.
    pub authority: Option<String>,
    /// Without Host over HTTP/1.
    pub fields: Fields,
    /// What the script has read.
    pub body: Vec<u8>,
    /// `None` as long as the body has not come to its end.
    pub trailers: Option<Fields>,
}

#[derive(Default)]
struct Record {
    opened: usize,
    closed: usize,
    seen: Vec<Seen>,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    stopped: AtomicBool,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        // A script that panicked has its own failure to show.
        self.record.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn open(self: &Arc<Self>) -> Opened {
        self.record().opened += 1;
        Opened {
            shared: Arc::clone(self),
        }
    }
}

/// A connection, counted as closed when it is dropped.
struct Opened {
    shared: Arc<Shared>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.shared.record().closed += 1;
    }
}

type Script = Arc<dyn Fn(&mut Call) + Send + Sync>;

/// A listening endpoint; it stops listening when it is dropped.
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Service {
    pub fn start(protocol: Protocol, script: impl Fn(&mut Call) + Send + Sync + 'static) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let (script, accepting): (Script, _) = (Arc::new(script), Arc::clone(&shared));
        thread::spawn(move || match protocol {
            Protocol::Http1 => accept_http1(&listener, &accepting, &script),
            Protocol::Http2 => accept_http2(listener, &accepting, &script),
        });
        Service { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn opened(&self) -> usize {
        self.shared.record().opened
    }

    pub fn closed(&self) -> usize {
        self.shared.record().closed
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.record().seen.clone()
    }

    /// The last request; panics when there was none.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request has come")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; nobody is there if it has ended.
        drop(TcpStream::connect(self.address));
    }
}

/// One request, as a script sees it.
pub struct Call<'a> {
    pub request: Seen,
    pub channel: Channel<'a>,
    responder: Option<SendResponse<Bytes>>,
    shared: Arc<Shared>,
    index: usize,
    /// Ends an HTTP/2 connection.
    goodbye: Option<Goodbye>,
}

type Goodbye = tokio::sync::mpsc::UnboundedSender<()>;

impl Call<'_> {
    /// The request's body, all of it with the first call.
    pub fn body(&mut self) -> Vec<u8> {
        if self.request.trailers.is_some() {
            return self.request.body.clone();
        }
        let (body, trailers) = self.channel.rest();
        self.request.body.clone_from(&body);
        self.request.trailers.clone_from(&trailers);
        let mut record = self.shared.record();
        let seen = &mut record.seen[self.index];
        (seen.body, seen.trailers) = (body.clone(), trailers);
        body
    }

    pub fn interim(&mut self, status: u16, fields: &[(&str, &str)]) {
        let fields = Fields::from(fields);
        match &mut self.channel {
            Channel::Http1(channel) => channel.send(&head(status, &fields, "")),
            Channel::Http2(_) => {
                let responder = self.responder.as_mut().expect("no final answer went before");
                // The stream may be gone already.
                let _ = responder.send_informational(response(status, &fields));
            }
        }
    }

    /// Sends the head of the answer, with a body to come as `length` says.
    pub fn head(&mut self, status: u16, fields: &[(&str, &str)], length: Length) {
        self.head_of(status, &Fields::from(fields), length);
    }

    pub fn head_of(&mut self, status: u16, fields: &Fields, length: Length) {
        match &mut self.channel {
            Channel::Http1(channel) => {
                let (framing, line) = match length {
                    Length::None => (Framing::Empty, String::new()),
                    Length::Stated(length) => (Framing::Length(length), format!("Content-Length: {length}\r\n")),
                    Length::Open => (Framing::Chunked, "Transfer-Encoding: chunked\r\n".to_owned()),
                };
                channel.set_outgoing(framing);
                channel.send(&head(status, fields, &line));
            }
            Channel::Http2(channel) => {
                let mut response = response(status, fields);
                if let Length::Stated(length) = length {
                    response.headers_mut().insert("content-length", length.into());
                }
                let responder = self.responder.as_mut().expect("one final answer");
                channel.outgoing = responder.send_response(response, length == Length::None).ok();
            }
        }
    }

    /// The whole answer, after the whole request.
    pub fn respond(&mut self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) {
        self.body();
        let body = body.as_ref();
        self.head(status, fields, Length::Stated(body.len()));
        if self.request.method != "HEAD" {
            self.channel.data(body);
        }
        self.channel.end();
    }

    /// Says GOAWAY and ends the connection once its streams have ended; over HTTP/1, closes it behind this answer.
    pub fn end_connection(&mut self) {
        match &mut self.channel {
            Channel::Http1(channel) => channel.over = true,
            Channel::Http2(_) => {
                let goodbye = self.goodbye.as_ref().expect("a connection of HTTP/2 can be ended");
                // It may have ended already.
                let _ = goodbye.send(());
            }
        }
    }

    fn finish(&mut self) {
        // What the script has not read is in the way of the next request on the connection.
        if let Channel::Http1(channel) = &mut self.channel {
            while !channel.over && matches!(channel.piece(), Piece::Data(_)) {}
        }
    }
}

fn head(status: u16, fields: &Fields, length: &str) -> Vec<u8> {
    let start = format!("HTTP/1.1 {status} Word\r\n{length}");
    [start.as_bytes(), &fields.to_lines(), b"\r\n"].concat()
}

fn response(status: u16, fields: &Fields) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).expect("three digits");
    *response.headers_mut() = fields.to_map();
    response
}

fn accept_http1(listener: &TcpListener, shared: &Arc<Shared>, script: &Script) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let (opened, script) = (shared.open(), Arc::clone(script));
        thread::spawn(move || serve_http1(&mut Wire::new(stream), &opened, &script));
    }
}

fn serve_http1(wire: &mut Wire, opened: &Opened, script: &Script) {
    while let Ok((start, mut fields)) = http1::read_head(wire) {
        let mut words = start.split(' ').map(str::to_owned);
        let authority = fields.one("host");
        fields.0.retain(|(name, _)| name != "host");
        let framing = http1::framing(&fields, Framing::Empty);
        let request = Seen {
            method: words.next().expect("a method"),
            target: words.next().expect("a target"),
            authority,
            fields,
            ..Seen::default()
        };
        let channel = Channel::Http1(http1::Channel::new(wire, framing, Framing::Empty));
        let mut call = begin(request, channel, None, &opened.shared);
        script(&mut call);
        call.finish();
        if matches!(call.channel, Channel::Http1(channel) if channel.over) {
            return;
        }
    }
}

fn begin<'a>(
    request: Seen,
    channel: Channel<'a>,
    responder: Option<SendResponse<Bytes>>,
    shared: &Arc<Shared>,
) -> Call<'a> {
    let mut record = shared.record();
    record.seen.push(request.clone());
    Call {
        request,
        channel,
        responder,
        shared: Arc::clone(shared),
        index: record.seen.len() - 1,
        goodbye: None,
    }
}

fn accept_http2(listener: TcpListener, shared: &Arc<Shared>, script: &Script) {
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket");
        while let Ok((stream, _)) = listener.accept().await {
            if shared.stopped.load(Ordering::SeqCst) {
                return;
            }
            tokio::spawn(serve_http2(stream, shared.open(), Arc::clone(script)));
        }
    });
}

async fn serve_http2(stream: tokio::net::TcpStream, opened: Opened, script: Script) {
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(1 << 20);
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let (goodbye, mut goodbyes) = tokio::sync::mpsc::unbounded_channel();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            Some(()) = goodbyes.recv() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, responder))) = accepted else {
            return;
        };
        let goodbye = goodbye.clone();
        let (shared, script) = (Arc::clone(&opened.shared), Arc::clone(&script));
        // On a thread of its own, since a script waits.
        thread::spawn(move || answer_http2(request, (responder, goodbye), &shared, &script));
    }
}

fn answer_http2(
    request: Request<RecvStream>,
    (responder, goodbye): (SendResponse<Bytes>, Goodbye),
    shared: &Arc<Shared>,
    script: &Script,
) {
    let (parts, incoming) = request.into_parts();
    let target = parts.uri.path_and_query();
    let request = Seen {
        method: parts.method.to_string(),
        target: target.map_or_else(String::new, ToString::to_string),
        authority: parts.uri.authority().map(ToString::to_string),
        fields: Fields::of_map(&parts.headers),
        ..Seen::default()
    };
    let channel = Channel::Http2(http2::Channel::new(Some(incoming), None, Reason::INTERNAL_ERROR));
    let mut call = begin(request, channel, Some(responder), shared);
    call.goodbye = Some(goodbye);
    script(&mut call);
}
