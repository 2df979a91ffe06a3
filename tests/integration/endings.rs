//! Endpoints that close, drop or fall silent, and proxies that end: no request is lost that need not be, and no socket
//! stays behind.

mod leaving;
pub(crate) mod load;
mod manners;
mod probes;
mod restarts;
mod silence;
mod sources;

use std::{collections::HashMap, time::Duration};

use crate::support::{Endpoint, Exchange, Proxy, eventually, netns::Namespace, tools};
use load::{CloseWait, requests};

#[test]
fn an_endpoint_that_closes_its_idle_connections_loses_no_request() {
    if !tools::needs("ss") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), |exchange| {
        exchange.respond("x");
        exchange.close_if_idle_for(Duration::from_secs(1));
    });
    let proxy = Proxy::in_front_of(&endpoint).inside(&namespace).start();
    let longest = CloseWait::during(&namespace, endpoint.address().port(), || {
        for _ in 0..2 {
            let answers = requests(&proxy, 200, 20, |client, _| client.get("/"));
            assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 200);
            // Not a moment longer, so that the proxy has no time to notice.
            endpoint.wait_closed(endpoint.opened());
        }
        eventually("all that the endpoint has closed is closed", || {
            namespace.matching("state connected") == 0
        });
    });
    // Each FIN wakes the proxy; its regular sweep alone would take up to 250 ms.
    assert!(longest < Duration::from_millis(100), "a CLOSE_WAIT lasted {longest:?}");
    proxy.wait_for_metric("forebay_pool_closed_total", &[], |count| {
        count as usize == endpoint.opened()
    });
    let ours =
        ["us-fin", "us-rst"].map(|first| proxy.metric("forebay_pool_closed_total", &[&format!("first=\"{first}\"")]));
    assert_eq!(ours, [0.0, 0.0], "the endpoint was first each time");
}

/// The endpoint answers the first request of each connection; it reads the second one whole, and then `drops` it.
fn second_requests_are_dropped(drops: fn(&mut Exchange)) {
    let endpoint = Endpoint::start(move |exchange| match exchange.number {
        0 => exchange.respond("x"),
        _ => {
            exchange.body();
            drops(exchange);
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let answers = requests(&proxy, 400, 10, |client, number| match number % 2 {
        0 => client.get(&format!("/{number}")),
        _ => client.post(&format!("/{number}"), "written"),
    });
    let (writes, reads): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.number % 2 == 1);
    assert!(reads.iter().all(|answer| answer.status == 200), "{reads:?}");
    assert!(
        writes.iter().all(|answer| [200, 502].contains(&answer.status)),
        "{writes:?}"
    );
    let mut executed: HashMap<String, usize> = HashMap::new();
    for request in endpoint.requests() {
        *executed
            .entry(format!("{} {}", request.head.method(), request.head.target()))
            .or_default() += 1;
    }
    let most = |method| {
        let of_method = executed.iter().filter(|(line, _)| line.starts_with(method));
        of_method.map(|(_, times)| *times).max()
    };
    assert_eq!((most("POST"), most("GET")), (Some(1), Some(2)), "{executed:?}");
    let dropped = writes.iter().filter(|answer| answer.status == 502).count();
    let counted = |labels: &[&str]| proxy.metric("forebay_upstream_stale_total", labels) as usize;
    assert!(dropped > 0, "no write met a connection that was about to go");
    assert_eq!(counted(&["method=\"POST\"", "outcome=\"not-idempotent\""]), dropped);
    assert!(counted(&["method=\"GET\"", "outcome=\"replaced\""]) > 0);
}

#[test]
fn requests_that_the_endpoint_reads_and_drops_with_a_clean_end_are_not_executed_twice() {
    second_requests_are_dropped(|exchange| exchange.close());
}

#[test]
fn requests_that_the_endpoint_reads_and_drops_with_a_reset_are_not_executed_twice() {
    second_requests_are_dropped(|exchange| exchange.reset());
}
