//! Methods and statuses that say something of the body themselves (RFC 9110 6.4.1, RFC 9112 6.3).

use crate::support::{
    Client, End,
    pairing::{Ask, Length, Protocol, on_each},
};

#[test]
fn a_request_and_its_answer_pass_with_their_bodies() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let body = call.body();
            call.respond(201, &[("x-answer", "yes")], body);
        });
        let proxy = pairing.proxy(&service);
        let ask = Ask::post("/a?b=c", Length::Stated(5)).with("x-ask", "yes");
        let answer = pairing.call(&proxy, &ask, b"hello");
        assert_eq!((answer.status, answer.text().as_str()), (201, "hello"));
        assert_eq!(answer.fields.one("x-answer").as_deref(), Some("yes"));
        let seen = service.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a?b=c"));
        assert_eq!(seen.authority.as_deref(), Some("test.example"));
        assert_eq!(seen.fields.one("x-ask").as_deref(), Some("yes"));
        assert_eq!(seen.fields.one("content-length").as_deref(), Some("5"));
    });
}

#[test]
fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    on_each(|pairing| {
        let service = pairing.service(|call| match call.request.method.as_str() {
            "HEAD" => call.head(200, &[("content-length", "1234"), ("etag", "\"a\"")], Length::None),
            _ => call.respond(200, &[], "whole"),
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for _ in 0..3 {
            let answer = caller.call(&Ask::of("HEAD", "/", Length::None), b"");
            assert_eq!((answer.status, answer.body.len(), answer.is_cut()), (200, 0, false));
            assert_eq!(answer.fields.one("content-length").as_deref(), Some("1234"));
            assert_eq!(answer.fields.one("etag").as_deref(), Some("\"a\""));
            assert_eq!(caller.call(&Ask::get("/"), b"").text(), "whole");
        }
        assert_eq!(service.opened(), 1, "the connection is kept");
    });
}

#[test]
fn statuses_without_a_body_leave_the_connection_in_order() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            call.body();
            match call.request.target.as_str() {
                "/204" => call.head(204, &[("x-a", "1")], Length::None),
                "/304" => call.head(304, &[("etag", "\"a\""), ("content-length", "77")], Length::None),
                "/205" => call.respond(205, &[], ""),
                _ => call.respond(200, &[], "whole"),
            }
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for (status, method) in [
            (204, "GET"),
            (304, "GET"),
            (205, "POST"),
            (204, "DELETE"),
            (204, "POST"),
        ] {
            let answer = caller.call(&Ask::of(method, &format!("/{status}"), Length::None), b"");
            assert_eq!((answer.status, answer.body.len(), answer.is_cut()), (status, 0, false));
            // RFC 9110 8.6: never with 204.
            assert!(status != 204 || !answer.fields.has("content-length"), "{answer:?}");
            assert!(!answer.fields.has("transfer-encoding"), "{answer:?}");
            assert_eq!(caller.call(&Ask::get("/"), b"").text(), "whole");
        }
        assert_eq!(service.opened(), 1, "the connection is kept");
    });
}

#[test]
fn options_may_ask_of_the_server_as_a_whole() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[("allow", "GET")], ""));
        let proxy = pairing.proxy(&service);
        let answer = pairing.call(&proxy, &Ask::of("OPTIONS", "*", Length::None), b"");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.fields.one("allow").as_deref(), Some("GET"));
        assert_eq!(service.last().target, "*");
        assert_eq!(service.last().method, "OPTIONS");
    });
}

#[test]
fn ranges_pass_in_one_part_and_in_several() {
    const PARTS: &str =
        "--b\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n--b\r\nContent-Range: bytes 4-5/9\r\n\r\nef\r\n--b--\r\n";
    on_each(|pairing| {
        let service = pairing.service(|call| match call.request.fields.one("range").as_deref() {
            Some("bytes=0-1") => call.respond(206, &[("content-range", "bytes 0-1/9")], "ab"),
            Some("bytes=0-1,4-5") => call.respond(206, &[("content-type", "multipart/byteranges; boundary=b")], PARTS),
            other => panic!("{other:?}"),
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        let one = caller.call(&Ask::get("/").with("range", "bytes=0-1"), b"");
        assert_eq!((one.status, one.text().as_str()), (206, "ab"));
        assert_eq!(one.fields.one("content-range").as_deref(), Some("bytes 0-1/9"));
        let ask = Ask::get("/").with("range", "bytes=0-1,4-5").with("if-range", "\"a\"");
        let two = caller.call(&ask, b"");
        assert_eq!((two.status, two.text().as_str()), (206, PARTS));
        assert_eq!(
            two.fields.one("content-type").as_deref(),
            Some("multipart/byteranges; boundary=b")
        );
        assert_eq!(service.last().fields.one("if-range").as_deref(), Some("\"a\""));
    });
}

#[test]
fn methods_pass_as_they_are() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for method in [
            "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "M-SEARCH", "get", "X-NEW_1",
        ] {
            assert_eq!(
                caller.call(&Ask::of(method, "/", Length::None), b"").status,
                200,
                "{method}"
            );
            assert_eq!(service.last().method, method);
        }
    });
}

#[test]
fn statuses_pass_as_they_are() {
    on_each(|pairing| {
        let service = pairing.service(|call| {
            let status = call.request.target[1..].parse().expect("a status");
            call.respond(status, &[], "why");
        });
        let proxy = pairing.proxy(&service);
        let mut caller = pairing.connect(&proxy);
        for status in [
            200, 201, 203, 207, 226, 300, 301, 308, 400, 401, 404, 418, 429, 451, 499, 500, 503, 599,
        ] {
            let answer = caller.call(&Ask::get(&format!("/{status}")), b"");
            assert_eq!((answer.status, answer.text().as_str()), (status, "why"));
        }
    });
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    on_each(|pairing| {
        if pairing.client == Protocol::Http2 {
            return;
        }
        let service = pairing.service(|call| match call.request.target.as_str() {
            "/open" => {
                call.head(200, &[], Length::Open);
                call.channel.data(b"hel");
                call.channel.data(b"lo");
                call.channel.end_with(&[("x-sum", "5")]);
            }
            _ => call.respond(200, &[], "hello"),
        });
        let proxy = pairing.proxy(&service);
        let mut client = proxy.connect();
        client.send("GET /open HTTP/1.0\r\n\r\n");
        let answer = client.response();
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.cut),
            (200, "hello", None)
        );
        assert_eq!(answer.field("transfer-encoding"), None);
        let mut client = Client::connect(proxy.address());
        for _ in 0..2 {
            client.send("GET /stated HTTP/1.0\r\nHost: old.example\r\nConnection: keep-alive\r\n\r\n");
            let answer = client.response();
            assert_eq!(
                (answer.text().as_str(), answer.field("content-length")),
                ("hello", Some("5"))
            );
            assert!(answer.head.lists("connection", "keep-alive"), "{answer:?}");
        }
        client.send("GET /stated HTTP/1.0\r\n\r\n");
        assert_eq!(client.response().text(), "hello");
        assert_eq!(client.end(), End::Fin);
        assert!(service.seen()[1].authority.as_deref() == Some("old.example"));
        assert!(service.last().authority.is_some(), "HTTP/1.1 and HTTP/2 need one");
        assert_eq!(service.last().fields.all("connection"), Vec::<String>::new());
    });
}
