//! Many requests on few connections.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{in_front_of, opened_for};
use crate::support::{Gate, Proxy, eventually, h2_endpoint::H2Endpoint};

/// RFC 9113 6.5.2.
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// Answers only when `size` requests wait on one connection; counts the most that ever did.
fn in_batches(size: usize) -> (H2Endpoint, Arc<AtomicUsize>) {
    let most = Arc::<AtomicUsize>::default();
    let endpoint = H2Endpoint::start(&[], {
        let most = Arc::clone(&most);
        move |connection| {
            let mut held = Vec::new();
            while let Some(stream) = connection.request() {
                held.push(stream);
                most.fetch_max(held.len(), SeqCst);
                if held.len() == size {
                    held.drain(..).for_each(|stream| connection.answer(stream, b"held"));
                }
            }
        }
    });
    (endpoint, most)
}

/// Answers nothing before `total` requests wait, over all connections, and everything from then on.
fn together(total: usize, settings: &'static [(u16, u32)]) -> (H2Endpoint, Arc<AtomicUsize>) {
    let (gate, waiting, most) = (Gate::default(), AtomicUsize::new(0), Arc::<AtomicUsize>::default());
    let endpoint = H2Endpoint::start(settings, {
        let most = Arc::clone(&most);
        move |connection| {
            let held = Arc::new(Mutex::new(Vec::new()));
            let (mut answers, kept, opened) = (connection.try_clone(), Arc::clone(&held), gate.clone());
            thread::spawn(move || {
                opened.wait();
                let streams = std::mem::take(&mut *kept.lock().expect("unpoisoned"));
                streams.into_iter().for_each(|stream| answers.answer(stream, b"held"));
            });
            while let Some(stream) = connection.request() {
                let before = waiting.fetch_add(1, SeqCst);
                if before >= total {
                    connection.answer(stream, b"held");
                    continue;
                }
                let mut held = held.lock().expect("unpoisoned");
                held.push(stream);
                most.fetch_max(held.len(), SeqCst);
                if before + 1 == total {
                    gate.open();
                }
            }
        }
    });
    (endpoint, most)
}

/// Answers whatever has come when nothing more does; counts the most that waited on one connection.
fn in_breaths(settings: &'static [(u16, u32)]) -> (H2Endpoint, Arc<AtomicUsize>) {
    let most = Arc::<AtomicUsize>::default();
    let endpoint = H2Endpoint::start(settings, {
        let most = Arc::clone(&most);
        move |connection| {
            let mut held = Vec::new();
            while let Some(frame) = connection.step() {
                held.extend(frame.ends_stream().then_some(frame.stream));
                most.fetch_max(held.len(), SeqCst);
                if connection.is_silent_for(Duration::from_millis(100)) {
                    held.drain(..).for_each(|stream| connection.answer(stream, b"held"));
                }
            }
        }
    });
    (endpoint, most)
}

/// Allows one request at a time, and answers none before the second gate is open; the first tells that one has come.
fn one_at_a_time() -> (H2Endpoint, Gate, Gate) {
    let (arrived, gate) = (Gate::default(), Gate::default());
    let endpoint = H2Endpoint::start(&[(MAX_CONCURRENT_STREAMS, 1)], {
        let (arrived, gate) = (arrived.clone(), gate.clone());
        move |connection| {
            while let Some(stream) = connection.request() {
                arrived.open();
                gate.wait();
                connection.answer(stream, b"held");
            }
        }
    });
    (endpoint, arrived, gate)
}

fn get_at_once(proxy: &Proxy, count: usize) {
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let response = proxy.get("/");
                assert_eq!((response.status, response.text()), (200, "held".to_owned()));
            });
        }
    });
}

#[test]
fn all_workers_share_a_connection_until_it_is_full() {
    let (endpoint, most) = together(30, &[]);
    let setup = in_front_of(&endpoint).with("http2 = { streams = 10 }");
    let proxy = setup.workers(4).start();
    get_at_once(&proxy, 30);
    assert_eq!((endpoint.opened(), most.load(SeqCst)), (3, 10));
    assert_eq!(
        opened_for(&proxy, "none-idle") + opened_for(&proxy, "streams-full"),
        3.0
    );
    // What is there is used again.
    get_at_once(&proxy, 30);
    assert_eq!(endpoint.opened(), 3);
}

#[test]
fn no_connection_carries_more_than_its_endpoint_allows() {
    let (endpoint, most) = in_breaths(&[(MAX_CONCURRENT_STREAMS, 5)]);
    let proxy = in_front_of(&endpoint).start();
    get_at_once(&proxy, 20);
    assert!((2..=5).contains(&most.load(SeqCst)), "{most:?}");
}

