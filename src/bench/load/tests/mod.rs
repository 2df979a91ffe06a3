//! Loads on subjects in the same process, which count what they see.

mod http2;
mod subject;

use std::{net::SocketAddr, num::NonZeroUsize, thread, time::Duration};

use super::*;
use subject::{
    Reaction::{self, Bytes, End, Last, Late, Silence},
    Subject,
};

/// One of the kinds of errors.
type Count = fn(&Errors) -> u64;

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Four clients in two threads for a fifth of a second.
pub(super) fn load(address: SocketAddr) -> Load {
    Load {
        address,
        authority: address.to_string(),
        path: "/".to_owned(),
        tls: Encryption::Off,
        protocol: Protocol::Http1,
        clients: Clients::KeepAlive,
        connections: some(4),
        threads: some(2),
        pace: Pace::Closed,
        request_body: 0,
        timeout: Duration::from_secs(10),
        duration: Duration::from_millis(200),
    }
}

fn some(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("not zero")
}

/// Checks also what holds for every load: each request is counted once.
fn outcome(load: &Load, subject: &Subject) -> Outcome {
    let progress = Progress::new();
    let outcome = run(load, &progress, &Stop::new()).expect("a load");
    assert!(subject.requests() > 0, "{:?}", outcome.errors);
    assert_eq!(outcome.answered + outcome.errors.total(), subject.requests());
    assert_eq!(outcome.latency.len(), outcome.answered);
    assert_eq!(outcome.cut_off, 0);
    let read = Reading {
        answered: outcome.answered,
        errors: outcome.errors,
        open: 0,
    };
    assert_eq!(progress.read(), read);
    outcome
}

#[test]
fn clients_that_keep_their_connections_open_each_one() {
    let subject = Subject::new(|_| Bytes(HELLO));
    let outcome = outcome(&subject.load(), &subject);
    assert_eq!(outcome.errors, Errors::default());
    assert_eq!(outcome.bytes, 5 * outcome.answered);
    assert_eq!((outcome.connections, subject.connections()), (4, 4));
    assert!(!outcome.elapsed.is_zero());
}

#[test]
fn each_request_has_its_connection_where_that_is_asked() {
    let subject = Subject::new(|_| Bytes(HELLO));
    let mut load = subject.load();
    load.clients = Clients::ConnectionPerRequest;
    let outcome = outcome(&load, &subject);
    assert_eq!(outcome.errors, Errors::default());
    assert_eq!(outcome.connections, outcome.answered);
    assert_eq!(outcome.connections, subject.connections());
}

#[test]
fn a_connection_that_the_subject_ends_is_opened_anew() {
    let subject = Subject::new(|number| match number % 3 {
        0 => Bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"),
        1 => Bytes(HELLO),
        _ => Bytes("HTTP/1.1 204 No Content\r\n\r\n"),
    });
    let outcome = outcome(&subject.load(), &subject);
    assert_eq!(outcome.connections, subject.connections());
    assert!(outcome.connections > 4);
}

#[test]
fn bodies_are_sent_whole() {
    let subject = Subject::new(|_| Bytes(HELLO));
    let mut load = subject.load();
    load.request_body = 300_000;
    let outcome = outcome(&load, &subject);
    assert_eq!(subject.bytes(), 300_000 * outcome.answered);
}

#[test]
fn each_failure_has_its_name() {
    let cases: [(&str, Reaction, Count); 7] = [
        ("closed", End, |errors| errors.broken),
        (
            "cut short",
            Bytes("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"),
            |errors| errors.timeout,
        ),
        ("no answer", Bytes("hello\r\n\r\n"), |errors| errors.broken),
        ("silence", Silence, |errors| errors.timeout),
        (
            "404",
            Bytes("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            |errors| errors.status_4xx,
        ),
        (
            "503",
            Bytes("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            |errors| errors.status_5xx,
        ),
        ("304", Bytes("HTTP/1.1 304 Not Modified\r\n\r\n"), |_| 0),
    ];
    for (name, reaction, of) in cases {
        let fixed = std::sync::Mutex::new(reaction);
        let subject = Subject::new(move |_| match &*fixed.lock().expect("not poisoned") {
            Bytes(bytes) => Bytes(bytes),
            Silence => Silence,
            _ => End,
        });
        let mut load = subject.load();
        load.timeout = Duration::from_millis(300);
        let outcome = outcome(&load, &subject);
        assert_eq!(
            of(&outcome.errors),
            outcome.errors.total(),
            "{name}: {:?}",
            outcome.errors
        );
        assert_eq!(outcome.answered == 0, name != "304", "{name}: {:?}", outcome.errors);
    }
}

#[test]
fn a_subject_that_is_not_there_is_not_asked_without_a_pause() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound")
    };
    let outcome = run(&load(address), &Progress::new(), &Stop::new()).expect("a load");
    let expected = Errors {
        connect: outcome.errors.total(),
        ..Errors::default()
    };
    assert_eq!(outcome.errors, expected);
    // At the start of each client, and twice at most until 200 ms are over.
    assert!((1..=12).contains(&expected.connect), "{expected:?}");
    assert_eq!((outcome.answered, outcome.connections), (0, 0));
}

