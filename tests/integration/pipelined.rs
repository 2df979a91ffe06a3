//! What is refused as the first request of a connection is refused behind another one too.

use crate::support::{End, Endpoint, Proxy, Scene};

/// Sends the case right behind a good request, in one write, and gives the statuses that came.
fn statuses(scene: &Scene, case: &str) -> Vec<u16> {
    let mut attacker = scene.proxy.connect();
    attacker.send(format!("GET /good HTTP/1.1\r\nHost: a\r\n\r\n{case}"));
    let mut statuses = Vec::new();
    loop {
        match attacker.try_response() {
            Ok(response) => statuses.push(response.status),
            Err(End::Deadline) => panic!("the connection stays open after {case:?}"),
            Err(_) => return statuses,
        }
    }
}

/// A POST with these lines behind its `Host`.
fn post(rest: &str) -> String {
    format!("POST /case HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{rest}")
}

#[test]
fn a_malformed_request_is_refused_behind_a_good_one() {
    let cases = [
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Host: b\r\n\r\n",
        "X: y\r\n folded\r\n\r\n",
        "X : y\r\n\r\n",
        ": y\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "Connection: host\r\n\r\n",
    ];
    let mut scene = Scene::new();
    let mut wrong = Vec::new();
    for case in cases.map(post) {
        let statuses = statuses(&scene, &case);
        scene.check_victim(&case);
        let is_refused = matches!(statuses[..], [200] | [200, 400..=499 | 501]);
        if !is_refused || scene.seen().iter().any(|target| target != "/good") {
            wrong.push(format!("{case:?}: {statuses:?}, the endpoint saw {:?}", scene.seen()));
            scene = Scene::new();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the standard lets a server resolve (RFC 9110 8.6, RFC 9112 2.2 and 6.1) may pass, in canonical form.
#[test]
fn an_ambiguous_request_is_refused_or_resolved_behind_a_good_one() {
    let cases = [
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "X: a\nY: b\r\n\r\n",
    ];
    let mut scene = Scene::new();
    for case in cases.map(post) {
        let statuses = statuses(&scene, &case);
        assert!(
            matches!(statuses[..], [200] | [200, 200 | 400]),
            "{case:?}: {statuses:?}"
        );
        scene.check_victim(&case);
    }
    assert!(!scene.seen().contains(&"/smuggled".to_owned()));
    for request in scene.endpoint.requests() {
        let framings = request.head.all("content-length").len() + request.head.all("transfer-encoding").len();
        assert!(framings <= 1, "{:?}", request.head);
    }
}

#[test]
fn a_target_that_is_not_forwarded_is_refused_behind_a_good_one() {
    let mut scene = Scene::new();
    for target in ["/x/../case", "/case#x", "/x%2fcase", "http://user@a/case"] {
        let case = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(statuses(&scene, &case), [200, 400], "{target}");
        scene.check_victim(target);
        assert!(scene.seen().iter().all(|seen| seen == "/good"), "{:?}", scene.seen());
    }
}

#[test]
fn whoever_closes_behind_several_requests_gets_all_answers() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    for count in [2, 40] {
        let mut client = proxy.connect();
        let requests: String = (0..count)
            .map(|number| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{number:03}"))
            .collect();
        client.send(requests);
        client.finish();
        for number in 0..count {
            assert_eq!(client.response().text(), format!("{number:03}"));
        }
        assert_eq!(client.end(), End::Fin);
    }
}
