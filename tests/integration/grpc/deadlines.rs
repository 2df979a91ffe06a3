//! `grpc-timeout`: how long the client of a call is willing to wait, the proxy waits for its endpoint.

use std::time::{Duration, Instant};

use super::{HTTP2, TO_HTTP1, call, message};
use crate::support::{
    Gate,
    pairing::{Length, Pairing, Piece, Service},
};

/// A service that begins its answer if asked to, and then says nothing.
fn silent(pairing: Pairing, gate: &Gate) -> Service {
    let gate = gate.clone();
    pairing.service(move |call| {
        if call.request.target == "/a/Begun" {
            call.head(200, &[("content-type", "application/grpc")], Length::Open);
            call.channel.data(&message(b"first"));
        }
        gate.wait();
    })
}

#[test]
fn a_call_without_an_answer_ends_at_its_deadline() {
    for pairing in [HTTP2, TO_HTTP1] {
        let gate = Gate::default();
        let service = silent(pairing, &gate);
        let proxy = pairing.proxy(&service);
        let begin = Instant::now();
        let answer = pairing.call(&proxy, &call("/a/Silent").with("grpc-timeout", "200m"), b"");
        assert_eq!(
            (answer.status, answer.fields.one("grpc-status").as_deref()),
            (200, Some("4"))
        );
        assert!(begin.elapsed() >= Duration::from_millis(200));
        // The endpoint judges for itself.
        assert_eq!(service.last().fields.one("grpc-timeout").as_deref(), Some("200m"));
        proxy.wait_for_metric("forebay_grpc_responses_total", &["DEADLINE_EXCEEDED"], |count| {
            count == 1.0
        });
        proxy.wait_for_metric("forebay_proxy_failures_total", &["request-timeout"], |count| {
            count == 1.0
        });
        gate.open();
    }
}

#[test]
fn a_call_whose_answer_goes_on_for_too_long_ends_at_its_deadline() {
    for pairing in [HTTP2, TO_HTTP1] {
        let gate = Gate::default();
        let service = silent(pairing, &gate);
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&call("/a/Begun").with("grpc-timeout", "300000u"));
        asked.channel.end();
        assert_eq!(asked.final_head().status, 200);
        assert_eq!(asked.channel.piece(), Piece::Data(message(b"first")));
        let Piece::End(trailers) = asked.channel.piece() else {
            panic!("trailers come")
        };
        assert_eq!(trailers.one("grpc-status").as_deref(), Some("4"));
        gate.open();
    }
}

#[test]
fn the_shorter_of_two_limits_holds() {
    let gate = Gate::default();
    let service = silent(HTTP2, &gate);
    let proxy = HTTP2.setup(&service).with("timeouts = { request = \"100ms\" }").start();
    for limit in [
        "60S",
        "10M",
        "1H",
        "99999999H",
        "1s",
        "123456789m",
        "-1S",
        "",
        "S",
        "0x1S",
    ] {
        let answer = HTTP2.call(&proxy, &call("/a/Silent").with("grpc-timeout", limit), b"");
        assert_eq!(answer.fields.one("grpc-status").as_deref(), Some("4"), "{limit}");
    }
    let answer = HTTP2.call(&proxy, &call("/a/Silent").with("grpc-timeout", "0n"), b"");
    assert_eq!(answer.fields.one("grpc-status").as_deref(), Some("4"));
    gate.open();
}

#[test]
fn no_other_request_has_a_deadline() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let service = HTTP2.service(move |call| {
        waiting.wait();
        call.respond(200, &[], "late");
    });
    let proxy = HTTP2.proxy(&service);
    let mut ask = call("/a/Silent").with("grpc-timeout", "1n");
    ask.fields.0.retain(|(name, _)| name != "content-type");
    let mut caller = HTTP2.connect(&proxy);
    let mut asked = caller.send(&ask);
    asked.channel.end();
    // Another request is through by then, deadline and all.
    let mut other = call("/a/Silent").with("grpc-timeout", "50m");
    other.length = Length::None;
    let answer = HTTP2.call(&proxy, &other, b"");
    assert_eq!(answer.fields.one("grpc-status").as_deref(), Some("4"));
    gate.open();
    assert_eq!(asked.answer().text(), "late");
}
