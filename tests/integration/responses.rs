//! What an endpoint does wrong is told to the client as what it is, and never to another client.

use crate::support::{End, Endpoint, Gate, Proxy};

/// Every one of these answers is a 502 for the client and the end of the upstream connection.
fn check_refused(answers: &[&str]) {
    let mut wrong = Vec::new();
    for &answer in answers {
        let endpoint = Endpoint::saying(answer);
        let proxy = Proxy::in_front_of(&endpoint).start();
        let response = proxy.get("/");
        if response.status != 502 || response.text().contains("evil") {
            wrong.push(format!("{answer:?}: {} {:?}", response.status, response.text()));
            continue;
        }
        assert_ne!(endpoint.wait_closed(1)[0].end, Some(End::Ours), "{answer:?}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {} answers:\n{}",
        wrong.len(),
        answers.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_malformed_status_line_is_a_bad_gateway() {
    check_refused(&[
        "garbage\r\n\r\n",
        "HTTP/2 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 2x0 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 99 Low\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 1000 High\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1  200 OK\r\nContent-Length: 4\r\n\r\nevil",
        " HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "ICY 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ]);
}

#[test]
fn a_malformed_field_is_a_bad_gateway() {
    let fields = [
        ": x",
        "X : y",
        "X y: z",
        "X: a\0b",
        "X: a\rb",
        "X",
        "X: y\r\n folded",
        " X: y",
    ];
    let answers = fields.map(|field| format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 4\r\n\r\nevil"));
    check_refused(&answers.each_ref().map(String::as_str));
}

#[test]
fn an_ambiguous_framing_is_a_bad_gateway() {
    let framings = [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
        "Content-Length: 4,5",
        "Content-Length: ",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
    ];
    let answers = framings.map(|framing| format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nevil"));
    check_refused(&answers.each_ref().map(String::as_str));
    check_refused(&["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"]);
}

#[test]
fn a_head_without_end_is_a_bad_gateway() {
    let wide = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(10_000));
    check_refused(&[&wide, &many]);
}

#[test]
fn bytes_behind_an_answer_never_reach_another_client() {
    let endpoint = Endpoint::start(|exchange| {
        exchange
            .send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "good");
    }
    assert_eq!(endpoint.opened(), 10, "no connection was used again");
    endpoint.wait_closed(10);
}

#[test]
fn bytes_on_an_idle_connection_end_it() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.respond("good");
            if exchange.connection == 0 {
                gate.wait();
                exchange.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil");
            }
        }
    });
    let long = "[cluster.main.pool]\nidle_timeout = \"1m\"";
    let proxy = Proxy::in_front_of(&endpoint).workers(1).with(long).start();
    assert_eq!(proxy.get("/").text(), "good");
    gate.open();
    assert_ne!(
        endpoint.wait_closed(1)[0].end,
        None,
        "the sweep finds it without any request"
    );
    assert_eq!(proxy.get("/").text(), "good");
    assert_eq!(endpoint.opened(), 2);
}

#[test]
fn a_body_that_breaks_off_never_looks_complete() {
    let cases = [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\na\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: y\r\n",
    ];
    for case in cases {
        let endpoint = Endpoint::start(move |exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\n{case}").as_bytes());
            exchange.close();
        });
        let proxy = Proxy::in_front_of(&endpoint).start();
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
        let response = client.try_response();
        let is_whole = matches!(&response, Ok(response) if response.status == 200 && response.cut.is_none());
        assert!(!is_whole, "{case:?}: {response:?}");
        assert_ne!(response.map(|response| response.cut), Err(End::Deadline), "{case:?}");
    }
}

#[test]
fn a_malformed_chunk_cuts_the_response_off() {
    for chunk in [
        "4\r\ngood\r\nz\r\nevil\r\n0\r\n\r\n",
        "4\r\ngoodevil\r\n0\r\n\r\n",
        "4\r\ngood\r\n+4\r\nevil\r\n0\r\n\r\n",
    ] {
        let endpoint = Endpoint::saying(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"));
        let proxy = Proxy::in_front_of(&endpoint).start();
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
        if let Ok(response) = client.try_response() {
            assert!(
                response.status == 502 || response.cut.is_some(),
                "{chunk:?}: {response:?}"
            );
            assert!(!response.text().contains("evil"), "{chunk:?}: {response:?}");
        }
        endpoint.wait_closed(1);
    }
}

#[test]
fn a_body_until_the_close_arrives_whole() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\neverything");
        exchange.close();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.cut), ("everything", None));
    }
    assert_eq!(endpoint.opened(), 2);
}

#[test]
fn a_body_until_the_close_that_ends_in_a_reset_does_not_look_complete() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send(b"HTTP/1.1 200 OK\r\n\r\nhalf");
            gate.wait();
            exchange.reset();
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let head = client.read_head().expect("the head comes");
    assert!(head.lists("transfer-encoding", "chunked"));
    gate.open();
    let (rest, end) = client.read_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    assert_ne!(end, End::Deadline);
}

#[test]
fn a_client_of_http_1_0_can_tell_that_a_chunked_body_broke_off() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        exchange.close();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: test.example\r\n\r\n");
    if let Ok(response) = client.try_response() {
        assert!(
            response.status == 502 || response.cut == Some(End::Reset),
            "{response:?}"
        );
    }
}

/// Sends each beginning of `answer` and closes; gives what the client got for each.
fn cut_at_every_offset(answer: &'static str, method: &str) {
    let endpoint = Endpoint::start(move |exchange| {
        let offset: usize = exchange
            .target()
            .trim_start_matches('/')
            .parse()
            .expect("the target is an offset");
        exchange.body();
        exchange.send(&answer.as_bytes()[..offset]);
        exchange.close();
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let head = answer.find("\r\n\r\n").expect("an answer has a head") + 4;
    for offset in 0..=answer.len() {
        let mut client = proxy.connect();
        client.send(format!(
            "{method} /{offset} HTTP/1.1\r\nHost: test.example\r\nContent-Length: 0\r\n\r\n"
        ));
        let response = client.try_response();
        let is_whole = matches!(&response, Ok(response) if response.status == 200 && response.cut.is_none());
        assert_eq!(
            is_whole,
            offset == answer.len(),
            "{offset} of {}: {response:?}",
            answer.len()
        );
        if offset < head {
            assert_eq!(
                response.map(|response| response.status),
                Ok(502),
                "{offset} of {}",
                answer.len()
            );
        }
    }
    assert_eq!(
        endpoint.requests().len(),
        answer.len() + 1,
        "each request was sent once"
    );
}

#[test]
fn an_answer_cut_anywhere_is_never_complete() {
    cut_at_every_offset("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET");
}

#[test]
fn a_chunked_answer_cut_anywhere_is_never_complete() {
    cut_at_every_offset(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "GET",
    );
}

#[test]
fn a_post_is_sent_once_wherever_its_answer_is_cut() {
    cut_at_every_offset("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "POST");
}
