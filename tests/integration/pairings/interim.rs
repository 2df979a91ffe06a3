//! Interim answers (RFC 9110 15.2) and `Expect: 100-continue` (10.1.1).

use crate::support::pairing::{Ask, Channel, Length, Protocol, on_each};

#[test]
fn interim_answers_reach_clients_of_http_1_and_are_not_mistaken_for_the_answer() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.interim(103, &[("link", "</a.css>")]);
            call.interim(102, &[]);
            call.interim(103, &[("link", "</b.css>")]);
            call.respond(200, &[("x-answer", "final")], "hello");
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for ask in [Ask::get("/"), Ask::of("HEAD", "/", Length::None), Ask::get("/")] {
            let answer = caller.call(&ask, b"");
            assert_eq!(answer.status, 200);
            assert_eq!(answer.fields.one("x-answer").as_deref(), Some("final"));
            assert!(!answer.fields.has("link"));
            let interim: Vec<_> = answer
                .interim
                .iter()
                .map(|(status, fields)| (*status, fields.one("link")))
                .collect();
            match pairing.client {
                Protocol::Http1 => {
                    let link = |path: &str| Some(path.to_owned());
                    assert_eq!(interim, [(103, link("</a.css>")), (102, None), (103, link("</b.css>"))]);
                }
                // The HTTP/2 engine has no way to send them on.
                Protocol::Http2 => assert_eq!(interim, []),
            }
        }
        assert_eq!(service.opened(), 1);
    });
}

#[test]
fn interim_answers_without_end_are_refused() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            if call.request.target == "/endless" {
                (0..100).for_each(|_| call.interim(103, &[("link", "</a.css>")]));
            }
            call.respond(200, &[], "");
        });
        let proxy = pairing.proxy(&service);
        assert_eq!(pairing.call(&proxy, &Ask::get("/endless"), b"").status, 502);
        assert_eq!(pairing.call(&proxy, &Ask::get("/"), b"").status, 200);
    });
}

fn expecting(length: Length) -> Ask {
    Ask::post("/", length).with("expect", "100-continue")
}

#[test]
fn a_body_that_waits_for_the_endpoint_comes_when_it_wants_it() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            assert_eq!(call.request.fields.one("expect").as_deref(), Some("100-continue"));
            call.interim(100, &[]);
            let body = call.body();
            call.respond(200, &[], body);
        });
        let proxy = pairing.proxy(&service);
        for length in [Length::Stated(5), Length::Open] {
            let mut caller = pairing.connect(&proxy);
            let mut asked = caller.send(&expecting(length));
            if pairing.client == Protocol::Http1 {
                let head = asked.head().expect("an interim answer comes");
                assert_eq!(head.status, 100);
            }
            // The HTTP/2 engine has no way to say so; such a client waits for as long as it likes.
            asked.channel.data(b"hello");
            asked.channel.end();
            let answer = asked.answer();
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        }
    });
}

#[test]
fn a_body_that_the_endpoint_does_not_want_is_not_asked_for() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.head(417, &[], Length::Stated(2));
            call.channel.data(b"no");
            call.channel.end();
            if let Channel::Http1(channel) = &mut call.channel {
                // Whoever answers without reading the body closes.
                channel.over = true;
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let answer = caller.send(&expecting(Length::Stated(5))).answer();
        assert_eq!((answer.status, answer.text().as_str()), (417, "no"));
        assert_eq!(answer.interim, []);
    });
}

#[test]
fn an_answer_that_comes_instead_of_continue_gets_the_body_all_the_same() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.head(200, &[], Length::Stated(5));
            let body = call.body();
            call.channel.data(&body);
            call.channel.end();
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for length in [Length::Stated(5), Length::Open] {
            let mut asked = caller.send(&expecting(length));
            assert_eq!(asked.final_head().status, 200);
            asked.channel.data(b"hello");
            asked.channel.end();
            assert_eq!(asked.channel.rest().0, b"hello");
        }
    });
}

#[test]
fn an_expectation_without_a_body_is_just_a_request() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[], "hello"));
        let proxy = pairing.proxy(&service);
        let ask = Ask::get("/").with("expect", "100-continue");
        assert_eq!(pairing.call(&proxy, &ask, b"").text(), "hello");
        let ask = Ask::post("/", Length::Stated(0)).with("expect", "100-continue");
        assert_eq!(pairing.call(&proxy, &ask, b"").text(), "hello");
        let ask = Ask::get("/").with("expect", "200-maybe");
        assert_eq!(pairing.call(&proxy, &ask, b"").status, 417);
    });
}

#[test]
fn an_endpoint_that_never_says_continue_gets_the_body_all_the_same() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let body = call.body();
            call.respond(200, &[], body);
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&expecting(Length::Stated(5)));
        if pairing.client == Protocol::Http1 {
            assert_eq!(asked.head().map(|head| head.status), Some(100));
        }
        asked.channel.data(b"hello");
        asked.channel.end();
        assert_eq!(asked.answer().text(), "hello");
    });
}
