//! Upstream connections are kept, shared and limited.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use crate::support::{End, Endpoint, Gate, Proxy, Response, eventually, sockets};

/// An endpoint that answers at once, but keeps requests for `/held` until the gate is opened.
fn holding(gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::start(move |exchange| {
        if exchange.target() == "/held" {
            gate.wait();
        }
        let connection = exchange.connection.to_string();
        exchange.respond(connection);
    })
}

/// Starts `count` requests for `/held` and gives the ends of their answers.
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

fn ten_thousand_requests(workers: usize) {
    let endpoint = Endpoint::answering("x");
    let pool = "[cluster.main.pool]\nmax_idle = 200\nidle_timeout = \"60s\"\n";
    let setup = Proxy::in_front_of(&endpoint).workers(workers).with(pool);
    let reloaded = setup.toml() + "[log]\nlevel = \"debug\"\n";
    let proxy = setup.start();
    let (done, halfway) = (AtomicUsize::new(0), Gate::default());
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..100 {
                    assert_eq!(client.get("/").text(), "x");
                    if done.fetch_add(1, Relaxed) == 5_000 {
                        halfway.open();
                    }
                }
            });
        }
        halfway.wait();
        proxy.reload(&reloaded);
    });
    assert_eq!(endpoint.requests().len(), 10_000);
    assert!(
        endpoint.opened() <= 100,
        "{} connections for 100 clients",
        endpoint.opened()
    );
    assert_eq!(
        endpoint.closed(),
        0,
        "the reload closed some of {} connections",
        endpoint.opened()
    );
}

#[test]
fn ten_thousand_requests_need_no_more_connections_than_clients_with_one_worker() {
    ten_thousand_requests(1);
}

#[test]
fn ten_thousand_requests_need_no_more_connections_than_clients_with_four_workers() {
    ten_thousand_requests(4);
}

#[test]
fn clients_that_come_and_go_share_one_connection_whatever_worker_serves_them() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(4).start();
    for _ in 0..40 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn the_newest_connection_is_used_first() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let answers = hold(&proxy, &endpoint, 3);
    gate.open();
    answers.iter().take(3).for_each(|answer| assert_eq!(answer.status, 200));
    let used: Vec<String> = (0..5).map(|_| proxy.get("/").text()).collect();
    assert_eq!(used, vec![used[0].clone(); 5], "the other two grow old in peace");
    assert_eq!(endpoint.opened(), 3);
}

#[test]
fn an_idle_connection_is_closed_in_order_after_its_timeout() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nidle_timeout = \"200ms\"")
        .start();
    proxy.get("/");
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(endpoint.opened(), 2);
}

#[test]
fn an_old_connection_is_closed_even_when_it_is_busy_again_and_again() {
    let endpoint = Endpoint::answering("x");
    let pool = "[cluster.main.pool]\nmax_lifetime = \"200ms\"\nidle_timeout = \"60s\"";
    let proxy = Proxy::in_front_of(&endpoint).with(pool).start();
    let mut client = proxy.connect();
    eventually("the connection is replaced", || {
        assert_eq!(client.get("/").status, 200);
        endpoint.opened() > 1
    });
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
}

#[test]
fn a_connection_carries_no_more_requests_than_it_may() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_requests = 2")
        .start();
    for _ in 0..6 {
        assert_eq!(proxy.get("/").status, 200);
    }
    let carried: Vec<usize> = endpoint
        .wait_closed(3)
        .iter()
        .map(|connection| connection.requests)
        .collect();
    assert_eq!(carried, [2, 2, 2]);
}

#[test]
fn surplus_idle_connections_are_closed() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_idle = 1\nidle_timeout = \"60s\"")
        .start();
    let answers = hold(&proxy, &endpoint, 3);
    gate.open();
    answers.iter().take(3).for_each(|answer| assert_eq!(answer.status, 200));
    endpoint.wait_closed(2);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(endpoint.opened(), 3);
}

#[test]
fn without_a_pool_every_request_has_a_connection_of_its_own() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_idle = 0")
        .start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status, 200);
    }
    let carried: Vec<usize> = endpoint
        .wait_closed(3)
        .iter()
        .map(|connection| connection.requests)
        .collect();
    assert_eq!(carried, [1, 1, 1]);
}

