//! The listener for people and scrapers: `/metrics`, `/healthz`, `/readyz`, `/status`.
//!
//! It is served by the same code as clients are, on the control thread, so that it answers however busy the workers are.

mod metrics;
mod ports;
mod status;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::time::Instant;

use crate::{
    config,
    downstream::{Client, Handle, Incoming, Listener, Listeners, Message, Refusal},
    net::{self, TcpOptions},
    pool::Reuse,
    snapshot::Snapshot,
    telemetry::{Recorder, page},
    tls::ServerTls,
    worker::{Board, Timers},
};

/// What can be seen of the running process.
#[derive(Debug)]
pub struct State {
    snapshots: Arc<ArcSwap<Snapshot>>,
    board: Arc<Board<Message>>,
    listeners: Mutex<Vec<Listening>>,
    phase: AtomicU8,
    started: Instant,
    /// Has what is counted rarely.
    recorder: &'static Recorder,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    /// Why the last reload was refused, if it was.
    refusal: Mutex<Option<String>>,
}

/// A listener of the process, and what its clients are shown.
#[derive(Debug, Clone)]
pub struct Listening {
    pub listener: Arc<Listener>,
    pub tls: Option<Arc<ServerTls>>,
}

/// How far the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

/// Requests by whether a kept connection carried them, over all endpoints.
fn reuse(snapshot: &Snapshot) -> Reuse {
    let all = snapshot.endpoints().map(|(_, endpoint)| endpoint.pool.status().reuse());
    all.fold(Reuse::default(), Reuse::plus)
}

impl State {
    pub fn new(
        snapshots: Arc<ArcSwap<Snapshot>>,
        board: Arc<Board<Message>>,
        recorder: &'static Recorder,
    ) -> Arc<Self> {
        Arc::new(Self {
            snapshots,
            board,
            listeners: Mutex::default(),
            phase: AtomicU8::new(Phase::Starting as u8),
            started: Instant::now(),
            recorder,
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            refusal: Mutex::default(),
        })
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub fn set_listeners(&self, listeners: Vec<Listening>) {
        *self.listeners.lock().expect("no panic under this lock") = listeners;
    }

    /// Notes a reload, or why it was refused, for `/status`.
    pub fn note_reload(&self, result: Result<(), String>) {
        let counter = if result.is_ok() {
            &self.reloads
        } else {
            &self.reloads_refused
        };
        counter.fetch_add(1, Relaxed);
        *self.refusal.lock().expect("no panic under this lock") = result.err();
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            phase if phase == Phase::Ready as u8 => Phase::Ready,
            phase if phase == Phase::Draining as u8 => Phase::Draining,
            _ => Phase::Starting,
        }
    }

    fn listeners(&self) -> Vec<Listening> {
        self.listeners.lock().expect("no panic under this lock").clone()
    }
}

/// Starts the admin listener on the calling thread's runtime; gives its address with its real port.
///
/// # Errors
/// When it cannot be bound.
pub fn start(state: Arc<State>, address: SocketAddr) -> io::Result<SocketAddr> {
    let mut config = config::Listener::new("admin", address);
    config.max_connections = 256;
    let sockets = net::bind(address, 1, &TcpOptions::default())?;
    let (board, mut seats) = Board::new(1);
    let listeners = Listeners::new(std::rc::Rc::new(Admin(state)), Timers::start(), 0, Arc::new(board));
    let mut bound = address;
    for socket in sockets {
        bound = socket.local_addr()?;
        let listener = Listener::new("admin".to_owned(), bound, 1);
        listeners.listen(listener, socket, Arc::new(config.clone()), None)?;
    }
    // There is no sibling who could send; the seat is kept so that the board is whole.
    tokio::task::spawn_local(async move {
        for seat in &mut seats {
            while let Some(message) = seat.recv().await {
                listeners.receive(message);
            }
        }
    });
    Ok(bound)
}

/// Answers the admin listener's requests.
#[derive(Debug)]
struct Admin(Arc<State>);

impl Handle for Admin {
    type Body = Full<Bytes>;
    type Tunnel = Infallible;

    async fn handle(&self, _: &Client, request: &mut Request<Option<Incoming>>) -> Response<Full<Bytes>> {
        let state = &*self.0;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => answer(StatusCode::OK, page::CONTENT_TYPE, metrics::render(state)),
            "/status" => answer(StatusCode::OK, "application/json", status::render(state)),
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => match state.phase() {
                Phase::Ready => plain(StatusCode::OK, "ready\n"),
                Phase::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
                Phase::Draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            },
            "/" => plain(StatusCode::OK, "/metrics  /status  /healthz  /readyz\n"),
            _ => plain(
                StatusCode::NOT_FOUND,
                "there is /metrics, /status, /healthz and /readyz\n",
            ),
        }
    }

    fn refuse(&self, _: &Client, _: &Request<Option<Incoming>>, refusal: Refusal) -> Response<Full<Bytes>> {
        answer(
            refusal.status,
            "text/plain; charset=utf-8",
            format!("{}\n", refusal.details),
        )
    }

    fn take_tunnel(&self, _: &mut Full<Bytes>) -> Option<Infallible> {
        None
    }

    fn note_refusal(&self, client: &Client, refusal: Refusal, _: Option<(&str, &[u8])>) {
        tracing::debug!(client = %client.address, reason = refusal.reason, "turned an admin client away");
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", text)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
