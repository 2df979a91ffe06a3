//! Bodies of every size, early answers and full duplex.

use crate::support::{
    Gate,
    pairing::{Ask, Length, Piece, Protocol, on_each},
    pattern,
};

#[test]
fn bodies_of_every_size_pass_with_and_without_a_length() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let body = call.body();
            if call.request.target == "/open" {
                call.head(200, &[], Length::Open);
                call.channel.data(&body);
                call.channel.end();
            } else {
                call.respond(200, &[], body);
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for size in [0, 1, 2, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000] {
            let body = pattern(size);
            for length in [Length::Stated(size), Length::Open] {
                for target in ["/open", "/stated"] {
                    if length == Length::Open && size == 0 && pairing.client == Protocol::Http1 {
                        continue;
                    }
                    let answer = caller.call(&Ask::post(target, length), &body);
                    assert!(
                        answer.status == 200 && answer.body == body,
                        "{size} {length:?} {target}"
                    );
                    let seen = service.last();
                    assert!(seen.trailers.is_some() && seen.body == body, "{size} {length:?}");
                    let stated = seen.fields.one("content-length");
                    if let Length::Stated(size) = length {
                        assert_eq!(stated, Some(size.to_string()));
                    }
                    if target == "/stated" {
                        assert_eq!(answer.fields.one("content-length"), Some(size.to_string()));
                    }
                }
            }
        }
        assert_eq!(service.opened(), 1, "the connection is kept");
    });
}

#[test]
fn sixteen_mebibytes_pass_both_ways() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let body = call.body();
            call.respond(200, &[], body);
        });
        let proxy = pairing.proxy(&service);
        let body = pattern(16 << 20);
        for length in [Length::Stated(16 << 20), Length::Open] {
            let answer = pairing.call(&proxy, &Ask::post("/", length), &body);
            assert!(answer.status == 200 && answer.body == body, "{length:?}");
        }
    });
}

#[test]
fn both_bodies_go_on_at_the_same_time() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.head(200, &[], Length::Open);
            while let Piece::Data(data) = call.channel.piece() {
                call.channel.data(&data);
            }
            call.channel.end();
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::post("/", Length::Open));
        assert_eq!(asked.final_head().status, 200);
        for round in 0..50 {
            let word = format!("word {round}");
            asked.channel.data(word.as_bytes());
            assert_eq!(asked.channel.piece(), Piece::Data(word.into_bytes()));
        }
        asked.channel.end();
        assert!(matches!(asked.channel.piece(), Piece::End(_)));
    });
}

#[test]
fn an_answer_may_come_before_the_body_is_through() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            if call.request.method == "POST" {
                call.head(413, &[("x-early", "1")], Length::Stated(9));
                call.channel.data(b"too large");
                call.channel.end();
            } else {
                call.respond(200, &[], "fine");
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::post("/", Length::Stated(1 << 20)));
        asked.channel.data(&pattern(1000));
        let answer = asked.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
        let mut other = pairing.connect(&proxy);
        for _ in 0..3 {
            assert_eq!(other.call(&Ask::get("/"), b"").text(), "fine");
        }
    });
}

#[test]
fn the_first_part_of_an_answer_does_not_wait_for_the_second() {
    on_each(|pairing| {
        let gate = Gate::default();
        let waiting = gate.clone();
        let service = pairing.service(move |call| {
            call.body();
            call.head(200, &[], Length::Stated(10));
            call.channel.data(b"first");
            waiting.wait();
            call.channel.data(b"later");
            call.channel.end();
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let mut asked = caller.send(&Ask::get("/"));
        assert_eq!(asked.final_head().status, 200);
        assert_eq!(asked.channel.piece(), Piece::Data(b"first".to_vec()));
        gate.open();
        assert_eq!(asked.channel.rest().0, b"later");
    });
}
