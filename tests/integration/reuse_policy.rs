//! Which connection a request gets, how long connections are kept, and what may be sent twice: the pool's policies as
//! clients and endpoints see them.

mod idle_timeout;
mod limit;
mod order;
mod ratio;
mod repeats;
mod warm;
mod writes;

use std::{collections::HashSet, sync::mpsc, thread, time::Duration};

use crate::support::{Endpoint, Gate, Proxy, Response, eventually};

/// An endpoint that answers with the number of the connection, requests for `/held` only once the gate is open.
fn numbering(gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::start(move |exchange| {
        if exchange.target() == "/held" {
            gate.wait();
        }
        let connection = exchange.connection.to_string();
        exchange.respond(connection);
    })
}

/// Starts `count` requests that the endpoint holds, and gives the ends of their answers.
fn hold(proxy: &Proxy, endpoint: &Endpoint, count: usize) -> mpsc::Receiver<Response> {
    let (sender, receiver) = mpsc::channel();
    let before = endpoint.requests().len();
    for _ in 0..count {
        let (mut client, sender) = (proxy.connect(), sender.clone());
        thread::spawn(move || sender.send(client.get("/held")).ok());
    }
    endpoint.wait_requests(before + count);
    receiver
}

/// Makes the proxy keep `count` connections to the endpoint.
fn fill(proxy: &Proxy, endpoint: &Endpoint, gate: &Gate, count: usize) {
    let answers = hold(proxy, endpoint, count);
    gate.open();
    let used: HashSet<String> = answers.iter().take(count).map(|answer| answer.text()).collect();
    assert_eq!(used.len(), count, "{used:?}");
    wait_idle(proxy, count);
}

fn wait_idle(proxy: &Proxy, count: usize) {
    proxy.wait_for_metric("forebay_pool_connections", &["state=\"idle\""], |idle| {
        idle == count as f64
    });
}

fn opened(proxy: &Proxy, reason: &str) -> usize {
    proxy.metric("forebay_pool_opened_total", &[&format!("reason=\"{reason}\"")]) as usize
}

fn closed(proxy: &Proxy, reason: &str) -> usize {
    proxy.metric("forebay_pool_closed_total", &[&format!("reason=\"{reason}\"")]) as usize
}

fn closed_in_all(proxy: &Proxy) -> usize {
    proxy.metric("forebay_pool_closed_total", &[]) as usize
}

/// Waits until the proxy is older by `time`: its connections have then been idle for that long.
fn let_pass(proxy: &Proxy, time: Duration) {
    let age = || proxy.metric("forebay_process_uptime_seconds", &[]);
    let until = age() + time.as_secs_f64();
    eventually("the proxy grows older", || age() > until);
}
