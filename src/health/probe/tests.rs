//! Probes against an endpoint that follows a script, and their pace on a paused clock.

mod endpoint;
mod ends;

use std::{
    cell::RefCell,
    future::pending,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use endpoint::{Endpoint, Plain, Script, endpoint, read_request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::telemetry::{Page, Recorder};

fn http(statuses: (u16, u16)) -> ProbeKind {
    ProbeKind::Http {
        path: "/healthz".to_owned(),
        host: None,
        statuses,
    }
}

fn prober(endpoint: &Endpoint, kind: &ProbeKind) -> Prober<impl AsyncFn() -> io::Result<Plain> + use<>, Plain> {
    let address = endpoint.address;
    Prober::new(kind, "shop.example:9000", async move || Plain::connect(address).await)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n";

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

#[tokio::test]
async fn one_connection_carries_many_probes_while_answers_have_an_end() {
    const ANSWERS: &[&str] = &[
        OK,
        CHUNKED,
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        OK,
    ];
    let endpoint = endpoint(&[ANSWERS]).await;
    let mut prober = prober(&endpoint, &http((200, 299)));
    for code in [200, 200, 204, 200] {
        assert_eq!(prober.ask().await.expect("a success"), Success::Status(status(code)));
    }
    let seen = endpoint.seen.await.expect("the script ends");
    assert_eq!(seen[0].len(), 4);
    assert_eq!(
        seen[0][0],
        "GET /healthz HTTP/1.1\r\nhost: shop.example:9000\r\nuser-agent: forebay-probe\r\naccept: */*\r\n\r\n"
    );
    assert!(seen[0].iter().all(|request| *request == seen[0][0]));
}

#[tokio::test]
async fn the_probe_has_its_own_host_where_it_names_one() {
    let endpoint = endpoint(&[&[OK]]).await;
    let kind = ProbeKind::Http {
        path: "/".to_owned(),
        host: Some("own.example".to_owned()),
        statuses: (200, 200),
    };
    prober(&endpoint, &kind).ask().await.expect("a success");
    assert!(endpoint.seen.await.expect("the script ends")[0][0].contains("\r\nhost: own.example\r\n"));
}

#[tokio::test]
async fn a_dead_kept_connection_is_replaced_within_the_same_probe() {
    let mut endpoint = endpoint(&[&[OK], &[OK, ""], &[OK]]).await;
    let mut prober = prober(&endpoint, &http((200, 200)));
    assert!(prober.ask().await.is_ok());
    endpoint.closed.recv().await.expect("the first connection ends");
    assert!(prober.ask().await.is_ok(), "closed while idle");
    // On the second connection the endpoint takes the request and closes instead of an answer.
    assert!(prober.ask().await.is_ok(), "closed under the request");
    let seen = endpoint.seen.await.expect("the script ends");
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
}

#[tokio::test]
async fn bytes_nobody_asked_for_end_the_connection() {
    let endpoint = endpoint(&[
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n"],
        &[OK],
    ])
    .await;
    let mut prober = prober(&endpoint, &http((200, 200)));
    assert_eq!(prober.ask().await.expect("a success"), Success::Status(status(200)));
    assert!(prober.kept.is_none());
    assert_eq!(prober.ask().await.expect("a success"), Success::Status(status(200)));
    assert_eq!(endpoint.seen.await.expect("the script ends").len(), 2);
}

#[tokio::test]
async fn a_connection_that_may_not_be_kept_is_not() {
    const SCRIPTS: &[Script<'_>] = &[
        &["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", OK],
        &["HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", OK],
        &["HTTP/1.1 200 OK\r\n\r\nuntil the end"],
        &[OK],
    ];
    let endpoint = endpoint(SCRIPTS).await;
    let mut prober = prober(&endpoint, &http((200, 200)));
    for _ in 0..SCRIPTS.len() {
        assert!(prober.ask().await.is_ok());
    }
    let seen = endpoint.seen.await.expect("the script ends");
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_large_answer_is_judged_by_its_status_and_not_read_to_its_end() {
    const HUGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let sent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await.expect("a request");
        stream.write_all(HUGE.as_bytes()).await.expect("a head");
        // Ends only when the prober closes.
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let mut prober = Prober::new(&http((200, 200)), "a", async move || Plain::connect(address).await);
    assert_eq!(prober.ask().await.expect("a success"), Success::Status(status(200)));
    assert!(prober.kept.is_none());
    sent.await.expect("the endpoint saw the close");
}

#[tokio::test]
async fn every_failure_is_told_apart() {
    type Check = fn(&ProbeError) -> bool;
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000));
    let cases: [(&str, Check, &str); 7] = [
        (
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            |error| matches!(error, ProbeError::Status(_)),
            "status 503",
        ),
        (
            "HTTP/1.1 199 No\r\n\r\n",
            |error| matches!(error, ProbeError::ClosedEarly),
            "the endpoint closed",
        ),
        (
            "",
            |error| matches!(error, ProbeError::ClosedEarly),
            "the endpoint closed",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
            |error| matches!(error, ProbeError::ClosedEarly),
            "the ",
        ),
        (
            "SSH-2.0-OpenSSH\r\n",
            |error| matches!(error, ProbeError::NotHttp(_)),
            "the answer is not valid HTTP: ",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
            |error| matches!(error, ProbeError::BadChunks(_)),
            "the body of the answer is malformed: ",
        ),
        // The prober closes while the endpoint still writes, so the endpoint's own end does not matter here.
        (
            &long,
            |error| matches!(error, ProbeError::NotHttp(_) | ProbeError::EndlessHead),
            "the ",
        ),
    ];
    for (answer, check, text) in cases {
        let endpoint = endpoint(&[&[answer]]).await;
        let error = prober(&endpoint, &http((200, 299))).ask().await.expect_err("a failure");
        assert!(check(&error), "{answer:.60}: {error:?}");
        assert!(
            error.with_causes().starts_with(text),
            "{answer:.60}: {}",
            error.with_causes()
        );
        assert_eq!(error.outcome(), Outcome::Failed);
    }
}

#[tokio::test]
async fn a_tcp_probe_connects_and_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let mut prober = Prober::new(&ProbeKind::Tcp, "a", async move || Plain::connect(address).await);
    assert_eq!(prober.ask().await.expect("a success"), Success::Connected);
    let (mut stream, _) = listener.accept().await.expect("a connection");
    assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0);
    drop(listener);
    let error = prober.ask().await.expect_err("nothing listens");
    assert_eq!(error.outcome(), Outcome::Failed);
    assert_eq!(error.with_causes(), "no connection: Connection refused (os error 111)");
}

