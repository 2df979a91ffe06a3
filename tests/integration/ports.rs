//! No pattern of traffic uses the source ports up or leaves sockets behind, and what the proxy says of its ports is
//! what the kernel says: looked at while the load runs, when a connection may be on its way between two states.
//! `ports_audit` holds the clients between two requests instead and compares exactly.

mod exhaustion;
mod ledger;

use std::{net::IpAddr, slice, thread};

use crate::{
    endings::load::{Answered, requests},
    support::{End, Endpoint, Exchange, Gate, Proxy, eventually, netns::Namespace, proxy::Setup, tools},
};
use ledger::Watch;

/// A proxy in a namespace with few source ports, and an endpoint outside.
struct Scene {
    proxy: Proxy,
    endpoint: Endpoint,
    namespace: Namespace,
}

impl Scene {
    fn start(
        ports: u16,
        script: impl Fn(&mut Exchange) + Send + Sync + 'static,
        configure: impl Fn(Setup) -> Setup,
    ) -> Option<Scene> {
        Scene::start_with(ports, script, |_, setup| configure(setup))
    }

    fn start_with(
        ports: u16,
        script: impl Fn(&mut Exchange) + Send + Sync + 'static,
        configure: impl Fn(&Namespace, Setup) -> Setup,
    ) -> Option<Scene> {
        if !tools::needs("ss") {
            return None;
        }
        let namespace = Namespace::make()?;
        namespace.source_ports(30_000, 30_000 + ports - 1);
        let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), script);
        let setup = Proxy::in_front_of(&endpoint).inside(&namespace).port(8080);
        Some(Scene {
            proxy: configure(&namespace, setup).start(),
            endpoint,
            namespace,
        })
    }

    fn watch(&self) -> Watch<'_> {
        Watch {
            namespace: &self.namespace,
            proxy: &self.proxy,
            endpoints: vec![self.endpoint.address()],
            sources: vec![IpAddr::V4(self.namespace.inner())],
        }
    }

    /// `count` GET, `at_once` of them at a time, all of which have to be answered, while the ports are watched.
    fn all_are_answered(&self, count: usize, at_once: usize) {
        let answers = self
            .watch()
            .during(|| requests(&self.proxy, count, at_once, |client, _| client.get("/")));
        assert_eq!((answers.len(), ok(&answers)), (count, count));
    }

    /// Sockets towards the endpoint; those in TIME_WAIT are all that there were within a minute.
    fn sockets(&self, state: &str) -> usize {
        self.namespace.sockets(state, self.endpoint.address().port())
    }

    /// The endpoint has seen so many connections, and the proxy has ended each of them with a FIN.
    fn every_end_was_clean(&self, count: usize) {
        let connections = self.endpoint.wait_closed(count);
        assert_eq!(connections.len(), count);
        let clean = connections.iter().filter(|connection| connection.end == Some(End::Fin));
        assert_eq!(
            clean.count(),
            count,
            "the endpoint read something else than a clean end"
        );
    }

    fn no_socket_is_left(&self) {
        for state in ["fin-wait-1", "fin-wait-2", "close-wait", "closing", "last-ack"] {
            eventually(&format!("few are in {state}"), || self.sockets(state) <= 1);
        }
        assert!(self.sockets("time-wait") <= 5);
    }
}

