//! How long a client may stay, how slow it may be, and how many of them there may be.

use crate::support::{Client, End, Endpoint, Gate, Proxy, eventually};

#[test]
fn an_idle_client_is_sent_off_in_order() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nidle_timeout = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    assert!(!client.get("/").announces_close());
    assert_eq!(client.end(), End::Fin);
}

#[test]
fn the_last_request_of_a_connection_is_announced() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nmax_requests = 3")
        .start();
    let mut client = proxy.connect();
    let announced: Vec<bool> = (0..3).map(|_| client.get("/").announces_close()).collect();
    assert_eq!(announced, [false, false, true]);
    assert_eq!(client.end(), End::Fin);
}

#[test]
fn an_old_connection_takes_its_leave_with_a_response() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nmax_age = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    eventually("a response announces the close", || {
        let response = client.get("/");
        assert_eq!(response.status, 200, "no request is cut");
        response.announces_close()
    });
    assert_eq!(client.end(), End::Fin);
}

#[test]
fn a_request_that_outlives_the_age_of_its_connection_is_finished() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            if exchange.target() == "/slow" {
                gate.wait();
            }
            exchange.respond("x");
        }
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nmax_age = \"100ms\"\nmax_age_jitter = 0.0")
        .start();
    let mut slow = proxy.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: test.example\r\n\r\n");
    endpoint.wait_requests(1);
    // Several lives of other connections, since a worker may look at its clock a little late.
    for _ in 0..4 {
        let mut other = proxy.connect();
        eventually("a younger connection has reached its age", || {
            other.get("/").announces_close()
        });
    }
    gate.open();
    let response = slow.response();
    assert_eq!(response.text(), "x");
    assert!(response.announces_close());
}

#[test]
fn a_client_that_does_not_finish_its_head_is_too_slow() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nheader_read = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test");
    assert_eq!(client.response().status, 408);
    assert_eq!(client.end(), End::Fin);
    let mut again = proxy.connect();
    assert_eq!(again.get("/").status, 200);
    again.send("GET / HT");
    assert_eq!(again.response().status, 408, "the second request has the same deadline");
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn a_head_that_drips_is_too_slow_as_a_whole() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nheader_read = \"300ms\"")
        .start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\n");
    eventually("the proxy has had enough", || {
        client.try_send("X: y\r\n").is_err() || !client.is_open()
    });
}

#[test]
fn a_client_that_says_nothing_at_all_is_sent_off() {
    let endpoint = Endpoint::answering("x");
    let config = "[timeouts]\nheader_read = \"200ms\"\n[keep_alive]\nidle_timeout = \"200ms\"";
    let proxy = Proxy::in_front_of(&endpoint).with(config).start();
    assert_ne!(proxy.connect().read_to_end().1, End::Deadline);
}

#[test]
fn a_body_that_stalls_is_too_slow() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nbody_stall = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 10\r\n\r\nhalf");
    let response = client.response();
    assert_eq!(response.status, 408);
    assert!(response.announces_close());
    assert_ne!(client.read_to_end().1, End::Deadline);
    assert_eq!(
        endpoint.wait_closed(1)[0].requests,
        1,
        "the upstream connection is not used again"
    );
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let block = vec![b'x'; 1 << 20];
        (0..1000).for_each(|_| exchange.send(&block));
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nwrite_stall = \"200ms\"")
        .start();
    let mut client = Client::connect_narrow(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert_eq!(
        endpoint.wait_closed(1)[0].end,
        Some(End::Reset),
        "the endpoint's answer is broken off"
    );
    let (received, end) = client.read_to_end();
    assert!(received.len() < 1_000_000_000);
    assert_ne!(end, End::Deadline);
}

#[test]
fn a_client_that_has_sent_everything_still_gets_its_answer() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("x");
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n");
    endpoint.wait_requests(1);
    gate.open();
    assert_eq!(client.response().text(), "x");
    assert_eq!(client.end(), End::Fin);
}

#[test]
fn a_full_listener_refuses_newcomers() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("max_connections = 2")
        .with("[keep_alive]\nunder_pressure = \"refuse\"")
        .start();
    let mut first = proxy.connect();
    let mut second = proxy.connect();
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    assert!(is_refused(&mut proxy.connect()));
    assert_eq!(
        (first.get("/").status, second.get("/").status),
        (200, 200),
        "those who were there stay"
    );
    drop(first);
    eventually("there is room again", || !is_refused(&mut proxy.connect()));
}

/// Refused is who gets a 503 or 429, or a close without an answer.
fn is_refused(client: &mut Client) -> bool {
    let sent = client.try_send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    match client.try_response() {
        Ok(response) => matches!(response.status, 429 | 503),
        Err(End::Deadline) => panic!("a newcomer was left waiting ({sent:?})"),
        Err(_) => true,
    }
}

#[test]
fn a_full_listener_sheds_the_client_that_has_been_idle_for_longest() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(1)
        .listener("max_connections = 3")
        .start();
    let mut clients: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = proxy.connect();
            assert_eq!(client.get("/").status, 200);
            client
        })
        .collect();
    // The first one is active again, so the second has been idle for longest.
    assert_eq!(clients[0].get("/").status, 200);
    let mut newcomer = proxy.connect();
    assert_eq!(newcomer.get("/").status, 200);
    assert_ne!(clients[1].read_to_end().1, End::Deadline);
    assert_eq!(clients[0].get("/").status, 200);
}

#[test]
fn a_full_listener_sheds_nobody_who_is_waiting_for_an_answer() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("x");
        }
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(1)
        .listener("max_connections = 2")
        .start();
    let mut busy = [proxy.connect(), proxy.connect()];
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    }
    endpoint.wait_requests(2);
    let mut newcomer = proxy.connect();
    let _ = newcomer.try_send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn one_client_address_may_have_only_so_many_connections() {
    let endpoint = Endpoint::answering("x");
    let keep_alive = "[keep_alive]\nper_client = 2\nper_client_exempt = []";
    let proxy = Proxy::in_front_of(&endpoint).with(keep_alive).start();
    let mut first = proxy.connect();
    let mut second = proxy.connect();
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    assert!(is_refused(&mut proxy.connect()));
    let mut neighbour = Client::connect_from("127.0.0.2", proxy.address());
    assert_eq!(neighbour.get("/").status, 200, "another address has a count of its own");
    drop(first);
    eventually("the address has room again", || !is_refused(&mut proxy.connect()));
}

#[test]
fn exempt_networks_may_have_any_number_of_connections() {
    let endpoint = Endpoint::answering("x");
    let keep_alive = "[keep_alive]\nper_client = 1\nper_client_exempt = [\"127.0.0.0/29\"]";
    let proxy = Proxy::in_front_of(&endpoint).with(keep_alive).start();
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
    let mut strangers: Vec<Client> = (0..2)
        .map(|_| Client::connect_from("127.0.0.9", proxy.address()))
        .collect();
    assert_eq!(
        strangers
            .iter_mut()
            .filter_map(|client| is_refused(client).then_some(()))
            .count(),
        1
    );
}

#[test]
fn a_listener_may_have_a_policy_of_its_own() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("keep_alive = { max_requests = 1 }")
        .start();
    assert!(proxy.get("/").announces_close());
}
