//! One request: the whole way on one screen is [`Proxy::answer`].
//!
//! Everything that the proxy answers itself goes through [`answer`], and everything that is noted of a request through
//! its [`Account`].

mod account;
mod answer;
mod body;
mod extended;
mod forward;
mod grpc;
mod identity;
mod reason;
mod target;
mod tunnel;
mod upgrade;
mod via;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use account::Account;
use answer::announce_close;
use arc_swap::ArcSwap;
use body::{Opened, Source};
use grpc::Code;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use target::Target;
use tokio::time::Instant;

pub use body::Body;
pub use forward::Head;
pub use reason::Reason;
pub use tunnel::Tunnel;

use crate::{
    balance::PickState,
    config::ReservedFields,
    downstream::{Client, Handle, Incoming, Refusal},
    pool::{Identity, OneClient},
    routing,
    snapshot::{Action, ForwardTo, Snapshot},
    telemetry::access_log::Record,
    upstream::{self, Expectation, Failed, Fits, Local, Opens, Outgoing, RequestFraming},
    worker::Timers,
};

/// The proxy on one worker.
#[derive(Debug)]
pub struct Proxy {
    worker: usize,
    timers: Timers,
    snapshots: Arc<ArcSwap<Snapshot>>,
    /// The snapshot as this worker last saw it.
    view: RefCell<Rc<View>>,
}

/// A snapshot with what this worker keeps beside it. Requests share it by a count that no other core touches.
#[derive(Debug)]
pub(crate) struct View {
    snapshot: Arc<Snapshot>,
    worker: usize,
    /// One for each cluster.
    picks: Vec<PickState>,
}

/// What of a request's target decides on its connection.
struct Sent {
    fits: Fits,
    identity: Option<Identity>,
}

impl Proxy {
    pub fn new(worker: usize, timers: Timers, snapshots: Arc<ArcSwap<Snapshot>>) -> Self {
        let view = RefCell::new(Rc::new(View::new(snapshots.load_full(), worker)));
        Self {
            worker,
            timers,
            snapshots,
            view,
        }
    }

    /// Lets go of a snapshot that a reload has replaced, also when no request comes.
    pub fn refresh(&self) -> Arc<Snapshot> {
        Arc::clone(&self.view().snapshot)
    }

    fn view(&self) -> Rc<View> {
        // A load that is not kept costs no write to memory that other cores read.
        let current = self.snapshots.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(&view.snapshot, &current) {
            *view = Rc::new(View::new(Arc::clone(&current), self.worker));
        }
        Rc::clone(&view)
    }

    /// The way of a request: target, route, action.
    async fn answer(
        &self,
        view: &View,
        account: &mut Account,
        client: &Client,
        request: &mut Request<Option<Incoming>>,
    ) -> Response<Source> {
        extended::translate(request);
        let reserved = view.snapshot.reserved.as_deref();
        let target = match check(client, request, reserved) {
            Ok(target) => target,
            Err((reason, details)) => return reject(account, reason, details, request),
        };
        if let Some(port) = client.redirect_to_https {
            return send_on(account, port, &target, request);
        }
        let (method, headers) = (request.method(), request.headers());
        let wanted = routing::Request {
            host: target.host,
            path: target.path,
            method,
            headers,
        };
        let found = view.snapshot.router.find(&wanted);
        if let Some((reason, details)) = upgrade::refusal(request, found.map(|route| &route.action)) {
            return reject(account, reason, details, request);
        }
        let Some(route) = found else {
            return fail(account, Reason::NoRoute, "no route matches this host, path and method");
        };
        account.route(route.index);
        let mut response = match &route.action {
            Action::Forward(to) => {
                let fits = forward::fits(to, &target);
                match to
                    .cluster
                    .identity(target.host, || OneClient::new(client.address, client.arrival()))
                {
                    Ok(identity) => {
                        let sent = Sent { fits, identity };
                        self.forward(view, account, client, to, sent, request).await
                    }
                    Err(error) => reject(account, Reason::Misdirected, &error.to_string(), request),
                }
            }
            Action::Redirect(redirect) => answer::redirect(redirect, &target),
            Action::Respond(respond) => answer::respond(respond),
        };
        route.response_headers.apply(response.headers_mut());
        response
    }

