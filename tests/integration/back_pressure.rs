//! Memory is a function of connections, not of what flows through them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::support::{Client, Endpoint, Gate, Proxy, eventually, pattern};

const MEBIBYTE: u64 = 1 << 20;
const TOTAL: u64 = 200 * MEBIBYTE;
/// What the process may grow by while a stream is stuck: two directions of buffers, with room for the allocator.
const CEILING: u64 = 16 * MEBIBYTE;

/// Waits until a counter stands still: as long as 40 looks at it, 5 ms apart, do not differ.
fn wait_until_stuck(counter: &AtomicU64) -> u64 {
    let (mut last, mut unchanged) = (0, 0);
    eventually("the stream is stuck", || {
        let now = counter.load(Relaxed);
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        now > 0 && unchanged > 40
    });
    last
}

#[test]
fn a_slow_reader_slows_the_endpoint_down_instead_of_filling_memory() {
    let sent = Arc::new(AtomicU64::new(0));
    let endpoint = Endpoint::start({
        let sent = Arc::clone(&sent);
        move |exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n").as_bytes());
            let block = pattern(MEBIBYTE as usize);
            while sent.load(Relaxed) < TOTAL {
                exchange.send(&block);
                sent.fetch_add(MEBIBYTE, Relaxed);
            }
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let before = proxy.memory();
    let mut client = Client::connect_narrow(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let stuck_at = wait_until_stuck(&sent);
    assert!(
        stuck_at < TOTAL / 4,
        "the endpoint could send {stuck_at} bytes to a client that reads nothing"
    );
    let (mut received, mut highest) = (0, proxy.memory());
    client.read_head().expect("the head comes");
    while received < TOTAL {
        let mebibytes = received / MEBIBYTE;
        received += client.read_some().expect("the body goes on").len() as u64;
        if received / MEBIBYTE > mebibytes {
            highest = highest.max(proxy.memory());
        }
    }
    assert!(highest < before + CEILING, "memory grew by {} bytes", highest - before);
}

#[test]
fn a_slow_endpoint_slows_the_client_down_instead_of_filling_memory() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            let mut received = 0;
            while received < TOTAL {
                let Some(bytes) = exchange.raw_body() else { return };
                received += bytes.len() as u64;
            }
            exchange.respond(received.to_string());
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let before = proxy.memory();
    let sent = AtomicU64::new(0);
    let mut client = proxy.connect();
    thread::scope(|scope| {
        let (client, sent) = (&mut client, &sent);
        scope.spawn(move || {
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: test.example\r\nContent-Length: {TOTAL}\r\n\r\n"
            ));
            let block = pattern(MEBIBYTE as usize);
            while sent.load(Relaxed) < TOTAL {
                client.send(&block);
                sent.fetch_add(MEBIBYTE, Relaxed);
            }
        });
        let stuck_at = wait_until_stuck(sent);
        assert!(
            stuck_at < TOTAL / 4,
            "the client could send {stuck_at} bytes to an endpoint that reads nothing"
        );
        assert!(
            proxy.memory() < before + CEILING,
            "memory grew by {} bytes",
            proxy.memory() - before
        );
        gate.open();
    });
    assert_eq!(client.response().text(), TOTAL.to_string());
    assert!(
        proxy.memory() < before + CEILING,
        "memory grew by {} bytes",
        proxy.memory() - before
    );
}