#[test]
fn requests_go_on_when_an_endpoint_that_allowed_none_allows_one_again() {
    const SETTINGS: u8 = 4;
    let allow = |streams: u32| [&MAX_CONCURRENT_STREAMS.to_be_bytes()[..], &streams.to_be_bytes()].concat();
    let (gate, raised) = (Gate::default(), Gate::default());
    let endpoint = H2Endpoint::start(&[(MAX_CONCURRENT_STREAMS, 1)], {
        let (gate, raised) = (gate.clone(), raised.clone());
        move |connection| {
            let Some(first) = connection.request() else { return };
            connection.send(SETTINGS, 0, 0, &allow(0));
            connection.answer(first, b"held");
            gate.wait();
            connection.send(SETTINGS, 0, 0, &allow(1));
            raised.open();
            while let Some(stream) = connection.request() {
                connection.answer(stream, b"held");
            }
        }
    });
    let setup = in_front_of(&endpoint).with("[cluster.main.pool]\nmax_connections = 1\nmax_idle = 1");
    let proxy = setup.start();
    get_at_once(&proxy, 1);
    thread::scope(|scope| {
        scope.spawn(|| get_at_once(&proxy, 4));
        eventually("four requests are on their way", || {
            proxy.metric("forebay_upstream_requests_in_flight", &[]) >= 4.0
        });
        gate.open();
        raised.wait();
    });
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn at_the_limit_of_connections_they_carry_as_many_as_the_endpoint_allows() {
    let (endpoint, most) = in_batches(12);
    let setup = in_front_of(&endpoint).with("http2 = { streams = 2 }");
    let proxy = setup
        .with("[cluster.main.pool]\nmax_connections = 1\nmax_idle = 1")
        .start();
    get_at_once(&proxy, 12);
    assert_eq!((endpoint.opened(), most.load(SeqCst)), (1, 12));
}

#[test]
fn who_waits_for_a_stream_is_counted() {
    let (endpoint, arrived, gate) = one_at_a_time();
    let proxy = in_front_of(&endpoint)
        .with("http2 = { streams = 2 }")
        .with("[cluster.main.pool]\nmax_connections = 1\nmax_idle = 1\nwait = { queue = 2, timeout = \"60s\" }")
        .start();
    let exhausted = |outcome: &str| proxy.metric("forebay_pool_exhausted_total", &[outcome]);
    let connections = |state: &str, count: f64| {
        proxy.wait_for_metric("forebay_pool_connections", &[state], |found| found == count);
    };
    thread::scope(|scope| {
        scope.spawn(|| get_at_once(&proxy, 1));
        arrived.wait();
        scope.spawn(|| get_at_once(&proxy, 2));
        proxy.wait_for_metric("forebay_pool_waiting", &[], |waiting| waiting == 2.0);
        assert_eq!(proxy.get("/").status, 503);
        assert_eq!(exhausted("outcome=\"queue-full\""), 1.0);
        gate.open();
    });
    connections("state=\"idle\"", 1.0);
    connections("state=\"active\"", 0.0);
    assert_eq!(proxy.metric("forebay_pool_waiting", &[]), 0.0);
    assert_eq!(proxy.metric("forebay_pool_waited_total", &[]), 2.0);
    assert_eq!(exhausted("outcome=\"timeout\""), 0.0);
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn requests_that_wait_for_a_stream_in_vain_are_counted_once_each() {
    let (endpoint, arrived, gate) = one_at_a_time();
    let proxy = in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_connections = 1\nmax_idle = 1\nwait = { queue = 9, timeout = \"200ms\" }")
        .start();
    thread::scope(|scope| {
        scope.spawn(|| get_at_once(&proxy, 1));
        arrived.wait();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(proxy.get("/").status, 503));
            }
        });
        gate.open();
    });
    let exhausted = proxy.metric("forebay_pool_exhausted_total", &["outcome=\"timeout\""]);
    assert_eq!((exhausted, proxy.metric("forebay_pool_waiting", &[])), (3.0, 0.0));
}

#[test]
fn without_pooling_each_request_has_a_connection_of_its_own() {
    let (endpoint, most) = in_batches(1);
    let proxy = in_front_of(&endpoint).with("[cluster.main.pool]\nmax_idle = 0").start();
    get_at_once(&proxy, 5);
    assert_eq!((endpoint.opened(), most.load(SeqCst)), (5, 1));
    assert_eq!(opened_for(&proxy, "pooling-off"), 5.0);
}

#[test]
fn where_endpoints_allow_few_streams_there_are_more_connections() {
    let (endpoint, most) = together(20, &[(MAX_CONCURRENT_STREAMS, 5)]);
    let proxy = in_front_of(&endpoint).start();
    get_at_once(&proxy, 20);
    assert_eq!((endpoint.opened(), most.load(SeqCst)), (4, 5));
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_an_error_for_all_who_wait() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let proxy = Proxy::to(&[gone.expect("a free port")]).with(super::HTTP2).start();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let response = proxy.get("/");
                assert_eq!((response.status, response.error()), (502, "connection_refused"));
            });
        }
    });
}
