//! Source addresses that come and go, and networks of them.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::load::{requests, requests_until};
use crate::support::{
    Endpoint, Gate, Proxy, eventually,
    netns::Namespace,
    proxy::{self, Setup},
    tools,
};

/// A proxy whose connections come from `addresses`, a list in TOML.
fn from_sources(endpoint: &Endpoint, namespace: &Namespace, addresses: &str) -> Setup {
    Proxy::in_front_of(endpoint).inside(namespace).with(&format!(
        "[cluster.main.source]\naddresses = [{addresses}]\n[cluster.main.pool]\nidle_timeout = \"1m\""
    ))
}

/// Twenty requests at once, none of which is answered before all have come.
fn twenty_at_once(proxy: &Proxy, endpoint: &Endpoint, gate: &Gate) {
    let before = endpoint.requests().len();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| proxy.get("/held").status)).collect();
        endpoint.wait_requests(before + 20);
        gate.open();
        let mut answers = clients
            .into_iter()
            .map(|client| client.join().expect("an answer comes"));
        assert!(answers.all(|status| status == 200));
    });
}

/// An endpoint that answers at once, but keeps requests for `/held` until the gate is opened.
fn holding(address: &str, gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::start_on(address, move |exchange| {
        if exchange.target() == "/held" {
            gate.wait();
        }
        exchange.respond("x");
    })
}

fn peers(endpoint: &Endpoint) -> Vec<IpAddr> {
    let connections = endpoint.connections();
    let peers = connections.iter().filter_map(|connection| connection.peer);
    peers.map(|peer| peer.ip()).collect()
}

/// A proxy with two source addresses, and idle connections from both.
struct Scene {
    namespace: Namespace,
    endpoint: Endpoint,
    proxy: Proxy,
    staying: Ipv4Addr,
    leaving: Ipv4Addr,
    /// Connections from the leaving one.
    to_lose: usize,
}

impl Scene {
    fn start() -> Option<Scene> {
        if !tools::needs("ss") {
            return None;
        }
        let namespace = Namespace::make()?;
        let [staying, leaving] = [1, 2].map(|host| namespace.add_inner(host));
        let gate = Gate::default();
        let endpoint = holding(&format!("{}:0", namespace.outer()), &gate);
        let proxy = from_sources(&endpoint, &namespace, &format!("\"{staying}\", \"{leaving}\"")).start();
        twenty_at_once(&proxy, &endpoint, &gate);
        let from = |source: Ipv4Addr| peers(&endpoint).iter().filter(|peer| **peer == source).count();
        assert_eq!(from(staying) + from(leaving), 20);
        // The least used one is next; two workers that look at the same moment may both take it.
        assert!((5..=15).contains(&from(leaving)), "{} of 20", from(leaving));
        let to_lose = from(leaving);
        Some(Scene {
            namespace,
            endpoint,
            proxy,
            staying,
            leaving,
            to_lose,
        })
    }

    fn present(&self, source: Ipv4Addr) -> f64 {
        let label = format!("source=\"{source}\"");
        self.proxy.metric("forebay_ports_source_present", &[&label])
    }

    fn says(&self, text: &str) -> usize {
        let (log, leaving) = (self.proxy.log(), self.leaving.to_string());
        log.iter()
            .filter(|line| line.contains(text) && line.contains(&leaving))
            .count()
    }

    fn wait_closed(&self, labels: &[&str]) {
        self.proxy
            .wait_for_metric("forebay_pool_closed_total", labels, |count| {
                count as usize == self.to_lose
            });
    }

    fn take_away(&self) {
        self.namespace.remove_inner(self.leaving);
        eventually("the address is missed", || self.present(self.leaving) == 0.0);
    }
}

#[test]
fn a_source_address_that_disappears_is_left_out_and_its_idle_connections_are_closed() {
    let Some(scene) = Scene::start() else { return };
    assert_eq!((scene.present(scene.staying), scene.present(scene.leaving)), (1.0, 1.0));
    scene.take_away();
    assert_eq!(scene.present(scene.staying), 1.0);
    let reason = ["reason=\"source-gone\"", "first=\"us-rst\""];
    scene.wait_closed(&reason);
    let closed = scene.proxy.metric("forebay_pool_closed_total", &[]);
    assert_eq!(closed as usize, scene.to_lose, "those from the other address stay");
    let of_the_leaving = format!("src {}", scene.leaving);
    eventually("no socket has the address", || {
        scene.namespace.matching(&of_the_leaving) == 0
    });
    // More at once than are kept, so that new connections are needed.
    let answers = requests(&scene.proxy, 200, 40, |client, _| client.get("/"));
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(peers(&scene.endpoint)[20..].iter().all(|peer| *peer == scene.staying));
    assert_eq!(scene.says("no longer on this machine"), 1, "{:?}", scene.proxy.log());
}

