//! Whatever the traffic and whatever the endpoints do: the proxy does not run out of source ports, leaves no socket
//! behind, and its numbers are those of the kernel: compared exactly, pair by pair, in moments when no connection is on
//! its way between two states; what the kernel refused is counted with strace.

mod compare;
mod faults;
mod scarce;
mod scene;

use crate::support::{End, Exchange, eventually};
use scene::{Scene, Stage};

#[test]
fn three_thousand_requests_need_hardly_more_connections_than_clients() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoint = stage.endpoint(|exchange| exchange.respond("x"));
    let scene = stage.start(&[&endpoint], |setup| setup);
    scene.audited(|pause| scene.gets(pause, 3000, 40));
    assert_eq!(endpoint.requests().len(), 3000);
    assert!(endpoint.opened() <= 60, "{} connections", endpoint.opened());
    assert!(scene.time_wait() <= 5, "{} in TIME_WAIT", scene.time_wait());
}

/// 1500 requests, each of which takes a connection of its own, where there are 200 ports.
fn one_connection_each(scene: &Scene) {
    scene.audited(|pause| scene.gets(pause, 1500, 20));
}

fn ask_for_close(exchange: &mut Exchange) {
    exchange.respond_with("Connection: close\r\n", "x");
}

#[test]
fn an_endpoint_that_closes_after_each_answer_costs_no_ports() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoint = stage.endpoint(|exchange| {
        ask_for_close(exchange);
        exchange.close();
    });
    let scene = stage.start(&[&endpoint], |setup| setup);
    one_connection_each(&scene);
    assert_eq!(endpoint.opened(), 1500);
    assert!(scene.time_wait() <= 15, "{} in TIME_WAIT", scene.time_wait());
}

#[test]
fn an_endpoint_that_asks_for_the_close_and_leaves_it_to_the_proxy_costs_no_ports() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoint = stage.endpoint(|exchange| {
        ask_for_close(exchange);
        exchange.wait_for_end();
    });
    let scene = stage.start(&[&endpoint], |setup| setup);
    one_connection_each(&scene);
    let connections = endpoint.wait_closed(1500);
    let other = connections.iter().find(|connection| connection.end != Some(End::Fin));
    assert_eq!(
        (connections.len(), other.map(|connection| connection.end)),
        (1500, None)
    );
    let left = scene.sockets(&["time-wait", "fin-wait-1", "fin-wait-2"]);
    assert!(left <= 5, "{left} in TIME_WAIT and FIN_WAIT");
}

#[test]
fn without_a_pool_a_connection_for_each_request_costs_no_ports() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoint = stage.endpoint(|exchange| exchange.respond("x"));
    let scene = stage.start_command(&endpoint, &["--no-pool", "--workers", "2"]);
    one_connection_each(&scene);
    assert_eq!(endpoint.opened(), 1500);
    assert!(scene.time_wait() <= 5, "{} in TIME_WAIT", scene.time_wait());
}

#[test]
fn closes_that_leave_time_wait_are_counted_pair_by_pair() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoints = [(); 2].map(|()| stage.endpoint(|exchange| exchange.respond("x")));
    let sources = [1, 2].map(|host| stage.namespace.add_inner(host).to_string());
    let fin =
        format!("[cluster.main.source]\naddresses = {sources:?}\n[cluster.main.pool]\nclose = \"fin\"\nmax_idle = 0");
    let scene = stage.start(&[&endpoints[0], &endpoints[1]], |setup| setup.with(&fin));
    scene.audited(|pause| scene.gets(pause, 300, 5));
    assert_eq!(scene.time_wait(), 300);
    let of = |name: &str| scene.proxy.metric(name, &[]);
    // Four pairs of 190 ports each; what is in use cannot be taken.
    assert_eq!(of("forebay_ports_limit"), 4.0 * 190.0);
    // The rate is taken over whole seconds, of which the running one is none yet, and over the last few.
    scene
        .proxy
        .wait_for_metric("forebay_ports_exhaustion_seconds", &[], |seconds| {
            seconds.is_finite() && seconds > 0.0
        });
    // A port that was given back while the kernel's list was read is missed until the next one.
    eventually("the headroom is what is left", || {
        of("forebay_ports_headroom") == 4.0 * 190.0 - of("forebay_ports_time_wait")
    });
}
