//! Probes by gRPC's health protocol.

use super::{HTTP2, TO_HTTP1, message};
use crate::support::{
    Proxy, eventually,
    pairing::{Call, Length, Pairing, Service},
};

/// A service whose health is what `answer` says.
fn service(answer: impl Fn(&mut Call) + Send + Sync + 'static) -> Service {
    HTTP2.service(move |call| {
        call.body();
        answer(call);
    })
}

/// An answer with this message and this status.
fn say(call: &mut Call, message: &[u8], status: &str) {
    call.head(200, &[("content-type", "application/grpc")], Length::Open);
    call.channel.data(message);
    call.channel.end_with(&[("grpc-status", status)]);
}

type Script = fn(&mut Call);

fn probed(pairing: Pairing, service: &Service, probe: &str) -> Proxy {
    let probe =
        format!("[cluster.main.health]\nprobe = {{ {probe}, interval = \"20ms\", timeout = \"1s\", fall = 1 }}");
    pairing.setup(service).with(&probe).start()
}

fn wait_for_verdict(proxy: &Proxy, healthy: f64, found: &str) {
    proxy.wait_for_metric("forebay_health_healthy", &[], |now| now == healthy);
    eventually(&format!("the probes find {found:?}"), || {
        proxy.status().to_string().contains(found)
    });
}

#[test]
fn a_server_that_serves_is_healthy_and_asked_over_one_connection() {
    // Whatever its cluster speaks, the health protocol is gRPC.
    for pairing in [HTTP2, TO_HTTP1] {
        let service = service(|call| say(call, &message(&[8, 1]), "0"));
        let proxy = probed(pairing, &service, "grpc = \"shop.v1.Orders\"");
        wait_for_verdict(&proxy, 1.0, "serving");
        eventually("five probes came", || service.seen().len() >= 5);
        let seen = service.last();
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            ("POST", "/grpc.health.v1.Health/Check")
        );
        assert_eq!(seen.authority, Some(service.address().to_string()));
        assert_eq!(seen.fields.one("content-type").as_deref(), Some("application/grpc"));
        assert_eq!(seen.fields.one("te").as_deref(), Some("trailers"));
        let first = &service.seen()[0];
        assert_eq!(first.body, message(b"\x0a\x0eshop.v1.Orders"));
        assert_eq!(service.opened(), 1, "the connection is kept");
    }
}

#[test]
fn the_whole_server_has_no_name() {
    let service = service(|call| say(call, &message(&[8, 1]), "0"));
    let proxy = probed(HTTP2, &service, "grpc = \"\"");
    wait_for_verdict(&proxy, 1.0, "serving");
    assert_eq!(service.seen()[0].body, message(b""));
}

#[test]
fn whatever_is_not_a_clear_yes_is_a_no_that_says_why() {
    let cases: [(&str, Script); 9] = [
        ("NOT_SERVING", |call| say(call, &message(&[8, 2]), "0")),
        ("SERVICE_UNKNOWN", |call| say(call, &message(&[8, 3]), "0")),
        ("UNKNOWN", |call| say(call, &message(&[]), "0")),
        ("malformed", |call| say(call, b"\0\0", "0")),
        ("malformed", |call| say(call, b"", "0")),
        ("NOT_FOUND", |call| {
            call.head(200, &[("grpc-status", "5")], Length::Stated(0));
            call.channel.end();
        }),
        ("UNIMPLEMENTED", |call| say(call, b"", "12")),
        ("status 404", |call| call.respond(404, &[], "no such page")),
        ("broke", |call| call.channel.break_off()),
    ];
    for (found, answer) in cases {
        let service = service(answer);
        let proxy = probed(HTTP2, &service, "grpc = \"\"");
        wait_for_verdict(&proxy, 0.0, found);
    }
}

#[test]
fn a_server_of_http_1_is_unhealthy() {
    let service = TO_HTTP1.service(|call| call.respond(200, &[], "fine"));
    let proxy = probed(TO_HTTP1, &service, "grpc = \"\"");
    proxy.wait_for_metric("forebay_health_healthy", &[], |healthy| healthy == 0.0);
    assert_eq!(
        TO_HTTP1
            .call(&proxy, &crate::support::pairing::Ask::get("/"), b"")
            .status,
        503
    );
}

#[test]
fn a_server_that_ends_the_connection_of_its_probes_stays_healthy() {
    let service = service(|call| {
        say(call, &message(&[8, 1]), "0");
        call.end_connection();
    });
    let proxy = probed(HTTP2, &service, "grpc = \"\"");
    eventually("it ended several", || service.closed() >= 3);
    wait_for_verdict(&proxy, 1.0, "serving");
    assert_eq!(proxy.metric("forebay_health_changes_total", &[]), 0.0);
}

#[test]
fn a_server_comes_and_goes_as_it_says() {
    let serving = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(1));
    let says = std::sync::Arc::clone(&serving);
    let service = service(move |call| {
        let status = says.load(std::sync::atomic::Ordering::SeqCst);
        say(call, &message(&[8, status]), "0");
    });
    let proxy = probed(HTTP2, &service, "grpc = \"\"");
    wait_for_verdict(&proxy, 1.0, "serving");
    serving.store(2, std::sync::atomic::Ordering::SeqCst);
    wait_for_verdict(&proxy, 0.0, "NOT_SERVING");
    serving.store(1, std::sync::atomic::Ordering::SeqCst);
    wait_for_verdict(&proxy, 1.0, "serving");
    assert_eq!(service.opened(), 1, "a no is an answer, too");
}