#[test]
fn a_source_address_that_comes_back_is_used_again_by_itself() {
    let Some(scene) = Scene::start() else { return };
    scene.take_away();
    // Each worker ends its own, when it next looks.
    scene
        .proxy
        .wait_for_metric("forebay_pool_closed_total", &["reason=\"source-gone\""], |count| {
            count == 10.0
        });
    scene.namespace.add_inner(2);
    eventually("the address is there again", || scene.present(scene.leaving) == 1.0);
    eventually("it is used again", || {
        let answers = requests(&scene.proxy, 40, 40, |client, _| client.get("/"));
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        peers(&scene.endpoint)[20..].iter().any(|peer| *peer == scene.leaving)
    });
    assert_eq!(scene.says("no longer on this machine"), 1);
    assert_eq!(scene.says("on this machine again"), 1);
}

#[test]
fn requests_go_on_while_a_source_address_disappears() {
    let Some(scene) = Scene::start() else { return };
    let missed = AtomicBool::new(false);
    // As many clients as connections, so that those of the leaving address are in use all the time.
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| requests_until(&scene.proxy, &missed, 20, |client, _| client.get("/")));
        scene.take_away();
        missed.store(true, Relaxed);
        load.join().expect("the clients are answered")
    });
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let slowest = answers.iter().map(|answer| answer.took).max();
    assert!(slowest <= Some(Duration::from_secs(6)), "the slowest took {slowest:?}");
}

/// Twenty requests at once come from about as many addresses that satisfy `belongs`.
fn twenty_from_a_prefix(namespace: &Namespace, outer: &str, prefix: &str, belongs: impl Fn(IpAddr) -> bool) {
    let gate = Gate::default();
    let endpoint = holding(outer, &gate);
    let proxy = from_sources(&endpoint, namespace, &format!("{prefix:?}")).start();
    twenty_at_once(&proxy, &endpoint, &gate);
    let peers = peers(&endpoint);
    assert!(peers.iter().all(|peer| belongs(*peer)), "{peers:?}");
    // The least used one is next; two workers that look at the same moment may both take it.
    let different = peers.iter().collect::<HashSet<_>>().len();
    assert!(different >= 10, "{peers:?}");
}

#[test]
fn requests_come_from_many_addresses_of_an_ipv4_prefix() {
    let Some(namespace) = Namespace::make() else { return };
    let prefix = namespace.add_prefix();
    let outer = format!("{}:0", namespace.outer());
    let network = prefix.trim_end_matches("0/24").to_owned();
    twenty_from_a_prefix(&namespace, &outer, &prefix, |peer| {
        peer.to_string().starts_with(&network)
    });
}

#[test]
fn requests_come_from_many_addresses_of_an_ipv6_prefix() {
    let Some(namespace) = Namespace::make() else { return };
    let (prefix, outer) = namespace.add_prefix6();
    let outer = SocketAddr::from((outer, 0)).to_string();
    let network = prefix.trim_end_matches(":/64").to_owned();
    twenty_from_a_prefix(&namespace, &outer, &prefix, |peer| {
        peer.to_string().starts_with(&network)
    });
}

#[test]
fn a_source_address_that_is_not_on_the_machine_is_named_and_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("forebay.toml");
    // Set aside for documentation (RFC 5737, RFC 3849), so that no machine has them.
    for source in ["203.0.113.7", "2001:db8::7", "203.0.113.0/24", "2001:db8::/64"] {
        let endpoint = if source.contains(':') { "[::1]:9" } else { "127.0.0.1:9" };
        let toml = format!(
            "[admin]\naddress = \"off\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\ncluster = \"shop\"\n\
             [cluster.shop]\nendpoints = [{endpoint:?}]\nsource = {{ addresses = [{source:?}] }}\n"
        );
        std::fs::write(&file, toml).expect("the config can be written");
        let file = file.to_str().expect("a path of letters");
        for arguments in [["check", file].as_slice(), &["run", "--config", file]] {
            let (code, stdout, stderr) = proxy::run(arguments);
            assert!(stderr.contains(source), "{arguments:?}: {stderr}");
            assert!(stderr.contains("shop"), "{arguments:?}: {stderr}");
            assert!(code > 0, "{arguments:?} ends with {code}");
            assert!(!stdout.contains("ready"), "{arguments:?}: {stdout}");
        }
    }
}