fn ok(answers: &[Answered]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn kept_connections_serve_any_number_of_requests() {
    let Some(scene) = Scene::start(200, |exchange| exchange.respond("x"), |setup| setup) else {
        return;
    };
    scene.all_are_answered(3000, 40);
    assert!(scene.endpoint.opened() <= 60, "{} connections", scene.endpoint.opened());
    assert!(scene.sockets("time-wait") <= 5);
}

#[test]
fn an_endpoint_that_closes_after_each_answer_costs_no_ports() {
    let script = |exchange: &mut Exchange| {
        exchange.respond_with("Connection: close\r\n", "x");
        exchange.close();
    };
    let Some(scene) = Scene::start(200, script, |setup| setup) else {
        return;
    };
    scene.all_are_answered(1500, 20);
    assert!(scene.sockets("time-wait") <= 15);
}

#[test]
fn an_endpoint_that_announces_the_close_and_waits_gets_a_clean_end() {
    let script = |exchange: &mut Exchange| {
        exchange.respond_with("Connection: close\r\n", "x");
        exchange.wait_for_end();
    };
    let Some(scene) = Scene::start(200, script, |setup| setup) else {
        return;
    };
    scene.all_are_answered(1500, 20);
    scene.every_end_was_clean(1500);
    scene.no_socket_is_left();
}

#[test]
fn without_a_pool_the_ports_last_though_the_endpoint_never_closes_first() {
    let Some(scene) = Scene::start(200, |exchange| exchange.respond("x"), without_pool) else {
        return;
    };
    scene.all_are_answered(1500, 20);
    scene.every_end_was_clean(1500);
    scene.no_socket_is_left();
}

#[test]
fn without_a_pool_the_endpoint_is_asked_to_close_and_the_ports_last() {
    let script = |exchange: &mut Exchange| {
        exchange.respond("x");
        assert!(exchange.head.lists("connection", "close"), "{:?}", exchange.head);
        exchange.close();
    };
    let Some(scene) = Scene::start(200, script, without_pool) else {
        return;
    };
    scene.all_are_answered(1500, 20);
    assert_eq!(scene.endpoint.wait_closed(1500).len(), 1500);
    scene.no_socket_is_left();
}

fn without_pool(setup: Setup) -> Setup {
    setup.with("[cluster.main.pool]\nmax_idle = 0")
}

/// An endpoint that answers at once, but keeps requests for `/slow` until the gate is opened. Each probe of it takes a
/// new connection.
fn slow(gate: &Gate) -> impl Fn(&mut Exchange) + Send + Sync + 'static {
    let gate = gate.clone();
    move |exchange| match exchange.target() {
        "/healthz" => {
            exchange.respond_with("Connection: close\r\n", "fine");
            exchange.close();
        }
        "/slow" => {
            gate.wait();
            exchange.respond("x");
        }
        _ => exchange.respond("x"),
    }
}

/// Requests that have come for `/slow`.
fn slow_requests(endpoints: &[Endpoint]) -> usize {
    let requests = endpoints.iter().flat_map(Endpoint::requests);
    requests.filter(|request| request.head.target() == "/slow").count()
}

#[test]
fn all_sources_share_the_load() {
    if !tools::needs("ss") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    namespace.source_ports(30_000, 30_049);
    let sources = [1, 2, 3, 4].map(|host| namespace.add_inner(host));
    let gate = Gate::default();
    let endpoints = [(); 2].map(|()| Endpoint::start_on(&format!("{}:0", namespace.outer()), slow(&gate)));
    let addresses = endpoints.each_ref().map(Endpoint::address);
    let proxy = Proxy::to(&addresses)
        .inside(&namespace)
        .port(8080)
        .with(&format!(
            "[cluster.main.source]\naddresses = {:?}",
            sources.map(|source| source.to_string())
        ))
        .start();
    let watch = Watch {
        namespace: &namespace,
        proxy: &proxy,
        endpoints: addresses.to_vec(),
        sources: sources.map(IpAddr::V4).to_vec(),
    };
    let story = || {
        thread::scope(|scope| {
            let load = scope.spawn(|| requests(&proxy, 300, 300, |client, _| client.get("/slow")));
            eventually("all requests have come", || slow_requests(&endpoints) == 300);
            watch.look_closely();
            let used = sources.map(|source| namespace.matching(&format!("state established src {source}")));
            gate.open();
            (used, load.join().expect("all are answered"))
        })
    };
    // 75 each if all goes well; 94 is what one can take.
    let (used, answers) = watch.during(story);
    assert_eq!(ok(&answers), 300);
    assert!(used.iter().all(|count| (50..=90).contains(count)), "{used:?}");
    assert_eq!(used.iter().sum::<usize>(), 300);
}

#[test]
fn a_textbook_close_leaves_as_many_time_waits_as_the_proxy_says() {
    let gate = Gate::default();
    let close = "[cluster.main.pool]\nclose = \"fin\"\nidle_timeout = \"500ms\"";
    let Some(scene) = Scene::start(200, slow(&gate), |setup| setup.with(close)) else {
        return;
    };
    scene.watch().during(|| {
        thread::scope(|scope| {
            let load = scope.spawn(|| requests(&scene.proxy, 40, 40, |client, _| client.get("/slow")));
            eventually("all requests have come", || {
                slow_requests(slice::from_ref(&scene.endpoint)) == 40
            });
            gate.open();
            assert_eq!(ok(&load.join().expect("all are answered")), 40);
        });
        scene.every_end_was_clean(40);
    });
    eventually("all have passed into TIME_WAIT", || scene.sockets("time-wait") == 40);
    assert_eq!(scene.proxy.metric("forebay_ports_time_wait", &[]), 40.0);
}
