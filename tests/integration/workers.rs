//! Connections are spread over the workers.

use crate::support::{Client, Endpoint, Proxy, eventually};

/// How many connections each of the four workers has.
fn counts(proxy: &Proxy) -> [f64; 4] {
    [0, 1, 2, 3].map(|worker| proxy.metric("forebay_worker_connections", &[&format!("worker=\"{worker}\"")]))
}

/// The kernel alone spreads a hundred connections this evenly about two times in three, so once would prove nothing.
#[test]
fn a_hundred_long_lived_connections_are_spread_evenly_every_time() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(4).start();
    for round in 0..12 {
        let mut clients: Vec<Client> = (0..100)
            .map(|_| {
                let mut client = proxy.connect();
                assert_eq!(client.get("/").status, 200);
                client
            })
            .collect();
        let counts = counts(&proxy);
        // The asker of the metrics may be on one of them.
        assert!(
            (100.0..=101.0).contains(&counts.iter().sum::<f64>()),
            "round {round}: {counts:?}"
        );
        assert!(
            counts.iter().all(|count| (17.5..=32.5).contains(count)),
            "round {round}: {counts:?}"
        );
        assert!(
            clients.iter_mut().all(|client| client.get("/").status == 200),
            "those that were handed over work"
        );
        drop(clients);
        eventually("all have left", || self::counts(&proxy).iter().sum::<f64>() <= 1.0);
    }
}

#[test]
fn one_worker_is_enough() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
}
