//! The same over HTTP/2.

use super::{subject::Reaction::Status, *};

const STREAMS: Protocol = Protocol::Http2 {
    streams: NonZeroUsize::new(5).expect("not zero"),
};

fn http2(subject: &Subject, tls: Encryption) -> Load {
    Load {
        protocol: STREAMS,
        tls,
        ..subject.load()
    }
}

#[test]
fn streams_share_a_connection_in_the_clear_and_over_tls() {
    for tls in [Encryption::Off, Encryption::Tls] {
        let subject = Subject::speaking(STREAMS, tls, |_| Status(200, 100_000));
        let mut load = http2(&subject, tls);
        load.request_body = 100_000;
        let outcome = outcome(&load, &subject);
        assert_eq!(outcome.errors, Errors::default());
        assert_eq!((outcome.connections, subject.connections()), (4, 4));
        assert_eq!(outcome.bytes, 100_000 * outcome.answered);
        assert_eq!(subject.bytes(), 100_000 * outcome.answered);
    }
}

#[test]
fn each_connection_has_one_request_where_that_is_asked() {
    let subject = Subject::speaking(STREAMS, Encryption::Tls, |_| Status(200, 10));
    let mut load = http2(&subject, Encryption::Tls);
    load.clients = Clients::ConnectionPerRequest;
    let outcome = outcome(&load, &subject);
    assert_eq!(outcome.errors, Errors::default());
    assert_eq!(outcome.connections, outcome.answered);
    assert_eq!(
        (subject.connections(), subject.full_handshakes()),
        (outcome.connections, outcome.connections)
    );
}

#[test]
fn all_streams_are_on_their_way_at_once() {
    let subject = Subject::speaking(STREAMS, Encryption::Off, |_| Silence);
    let mut load = http2(&subject, Encryption::Off);
    (load.duration, load.timeout) = (Duration::from_secs(3600), Duration::from_secs(3600));
    let stop = Stop::new();
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| run(&load, &Progress::new(), &stop));
        while subject.requests() < 20 {
            thread::yield_now();
        }
        stop.stop();
        running.join().expect("no panic").expect("a load")
    });
    assert_eq!((outcome.cut_off, outcome.connections, subject.requests()), (20, 4, 20));
}

#[test]
fn each_failure_of_a_stream_has_its_name() {
    type React = fn(u64) -> Reaction;
    let cases: [(React, Count); 4] = [
        (|_| End, |errors| errors.broken),
        (|_| Silence, |errors| errors.timeout),
        (|_| Status(404, 1), |errors| errors.status_4xx),
        (|_| Status(502, 1), |errors| errors.status_5xx),
    ];
    for (react, of) in cases {
        let subject = Subject::speaking(STREAMS, Encryption::Off, react);
        let mut load = http2(&subject, Encryption::Off);
        load.timeout = Duration::from_millis(300);
        let outcome = outcome(&load, &subject);
        assert_eq!(of(&outcome.errors), outcome.errors.total(), "{:?}", outcome.errors);
        assert_eq!(outcome.answered, 0);
        assert_eq!(outcome.connections, subject.connections());
    }
}

#[test]
fn a_subject_that_speaks_another_protocol_answers_nothing() {
    let subject = Subject::new(|_| Bytes(HELLO));
    let load = http2(&subject, Encryption::Off);
    let outcome = run(&load, &Progress::new(), &Stop::new()).expect("a load");
    assert!(outcome.errors.broken > 0, "{:?}", outcome.errors);
    assert_eq!(outcome.answered, 0);
}
