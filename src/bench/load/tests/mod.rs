//! Loads on subjects in the same process, which count what they see.

mod subject;

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use super::*;
use subject::Subject;

pub(super) fn load(address: SocketAddr) -> Load {
    let some = |number| NonZeroUsize::new(number).expect("not zero");
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

#[test]
fn every_request_that_the_subject_saw_is_in_the_outcome() {
    let subject = Subject::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec());
    let progress = Progress::new();
    let outcome = run(&load(subject.address), &progress, &Stop::new()).expect("a load");
    assert!(outcome.answered > 4, "{outcome:?}");
    assert_eq!(outcome.answered, subject.requests());
    assert_eq!(outcome.latency.len(), outcome.answered);
    assert_eq!(outcome.bytes, 5 * outcome.answered);
    assert_eq!((outcome.connections, subject.connections()), (4, 4));
    assert_eq!(
        (outcome.errors, outcome.cut_off, outcome.unsent),
        (Errors::default(), 0, 0)
    );
    let seen = Reading {
        answered: outcome.answered,
        ..Reading::default()
    };
    assert_eq!(progress.read(), seen);
}
