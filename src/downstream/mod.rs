//! The clients' side: listeners, connections, and the one keep-alive policy.
//!
//! # What does an idle client cost?
//! An HTTP/1 client that has been idle for a moment, with everything flushed and nothing buffered, is *parked*: its
//! HTTP engine is dropped, and a bare socket waits until it becomes readable ([`http1`]).
//!
//! # When is a client's connection closed?
//! When it has been idle for `idle_timeout`, has carried `max_requests`, is older than `max_age`, when its listener
//! drains, or when it gives way under pressure: always between two requests, and announced by `Connection: close` or
//! GOAWAY with the answer before where there is one. And at once when the client is too slow ([`state`]).
//!
//! # What becomes of a connection that is upgraded?
//! Its engine ends, and its bytes go on through the handler's [`Tunnel`] ([`tunnel`]): no timeout of this side counts any
//! more, and it never gives way to others.
//!
//! The side is generic over the handler of requests, so that the admin listener is served by the same code.

mod closing;
mod connection;
mod http1;
mod http2;
mod idle;
mod in_flight;
mod interim;
mod io;
mod ip_text;
mod listener;
mod listeners;
mod per_client;
mod proxy_protocol;
mod refusal;
mod request_body;
mod state;
mod tls_failure;
mod tunnel;

use std::{cell::OnceCell, convert::Infallible, future::Future, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Body;

pub use http2::{Http2End, Http2Ends};
pub use interim::Interim;
pub use ip_text::IpText;
pub use listener::{Listener, ListenerCounts};
pub use listeners::{Listeners, Message};
pub use proxy_protocol::{ProxyOutcome, ProxyOutcomes};
pub use refusal::Refusal;
pub use request_body::{Incoming, RequestBroken};
pub use tls_failure::{TlsFailure, TlsFailures};

use crate::{
    config,
    net::Shortcut,
    tls::{ClientFields, ServerTls},
    tunnel::Side,
};

/// What is done with requests.
pub trait Handle: 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin> + Cut + Unpin + 'static;

    type Tunnel: Tunnel;

    /// Answers a request, whose body it may take.
    fn handle(
        &self,
        client: &Client,
        request: &mut Request<Option<Incoming>>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// The answer to a request whose head is refused.
    fn refuse(&self, client: &Client, request: &Request<Option<Incoming>>, refusal: Refusal) -> Response<Self::Body>;

    /// The tunnel that an answer opens, in the place of its body. Asked only of answers that may.
    fn take_tunnel(&self, body: &mut Self::Body) -> Option<Self::Tunnel>;

    /// Takes note of a client that was turned away without a request that could be read. Of what it `requested` that may
    /// be the method and the path.
    fn note_refusal(&self, client: &Client, refusal: Refusal, requested: Option<(&str, &[u8])>);
}

/// The body of an answer that may be given up on.
pub trait Cut {
    /// The client has taken nothing of it for too long. It is dropped next.
    fn cut(&mut self);
}

/// A body in memory, which is dropped next.
impl Cut for Full<Bytes> {
    fn cut(&mut self) {}
}

/// The other side of a client's connection that is no longer HTTP.
pub trait Tunnel: 'static {
    /// Carries bytes both ways until the end, which it does to both sides. Where `cut` is ready, that is at once.
    fn run(self, client: impl Side, cut: impl Future<Output = ()>) -> impl Future<Output = ()>;
}

impl Tunnel for Infallible {
    async fn run(self, _: impl Side, _: impl Future<Output = ()>) {
        match self {}
    }
}

/// Who sends a request.
#[derive(Debug)]
pub struct Client {
    /// Where it connects from, or what a trusted PROXY header says of that.
    pub address: SocketAddr,
    /// The address without the port as text, which every request needs.
    pub ip: IpText,
    pub listener: Arc<Listener>,
    pub tls: Option<ClientTls>,
    arrival: OnceCell<Arc<SocketAddr>>,
    /// Once it has been asked for.
    shortcut: OnceCell<Rc<Shortcut>>,
    hearer: interim::Hearer,
    /// Where all its requests are sent on to: `https://` on this port.
    pub redirect_to_https: Option<u16>,
    /// Longest time without a byte of a request body that is waited for.
    pub body_stall: Duration,
    /// Longest time in which the client takes nothing of an answer.
    pub write_stall: Duration,
}

/// What TLS knows of a client.
#[derive(Debug)]
pub struct ClientTls {
    /// The server name that it asked for.
    pub server_name: Option<Box<str>>,
    pub certificates: Arc<ServerTls>,
    /// What endpoints are told of the certificate that it has shown.
    pub fields: ClientFields,
}

impl Client {
    /// The value of Strict-Transport-Security for its answers, if its listener has one (RFC 6797 7.2: never without
    /// TLS).
    pub fn strict_transport_security(&self) -> Option<&HeaderValue> {
        self.tls.as_ref()?.certificates.strict_transport_security()
    }

    /// Where it has connected to, or what a trusted PROXY header says of that; lives as long as its connection. A client
    /// that came before anybody asked ([`Listener::ask_for_arrivals`]) has the address of its listener.
    pub fn arrival(&self) -> &Arc<SocketAddr> {
        self.arrival.get_or_init(|| Arc::new(self.listener.address))
    }

    /// The way on which parts of an answer to a request of this version may reach the client without coming up to us.
    pub fn shortcut(&self, version: Version) -> Option<&Rc<Shortcut>> {
        // TLS and HTTP/2 have to see what they wrap.
        let is_bare = self.tls.is_none() && version < Version::HTTP_2;
        is_bare.then(|| self.shortcut.get_or_init(Rc::default))
    }

    /// The client, where it can be told of interim answers: the engine of HTTP/2 cannot send them, and HTTP/1.0 does not
    /// know them.
    pub fn interim(&self, version: Version) -> Option<Interim> {
        (version == Version::HTTP_11).then(|| self.hearer.get()).flatten()
    }

    /// The same where it has been asked for before.
    fn held_shortcut(&self) -> Option<&Rc<Shortcut>> {
        self.shortcut.get()
    }

    /// A client of `listener` under `config`, which has connected to `arrival`, if anybody asked for that.
    pub fn new(
        address: SocketAddr,
        arrival: Option<Arc<SocketAddr>>,
        listener: Arc<Listener>,
        config: &config::Listener,
        tls: Option<ClientTls>,
    ) -> Self {
        let ip = address.ip().to_canonical();
        Self {
            address: SocketAddr::new(ip, address.port()),
            ip: IpText::new(ip),
            listener,
            tls,
            arrival: arrival.map_or_else(OnceCell::new, OnceCell::from),
            shortcut: OnceCell::new(),
            hearer: interim::Hearer::default(),
            redirect_to_https: config.redirect_to_https,
            body_stall: config.timeouts.body_stall,
            write_stall: config.timeouts.write_stall,
        }
    }
}