#[test]
fn what_this_machine_lacks_is_not_the_endpoints_failure() {
    let outcome = |code| ProbeError::Connect(io::Error::from_raw_os_error(code)).outcome();
    assert_eq!(outcome(libc::EADDRNOTAVAIL), Outcome::Inconclusive);
    assert_eq!(outcome(libc::EMFILE), Outcome::Inconclusive);
    assert_eq!(outcome(libc::ECONNREFUSED), Outcome::Failed);
    assert_eq!(
        ProbeError::Broken(io::Error::from_raw_os_error(libc::ENOBUFS)).outcome(),
        Outcome::Failed
    );
}

#[test]
fn the_interval_varies_by_a_tenth() {
    let second = Duration::from_secs(1);
    for (random, expected) in [(0.0, 900), (0.5, 1000), (1.0, 1100)] {
        assert_eq!(jittered(second, random).as_millis(), expected);
    }
}

fn probe(interval: u64, timeout: u64) -> Probe {
    let (interval, timeout) = (Duration::from_secs(interval), Duration::from_secs(timeout));
    Probe {
        kind: ProbeKind::Tcp,
        interval,
        timeout,
        rise: 2,
        fall: 3,
    }
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNREFUSED)
}

const ENDPOINT: &str = "192.0.2.1:9000";