#[test]
fn a_request_waits_for_a_connection_when_all_are_in_use() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let pool = "[cluster.main.pool]\nmax_connections = 1\nwait = { timeout = \"14s\", queue = 10 }";
    let proxy = Proxy::in_front_of(&endpoint).workers(2).with(pool).start();
    let held = hold(&proxy, &endpoint, 1);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..5).map(|_| scope.spawn(|| proxy.get("/next"))).collect();
        gate.open();
        for waiter in waiters {
            assert_eq!(waiter.join().expect("the waiter is answered").status, 200);
        }
    });
    assert_eq!(held.recv().expect("the first is answered").status, 200);
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn a_request_that_finds_the_queue_full_is_told_so_at_once() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let pool = "[cluster.main.pool]\nmax_connections = 1\nwait = { timeout = \"14s\", queue = 1 }";
    let proxy = Proxy::in_front_of(&endpoint).with(pool).start();
    let held = hold(&proxy, &endpoint, 1);
    let (sender, receiver) = mpsc::channel();
    for _ in 0..2 {
        let (mut client, sender) = (proxy.connect(), sender.clone());
        thread::spawn(move || sender.send(client.get("/next")).ok());
    }
    let refused = receiver
        .recv()
        .expect("one of the two is refused while the other waits");
    assert_eq!((refused.status, refused.error()), (503, "connection_limit_reached"));
    gate.open();
    assert_eq!(receiver.recv().expect("the other one gets its turn").status, 200);
    assert_eq!(held.recv().expect("the first is answered").status, 200);
}

#[test]
fn a_request_that_has_waited_too_long_is_told_so() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let pool = "[cluster.main.pool]\nmax_connections = 1\nwait = { timeout = \"200ms\", queue = 10 }";
    let proxy = Proxy::in_front_of(&endpoint).with(pool).start();
    let held = hold(&proxy, &endpoint, 1);
    let refused = proxy.get("/next");
    assert_eq!((refused.status, refused.error()), (503, "connection_limit_reached"));
    gate.open();
    assert_eq!(held.recv().expect("the first is answered").status, 200);
    assert_eq!(
        proxy.get("/").status,
        200,
        "the waiter that gave up left nothing behind"
    );
}

#[test]
fn a_waiter_that_goes_away_leaves_its_place_to_the_next() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let pool = "[cluster.main.pool]\nmax_connections = 1\nwait = { timeout = \"14s\", queue = 1 }";
    let proxy = Proxy::in_front_of(&endpoint).workers(1).with(pool).start();
    let _held = hold(&proxy, &endpoint, 1);
    let mut leaving = proxy.connect();
    leaving.send("GET /leaving HTTP/1.1\r\nHost: test.example\r\n\r\n");
    // Once another is refused, the first one must have the only place in the queue.
    eventually("the queue is full", || proxy.connect().get("/refused").status == 503);
    drop(leaving);
    let (sender, receiver) = mpsc::channel();
    let address = proxy.address();
    thread::spawn(move || {
        let mut status = 503;
        eventually("there is a place in the queue", || {
            status = crate::support::Client::connect(address).get("/next").status;
            status != 503
        });
        sender.send(status)
    });
    gate.open();
    assert_eq!(receiver.recv().expect("the next one is answered"), 200);
}

#[test]
fn an_endpoint_that_asks_for_the_close_gets_it() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.respond_with("Connection: close\r\n", "x");
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    let response = client.get("/");
    assert!(
        !response.announces_close(),
        "what the endpoint wants concerns its own connection only"
    );
    assert_eq!(client.get("/").status, 200);
    assert_eq!(endpoint.wait_closed(2).len(), 2);
}

#[test]
fn an_endpoint_of_http_1_0_closes_unless_it_says_otherwise() {
    let endpoint = Endpoint::saying("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "x");
    assert_eq!(client.get("/").text(), "x");
    assert_eq!(endpoint.wait_closed(2).len(), 2);
}

#[test]
fn connections_that_the_endpoint_closes_do_not_linger() {
    let (held, leave) = (Gate::default(), Gate::default());
    let endpoint = Endpoint::start({
        let (held, leave) = (held.clone(), leave.clone());
        move |exchange| {
            held.wait();
            exchange.respond("x");
            leave.wait();
            exchange.close();
        }
    });
    let long = "[cluster.main.pool]\nidle_timeout = \"1m\"";
    let proxy = Proxy::in_front_of(&endpoint).with(long).start();
    let answers = hold(&proxy, &endpoint, 10);
    held.open();
    answers
        .iter()
        .take(10)
        .for_each(|answer| assert_eq!(answer.status, 200));
    leave.open();
    endpoint.wait_closed(10);
    eventually("the proxy lets go", || {
        sockets::count(sockets::CLOSE_WAIT, endpoint.address()) == 0
    });
    assert_eq!(proxy.get("/").status, 200, "none of them is used again");
}
