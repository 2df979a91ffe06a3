//! Many requests at once, and a look at the sockets meanwhile.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Client, Proxy, Response, netns::Namespace};

/// What became of one request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) number: usize,
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// Requests 0 to `count`, by `at_once` clients who keep their connections.
pub(crate) fn requests(
    proxy: &Proxy,
    count: usize,
    at_once: usize,
    request: impl Fn(&mut Client, usize) -> Response + Sync,
) -> Vec<Answered> {
    requests_while(proxy, |number| number < count, at_once, request)
}

/// As [`requests`], as many of them as there are until `over`.
pub(super) fn requests_until(
    proxy: &Proxy,
    over: &AtomicBool,
    at_once: usize,
    request: impl Fn(&mut Client, usize) -> Response + Sync,
) -> Vec<Answered> {
    requests_while(proxy, |_| !over.load(Relaxed), at_once, request)
}

fn requests_while(
    proxy: &Proxy,
    goes_on: impl Fn(usize) -> bool + Sync,
    at_once: usize,
    request: impl Fn(&mut Client, usize) -> Response + Sync,
) -> Vec<Answered> {
    let next = AtomicUsize::new(0);
    let one_client = || {
        let (mut client, mut answers) = (proxy.connect(), Vec::new());
        loop {
            let (number, started) = (next.fetch_add(1, Relaxed), Instant::now());
            if !goes_on(number) {
                return answers;
            }
            let response = request(&mut client, number);
            answers.push(Answered {
                number,
                status: response.status,
                took: started.elapsed(),
            });
            if response.announces_close() {
                client = proxy.connect();
            }
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(one_client)).collect();
        let answers = clients
            .into_iter()
            .flat_map(|client| client.join().expect("the client is answered"));
        answers.collect()
    })
}

/// Looks for sockets that the other side has closed and the proxy has not.
pub(super) struct CloseWait;

impl CloseWait {
    /// For how long at least any one socket towards `port` was seen in CLOSE_WAIT while `story` ran.
    pub(super) fn during(namespace: &Namespace, port: u16, story: impl FnOnce()) -> Duration {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let (mut since, mut longest) = (HashMap::new(), Duration::ZERO);
                while !over.load(Relaxed) {
                    let looked = Instant::now();
                    let sockets = namespace.list(&format!("state close-wait dport = :{port}"));
                    since.retain(|socket, _| sockets.contains(socket));
                    for socket in sockets {
                        longest = longest.max(looked - *since.entry(socket).or_insert(looked));
                    }
                }
                longest
            });
            let _over = OnDrop(&over);
            story();
            drop(_over);
            watch.join().expect("ss runs")
        })
    }
}

/// Also ends the watch of a story that fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
