//! The addresses behind the endpoints' names.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::time::Instant;

use super::plan::Destination;
use crate::config::{Config, Endpoint};

/// How long all lookups may take together: a file must be checked also where no name server answers.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses by `host:port`.
pub(super) type Addresses = BTreeMap<String, Vec<SocketAddr>>;

/// Looks up the names of the endpoints of all clusters for which something is expected. What is not known in time, or
/// not at all, is left out.
pub(super) fn look_up(config: &Config) -> Addresses {
    let expected = config.clusters.values().filter(|cluster| cluster.expect.is_some());
    let endpoints = expected.flat_map(|cluster| &cluster.endpoints);
    let mut names: Vec<_> = endpoints
        .filter(|endpoint| endpoint.ip().is_none())
        .map(Endpoint::to_string)
        .collect();
    names.sort_unstable();
    names.dedup();
    resolve(names, TIMEOUT, |name| name.to_socket_addrs().map(Iterator::collect))
}

fn resolve(
    names: Vec<String>,
    timeout: Duration,
    look_up: impl Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Addresses {
    let mut found = Addresses::new();
    if names.is_empty() {
        return found;
    }
    let (sender, receiver) = mpsc::channel();
    // The resolver knows no deadline. If it is still at work when ours has passed, it ends with the process.
    thread::spawn(move || {
        for name in names {
            let addresses = look_up(&name).unwrap_or_default();
            if sender.send((name, addresses)).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + timeout;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((name, addresses)) if !addresses.is_empty() => {
                found.insert(name, in_order(addresses));
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return found,
        }
    }
}

/// A name with both families usually means one server: its IPv4 address is used, as it is by the proxy.
fn in_order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Where connections to these endpoints go: an endpoint whose name stands for several addresses is as many
/// destinations, each with its weight; one of which no address is known is one.
pub(super) fn destinations(endpoints: &[Endpoint], addresses: &Addresses) -> Vec<Destination> {
    let mut destinations = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        match addresses.get(&endpoint.to_string()) {
            None => destinations.push(Destination::of(endpoint)),
            Some(found) => destinations.extend(found.iter().map(|address| Destination {
                name: format!("{address} ({})", endpoint.host),
                ip: Some(address.ip()),
                weight: endpoint.weight,
            })),
        }
    }
    destinations
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let names = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
        let found = resolve(names, Duration::from_secs(60), |name| match name {
            "a:1" => Ok(addresses(&["[::1]:1", "10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"])),
            "b:1" => Err(std::io::ErrorKind::NotFound.into()),
            _ => Ok(Vec::new()),
        });
        assert_eq!(
            found,
            [("a:1".to_owned(), addresses(&["10.0.0.1:1", "10.0.0.2:1"]))].into()
        );
    }

    #[test]
    fn a_name_server_that_does_not_answer_is_not_waited_for() {
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let names = ["a:1", "b:1"].map(str::to_owned).to_vec();
        let found = resolve(names, Duration::from_millis(1), move |_| {
            let _ = hang.lock().expect("nobody else").recv();
            Ok(Vec::new())
        });
        assert_eq!(found, Addresses::new());
        drop(release);
    }

    #[test]
    fn an_endpoint_is_as_many_destinations_as_its_name_has_addresses() {
        let endpoints: Vec<Endpoint> = ["10.0.0.1:80", "api:80", "unknown:80"]
            .map(|text| text.parse().unwrap())
            .into();
        let known = [("api:80".to_owned(), addresses(&["10.0.0.8:80", "10.0.0.9:80"]))].into();
        let found = destinations(&endpoints, &known);
        let names: Vec<_> = found.iter().map(|destination| destination.name.as_str()).collect();
        assert_eq!(
            names,
            ["10.0.0.1:80", "10.0.0.8:80 (api)", "10.0.0.9:80 (api)", "unknown:80"]
        );
        assert_eq!(found[3].ip, None);
        assert!(found.iter().all(|destination| destination.weight == 1));
    }
}
