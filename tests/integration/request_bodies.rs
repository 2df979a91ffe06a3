//! What a client does wrong in or around the body of its request stays its own problem.

use std::thread;

use crate::support::{End, Endpoint, Proxy, Scene};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test.example\r\n\r\n";

#[test]
fn malformed_chunks_never_reach_the_endpoint_as_a_whole_request() {
    let bodies = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\ng\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
    ];
    let mut scene = Scene::new();
    for body in bodies {
        let head = "POST /case HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        let outcome = scene.attack(format!("{head}{body}{SMUGGLED}").as_bytes());
        assert!(
            matches!(outcome.status, Some(400..=499) | None),
            "{body:?}: {outcome:?}"
        );
        assert_ne!(outcome.end, End::Deadline, "{body:?}");
        scene.check_victim(body);
        assert!(!scene.seen().contains(&"/smuggled".to_owned()), "{body:?}");
    }
    assert!(
        scene
            .endpoint
            .requests()
            .iter()
            .all(|request| request.cut.is_some() || request.body.is_empty())
    );
}

#[test]
fn chunk_extensions_are_dropped_and_bounded() {
    let mut scene = Scene::new();
    let head = "POST /case HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let outcome = scene.attack(format!("{head}5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n").as_bytes());
    assert_eq!(outcome.status, Some(200));
    let sent = String::from_utf8_lossy(&scene.endpoint.connections()[0].bytes).into_owned();
    assert!(sent.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{sent:?}");
    let endless = format!("{head}5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 20));
    let outcome = scene.attack(endless.as_bytes());
    assert!(matches!(outcome.status, Some(400..=499) | None), "{outcome:?}");
    scene.check_victim("endless extensions");
}

#[test]
fn trailers_that_could_steer_the_endpoint_are_dropped() {
    let scene = Scene::new();
    let outcome = scene.attack(
        b"POST /case HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
        Content-Length: 3\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nAuthorization: evil\r\nX-Forwarded-For: evil\r\n\
        Connection: evil\r\nX-Sum: 42\r\n\r\n",
    );
    if outcome.status == Some(400) {
        return;
    }
    let sent = String::from_utf8_lossy(&scene.endpoint.connections()[0].bytes).into_owned();
    assert!(
        !sent.contains("evil") && !sent.contains("gzip") && !sent.to_lowercase().contains("content-length"),
        "{sent}"
    );
    assert!(sent.contains("42"), "{sent}");
}

#[test]
fn trailers_without_end_are_refused() {
    let mut scene = Scene::new();
    let head = "POST /case HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    let outcome = scene.attack(format!("{head}{}\r\n", "X-A: b\r\n".repeat(10_000)).as_bytes());
    assert!(matches!(outcome.status, Some(400..=499) | None), "{outcome:?}");
    scene.check_victim("endless trailers");
}

#[test]
fn a_body_shorter_than_declared_costs_the_upstream_connection() {
    let mut scene = Scene::new();
    let outcome =
        scene.attack_and_finish(b"POST /case HTTP/1.1\r\nHost: test.example\r\nContent-Length: 10\r\n\r\nshort");
    assert!(matches!(outcome.status, Some(400..=499) | None), "{outcome:?}");
    scene.check_victim("a short body");
    let connections = scene.endpoint.wait_closed(1);
    assert_eq!(connections[0].requests, 1, "no victim shared the connection");
    assert!(connections[0].bytes.ends_with(b"short"));
}

#[test]
fn an_unread_body_is_never_read_as_a_request() {
    let endpoint = Endpoint::start(|exchange| {
        let target = exchange.target().to_owned();
        exchange.respond(target);
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[[route]]\npath = \"/own\"\nrespond = { status = 403, body = \"no\" }")
        .start();
    let mut client = proxy.connect();
    let length = SMUGGLED.len();
    client.send(format!(
        "POST /own HTTP/1.1\r\nHost: test.example\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
    ));
    assert_eq!(client.response().status, 403);
    // Drained or closed: both are right.
    let next = client.try_send("GET /next HTTP/1.1\r\nHost: test.example\r\n\r\n");
    if next.is_ok()
        && let Ok(response) = client.try_response()
    {
        assert_eq!(response.text(), "/next");
    }
    assert!(!endpoint.targets().contains(&"/smuggled".to_owned()));
}

#[test]
fn an_own_answer_to_an_endless_body_announces_the_end_of_the_connection() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[[route]]\npath = \"/own\"\nrespond = { status = 403, body = \"no\" }")
        .start();
    let mut client = proxy.connect();
    client.send("POST /own HTTP/1.1\r\nHost: test.example\r\nContent-Length: 5\r\n\r\nsmall");
    assert!(!client.response().announces_close(), "it has been read");
    client.send("POST /own HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100000000000\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.announces_close()), (403, true));
    let block = vec![b'x'; 1 << 20];
    let refused = (0..1000).any(|_| client.try_send(&block).is_err());
    assert!(refused, "the proxy swallowed a gigabyte of a body that nobody wants");
}

/// The answer is one big body made of the request's own tag, so that a single foreign byte shows.
#[test]
fn a_client_that_goes_away_leaves_nothing_to_others() {
    let endpoint = Endpoint::start(|exchange| {
        let tag = exchange.target().trim_start_matches('/').to_owned();
        exchange.respond(tag.repeat(20_000));
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_connections = 4")
        .start();
    thread::scope(|scope| {
        for thread in 0..4 {
            let proxy = &proxy;
            scope.spawn(move || {
                for number in 0..50 {
                    let tag = format!("{thread}{number:02}");
                    let mut client = proxy.connect();
                    client.send(format!("GET /{tag} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
                    match number % 5 {
                        0 => client.reset(),
                        1 => drop(client),
                        2 => {
                            client.read_some().expect("the answer begins");
                            client.reset();
                        }
                        _ => {
                            let response = client.response();
                            assert_eq!(response.cut, None);
                            assert!(response.text() == tag.repeat(20_000), "{tag} got something else");
                        }
                    }
                }
            });
        }
    });
}
