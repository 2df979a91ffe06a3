//! Clients that leave in the middle of an answer whose endpoint is silent at the moment: the endpoint's connection goes
//! at once, not with the next byte.

use crate::support::{
    Client, Endpoint, Gate, Proxy,
    authority::{Authority, Request},
    eventually,
    tls_client::TlsSetup,
};

/// Sends a head and the first four bytes of a body, and no more.
fn paused(framing: &'static str) -> Endpoint {
    Endpoint::start(move |exchange| {
        exchange.body();
        exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes());
        exchange.send(match framing {
            CHUNKED => b"4\r\npart\r\n",
            _ => b"part",
        });
        exchange.wait_for_end();
    })
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const FRAMINGS: [&str; 4] = ["Content-Length: 100\r\n", "Content-Length: 9000000\r\n", CHUNKED, ""];
const REQUESTS: [&str; 2] = [
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody",
];

/// Reads until the first bytes of the body are there.
fn read_part(client: &mut Client) {
    let mut read = client.read_head().expect("the answer begins").start.into_bytes();
    while !read.ends_with(b"part") && !read.ends_with(b"part\r\n") {
        read.extend(client.read_some().expect("the body begins"));
    }
}

#[test]
fn a_reset_within_a_paused_answer_is_noticed_at_once() {
    for framing in FRAMINGS {
        let endpoint = paused(framing);
        let proxy = Proxy::in_front_of(&endpoint).start();
        for (place, request) in REQUESTS.into_iter().enumerate() {
            let mut client = proxy.connect();
            client.send(request);
            read_part(&mut client);
            assert_eq!(endpoint.closed(), place, "nothing has ended it as yet");
            client.reset();
            endpoint.wait_closed(place + 1);
            eventually("the client is forgotten", || {
                proxy.metric("forebay_downstream_connections", &["listener=\"public\""]) == 0.0
            });
        }
    }
}

#[test]
fn a_client_that_has_closed_its_side_gets_the_rest_of_a_paused_answer() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npart");
            gate.wait();
            exchange.send(b"rest");
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(REQUESTS[0]);
    read_part(&mut client);
    client.finish();
    gate.open();
    assert_eq!(client.read_to_end().0, b"rest");
}

#[test]
fn a_client_over_tls_that_leaves_within_a_paused_answer_is_noticed_at_once() {
    let issued = Authority::new("ca").issue(Request::of(&["a.example"]));
    let (chain, key) = (issued.chain(), issued.key());
    let tls = format!("tls = {{ certificates = [{{ chain = {chain:?}, key = {key:?} }}] }}");
    let endpoint = paused(FRAMINGS[0]);
    let proxy = Proxy::in_front_of(&endpoint).listener(&tls).start();
    let mut client = TlsSetup::new("a.example").connect(proxy.address()).expect("TLS");
    client.send(REQUESTS[0]).expect("the proxy takes the request");
    endpoint.wait_requests(1);
    drop(client);
    endpoint.wait_closed(1);
}

#[test]
fn a_client_that_leaves_behind_a_pipelined_request_is_noticed() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let leave: [fn(Client); 2] = [Client::reset, |client| {
        client.finish();
        drop(client);
    }];
    for (place, leave) in leave.into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(REQUESTS[0]);
        endpoint.wait_requests(place + 1);
        client.send(REQUESTS.concat());
        leave(client);
        endpoint.wait_closed(place + 1);
        assert_eq!(
            endpoint.requests().len(),
            place + 1,
            "nobody waits for the other answers"
        );
    }
}
