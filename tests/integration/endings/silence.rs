//! One of two endpoints takes no frame any more, as a machine does whose power has failed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use super::load::requests;
use crate::support::{Endpoint, Gate, Proxy, eventually, netns::Namespace, tools};

/// A proxy in front of two endpoints, each on an address of its own.
struct Scene {
    namespace: Namespace,
    endpoints: [Endpoint; 2],
    proxy: Proxy,
}

impl Scene {
    fn start(gate: &Gate) -> Option<Scene> {
        if !tools::needs("ss") {
            return None;
        }
        let namespace = Namespace::make()?;
        let endpoints = [1, 2].map(|host| {
            let gate = gate.clone();
            Endpoint::start_on(&format!("{}:0", namespace.add_outer(host)), move |exchange| {
                gate.wait();
                exchange.respond("x");
            })
        });
        let addresses: [SocketAddr; 2] = [endpoints[0].address(), endpoints[1].address()];
        let proxy = Proxy::to(&addresses).inside(&namespace).start();
        Some(Scene {
            namespace,
            endpoints,
            proxy,
        })
    }

    fn silent(&self) -> Ipv4Addr {
        match self.endpoints[1].address() {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(_) => panic!("the namespace has IPv4 addresses"),
        }
    }

    fn sockets_to_the_silent_one(&self) -> usize {
        self.namespace.matching(&format!("dst {}", self.silent()))
    }

    /// A hundred requests after the second endpoint has fallen silent.
    fn hundred_requests(&self) {
        let answers = requests(&self.proxy, 100, 10, |client, _| client.get("/"));
        let ended = Instant::now();
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 100);
        let slowest = answers.iter().map(|answer| answer.took).max();
        assert!(slowest <= Some(Duration::from_secs(6)), "the slowest took {slowest:?}");
        eventually("hardly a socket is left toward the silent one", || {
            self.sockets_to_the_silent_one() <= 2
        });
        assert!(
            ended.elapsed() <= Duration::from_secs(3),
            "it took {:?}",
            ended.elapsed()
        );
    }
}

#[test]
fn an_endpoint_that_is_silent_from_the_first_costs_no_request() {
    let gate = Gate::default();
    gate.open();
    let Some(scene) = Scene::start(&gate) else { return };
    scene.namespace.cut_off(scene.silent());
    scene.hundred_requests();
    assert_eq!(scene.endpoints[1].opened(), 0);
    assert!(scene.endpoints[0].requests().len() >= 100);
}

#[test]
fn an_endpoint_that_falls_silent_with_connections_kept_costs_no_request() {
    let gate = Gate::default();
    let Some(scene) = Scene::start(&gate) else { return };
    let [good, silent] = &scene.endpoints;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| scene.proxy.get("/").status)).collect();
        eventually("all have arrived", || {
            good.requests().len() + silent.requests().len() == 20
        });
        gate.open();
        let mut answers = clients
            .into_iter()
            .map(|client| client.join().expect("an answer comes"));
        assert!(answers.all(|status| status == 200));
    });
    let kept = silent.opened();
    assert!(kept > 2, "only {kept} connections to it");
    scene.namespace.cut_off(scene.silent());
    scene.hundred_requests();
    assert_eq!(silent.opened(), kept);
}