#[tokio::test(start_paused = true)]
async fn probes_begin_at_once_and_keep_their_pace_until_the_health_is_gone() {
    let health = Arc::new(Health::new(Instant::now()));
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let connect = async move || {
        seen.lock().expect("not poisoned").push(Instant::now());
        Err::<Plain, _>(refused())
    };
    let begin = Instant::now();
    let endpoint = ENDPOINT.parse().expect("an address");
    let run = run(endpoint, "a".to_owned(), probe(10, 1), Arc::downgrade(&health), connect);
    let end = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        drop(health);
    };
    tokio::join!(run, end);
    assert!(begin.elapsed() <= Duration::from_secs(111), "{:?}", begin.elapsed());
    let times = times.lock().expect("not poisoned");
    assert_eq!(times[0], begin);
    // The timer counts in whole milliseconds and rounds up.
    let (shortest, longest) = (Duration::from_secs(9), Duration::from_millis(11_001));
    assert!(
        times
            .windows(2)
            .all(|pair| (shortest..=longest).contains(&(pair[1] - pair[0]))),
        "{times:?}"
    );
    assert!((9..=12).contains(&times.len()), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_in_time_is_unhealthy() {
    let health = Arc::new(Health::new(Instant::now()));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let connect = async move || {
        counted.fetch_add(1, Relaxed);
        pending::<io::Result<Plain>>().await
    };
    let begin = Instant::now();
    let endpoint = ENDPOINT.parse().expect("an address");
    let run = run(endpoint, "a".to_owned(), probe(10, 2), Arc::downgrade(&health), connect);
    timeout(Duration::from_secs(3), run)
        .await
        .expect_err("runs on while the health exists");
    assert!(!health.is_healthy());
    let report = health.report();
    assert_eq!(report.last.as_deref(), Some("no answer in time"));
    assert_eq!((report.since - begin).as_secs(), 2);
    assert_eq!((report.failed, calls.load(Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn running_out_of_source_ports_changes_nothing() {
    let health = Arc::new(Health::new(Instant::now()));
    // Neither the task nor what it captures needs to be Send.
    let calls = Rc::new(RefCell::new(0));
    let counted = calls.clone();
    let connect = async move || {
        *counted.borrow_mut() += 1;
        Err::<Plain, _>(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
    };
    let endpoint = ENDPOINT.parse().expect("an address");
    let run = run(endpoint, "a".to_owned(), probe(1, 1), Arc::downgrade(&health), connect);
    timeout(Duration::from_secs(20), run)
        .await
        .expect_err("runs on while the health exists");
    assert!(*calls.borrow() > 10);
    let report = health.report();
    assert!(report.healthy);
    assert_eq!((report.succeeded, report.failed), (0, 0));
    assert!(report.last.is_some_and(|last| last.starts_with("no connection: ")));
}

#[test]
fn changes_of_the_verdict_are_counted_and_nothing_else() {
    let recorder = Recorder::new();
    let health = Health::new(Instant::now());
    let probe = probe(10, 1);
    let endpoint = ENDPOINT.parse().expect("an address");
    let failed = || Err(ProbeError::TimedOut);
    let succeeded = || Ok(Success::Connected);
    metrics::with_local_recorder(&recorder, || {
        record(endpoint, &health, failed(), &probe);
        record(endpoint, &health, failed(), &probe);
        for _ in 0..probe.rise {
            record(endpoint, &health, succeeded(), &probe);
        }
        for _ in 0..probe.fall {
            record(endpoint, &health, failed(), &probe);
        }
    });
    let mut page = Page::new();
    recorder.render_into(&mut page);
    let page = page.render();
    let expected = [
        "forebay_health_changes_total{endpoint=\"192.0.2.1:9000\",to=\"healthy\"} 1",
        "forebay_health_changes_total{endpoint=\"192.0.2.1:9000\",to=\"unhealthy\"} 2",
    ];
    let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(series, expected);
}
