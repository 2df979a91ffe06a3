//! Trailers, both ways (RFC 9110 6.5).

use crate::support::pairing::{Ask, Fields, Length, Piece, Protocol, on_each};

#[test]
fn trailers_of_a_request_reach_the_endpoint() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            call.respond(200, &[], "");
        });
        let proxy = pairing.proxy(&service);
        for body in ["", "hello"] {
            let mut caller = pairing.connect(&proxy);
            let mut asked = caller.send(&Ask::post("/", Length::Open).with("trailer", "x-sum"));
            asked.channel.data(body.as_bytes());
            asked.channel.end_with(&[("x-sum", "1"), ("x-more", "2")]);
            assert_eq!(asked.answer().status, 200);
            let seen = service.last();
            assert_eq!(seen.body, body.as_bytes());
            let trailers = seen.trailers.expect("the body came to its end");
            assert_eq!(trailers, Fields::from(&[("x-sum", "1"), ("x-more", "2")][..]));
        }
    });
}

#[test]
fn what_frames_or_routes_is_never_in_trailers() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            call.head(
                200,
                &[("trailer", "x-good, x-forwarded-for, content-length, set-cookie")],
                Length::Open,
            );
            call.channel.data(b"hello");
            let trailers = [
                ("content-length", "9"),
                ("host", "evil"),
                ("x-good", "1"),
                ("authorization", "evil"),
            ];
            call.channel.end_with(&trailers);
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::post("/", Length::Open).with("te", "trailers"));
        asked.channel.data(b"hello");
        let trailers = [
            ("content-length", "9"),
            ("x-forwarded-for", "1.1.1.1"),
            ("authorization", "evil"),
            ("x-good", "1"),
        ];
        asked.channel.end_with(&trailers);
        let answer = asked.answer();
        let good = Fields::from(&[("x-good", "1")][..]);
        assert_eq!(answer.trailers, Some(good.clone()));
        assert_eq!(service.last().trailers, Some(good));
    });
}

#[test]
fn trailers_of_an_answer_reach_a_client_that_takes_them() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            call.head(200, &[("trailer", "x-sum")], Length::Open);
            call.channel.data(b"hello");
            call.channel.end_with(&[("x-sum", "5")]);
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for _ in 0..2 {
            let answer = caller.call(&Ask::get("/").with("te", "trailers"), b"");
            assert_eq!(answer.text(), "hello");
            assert_eq!(answer.trailers, Some(Fields::from(&[("x-sum", "5")][..])));
            assert_eq!(answer.fields.one("trailer").as_deref(), Some("x-sum"));
        }
        // A client of HTTP/1.1 that has not said that it takes them is spared (RFC 9110 6.5.1).
        let answer = caller.call(&Ask::get("/"), b"");
        assert_eq!((answer.text().as_str(), answer.is_cut()), ("hello", false));
        if pairing.client == Protocol::Http1 {
            assert_eq!(answer.trailers, Some(Fields::default()));
        }
        assert_eq!(service.opened(), 1);
    });
}

#[test]
fn trailers_arrive_that_no_field_has_named() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            call.head(200, &[], Length::Open);
            call.channel.data(b"hello");
            call.channel.end_with(&[("x-sum", "5")]);
        });
        let proxy = pairing.proxy(&service);
        let answer = pairing.call(&proxy, &Ask::get("/").with("te", "trailers"), b"");
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.trailers, Some(Fields::from(&[("x-sum", "5")][..])));
    });
}

#[test]
fn trailers_alone_are_an_answer() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            call.head(200, &[("trailer", "x-sum")], Length::Open);
            call.channel.end_with(&[("x-sum", "0")]);
        });
        let proxy = pairing.proxy(&service);
        let answer = pairing.call(&proxy, &Ask::get("/").with("te", "trailers"), b"");
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.trailers, Some(Fields::from(&[("x-sum", "0")][..])));
    });
}

#[test]
fn trailers_come_after_all_the_data() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.head(200, &[("trailer", "x-sum")], Length::Open);
            while let Piece::Data(data) = call.channel.piece() {
                call.channel.data(&data);
            }
            call.channel.end_with(&[("x-sum", "all")]);
        });
        let proxy = pairing.proxy(&service);
        let body = crate::support::pattern(3 << 20);
        let ask = Ask::post("/", Length::Open).with("te", "trailers");
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&ask);
        let mut received = Vec::new();
        asked.final_head();
        for part in body.chunks(100_000) {
            asked.channel.data(part);
            let mut left = part.len();
            while left > 0 {
                let Piece::Data(data) = asked.channel.piece() else {
                    panic!("the echo ended early")
                };
                left -= data.len();
                received.extend(data);
            }
        }
        asked.channel.end();
        assert_eq!(asked.channel.piece(), Piece::End(Fields::from(&[("x-sum", "all")][..])));
        assert!(received == body, "the echo differs");
    });
}