    async fn forward(
        &self,
        view: &View,
        account: &mut Account,
        client: &Client,
        to: &ForwardTo,
        sent: Sent,
        request: &mut Request<Option<Incoming>>,
    ) -> Response<Source> {
        account.cluster(to.cluster_index);
        let expectation = match expectation(request) {
            Ok(expectation) => expectation,
            Err(details) => return reject(account, Reason::ExpectationFailed, details, request),
        };
        let version = request.version();
        let framing = request.body().as_ref().map_or(RequestFraming::None, forward::framing);
        let opens = match upgrade::opens(request, framing, &to.upgrade) {
            Ok(opens) => opens,
            Err(details) => return reject(account, Reason::BadRequest, details, request),
        };
        let outgoing = Outgoing {
            method: request.method().clone(),
            opens: opens.clone(),
            fits: sent.fits,
            identity: sent.identity,
            repeat: forward::repeat(to, request),
            framing,
            body: request.body_mut().take(),
            expectation,
            reserved: view.snapshot.reserved.clone(),
            interim: client.interim(version),
            client_stall: client.body_stall,
            time_limit: account.is_grpc().then(|| grpc::timeout(request.headers())).flatten(),
            encode: Head {
                request,
                client,
                forwarding: &view.snapshot.config.forwarding,
                to,
                framing,
                opens: &opens,
                expectation,
            },
        };
        let local = Local {
            worker: self.worker,
            timers: &self.timers,
            picks: &view.picks[to.cluster_index],
        };
        match upstream::send(&to.cluster, local, outgoing).await {
            Ok(answer) => {
                account.answered(answer.in_flight, answer.timing);
                account.note_grpc(&answer.headers);
                let mut response = match answer.body.into_tunnel() {
                    Ok(endpoint) => tunnel(endpoint, to),
                    Err(mut body) => {
                        body.shorten(|| client.shortcut(version));
                        Response::new(Source::Endpoint(body))
                    }
                };
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                if let Err((reason, details)) = upgrade::finish(&mut response, &opens, answer.upgrade, version) {
                    return fail(account, reason, details);
                }
                add_via(response.headers_mut(), view, answer.version);
                response
            }
            Err(failed) => {
                let mut response = unanswered(account, &failed);
                if framing != RequestFraming::None || opens == Opens::Connect {
                    announce_close(&mut response, version);
                }
                response
            }
        }
    }
}

impl Handle for Proxy {
    type Body = Body;
    type Tunnel = Tunnel;

    async fn handle(&self, client: &Client, request: &mut Request<Option<Incoming>>) -> Response<Body> {
        let start = Instant::now();
        let view = self.view();
        let mut account = Account::open(Rc::clone(&view), start, client, request);
        identity::tell(request.headers_mut(), client, view.snapshot.reserved.as_deref());
        let mut response = self.answer(&view, &mut account, client, request).await;
        if *request.method() == Method::HEAD {
            answer::leave_body_out(&mut response);
        }
        finish(response, client, account)
    }

    fn refuse(&self, client: &Client, request: &Request<Option<Incoming>>, refusal: Refusal) -> Response<Body> {
        let mut account = Account::open(self.view(), Instant::now(), client, request);
        account.fail(Reason::BadRequest);
        finish(answer::refusal(refusal), client, account)
    }

    fn take_tunnel(&self, body: &mut Body) -> Option<Tunnel> {
        let (Opened { endpoint, idle }, account) = body.take_tunnel()?;
        Some(Tunnel {
            endpoint,
            account: account.into_tunnel(),
            timer: self.timers.timer(),
            idle,
        })
    }

    fn note_refusal(&self, client: &Client, refusal: Refusal, requested: Option<(&str, &[u8])>) {
        tracing::debug!(client = %client.address, reason = refusal.reason, "turned a client away");
        let (view, status) = (self.view(), refusal.status.as_u16());
        view.count(None, status, Some(Reason::Refused), Duration::ZERO);
        if let Some(log) = &view.snapshot.access_log {
            log.write(&Record {
                listener: &client.listener.name,
                method: requested.map(|(method, _)| method),
                path: requested.map(|(_, path)| path),
                status: Some(status),
                reason: Some(refusal.reason),
                ..Record::at(SystemTime::now(), client.address)
            });
        }
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>, worker: usize) -> Self {
        let picks = snapshot.clusters.iter().map(|_| PickState::new()).collect();
        Self {
            snapshot,
            worker,
            picks,
        }
    }

