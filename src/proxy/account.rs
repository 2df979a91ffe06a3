//! What is noted of a request: counters always, and a line of the access log where one is wanted.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, Request, StatusCode, Version};
use tokio::time::Instant;

use super::{
    View,
    grpc::{self, Code},
    reason::Reason,
    tunnel,
};
use crate::{
    downstream::{Client, Listener},
    pool::Reused,
    telemetry::{AccessLog, access_log::Record},
    tunnel::{End, Tally},
    upstream::{InFlight, Timing},
};

/// The account of one request, closed when it is dropped: at the end of the answer, or when the client is gone.
#[derive(Debug)]
pub(super) struct Account {
    view: Rc<View>,
    start: Instant,
    status: u16,
    outcome: Outcome,
    cluster: Option<usize>,
    /// Keeps the endpoint's load counted until the end of the answer.
    in_flight: Option<InFlight>,
    bytes: u64,
    /// Of a gRPC call: how it ended, as far as that has been said.
    grpc: Option<Option<Code>>,
    /// Only where a line is wanted.
    line: Option<Box<Line>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unfinished,
    Complete,
    Failed(Reason),
}

/// What a log line says beyond the counters.
#[derive(Debug)]
pub(super) struct Line {
    log: AccessLog,
    time: SystemTime,
    client: std::net::SocketAddr,
    listener: Arc<Listener>,
    method: Method,
    version: Version,
    host: Option<Vec<u8>>,
    path: Vec<u8>,
    user_agent: Option<Vec<u8>>,
    route: Option<usize>,
    endpoint: Option<String>,
    timing: Option<Timing>,
    first_byte: Option<Duration>,
    /// Of a tunnel, which does not keep the snapshot that has them.
    names: Option<Names>,
}

/// How the route and the cluster are called.
#[derive(Debug, Default)]
struct Names {
    route: Option<String>,
    cluster: Option<String>,
}

impl Account {
    pub(super) fn open<B>(view: Rc<View>, start: Instant, client: &Client, request: &Request<B>) -> Self {
        let line = view
            .snapshot
            .access_log
            .as_ref()
            .map(|log| Box::new(Line::new(log.clone(), client, request)));
        Self {
            view,
            start,
            status: 0,
            outcome: Outcome::Unfinished,
            cluster: None,
            in_flight: None,
            bytes: 0,
            grpc: grpc::is_grpc(request).then_some(None),
            line,
        }
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.grpc.is_some()
    }

    /// Reads the status of a gRPC call off a head or trailers.
    pub(super) fn note_grpc(&mut self, fields: &HeaderMap) {
        if let Some(code) = &mut self.grpc
            && let Some(stated) = grpc::status_of(fields)
        {
            *code = Some(stated);
        }
    }

    pub(super) fn route(&mut self, route: usize) {
        if let Some(line) = &mut self.line {
            line.route = Some(route);
        }
    }

    pub(super) fn cluster(&mut self, cluster: usize) {
        self.cluster = Some(cluster);
    }

    /// An endpoint has answered.
    pub(super) fn answered(&mut self, in_flight: InFlight, timing: Timing) {
        if let Some(line) = &mut self.line {
            line.endpoint = Some(in_flight.endpoint().name.clone());
            line.timing = Some(timing);
            line.first_byte = Some(self.start.elapsed());
        }
        self.in_flight = Some(in_flight);
    }

    /// An endpoint has failed to answer.
    pub(super) fn unanswered(&mut self, endpoint: Option<&str>, timing: Timing) {
        if let Some(line) = &mut self.line {
            line.endpoint = endpoint.map(str::to_owned);
            line.timing = Some(timing);
        }
    }

