//! One line per request, whatever is in it, and never at the cost of a request.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Endpoint, Proxy, eventually, unreachable::Refusing};

pub(crate) const TO_FILE: &str = "[access_log]\noutput = \"access.log\"\n";

/// The records of an access log once there are at least `count`; each line has to be JSON.
pub(crate) fn records(proxy: &Proxy, count: usize) -> Vec<Value> {
    let file = proxy.directory().join("access.log");
    let read = || fs::read(&file).unwrap_or_default();
    eventually("the lines are written", || {
        read().iter().filter(|&&byte| byte == b'\n').count() >= count
    });
    let text = String::from_utf8(read()).expect("the log is UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

#[test]
fn a_record_tells_the_whole_story() {
    let endpoint = Endpoint::answering("hello");
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    let mut client = proxy.connect();
    client.send("GET /a?b HTTP/1.1\r\nHost: test.example\r\nUser-Agent: tester/1\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.get("/again");
    let records = records(&proxy, 2);
    let first = &records[0];
    let expected = [
        ("listener", "public"),
        ("method", "GET"),
        ("host", "test.example"),
        ("path", "/a?b"),
        ("protocol", "HTTP/1.1"),
        ("cluster", "main"),
        ("user_agent", "tester/1"),
        ("endpoint", &endpoint.address().to_string()),
        ("client", &client.local_address().to_string()),
    ];
    for (field, value) in expected {
        assert_eq!(first[field], value, "{field} in {first}");
    }
    assert_eq!(
        (&first["status"], &first["bytes"]),
        (&Value::from(200), &Value::from(5))
    );
    assert_eq!(
        (&first["reused"], &records[1]["reused"]),
        (&Value::from(false), &Value::from(true))
    );
    for time in ["total_ms", "first_byte_ms", "connect_ms"] {
        assert!(
            first[time].as_f64().is_some_and(|time| (0.0..10_000.0).contains(&time)),
            "{time} in {first}"
        );
    }
}

#[test]
fn every_line_is_json_whatever_is_sent() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    let long = "x".repeat(5000);
    let cases: [&[u8]; 8] = [
        b"GET /\"quoted\" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: \"\\\x80\xff\t\r\n\r\n",
        b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\x28 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: \"a\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \xf0\x9f\x98\x80\xe2\x80\xa8\r\n\r\n",
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\nUser-Agent: {long}\r\n\r\n")
            .leak()
            .as_bytes(),
    ];
    for case in cases {
        let mut client = proxy.connect();
        client.send(case);
        client.finish();
        client.read_to_end();
    }
    proxy.get("/the-last-one");
    eventually("the last one is there", || {
        records(&proxy, 1)
            .iter()
            .any(|record| record["path"] == "/the-last-one")
    });
}

#[test]
fn a_request_that_is_refused_is_named_without_its_secrets() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    for (head, status) in [
        ("GET /a?b HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET /c HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        ("GET /d HTTP/7.3\r\n\r\n", 505),
        ("GET http://me:secret@a/e HTTP/7.3\r\n\r\n", 505),
        ("GET http://me:secret@a/f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /g HTTP/1.1\r\nHost: me:secret@a\r\n\r\n", 400),
    ] {
        let mut client = proxy.connect();
        client.send(head);
        assert_eq!(client.response().status, status, "{head:?}");
    }
    let mut records = records(&proxy, 6);
    records.sort_by_key(|record| record["path"].to_string());
    for (record, path) in records.iter().zip(["/a?b", "/c", "/d", "/e", "/f", "/g"]) {
        assert_eq!(
            (&record["method"], &record["path"]),
            (&"GET".into(), &path.into()),
            "{record}"
        );
        assert!(!record.to_string().contains("secret"), "{record}");
    }
}

#[test]
fn a_failure_has_its_reason() {
    let refusing = Refusing::new();
    let proxy = Proxy::to(&[refusing.address()]).with(TO_FILE).start();
    proxy.get("/");
    let record = records(&proxy, 1).remove(0);
    assert_eq!(record["status"], 502);
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("refused")),
        "{record}"
    );
}

#[test]
fn a_client_that_goes_away_is_recorded_too() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    let mut client = proxy.connect();
    client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.wait_requests(1);
    drop(client);
    endpoint.wait_closed(1);
    let record = records(&proxy, 1).remove(0);
    assert_eq!(record["path"], "/left");
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("client")),
        "{record}"
    );
}

#[test]
fn an_answer_to_head_is_whole_without_its_body() {
    let endpoint = Endpoint::answering("hello");
    let proxy = Proxy::in_front_of(&endpoint)
        .with(TO_FILE)
        .with("[[route]]\npath = \"/own\"\nrespond = { body = \"gone\" }")
        .start();
    for (path, length) in [("/own", "4"), ("/", "5")] {
        let mut client = proxy.connect();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response_to_head().field("content-length"), Some(length));
    }
    for record in records(&proxy, 2) {
        assert_eq!(
            (&record["bytes"], &record["reason"]),
            (&Value::from(0), &Value::Null),
            "{record}"
        );
    }
}

#[test]
fn a_template_makes_lines_of_text() {
    let endpoint = Endpoint::answering("x");
    let format = "[access_log]\noutput = \"stdout\"\nformat = \"line: {method} {path} -> {status}\"\n";
    let proxy = Proxy::in_front_of(&endpoint).with(format).start();
    proxy.get("/a");
    eventually("the line is there", || {
        proxy.output().contains(&"line: GET /a -> 200".to_owned())
    });
}

#[test]
fn a_disk_without_room_does_not_hurt() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[access_log]\noutput = \"/dev/full\"\n")
        .start();
    let mut client = proxy.connect();
    for _ in 0..500 {
        assert_eq!(client.get("/").status, 200);
    }
    proxy.wait_for_metric("forebay_access_log_dropped_total", &[], |dropped| dropped > 0.0);
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    proxy.get("/before");
    assert_eq!(records(&proxy, 1)[0]["path"], "/before");
    let (log, moved) = (
        proxy.directory().join("access.log"),
        proxy.directory().join("access.log.1"),
    );
    fs::rename(&log, &moved).expect("the log is there");
    proxy.signal("USR1");
    // The file is there a moment before the lines go to it; those of that moment go to the old one.
    let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let mut sent = 1;
    eventually("the new file gets the lines", || {
        proxy.get("/after");
        sent += 1;
        eventually("no line is lost", || lines(&moved) + lines(&log) == sent);
        lines(&log) > 0
    });
    let old = lines(&moved);
    proxy.get("/last");
    assert_eq!(records(&proxy, sent - old + 1)[sent - old]["path"], "/last");
    assert_eq!(lines(&moved), old);
}
