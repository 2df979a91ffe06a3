//! The statuses of endpoints: they pass as they are, and are counted and logged.

use super::{HTTP2, TO_HTTP1, call, message};
use crate::support::{
    eventually,
    pairing::{Fields, Length, Pairing, Service},
};

/// A service that answers each method in its own way.
fn service(pairing: Pairing) -> Service {
    pairing.service(|call| {
        let kind = ("content-type", "application/grpc");
        let body = call.body();
        match call.request.target.as_str() {
            "/a/Ok" => {
                call.head(200, &[kind, ("x-initial", "1")], Length::Open);
                call.channel.data(&body);
                call.channel
                    .end_with(&[("grpc-status", "0"), ("x-trailing-bin", "AAEC")]);
            }
            "/a/NotFound" => {
                call.head(200, &[kind], Length::Open);
                call.channel
                    .end_with(&[("grpc-status", "5"), ("grpc-message", "no%20such order")]);
            }
            "/a/HeadOnly" => {
                let fields = [kind, ("grpc-status", "7"), ("grpc-message", "not%20you")];
                call.head(200, &fields, Length::Stated(0));
                call.channel.end();
            }
            "/a/Odd" => {
                call.head(200, &[kind], Length::Open);
                call.channel.end_with(&[("grpc-status", "seventeen")]);
            }
            "/a/None" => call.respond(200, &[kind], ""),
            "/a/Http503" => call.respond(503, &[("content-type", "text/html")], "<h1>busy</h1>"),
            "/a/Http404" => call.respond(404, &[("content-type", "text/html")], "<h1>where?</h1>"),
            other => panic!("{other}"),
        }
    })
}

#[test]
fn statuses_pass_and_are_counted() {
    for pairing in [HTTP2, TO_HTTP1] {
        let service = service(pairing);
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let body = message(b"hello");
        for _ in 0..3 {
            let answer = caller.call(&call("/a/Ok"), &body);
            assert_eq!((answer.status, &answer.body), (200, &body));
            assert_eq!(answer.fields.one("x-initial").as_deref(), Some("1"));
            let trailers = [("grpc-status", "0"), ("x-trailing-bin", "AAEC")];
            assert_eq!(answer.trailers, Some(Fields::from(&trailers[..])));
        }
        let answer = caller.call(&call("/a/NotFound"), &body);
        let trailers = [("grpc-status", "5"), ("grpc-message", "no%20such order")];
        assert_eq!(answer.trailers, Some(Fields::from(&trailers[..])));
        let answer = caller.call(&call("/a/HeadOnly"), &body);
        assert_eq!(answer.fields.one("grpc-status").as_deref(), Some("7"));
        assert_eq!(answer.fields.one("grpc-message").as_deref(), Some("not%20you"));
        let answer = caller.call(&call("/a/Http503"), &body);
        assert_eq!((answer.status, answer.text().as_str()), (503, "<h1>busy</h1>"));
        assert!(!answer.fields.has("grpc-status"));
        for method in ["/a/Odd", "/a/None", "/a/Http404"] {
            caller.call(&call(method), &body);
        }
        let counted = |status: &str, count| {
            let labels = [&*format!("status=\"{status}\""), "cluster=\"main\""];
            proxy.wait_for_metric("forebay_grpc_responses_total", &labels, |seen| seen == count);
        };
        counted("OK", 3.0);
        counted("NOT_FOUND", 1.0);
        counted("PERMISSION_DENIED", 1.0);
        // What a client makes of an HTTP error is what counts.
        counted("UNAVAILABLE", 1.0);
        counted("UNIMPLEMENTED", 1.0);
        counted("UNKNOWN", 2.0);
        let seen = service.seen();
        let (first, of_http1) = (&seen[0].fields, pairing == TO_HTTP1);
        assert_eq!(first.one("te").as_deref(), Some("trailers"));
        assert_eq!(first.one("connection").as_deref(), of_http1.then_some("te"));
        assert_eq!(service.opened(), 1, "the connection is kept");
    }
}

#[test]
fn other_requests_are_not_counted() {
    let service = HTTP2.service(|call| call.respond(200, &[("grpc-status", "0")], ""));
    let proxy = HTTP2.proxy(&service);
    let mut ask = call("/a/Ok");
    ask.fields.0.retain(|(name, _)| name != "content-type");
    assert_eq!(HTTP2.call(&proxy, &ask, b"").status, 200);
    assert_eq!(HTTP2.call(&proxy, &call("/a/Ok"), b"").status, 200);
    proxy.wait_for_metric("forebay_grpc_responses_total", &[], |count| count == 1.0);
}

#[test]
fn the_access_log_names_the_status() {
    let service = service(HTTP2);
    let proxy = HTTP2.setup(&service).with("[access_log]\noutput = \"stdout\"").start();
    let mut caller = HTTP2.connect(&proxy);
    caller.call(&call("/a/NotFound"), b"");
    caller.call(&call("/a/HeadOnly"), b"");
    let statuses = || -> Vec<_> {
        let lines = proxy.output();
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.map(|line| line["grpc_status"].clone()).collect()
    };
    eventually("both calls are logged", || statuses().len() == 2);
    assert_eq!(statuses(), [5, 7]);
}