    pub(super) fn status(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    pub(super) fn fail(&mut self, reason: Reason) {
        self.outcome = Outcome::Failed(reason);
    }

    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The answer's last byte is on its way.
    pub(super) fn complete(&mut self) {
        if self.outcome == Outcome::Unfinished {
            self.outcome = Outcome::Complete;
        }
    }

    /// Closes the account of a request that was answered with a tunnel, and opens that of the tunnel. The line of the log
    /// is written at its end.
    pub(super) fn into_tunnel(mut self) -> tunnel::Account {
        self.complete();
        let snapshot = &self.view.snapshot;
        if let Some(line) = &mut self.line {
            line.names = Some(Names {
                route: line.route.and_then(|index| route_name(&self.view, index)),
                cluster: self.cluster.map(|index| snapshot.clusters[index].name.clone()),
            });
        }
        tunnel::Account {
            stats: Arc::clone(&snapshot.proxy_stats),
            worker: self.view.worker,
            start: self.start,
            status: self.status,
            tally: Tally::default(),
            // As long as nobody says otherwise, it was the client that did not stay.
            end: End::ClientReset,
            _in_flight: self.in_flight.take(),
            line: self.line.take(),
        }
        .opened()
    }
}

fn route_name(view: &View, index: usize) -> Option<String> {
    let route = view.snapshot.config.routes.get(index)?;
    Some(crate::snapshot::route_name(route))
}

impl Drop for Account {
    fn drop(&mut self) {
        let total = self.start.elapsed();
        let reason = match self.outcome {
            Outcome::Complete => None,
            Outcome::Failed(reason) => Some(reason),
            Outcome::Unfinished => Some(Reason::ClientGone),
        };
        self.view.count(self.cluster, self.status, reason, total);
        if let Some(stated) = self.grpc {
            let code = stated.unwrap_or_else(|| reason.map_or_else(|| Code::of_http(self.status), Code::of));
            self.grpc = Some(Some(code));
            self.view.count_grpc(self.cluster, code);
        }
        if let Some(line) = self.line.take() {
            line.write(self, reason, total);
        }
    }
}

impl Line {
    fn new<B>(log: AccessLog, client: &Client, request: &Request<B>) -> Self {
        let field = |name| request.headers().get(name).map(|value| value.as_bytes().to_vec());
        let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let host = authority.or_else(|| Some(request.headers().get(http::header::HOST)?.as_bytes()));
        Self {
            log,
            time: SystemTime::now(),
            client: client.address,
            listener: Arc::clone(&client.listener),
            method: request.method().clone(),
            version: request.version(),
            host: host.map(|host| without_user(host).to_vec()),
            path: request
                .uri()
                .path_and_query()
                .map_or_else(Vec::new, |path| path.as_str().as_bytes().to_vec()),
            user_agent: field(http::header::USER_AGENT),
            route: None,
            endpoint: None,
            timing: None,
            first_byte: None,
            names: None,
        }
    }

    fn write(&self, account: &Account, reason: Option<Reason>, total: Duration) {
        let route = self.route.and_then(|index| route_name(&account.view, index));
        let clusters = &account.view.snapshot.clusters;
        self.log.write(&Record {
            status: (account.status > 0).then_some(account.status),
            bytes: account.bytes,
            route: route.as_deref(),
            cluster: account.cluster.map(|index| clusters[index].name.as_str()),
            total,
            reason: reason.map(Reason::as_str),
            grpc_status: account.grpc.flatten().map(Code::number),
            ..self.record()
        });
    }

    pub(super) fn write_tunnel(&self, account: &tunnel::Account) {
        let names = self.names.as_ref();
        self.log.write(&Record {
            status: Some(account.status),
            bytes: account.tally.down.get(),
            bytes_up: Some(account.tally.up.get()),
            route: names.and_then(|names| names.route.as_deref()),
            cluster: names.and_then(|names| names.cluster.as_deref()),
            total: account.start.elapsed(),
            reason: Some(account.end.as_str()),
            ..self.record()
        });
    }

    /// What is known before the end.
    fn record(&self) -> Record<'_> {
        Record {
            listener: &self.listener.name,
            method: Some(self.method.as_str()),
            host: self.host.as_deref(),
            path: Some(&self.path),
            protocol: Some(protocol(self.version)),
            endpoint: self.endpoint.as_deref(),
            reused: self.timing.map(|timing| timing.reused == Reused::Yes),
            connect: self.timing.and_then(|timing| timing.connect),
            wait: self.timing.map(|timing| timing.wait),
            first_byte: self.first_byte,
            user_agent: self.user_agent.as_deref(),
            ..Record::at(self.time, self.client)
        }
    }
}

/// An authority that has a user, perhaps with a password, is refused, and its user belongs in no log (RFC 9110 4.2.4).
fn without_user(authority: &[u8]) -> &[u8] {
    memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..])
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
