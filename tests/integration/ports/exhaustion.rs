//! Source ports that run out.

use std::{
    cell::Cell,
    net::Ipv4Addr,
    process::Command,
    slice,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{Scene, ok, slow, slow_requests};
use crate::{
    endings::load::{Answered, requests},
    support::{Client, Gate, Proxy, eventually, netns::Namespace, proxy::Setup, tools, tools::Tool},
};

/// What is left of the fifty ports towards the endpoint at the default fill, once a probe has had one of them.
const LEAST: usize = 45;

/// Every warning about the ports of a pair.
const WARNINGS: [&str; 2] = ["all source ports towards", "no free source port towards"];

fn warnings(proxy: &Proxy) -> usize {
    let log = proxy.log();
    let warning = |line: &&String| WARNINGS.iter().any(|text| line.contains(text));
    log.iter().filter(warning).count()
}

fn waiting_for(timeout: &'static str) -> impl Fn(Setup) -> Setup {
    move |setup| {
        let wait = format!("[cluster.main.pool]\nwait = {{ timeout = \"{timeout}\", queue = 1000 }}\n");
        let probe = "probe = { path = \"/healthz\", interval = \"50ms\", timeout = \"2s\", rise = 2, fall = 2 }";
        setup.with(&format!("{wait}[cluster.main.health]\n{probe}"))
    }
}

/// `count` requests at once, more than there are ports, until each is either at the endpoint or refused; `meanwhile`
/// runs while no port is free. Then those at the endpoint are answered.
fn burst(scene: &Scene, gate: &Gate, count: usize, meanwhile: impl FnOnce()) -> Vec<Answered> {
    // Not from the metrics, which would cost the proxy more time than all that it is watched for.
    let refused = AtomicUsize::new(0);
    let request = |client: &mut Client, _| {
        let response = client.get("/slow");
        let expected = [(200, ""), (503, "connection_limit_reached")];
        assert!(expected.contains(&(response.status, response.error())), "{response:?}");
        refused.fetch_add(usize::from(response.status == 503), Relaxed);
        response
    };
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| requests(&scene.proxy, count, count, request));
        eventually("all requests are at the endpoint or refused", || {
            slow_requests(slice::from_ref(&scene.endpoint)) + refused.load(Relaxed) == count
        });
        meanwhile();
        gate.open();
        load.join().expect("all are answered")
    });
    assert_eq!(answers.len(), count);
    answers
}

#[test]
fn more_requests_than_ports_are_served_or_refused_in_time_and_at_little_cost() {
    let gate = Gate::default();
    let Some(scene) = Scene::start(50, slow(&gate), waiting_for("2s")) else {
        return;
    };
    let health = |state: &str| scene.proxy.metric(&format!("forebay_health_{state}"), &[]);
    eventually("the endpoint is healthy", || health("probes_succeeded_total") >= 2.0);
    let before = scene.proxy.ticks();
    scene.watch().during(|| {
        let answers = burst(&scene, &gate, 120, || {
            let spent = scene.proxy.ticks() - before;
            assert!(spent < 50, "{spent} ticks of 10 ms in two seconds of waiting");
            let refused = || scene.proxy.metric("forebay_ports_refused_total", &[]);
            let so_far = refused();
            eventually("several probes have found no port", || refused() >= so_far + 5.0);
        });
        assert!(ok(&answers) >= LEAST, "{answers:?}");
        let in_time = |answer: &Answered| answer.took < Duration::from_secs(8);
        assert!(answers.iter().all(in_time), "{answers:?}");
        for _ in 0..5 {
            assert_eq!(scene.proxy.get("/").status, 200);
        }
    });
    assert_eq!((health("healthy"), health("probes_failed_total")), (1.0, 0.0));
    assert_eq!(scene.proxy.metric("forebay_upstream_connect_failures_total", &[]), 0.0);
    assert_eq!(warnings(&scene.proxy), 1, "one line per pair and minute");
}

