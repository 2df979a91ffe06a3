//! One side gives up within a body: the other one learns of it, and nobody else is harmed.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{
    eventually,
    pairing::{Ask, Length, Protocol, on_each},
};

#[test]
fn an_endpoint_that_gives_up_within_its_answer_cuts_it() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            if call.request.target == "/cut" {
                call.head(200, &[], Length::Open);
                call.channel.data(&[b'x'; 1000]);
                call.channel.break_off();
            } else {
                call.respond(200, &[], "fine");
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for _ in 0..5 {
            let answer = caller.send(&Ask::get("/cut")).try_answer();
            assert!(answer.is_none_or(|answer| answer.is_cut() || answer.status == 502));
            if pairing.client == Protocol::Http1 {
                caller = pairing.connect(&proxy);
            }
            assert_eq!(caller.call(&Ask::get("/"), b"").text(), "fine");
        }
        if pairing.endpoint == Protocol::Http2 {
            assert_eq!(service.opened(), 1, "only the stream is lost");
        }
    });
}

#[test]
fn an_endpoint_that_gives_up_before_its_answer_is_told_of() {
    on_each(|pairing| {
        let service = pairing.service(|call| match call.request.target.as_str() {
            "/cut" => {
                call.body();
                call.head(200, &[], Length::Open);
                call.channel.break_off();
            }
            _ => call.respond(200, &[], "fine"),
        });
        let proxy = pairing.proxy(&service);
        let answer = pairing
            .connect(&proxy)
            .send(&Ask::post("/cut", Length::None))
            .try_answer();
        assert!(answer.is_none_or(|answer| answer.is_cut() || answer.status == 502));
        assert_eq!(pairing.call(&proxy, &Ask::get("/"), b"").text(), "fine");
    });
}

#[test]
fn a_client_that_goes_away_is_gone_for_the_endpoint_too() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            if call.request.target == "/endless" {
                call.head(200, &[], Length::Open);
                while !call.channel.is_given_up() {
                    call.channel.data(b"on and on");
                }
            } else {
                call.respond(200, &[], "fine");
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::get("/endless"));
        asked.final_head();
        asked.channel.break_off();
        drop(asked);
        drop(caller);
        assert_eq!(pairing.call(&proxy, &Ask::get("/"), b"").text(), "fine");
        match pairing.endpoint {
            Protocol::Http1 => eventually("its connection is closed", || service.closed() == 1),
            Protocol::Http2 => assert_eq!(service.opened(), 1, "only the stream is given up"),
        }
        proxy.wait_for_metric("forebay_proxy_failures_total", &["client-gone"], |count| count == 1.0);
    });
}

#[test]
fn a_client_that_goes_away_within_its_body_leaves_no_whole_request() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            if call.request.trailers.is_some() {
                call.respond(200, &[], "fine");
            }
        });
        let proxy = pairing.proxy(&service);
        for length in [Length::Stated(1000), Length::Open] {
            let mut caller = pairing.connect(&proxy);
            let mut asked = caller.send(&Ask::post("/cut", length));
            asked.channel.data(&[b'x'; 500]);
            let before = service.seen().len();
            eventually("the endpoint has the head", || {
                service.seen().len() > before || before > 0
            });
            asked.channel.break_off();
            drop(asked);
            drop(caller);
            assert_eq!(pairing.call(&proxy, &Ask::get("/"), b"").text(), "fine");
        }
        let seen = service.seen();
        assert!(
            seen.iter().all(|seen| seen.target != "/cut" || seen.trailers.is_none()),
            "{seen:?}"
        );
    });
}

#[test]
fn no_answer_reaches_another_client_whoever_gives_up() {
    const ROUNDS: usize = 60;
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let tag = call.request.target.clone();
            call.body();
            let body = tag.repeat(2000);
            call.head(200, &[], Length::Stated(body.len()));
            let seed: usize = tag[1..].parse().expect("a number");
            for (index, part) in body.as_bytes().chunks(1024).enumerate() {
                if seed % 5 == 3 && index == seed % 7 {
                    return call.channel.break_off();
                }
                call.channel.data(part);
            }
            call.channel.end();
        });
        let proxy = pairing.setup(&service).with("pool = { max_connections = 3 }").start();
        let whole = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (proxy, whole) = (&proxy, &whole);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let seed = round * 4 + client;
                        let tag = format!("/{seed}");
                        let mut caller = pairing.connect(proxy);
                        let mut asked = caller.send(&Ask::get(&tag));
                        if seed % 5 == 1 {
                            asked.channel.break_off();
                            continue;
                        }
                        if seed % 5 == 2 {
                            asked.final_head();
                            asked.channel.piece();
                            asked.channel.break_off();
                            continue;
                        }
                        let Some(answer) = asked.try_answer() else { continue };
                        if answer.status == 200 {
                            assert!(tag.repeat(2000).starts_with(&answer.text()), "{tag}");
                            if !answer.is_cut() {
                                assert_eq!(answer.text().len(), tag.len() * 2000);
                                whole.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert!(whole.into_inner() >= ROUNDS, "most answers come whole");
    });
}
