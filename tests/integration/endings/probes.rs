//! Probes are opened and closed as the connections of requests are.

use crate::support::{End, Endpoint, Exchange, Gate, Proxy, netns::Namespace, tools};

const PROBES: usize = 20;

/// A proxy that asks an endpoint twenty times a second.
struct Scene {
    namespace: Namespace,
    endpoint: Endpoint,
    proxy: Proxy,
}

impl Scene {
    fn start(kind: &str, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Option<Scene> {
        if !tools::needs("ss") {
            return None;
        }
        let namespace = Namespace::make()?;
        let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), script);
        let probe = format!("[cluster.main.health]\nprobe = {{ {kind}, interval = \"50ms\", timeout = \"10s\" }}");
        let proxy = Proxy::in_front_of(&endpoint).inside(&namespace).with(&probe).start();
        Some(Scene {
            namespace,
            endpoint,
            proxy,
        })
    }

    fn opened(&self) -> usize {
        let opened = self.proxy.metric("forebay_pool_opened_total", &["reason=\"probe\""]);
        opened as usize
    }

    fn assert_no_time_wait(&self) {
        let left = self.namespace.sockets("time-wait", self.endpoint.address().port());
        assert_eq!(left, 0, "after {} connections", self.endpoint.opened());
    }
}

#[test]
fn an_endpoint_that_keeps_connections_alive_is_asked_over_one() {
    let scene = Scene::start("path = \"/healthz\"", |exchange| exchange.respond("fine"));
    let Some(scene) = scene else { return };
    scene.endpoint.wait_requests(PROBES);
    assert_eq!((scene.endpoint.opened(), scene.opened()), (1, 1));
    scene.assert_no_time_wait();
}

#[test]
fn a_probe_holds_its_port_while_it_is_connected() {
    let gate = Gate::default();
    let scene = Scene::start("path = \"/healthz\"", {
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("fine");
        }
    });
    let Some(scene) = scene else { return };
    scene.endpoint.wait_requests(1);
    let held = |state: &str| scene.proxy.metric("forebay_ports_connections", &[state]);
    assert_eq!((held("state=\"active\""), held("")), (1.0, 1.0));
    gate.open();
    scene.endpoint.wait_requests(2);
    assert_eq!(held(""), 1.0, "it is kept for the next one");
    assert_eq!(
        scene.namespace.sockets("established", scene.endpoint.address().port()),
        1
    );
}

#[test]
fn an_endpoint_that_closes_after_each_probe_leaves_no_time_wait() {
    let scene = Scene::start("path = \"/healthz\"", |exchange| {
        exchange.respond_with("Connection: close\r\n", "fine");
        exchange.close();
    });
    let Some(scene) = scene else { return };
    scene.endpoint.wait_closed(PROBES);
    scene.assert_no_time_wait();
    assert!(scene.opened() >= PROBES, "{} are counted", scene.opened());
}

#[test]
fn an_endpoint_that_leaves_the_close_to_the_proxy_sees_a_clean_end_without_a_time_wait() {
    let scene = Scene::start("path = \"/healthz\"", |exchange| {
        exchange.respond_with("Connection: close\r\n", "fine");
        exchange.wait_for_end();
    });
    let Some(scene) = scene else { return };
    let closed = scene.endpoint.wait_closed(PROBES);
    let mut ends = closed.iter().filter_map(|connection| connection.end);
    assert!(ends.all(|end| end == End::Fin), "{closed:?}");
    scene.assert_no_time_wait();
}

#[test]
fn a_probe_that_only_connects_leaves_no_time_wait() {
    let Some(scene) = Scene::start("tcp = true", |exchange| exchange.respond("never asked")) else {
        return;
    };
    let closed = scene.endpoint.wait_closed(PROBES);
    let mut ends = closed.iter().filter_map(|connection| connection.end);
    assert!(ends.all(|end| end == End::Fin), "{closed:?}");
    scene.assert_no_time_wait();
    assert_eq!(scene.endpoint.requests().len(), 0);
    assert!(scene.opened() >= PROBES, "{} are counted", scene.opened());
}
