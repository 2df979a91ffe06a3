//! Ambiguous and malformed requests are refused before anything reaches an endpoint, and never leave a trace on a
//! connection that somebody else uses.

use crate::support::{Endpoint, Proxy, Scene};

#[test]
fn a_length_beside_chunks_is_refused_or_dropped_with_the_connection() {
    let mut scene = Scene::new();
    let fields = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
    ];
    for fields in fields {
        let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test.example\r\n\r\n";
        let case = format!("POST /case HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n\r\n{smuggled}");
        let outcome = scene.attack(case.as_bytes());
        // RFC 9112 6.1: either an error, or chunks alone count, no length goes on, and the connection closes.
        match outcome.status {
            Some(400) => assert_eq!(scene.seen(), [""; 0]),
            _ => assert_eq!((outcome.status, scene.seen()), (Some(200), vec!["/case".to_owned()])),
        }
        scene.check_victim(fields);
        for request in scene.endpoint.requests() {
            assert_eq!(request.head.all("content-length"), [""; 0], "{:?}", request.head);
        }
        scene = Scene::new();
    }
}

#[test]
fn any_coding_but_chunked_alone_is_refused() {
    let codings = [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "xchunked",
        "identity",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "\x0bchunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "",
    ];
    let case = |coding| format!("POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
    let mut cases: Vec<String> = codings.map(case).to_vec();
    cases.push("POST /case HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    Scene::new().check_refused(&[400, 501], &cases.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_length_that_is_not_one_number_is_refused() {
    let lengths = [
        "",
        "+5",
        "-5",
        "5,5",
        "5, 5",
        "5 5",
        "0x5",
        "5.0",
        "five",
        "5\r\nContent-Length: 6",
        "5\r\nContent-Length: 5",
        "9223372036854775808",
        "99999999999999999999999999",
    ];
    let case = |length| format!("POST /case HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhello");
    let cases = lengths.map(case);
    Scene::new().check_refused(&[400, 413], &cases.each_ref().map(String::as_str));
}

#[test]
fn malformed_fields_are_refused_and_not_repaired() {
    let fields = [
        ": x",
        "X : y",
        "X\t: y",
        " X: y",
        "X y: z",
        "X\0: y",
        "X: a\0b",
        "X: a\rb",
        "X",
        "X(: y",
        "X: y\r\n folded",
        "X: y\r\n\tfolded",
        "X: a\x7fb",
        "X: a\x01b",
    ];
    let case = |field| format!("GET /case HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let cases = fields.map(case);
    Scene::new().check_refused(&[400], &cases.each_ref().map(String::as_str));
}

#[test]
fn malformed_request_lines_are_refused() {
    let lines = [
        "GET  /case HTTP/1.1",
        "GET /case  HTTP/1.1",
        "GET /ca se HTTP/1.1",
        "GET /case",
        "GET /case HTTP/1.1 x",
        "GET /case HTTP/9.9",
        "GET /case HTTP/2.0",
        "GET /case http/1.1",
        "GET /case\0 HTTP/1.1",
        "G(ET /case HTTP/1.1",
        "GET case HTTP/1.1",
        "GET /case#part HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ];
    let case = |line| format!("{line}\r\nHost: a\r\n\r\n");
    let cases = lines.map(case);
    Scene::new().check_refused(&[400, 505], &cases.each_ref().map(String::as_str));
}

#[test]
fn a_request_has_exactly_one_authority() {
    Scene::new().check_refused(
        &[400],
        &[
            "GET /case HTTP/1.1\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a,b\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a:x\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET /case HTTP/1.1\r\nHost: a#b\r\n\r\n",
            "GET http://user@a/case HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    );
}

#[test]
fn an_absolute_target_and_its_host_field_cannot_disagree() {
    let scene = Scene::new();
    let outcome =
        scene.attack(b"GET http://one.example/case HTTP/1.1\r\nHost: two.example\r\nConnection: close\r\n\r\n");
    match outcome.status {
        Some(400) => assert_eq!(scene.seen(), [""; 0]),
        // RFC 9112 3.2.2: the target wins, and the field is made anew from it.
        _ => {
            let head = &scene.endpoint.requests()[0].head;
            assert_eq!((head.target(), head.all("host")), ("/case", vec!["one.example"]));
        }
    }
}

#[test]
fn a_tunnel_is_refused_unless_a_route_allows_it() {
    Scene::new().check_refused(
        &[400, 405, 501],
        &[
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            "CONNECT /case HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello",
        ],
    );
}

#[test]
fn no_upgrade_to_http_2_reaches_the_endpoint() {
    let scene = Scene::new();
    scene.attack(
        b"GET /case HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    for request in scene.endpoint.requests() {
        assert_eq!(request.head.field("upgrade"), None);
        assert_eq!(request.head.field("http2-settings"), None);
    }
}

#[test]
fn an_endpoint_that_switches_protocols_unasked_is_a_bad_gateway() {
    let endpoint = Endpoint::saying("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let proxy = Proxy::in_front_of(&endpoint).start();
    assert_eq!(proxy.get("/").status, 502);
    endpoint.wait_closed(1);
}

#[test]
fn a_connection_field_cannot_take_away_what_others_rely_on() {
    let names = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Authorization",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Proto",
        "Forwarded",
    ];
    let case = |name| format!("GET /case HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, {name}\r\n\r\n");
    let cases = names.map(case);
    Scene::new().check_refused(&[400], &cases.each_ref().map(String::as_str));
}

#[test]
fn a_bare_line_feed_is_refused_or_written_anew() {
    let mut scene = Scene::new();
    let outcome = scene.attack(b"GET /case HTTP/1.1\nHost: a\nX: y\nConnection: close\n\n");
    assert!(matches!(outcome.status, Some(200 | 400)), "{outcome:?}");
    // The endpoint reads strictly: what is not canonical would have failed there, and the victim with it.
    scene.check_victim("bare line feeds");
}

#[test]
fn heads_without_end_are_cut_off_with_a_fitting_status() {
    let many = "X: y\r\n".repeat(5_000);
    let wide = format!("X: {}\r\n", "y".repeat(1 << 20));
    let long = "y".repeat(1 << 20);
    let mut scene = Scene::new();
    scene.check_refused(
        &[431],
        &[
            &format!("GET /case HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
            &format!("GET /case HTTP/1.1\r\nHost: a\r\n{wide}\r\n"),
        ],
    );
    scene.check_refused(&[414, 431], &[&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")]);
}

#[test]
fn a_target_above_the_limit_is_too_long() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[limits]\nmax_uri_size = \"1KiB\"")
        .start();
    assert_eq!(proxy.get(&format!("/{}", "a".repeat(1000))).status, 200);
    assert_eq!(proxy.get(&format!("/{}", "a".repeat(1024))).status, 414);
    assert_eq!(endpoint.requests().len(), 1);
}