#[test]
fn a_load_that_is_stopped_counts_what_was_on_its_way() {
    let subject = Subject::new(|number| if number < 10 { Bytes(HELLO) } else { Silence });
    let mut load = subject.load();
    (load.duration, load.timeout) = (Duration::MAX, Duration::MAX);
    let (progress, stop) = (Progress::new(), Stop::new());
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| run(&load, &progress, &stop));
        while subject.requests() < 14 {
            thread::yield_now();
        }
        assert_eq!(progress.read().open, 4);
        stop.stop();
        running.join().expect("no panic").expect("a load")
    });
    assert_eq!((outcome.answered, outcome.cut_off, subject.requests()), (10, 4, 14));
    assert_eq!(progress.read().open, 0);
    let nothing = run(&load, &progress, &stop).expect("a load");
    assert_eq!((nothing.answered, nothing.cut_off), (0, 0));
}

#[test]
fn an_open_load_accounts_for_every_request_that_was_due() {
    let subject = Subject::new(|_| Bytes(HELLO));
    for clients in [Clients::KeepAlive, Clients::ConnectionPerRequest] {
        let before = subject.requests();
        let mut load = subject.load();
        (load.pace, load.clients) = (Pace::Open(1000.0), clients);
        let outcome = run(&load, &Progress::new(), &Stop::new()).expect("a load");
        assert_eq!(outcome.errors, Errors::default());
        assert_eq!(outcome.answered, subject.requests() - before);
        assert_eq!(outcome.answered + outcome.unsent, 200);
    }
}

#[test]
fn a_pause_of_the_subject_is_in_the_latency_of_those_that_were_due_meanwhile() {
    let subject = Subject::new(|number| match number {
        0 => Late(Duration::from_millis(200), HELLO),
        _ => Bytes(HELLO),
    });
    let mut load = subject.load();
    (load.pace, load.duration, load.connections) = (Pace::Open(200.0), Duration::from_secs(1), some(1));
    let outcome = outcome(&load, &subject);
    // One every 5 ms of the first 100 ms, none answered before 200 ms.
    assert!(outcome.latency.count_between(100_000, u64::MAX) >= 20);
}

#[test]
fn requests_that_wait_for_a_client_that_never_comes_free_are_unsent() {
    let subject = Subject::new(|_| Silence);
    let mut load = subject.load();
    load.pace = Pace::Open(1000.0);
    load.timeout = Duration::from_millis(300);
    let outcome = outcome(&load, &subject);
    assert_eq!((outcome.errors.timeout, outcome.unsent), (4, 196));
}

#[test]
fn an_idle_connection_that_the_subject_ends_costs_no_request() {
    let subject = Subject::new(|_| Last(HELLO));
    let mut load = subject.load();
    // One at the start, one a quarter of a second later.
    (load.pace, load.duration, load.connections) = (Pace::Open(4.0), Duration::from_millis(500), some(1));
    let outcome = outcome(&load, &subject);
    assert_eq!((outcome.answered, outcome.connections, outcome.unsent), (2, 2, 0));
}

#[test]
fn every_connection_over_tls_shakes_hands_in_full() {
    let subject = Subject::speaking(Protocol::Http1, Encryption::Tls, |_| Bytes(HELLO));
    let mut load = subject.load();
    load.tls = Encryption::Tls;
    let kept = outcome(&load, &subject);
    assert_eq!((kept.errors, kept.connections), (Errors::default(), 4));
    load.clients = Clients::ConnectionPerRequest;
    let before = subject.requests();
    let outcome = run(&load, &Progress::new(), &Stop::new()).expect("a load");
    assert_eq!(outcome.errors, Errors::default());
    assert_eq!(outcome.answered, subject.requests() - before);
    assert_eq!(outcome.connections, outcome.answered);
    assert_eq!(subject.full_handshakes(), subject.connections());
}

#[test]
fn a_subject_without_tls_gives_no_connection() {
    let subject = Subject::new(|_| Bytes(HELLO));
    let mut load = subject.load();
    (load.tls, load.timeout) = (Encryption::Tls, Duration::from_millis(200));
    let outcome = run(&load, &Progress::new(), &Stop::new()).expect("a load");
    assert!(outcome.errors.connect > 0);
    assert_eq!(
        (outcome.errors.total(), outcome.connections),
        (outcome.errors.connect, 0)
    );
}

#[test]
fn what_cannot_be_a_load_is_refused() {
    let refused = |change: &dyn Fn(&mut Load)| {
        let mut load = load(([127, 0, 0, 1], 9).into());
        change(&mut load);
        run(&load, &Progress::new(), &Stop::new()).expect_err("no load")
    };
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            refused(&|load| load.pace = Pace::Open(rate)),
            LoadError::Rate(_)
        ));
    }
    let many = |load: &mut Load| load.connections = some(usize::MAX / 2);
    assert!(matches!(refused(&many), LoadError::OpenFiles { .. }));
    let path = |load: &mut Load| load.path = "no path".to_owned();
    assert!(matches!(refused(&path), LoadError::Request(_)));
}
