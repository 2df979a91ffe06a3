//! A length that is not that of the body makes the request an error, and only that one (RFC 9112 8, RFC 9113 8.1.1).

use crate::support::{
    Proxy, eventually,
    pairing::{Ask, Caller, Channel, Length, Pairing, Protocol, Service, on_each},
};

fn echoing(pairing: Pairing) -> Service {
    pairing.service(|call| {
        let body = call.body();
        if call.request.trailers.is_some() {
            call.respond(200, &[], body);
        }
    })
}

fn check_others(pairing: Pairing, proxy: &Proxy, same: Option<&mut Caller>) {
    let ask = Ask::post("/", Length::Stated(4));
    assert_eq!(pairing.call(proxy, &ask, b"fine").text(), "fine");
    if let Some(same) = same {
        assert_eq!(same.call(&ask, b"fine").text(), "fine", "on the same connection");
    }
}

#[test]
fn a_body_that_ends_before_its_length_is_no_request() {
    on_each(|pairing| {
        let service = echoing(pairing);
        let proxy = pairing.proxy(&service);
        check_others(pairing, &proxy, None);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::post("/short", Length::Stated(10)));
        asked.channel.data(b"hello");
        match &mut asked.channel {
            Channel::Http1(channel) => channel.wire().finish(),
            Channel::Http2(_) => asked.channel.end(),
        }
        let answer = asked.try_answer();
        assert!(
            answer.is_none_or(|answer| answer.status == 400),
            "the request was an error"
        );
        eventually("the endpoint has noticed", || {
            let seen = service.seen();
            seen.iter()
                .all(|seen| seen.target != "/short" || seen.trailers.is_none())
        });
        let same = (pairing.client == Protocol::Http2).then_some(&mut caller);
        check_others(pairing, &proxy, same);
    });
}

#[test]
fn a_body_that_is_longer_than_its_length_is_no_request() {
    on_each(|pairing| {
        if pairing.client == Protocol::Http1 {
            // There it would be the next request.
            return;
        }
        let service = echoing(pairing);
        let proxy = pairing.proxy(&service);
        check_others(pairing, &proxy, None);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::post("/long", Length::Stated(5)));
        asked.channel.data(b"hello, and more");
        asked.channel.end();
        let answer = asked.try_answer();
        assert!(
            answer
                .as_ref()
                .is_none_or(|answer| answer.status == 400 || answer.is_cut()),
            "the request was an error: {answer:?}"
        );
        let seen = service.seen();
        let whole = |body: &[u8]| body == b"hello, and more";
        assert!(!seen.iter().any(|seen| whole(&seen.body)), "{seen:?}");
        check_others(pairing, &proxy, Some(&mut caller));
    });
}

#[test]
fn an_answer_that_ends_before_its_length_is_seen_to_be_cut() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            if call.request.target == "/short" {
                call.body();
                call.head(200, &[], Length::Stated(10));
                call.channel.data(b"hello");
                match &mut call.channel {
                    Channel::Http1(channel) => channel.over = true,
                    Channel::Http2(_) => call.channel.end(),
                }
            } else {
                let body = call.body();
                call.respond(200, &[], body);
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let answer = caller.send(&Ask::get("/short")).try_answer();
        assert!(answer.is_none_or(|answer| answer.is_cut() || answer.status == 502));
        let same = (pairing.client == Protocol::Http2).then_some(&mut caller);
        check_others(pairing, &proxy, same);
    });
}

#[test]
fn an_answer_that_is_longer_than_its_length_hurts_nobody_else() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let body = call.body();
            if call.request.target == "/long" {
                call.head(200, &[], Length::Stated(5));
                call.channel
                    .data(b"helloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                call.channel.end();
            } else {
                call.respond(200, &[], body);
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let answer = caller.send(&Ask::get("/long")).try_answer();
        if let Some(answer) = answer {
            let whole = answer.text() == "hello" && pairing.endpoint == Protocol::Http1;
            assert!(whole || answer.is_cut() || answer.status == 502, "{answer:?}");
        }
        let same = (pairing.client == Protocol::Http2).then_some(&mut caller);
        check_others(pairing, &proxy, same);
    });
}

#[test]
fn an_answer_without_a_body_has_none_whatever_its_endpoint_sends() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let body = call.body();
            let status = match call.request.target.as_str() {
                "/204" => 204,
                "/304" => 304,
                _ => 200,
            };
            if !matches!(call.request.method.as_str(), "GET" | "HEAD") {
                return call.respond(200, &[], body);
            }
            if let Channel::Http1(channel) = &mut call.channel {
                // In one write: what comes later than the next request on the connection passes for its answer.
                channel.send(format!("HTTP/1.1 {status} Word\r\nContent-Length: 5\r\n\r\nhello").as_bytes());
            } else {
                call.head(status, &[], Length::Stated(5));
                call.channel.data(b"hello");
                call.channel.end();
            }
        });
        let proxy = pairing.proxy(&service);
        for (method, target) in [("GET", "/204"), ("GET", "/304"), ("HEAD", "/200")] {
            let answer = pairing.call(&proxy, &Ask::of(method, target, Length::None), b"");
            let bare = answer.status.to_string() == target[1..] && answer.body.is_empty();
            assert!(bare || answer.status == 502, "{target}: {answer:?}");
            (0..4).for_each(|_| check_others(pairing, &proxy, None));
        }
    });
}