    fn count(&self, cluster: Option<usize>, status: u16, reason: Option<Reason>, total: Duration) {
        let class = usize::from(status / 100).min(5);
        let stats = self.snapshot.proxy_stats.of(self.worker);
        stats.responses[class].add(1);
        if let Some(reason) = reason {
            stats.failures[reason as usize].add(1);
        }
        if let Some(cluster) = cluster {
            let stats = self.snapshot.cluster_stats[cluster].of(self.worker);
            stats.responses[class].add(1);
            stats.duration.observe(total);
        }
    }

    fn count_grpc(&self, cluster: Option<usize>, code: Code) {
        if let Some(cluster) = cluster {
            let stats = self.snapshot.cluster_stats[cluster].of(self.worker);
            stats.grpc[usize::from(code.number())].add(1);
        }
    }
}

fn finish(mut response: Response<Source>, client: &Client, mut account: Account) -> Response<Body> {
    // An endpoint that has a policy of its own knows better.
    if let Some(secure) = client.strict_transport_security()
        && !response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY)
    {
        response
            .headers_mut()
            .insert(header::STRICT_TRANSPORT_SECURITY, secure.clone());
    }
    account.status(response.status());
    response.map(|source| Body::new(source, account))
}

/// The answer of a listener that only sends its clients on to TLS.
fn send_on<B>(account: &mut Account, port: u16, target: &Target<'_>, request: &Request<B>) -> Response<Source> {
    if let Some((reason, details)) = upgrade::refusal(request, None) {
        return reject(account, reason, details, request);
    }
    answer::to_https(port, target).unwrap_or_else(|| reject(account, Reason::BadRequest, "Host is missing", request))
}

/// What is wrong with a request before it is routed.
fn check<'a, B>(
    client: &Client,
    request: &'a Request<B>,
    reserved: Option<&ReservedFields>,
) -> Result<Target<'a>, (Reason, &'static str)> {
    let target = Target::of(request).map_err(|details| (Reason::BadRequest, details))?;
    if request.headers().contains_key(header::CONNECTION) {
        forward::check_connection(request.headers(), reserved).map_err(|details| (Reason::BadRequest, details))?;
    }
    if let Some(tls) = &client.tls
        && let Some(name) = &tls.server_name
        && !tls.certificates.same_certificate(name, target.host)
    {
        return Err((
            Reason::Misdirected,
            "the host is not one of the server that TLS was set up with",
        ));
    }
    Ok(target)
}

fn tunnel(endpoint: upstream::Tunnel, to: &ForwardTo) -> Response<Source> {
    let idle = to.cluster.timeouts.tunnel_idle;
    Response::new(Source::Tunnel(Opened { endpoint, idle }))
}

/// RFC 9110 10.1.1: the one expectation there is.
fn expectation<B>(request: &Request<B>) -> Result<Expectation, &'static str> {
    match request.headers().get(header::EXPECT) {
        None => Ok(Expectation::None),
        Some(_) if request.version() == Version::HTTP_10 => Ok(Expectation::None),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(Expectation::Continue),
        Some(_) => Err("the only expectation that can be met is 100-continue"),
    }
}

/// Refuses a request that cannot be understood, or whose body is not wanted, and ends its connection.
fn reject<B>(account: &mut Account, reason: Reason, details: &str, request: &Request<B>) -> Response<Source> {
    let mut response = fail(account, reason, details);
    announce_close(&mut response, request.version());
    response
}

fn fail(account: &mut Account, reason: Reason, details: &str) -> Response<Source> {
    account.fail(reason);
    if account.is_grpc() {
        return grpc::failure(reason, details);
    }
    answer::failure(reason, details)
}

fn unanswered(account: &mut Account, failed: &Failed) -> Response<Source> {
    account.unanswered(
        failed.endpoint.as_ref().map(|endpoint| endpoint.name.as_str()),
        failed.timing,
    );
    fail(account, Reason::from(&failed.error), &failed.error.to_string())
}

fn add_via(headers: &mut HeaderMap, view: &View, version: Version) {
    let Some(pseudonym) = &view.snapshot.config.forwarding.via else {
        return;
    };
    let via = via::extended(headers.get_all(header::VIA).iter(), version, pseudonym);
    if let Ok(value) = HeaderValue::from_bytes(&via) {
        headers.insert(header::VIA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_have_room_for_every_reason() {
        assert_eq!(Reason::ALL.len(), crate::snapshot::REASONS);
    }
}
