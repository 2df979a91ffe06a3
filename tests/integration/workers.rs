//! Connections are spread over the workers.

use crate::support::{Client, Endpoint, Proxy};

#[test]
fn a_hundred_long_lived_connections_are_spread_evenly() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(4).start();
    let mut clients: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = proxy.connect();
            assert_eq!(client.get("/").status, 200);
            client
        })
        .collect();
    let counts =
        [0, 1, 2, 3].map(|worker| proxy.metric("forebay_worker_connections", &[&format!("worker=\"{worker}\"")]));
    // The asker of the metrics may be on one of them.
    assert!((100.0..=101.0).contains(&counts.iter().sum::<f64>()), "{counts:?}");
    assert!(
        counts.iter().all(|count| (17.5..=32.5).contains(count)),
        "more than 30 % from even: {counts:?}"
    );
    assert!(
        clients.iter_mut().all(|client| client.get("/").status == 200),
        "those that were handed over work"
    );
}

#[test]
fn one_worker_is_enough() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
}
