//! A client of either protocol.

use std::{
    future::poll_fn,
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
};

use bytes::Bytes;
use h2::{
    Reason,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, Uri};
use tokio::sync::oneshot;

use super::{Channel, Fields, Protocol, http1, http2, wait};
use crate::support::wire::{Framing, Wire};

/// How long a body is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    None,
    Stated(usize),
    /// In chunks, or without a length.
    Open,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: String,
    pub target: String,
    pub authority: String,
    pub fields: Fields,
    pub length: Length,
}

impl Ask {
    pub fn get(target: &str) -> Ask {
        Ask::of("GET", target, Length::None)
    }

    pub fn post(target: &str, length: Length) -> Ask {
        Ask::of("POST", target, length)
    }

    pub fn of(method: &str, target: &str, length: Length) -> Ask {
        Ask {
            method: method.to_owned(),
            target: target.to_owned(),
            authority: "test.example".to_owned(),
            fields: Fields::default(),
            length,
        }
    }

    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.fields.0.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
    /// `None` of an answer that was cut.
    pub trailers: Option<Fields>,
    /// The 1xx answers before.
    pub interim: Vec<(u16, Fields)>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn is_cut(&self) -> bool {
        self.trailers.is_none()
    }
}

/// One connection of a client.
pub enum Caller {
    Http1(Wire),
    Http2(Http2Caller),
}

/// The sending half of a connection that a thread of its own drives until this is dropped.
pub struct Http2Caller {
    sender: SendRequest<Bytes>,
    _end: oneshot::Sender<()>,
}

/// A request on its way.
pub struct Asked<'a> {
    pub channel: Channel<'a>,
    response: Option<ResponseFuture>,
    method: String,
    interim: Vec<(u16, Fields)>,
}

impl Caller {
    pub fn connect(protocol: Protocol, address: SocketAddr) -> Caller {
        match protocol {
            Protocol::Http1 => Caller::Http1(Wire::new(TcpStream::connect(address).expect("the proxy accepts"))),
            Protocol::Http2 => Caller::Http2(Http2Caller::connect(address)),
        }
    }

    pub fn call(&mut self, ask: &Ask, body: &[u8]) -> Answer {
        let mut asked = self.send(ask);
        if ask.length != Length::None {
            asked.channel.data(body);
            asked.channel.end();
        }
        asked.answer()
    }

    /// Sends the head of a request.
    pub fn send(&mut self, ask: &Ask) -> Asked<'_> {
        let (channel, response) = match self {
            Caller::Http1(wire) => (Channel::Http1(send_http1(wire, ask)), None),
            Caller::Http2(caller) => {
                let (channel, response) = caller.send(ask);
                (Channel::Http2(channel), Some(response))
            }
        };
        Asked {
            channel,
            response,
            method: ask.method.clone(),
            interim: Vec::new(),
        }
    }
}

fn send_http1<'a>(wire: &'a mut Wire, ask: &Ask) -> http1::Channel<'a> {
    let (outgoing, line) = match ask.length {
        Length::None => (Framing::Empty, String::new()),
        Length::Stated(length) => (Framing::Length(length), format!("Content-Length: {length}\r\n")),
        Length::Open => (Framing::Chunked, "Transfer-Encoding: chunked\r\n".to_owned()),
    };
    let Ask {
        method,
        target,
        authority,
        ..
    } = ask;
    let start = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{line}");
    let mut channel = http1::Channel::new(wire, Framing::Empty, outgoing);
    channel.send(&[start.as_bytes(), &ask.fields.to_lines(), b"\r\n"].concat());
    channel
}

impl Http2Caller {
    fn connect(address: SocketAddr) -> Http2Caller {
        let (end, ended) = oneshot::channel();
        let (give, taken) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let stream = tokio::net::TcpStream::connect(address)
                    .await
                    .expect("the proxy accepts");
                stream.set_nodelay(true).expect("a connected socket");
                let mut builder = h2::client::Builder::new();
                builder.max_header_list_size(1 << 20);
                let (sender, connection) = builder.handshake(stream).await.expect("the proxy speaks HTTP/2");
                give.send(sender).expect("the story waits for this");
                tokio::select! {
                    _ = connection => {}
                    _ = ended => {}
                }
            });
        });
        Http2Caller {
            sender: taken.recv().expect("the connection is there"),
            _end: end,
        }
    }

    fn send(&mut self, ask: &Ask) -> (http2::Channel, ResponseFuture) {
        let uri = Uri::builder().scheme("http").authority(ask.authority.as_str());
        let uri = uri.path_and_query(ask.target.as_str()).build().expect("a target");
        let request = Request::builder().method(ask.method.as_str()).uri(uri);
        let mut request = request.body(()).expect("a request");
        *request.headers_mut() = ask.fields.to_map();
        if let Length::Stated(length) = ask.length {
            request.headers_mut().insert("content-length", length.into());
        }
        let sent = wait(poll_fn(|context| self.sender.poll_ready(context))).expect("a stream comes free");
        sent.expect("the connection lives");
        let sent = self.sender.send_request(request, ask.length == Length::None);
        let (response, outgoing) = sent.expect("the request is well-formed");
        (http2::Channel::new(None, Some(outgoing), Reason::CANCEL), response)
    }
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub fields: Fields,
}

impl Asked<'_> {
    /// The next head, be it interim or final; `None` when the request was given up.
    pub fn head(&mut self) -> Option<Head> {
        match &mut self.channel {
            Channel::Http1(channel) => {
                let (start, fields) = http1::read_head(channel.wire()).ok()?;
                assert!(start.starts_with("HTTP/1.1 "), "{start:?}");
                let status = start[9..12].parse().expect("a status");
                if status >= 200 {
                    let none = self.method == "HEAD" || status == 204 || status == 304;
                    channel.receive(match http1::framing(&fields, Framing::UntilClose) {
                        _ if none => Framing::Empty,
                        framing => framing,
                    });
                }
                Some(Head { status, fields })
            }
            Channel::Http2(channel) => {
                let response = self.response.as_mut().expect("the final head comes once");
                let next = wait(poll_fn(|context| {
                    use std::task::Poll;
                    if let Poll::Ready(Some(interim)) = response.poll_informational(context) {
                        return Poll::Ready(interim.map(|interim| interim.map(|()| None)));
                    }
                    std::pin::Pin::new(&mut *response)
                        .poll(context)
                        .map_ok(|response| response.map(Some))
                }));
                let response = next.expect("an answer comes").ok()?;
                let (parts, incoming) = response.into_parts();
                if let Some(incoming) = incoming {
                    channel.incoming = Some(incoming);
                    self.response = None;
                }
                Some(Head {
                    status: parts.status.as_u16(),
                    fields: Fields::of_map(&parts.headers),
                })
            }
        }
    }

    /// The final head; panics when the request was given up.
    pub fn final_head(&mut self) -> Head {
        self.try_final_head().expect("an answer comes")
    }

    fn try_final_head(&mut self) -> Option<Head> {
        loop {
            let head = self.head()?;
            if head.status >= 200 {
                return Some(head);
            }
            self.interim.push((head.status, head.fields));
        }
    }

    pub fn answer(self) -> Answer {
        self.try_answer().expect("an answer comes")
    }

    /// `None` when the request was given up before the head of its answer.
    pub fn try_answer(mut self) -> Option<Answer> {
        let Head { status, fields } = self.try_final_head()?;
        let (body, trailers) = self.channel.rest();
        Some(Answer {
            status,
            fields,
            body,
            trailers,
            interim: self.interim,
        })
    }
}