#[test]
fn requests_that_find_no_port_wait_for_a_connection_that_comes_back() {
    let gate = Gate::default();
    let Some(scene) = Scene::start(50, slow(&gate), |setup| {
        setup.with("[cluster.main.pool]\nwait = { timeout = \"14s\", queue = 1000 }")
    }) else {
        return;
    };
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| requests(&scene.proxy, 120, 120, |client, _| client.get("/slow")));
        eventually("all requests have come to the endpoint or wait", || {
            let waiting = scene.proxy.metric("forebay_pool_waiting", &[]) as usize;
            slow_requests(slice::from_ref(&scene.endpoint)) + waiting == 120
        });
        gate.open();
        load.join().expect("all are answered")
    });
    assert_eq!(ok(&answers), 120);
    assert!(
        (LEAST..=50).contains(&scene.endpoint.opened()),
        "{}",
        scene.endpoint.opened()
    );
}

#[test]
fn every_refusal_of_the_kernel_is_counted() {
    if !tools::needs("strace") {
        return;
    }
    let gate = Gate::default();
    // One of the twenty ports is the admin listener's, so that the kernel runs out before the limit is reached.
    let configure = |namespace: &Namespace, setup: Setup| {
        let sources = [1, 2, 3, 4].map(|host| namespace.add_inner(host));
        from(setup, &sources)
    };
    let Some(mut scene) = Scene::start_with(20, slow(&gate), configure) else {
        return;
    };
    let pid = scene.proxy.pid().to_string();
    let mut trace = Tool::start(Command::new("strace").args(["-f", "-e", "trace=connect,bind", "-p", &pid]));
    if !trace.stderr.wait_for("attached") {
        return tools::skip("strace may not attach to a process");
    }
    let answers = burst(&scene, &gate, 120, || ());
    // Four times nineteen, if no attempt gets into the way of another.
    assert!(ok(&answers) >= 72, "{answers:?}");
    let counted = scene.proxy.metric("forebay_ports_exhausted_total", &[]);
    scene.proxy.terminate();
    trace.wait();
    let lines = trace.stderr.wait_for_end();
    let of_kernel = |line: &&String| ["EADDRNOTAVAIL", "EADDRINUSE"].iter().any(|error| line.contains(error));
    let seen = lines.iter().filter(of_kernel).count();
    assert!(seen >= 4, "not every source was asked for more than it had: {lines:#?}");
    assert_eq!(counted as usize, seen, "{lines:#?}");
}

#[test]
fn a_source_whose_ports_another_process_holds_is_passed_over() {
    let gate = Gate::default();
    let added = Cell::new(None);
    let configure = |namespace: &Namespace, setup: Setup| {
        let sources = [1, 2].map(|host| namespace.add_inner(host));
        added.set(Some(sources));
        from(setup, &sources)
    };
    let Some(scene) = Scene::start_with(20, slow(&gate), configure) else {
        return;
    };
    let [taken, free] = added.get().expect("the scene was configured");
    let other = Proxy::in_front_of(&scene.endpoint).inside(&scene.namespace).port(8081);
    let other = from(other, &[taken]).start();
    thread::scope(|scope| {
        let holding = scope.spawn(|| requests(&other, 20, 20, |client, _| client.get("/slow")));
        // Its own admin listener has one more.
        eventually("the other process has all ports", || {
            slow_requests(slice::from_ref(&scene.endpoint)) == 18
        });
        let answers = requests(&scene.proxy, 100, 5, |client, _| client.get("/"));
        assert_eq!(ok(&answers), 100);
        let exhausted = |source| {
            scene
                .proxy
                .metric("forebay_ports_exhausted_total", &[&format!("source=\"{source}\"")])
        };
        assert!(exhausted(taken) >= 1.0 && exhausted(free) == 0.0);
        gate.open();
        holding.join().expect("all are answered");
    });
}

/// Requests do not wait, so that an attempt which gives up too early shows.
fn from(setup: Setup, sources: &[Ipv4Addr]) -> Setup {
    let sources: Vec<_> = sources.iter().map(Ipv4Addr::to_string).collect();
    setup.with(&format!(
        "[cluster.main.source]\nmax_fill = 1.0\naddresses = {sources:?}\n\
         [cluster.main.pool]\nwait = {{ timeout = \"1s\", queue = 0 }}"
    ))
}
