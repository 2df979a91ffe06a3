//! Running out of file descriptors is a pause, not an end.

use std::{thread, time::Duration};

use crate::support::{Client, Endpoint, Proxy, eventually, tools};

#[test]
fn without_file_descriptors_accepting_pauses_and_says_so() {
    if !tools::needs("prlimit") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let limited = ["prlimit", "--nofile=64:64"];
    let proxy = Proxy::in_front_of(&endpoint).workers(1).under(&limited).start();
    let mut first = proxy.connect();
    assert_eq!(first.get("/").status, 200);
    // The kernel completes connections that the proxy cannot accept.
    let crowd: Vec<Client> = (0..100).map(|_| proxy.connect()).collect();
    proxy.wait_for_log("open files are the limit");
    assert_eq!(first.get("/").status, 200, "who was there is served");
    let before = proxy.ticks();
    // Not a wait for an event: the span over which the processor time is looked at.
    thread::park_timeout(Duration::from_millis(500));
    let used = proxy.ticks() - before;
    assert!(used < 15, "{used} of 50 ticks: it spins");
    drop(crowd);
    eventually("newcomers are served again", || {
        let mut client = proxy.connect();
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
            && client.try_response().is_ok_and(|response| response.status == 200)
    });
}
