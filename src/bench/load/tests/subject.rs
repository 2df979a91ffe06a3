//! A server of few words: what it answers is decided by the test, what it saw is counted.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

pub(super) struct Subject {
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

/// Bytes that answer the n-th request, counted from 0 over all connections. None at all: the connection is closed.
type Answer = dyn Fn(u64) -> Vec<u8> + Send + Sync;

impl Subject {
    pub fn answering(answer: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let subject = Self {
            address: listener.local_addr().expect("bound"),
            counts: Arc::default(),
        };
        let counts = Arc::clone(&subject.counts);
        let answer: Arc<Answer> = Arc::new(answer);
        // Ends with the process: nothing closes the listener.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counts.connections.fetch_add(1, SeqCst);
                let (counts, answer) = (Arc::clone(&counts), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &counts, &*answer));
            }
        });
        subject
    }

    pub fn connections(&self) -> u64 {
        self.counts.connections.load(SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.counts.requests.load(SeqCst)
    }
}

/// Each read is a request, or the rest of one: requests of these tests are short or say how long they are.
fn serve(mut stream: TcpStream, counts: &Counts, answer: &Answer) {
    while let Some(close) = read_request(&mut stream) {
        let number = counts.requests.fetch_add(1, SeqCst);
        let bytes = answer(number);
        if bytes.is_empty() || stream.write_all(&bytes).is_err() || close {
            return;
        }
    }
}

/// Whether the client wants the connection closed; `None`: there is no request any more.
fn read_request(stream: &mut TcpStream) -> Option<bool> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split_once("Content-Length: ").map_or(0, |(_, rest)| {
            let digits = rest.split("\r\n").next().expect("a line");
            digits.parse().expect("a number")
        });
        if body.len() == length {
            return Some(head.contains("Connection: close"));
        }
    }
}
