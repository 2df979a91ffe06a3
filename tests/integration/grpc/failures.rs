//! Failures of the proxy's own: gRPC statuses to gRPC clients, HTTP ones to all others.

use super::{HTTP2, TO_HTTP1, call, message};
use crate::support::{
    Client, Gate, Proxy,
    pairing::{Answer, Ask, Caller, Length, Piece, Protocol},
    unreachable::Silent,
};

/// An answer whose head says it all: HTTP 200, gRPC failed.
fn assert_failed(answer: &Answer, code: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.fields.one("grpc-status").as_deref(), Some(code), "{answer:?}");
    assert_eq!(answer.fields.one("content-type").as_deref(), Some("application/grpc"));
    assert!(
        answer
            .fields
            .one("grpc-message")
            .is_some_and(|message| !message.is_empty())
    );
    assert!(!answer.fields.has("content-length"), "{answer:?}");
    assert_eq!((answer.body.len(), answer.is_cut()), (0, false));
}

#[test]
fn an_endpoint_that_is_down_is_unavailable() {
    let service = HTTP2.service(|_| ());
    let address = service.address();
    drop(service);
    for protocol in ["http2", "http1"] {
        let proxy = Proxy::to(&[address])
            .with(&format!("protocol = \"{protocol}\""))
            .start();
        let mut caller = Caller::connect(Protocol::Http2, proxy.address());
        let answer = caller.call(&call("/shop.Orders/Get"), &message(b"one"));
        assert_failed(&answer, "14");
        let said = answer.fields.one("proxy-status").expect("it says more");
        assert!(said.contains("connection_refused"), "{said}");
        // Not gRPC, though it looks like it.
        for kind in ["application/grpc-web", "application/grpcx", "application/json"] {
            let mut ask = Ask::post("/", Length::None);
            ask.fields.0.push(("content-type".to_owned(), kind.into()));
            let answer = caller.call(&ask, b"");
            assert_eq!((answer.status, answer.fields.one("grpc-status")), (502, None), "{kind}");
        }
        for kind in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
            let ask = Ask::post("/", Length::None).with("content-type", kind);
            assert_failed(&caller.call(&ask, b""), "14");
        }
        proxy.wait_for_metric("forebay_grpc_responses_total", &["main", "UNAVAILABLE"], |count| {
            count == 3.0
        });
    }
}

#[test]
fn what_has_no_route_is_unimplemented() {
    let service = HTTP2.service(|call| call.respond(200, &[], ""));
    let proxy = Proxy::start(&format!(
        "[process]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\nname = \"public\"\n\
         address = \"127.0.0.1:0\"\n[[route]]\npath = \"/shop.Orders\"\ncluster = \"main\"\n\
         [cluster.main]\nendpoints = [\"{}\"]\nprotocol = \"http2\"\n",
        service.address()
    ));
    let mut caller = Caller::connect(Protocol::Http2, proxy.address());
    let answer = caller.call(&call("/shop.Other/Get"), &message(b""));
    assert_failed(&answer, "12");
    assert_eq!(caller.call(&call("/shop.Orders/Get"), b"").status, 200);
}

#[test]
fn a_full_pool_is_exhausted() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let service = TO_HTTP1.service(move |call| {
        call.head(200, &[("content-type", "application/grpc")], Length::Open);
        waiting.wait();
        call.channel.end_with(&[("grpc-status", "0")]);
    });
    let proxy = TO_HTTP1
        .setup(&service)
        .with("pool = { max_connections = 1, wait = { timeout = \"100ms\", queue = 1 } }")
        .start();
    let mut first = TO_HTTP1.connect(&proxy);
    let mut asked = first.send(&call("/shop.Orders/Watch"));
    assert_eq!(asked.final_head().status, 200);
    assert_failed(&TO_HTTP1.call(&proxy, &call("/shop.Orders/Get"), b""), "8");
    gate.open();
}

#[test]
fn an_endpoint_that_takes_no_connection_is_unavailable() {
    let silent = Silent::new();
    let proxy = Proxy::to(&[silent.address()])
        .with("protocol = \"http2\"\ntimeouts = { connect = \"100ms\" }")
        .start();
    assert_failed(&HTTP2.call(&proxy, &call("/shop.Orders/Get"), b""), "14");
}

#[test]
fn an_answer_that_breaks_off_ends_in_trailers_that_say_so() {
    for pairing in [HTTP2, TO_HTTP1] {
        let service = pairing.service(|call| {
            call.head(200, &[("content-type", "application/grpc")], Length::Open);
            call.channel.data(&message(b"first"));
            call.body();
            call.channel.break_off();
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&call("/shop.Orders/List"));
        let head = asked.final_head();
        assert_eq!((head.status, head.fields.one("grpc-status")), (200, None));
        assert_eq!(asked.channel.piece(), Piece::Data(message(b"first")));
        asked.channel.end();
        let Piece::End(trailers) = asked.channel.piece() else {
            panic!("trailers come")
        };
        assert_eq!(trailers.one("grpc-status").as_deref(), Some("14"), "{trailers:?}");
        assert!(trailers.has("grpc-message"));
        proxy.wait_for_metric("forebay_grpc_responses_total", &["UNAVAILABLE"], |count| count == 1.0);
        proxy.wait_for_metric("forebay_proxy_responses_total", &["2xx"], |count| count == 1.0);
    }
}

#[test]
fn an_answer_that_breaks_off_for_a_client_of_http_1_is_seen_to_be_cut() {
    let service = TO_HTTP1.service(|call| {
        call.head(200, &[("content-type", "application/grpc")], Length::Open);
        call.channel.data(&message(b"first"));
        call.channel.break_off();
    });
    let proxy = TO_HTTP1.proxy(&service);
    let mut client = Client::connect(proxy.address());
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n");
    let answer = client.response();
    assert!(answer.cut.is_some(), "{answer:?}");
}

#[test]
fn a_client_of_http_1_gets_http_errors() {
    let service = HTTP2.service(|_| ());
    let address = service.address();
    drop(service);
    let proxy = Proxy::to(&[address]).start();
    let mut client = Client::connect(proxy.address());
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.field("grpc-status")), (502, None));
}
