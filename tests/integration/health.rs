//! Endpoints that are not fit get no requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use crate::support::{Endpoint, Gate, Proxy, eventually, unreachable::Refusing};

const PROBE: &str =
    "[cluster.main.health]\nprobe = { path = \"/healthz\", interval = \"50ms\", timeout = \"2s\", rise = 2, fall = 2 }";

/// An endpoint whose health the test decides; other requests are answered with its name.
fn endpoint(name: &'static str) -> (Endpoint, Arc<AtomicBool>) {
    let healthy = Arc::new(AtomicBool::new(true));
    let endpoint = Endpoint::start({
        let healthy = Arc::clone(&healthy);
        move |exchange| match exchange.target() {
            "/healthz" if healthy.load(SeqCst) => exchange.respond("fine"),
            "/healthz" => exchange.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            _ => exchange.respond(name),
        }
    });
    (endpoint, healthy)
}

/// The names that answer twenty requests, each once.
fn who_answers(proxy: &Proxy) -> Vec<String> {
    let mut names: Vec<String> = (0..20)
        .map(|_| proxy.get("/"))
        .map(|response| response.text())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn an_endpoint_that_fails_its_probes_is_left_out_until_it_passes_them_again() {
    let ((one, healthy), (two, _)) = (endpoint("one"), endpoint("two"));
    let proxy = Proxy::to(&[one.address(), two.address()]).with(PROBE).start();
    eventually("both answer", || who_answers(&proxy) == ["one", "two"]);
    healthy.store(false, SeqCst);
    eventually("only the other one answers", || who_answers(&proxy) == ["two"]);
    healthy.store(true, SeqCst);
    eventually("both answer again", || who_answers(&proxy) == ["one", "two"]);
}

#[test]
fn probes_use_a_kept_connection() {
    let (endpoint, _) = endpoint("one");
    let _proxy = Proxy::in_front_of(&endpoint).with(PROBE).start();
    endpoint.wait_requests(10);
    assert!(
        endpoint.opened() <= 2,
        "{} connections for {} probes",
        endpoint.opened(),
        endpoint.requests().len()
    );
}

#[test]
fn an_endpoint_that_cannot_be_connected_to_fails_its_tcp_probe() {
    let refusing = Refusing::new();
    let address = refusing.address();
    let (alive, _) = endpoint("alive");
    let probe = "[cluster.main.health]\nprobe = { tcp = true, interval = \"50ms\", rise = 1, fall = 1 }";
    let proxy = Proxy::to(&[address, alive.address()])
        .with("[cluster.main.retry]\nconnect_attempts = 0")
        .with(probe)
        .start();
    eventually("only the living one is asked", || {
        (0..20).all(|_| proxy.get("/").status == 200)
    });
    let late = Endpoint::start_with(refusing.listen(), |exchange| exchange.respond("late"));
    eventually("the late one is asked too", || who_answers(&proxy) == ["alive", "late"]);
    assert!(late.opened() > 0);
}

#[test]
fn requests_go_on_being_answered_when_no_endpoint_is_fit() {
    let (endpoint, healthy) = endpoint("one");
    healthy.store(false, SeqCst);
    let proxy = Proxy::in_front_of(&endpoint).with(PROBE).start();
    endpoint.wait_requests(5);
    let response = proxy.get("/");
    // Either way is right, as long as it is said: to try nevertheless, or to tell the client.
    assert!(
        response.status == 200 || (response.status == 503 && response.error() == "destination_unavailable"),
        "{response:?}"
    );
}

#[test]
fn round_robin_follows_the_weights() {
    let ((one, _), (two, _)) = (endpoint("one"), endpoint("two"));
    let endpoints = format!(
        "[cluster.weighted]\nbalance = \"round-robin\"\nendpoints = [{{ address = \"{}\", weight = 3 }}, \"{}\"]\n",
        one.address(),
        two.address(),
    );
    let route = "[[route]]\npath = \"/weighted\"\ncluster = \"weighted\"\n";
    let proxy = Proxy::in_front_of(&two).workers(1).with(route).with(&endpoints).start();
    let ones = (0..40).filter(|_| proxy.get("/weighted").text() == "one").count();
    assert_eq!(ones, 30);
}

#[test]
fn the_less_loaded_endpoint_gets_the_request() {
    let gate = Gate::default();
    let script = |gate: Gate| {
        move |exchange: &mut crate::support::Exchange| {
            if exchange.target() == "/held" {
                gate.wait();
            }
            exchange.respond("x");
        }
    };
    let endpoints = [
        Endpoint::start(script(gate.clone())),
        Endpoint::start(script(gate.clone())),
    ];
    let addresses = endpoints.each_ref().map(Endpoint::address);
    let proxy = Proxy::to(&addresses).workers(1).start();
    let mut held = proxy.connect();
    held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is there", || {
        endpoints.iter().any(|endpoint| !endpoint.requests().is_empty())
    });
    let loaded = endpoints
        .iter()
        .position(|endpoint| !endpoint.requests().is_empty())
        .expect("one of them has it");
    (0..20).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    assert_eq!(endpoints[loaded].requests().len(), 1, "all others went to the idle one");
    gate.open();
    assert_eq!(held.response().status, 200);
}
