//! Endpoints that close, drop or fall silent, and restarts of the proxy: what the table of sockets says meanwhile.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use super::scene::{Stage, with_status};
use crate::support::{Endpoint, Gate, eventually};

#[test]
fn what_an_endpoint_closes_while_idle_is_neither_missed_nor_counted_further() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoint = stage.endpoint(|exchange| {
        exchange.respond("x");
        exchange.close_if_idle_for(Duration::from_secs(1));
    });
    let scene = stage.start(&[&endpoint], |setup| setup);
    scene.audited(|pause| {
        scene.gets(pause, 200, 20);
        // Not a moment longer, so that the proxy has no time to notice.
        endpoint.wait_closed(endpoint.opened());
        scene.gets(pause, 200, 20);
        endpoint.wait_closed(endpoint.opened());
    });
    let half_closed = || scene.sockets(&["close-wait", "last-ack", "fin-wait-1", "fin-wait-2"]);
    eventually("nothing stays half closed", || half_closed() == 0);
    assert_eq!(scene.time_wait(), 0);
    assert_eq!(endpoint.requests().len(), 400);
}

#[test]
fn second_requests_that_are_read_and_dropped_are_not_executed_twice() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let endpoint = stage.endpoint(|exchange| match exchange.number {
        0 => exchange.respond("x"),
        _ => {
            exchange.body();
            exchange.close();
        }
    });
    let scene = stage.start(&[&endpoint], |setup| setup);
    let answers = scene.audited(|pause| {
        scene.requests(pause, 400, 10, |client, number| match number % 2 {
            0 => client.get(&format!("/{number}")),
            _ => client.post(&format!("/{number}"), "written"),
        })
    });
    let (writes, reads): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.number % 2 == 1);
    assert!(
        reads.len() == 200 && reads.iter().all(|answer| answer.status == 200),
        "{reads:?}"
    );
    let written = |status: u16| writes.iter().filter(|answer| answer.status == status).count();
    assert_eq!(written(200) + written(502), 200, "{writes:?}");
    assert!(written(502) > 0, "no write met a connection that was about to go");
    let mut executed: HashMap<String, usize> = HashMap::new();
    for request in endpoint.requests() {
        if request.head.method() == "POST" {
            *executed.entry(request.head.target().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(executed.len(), 200);
    assert!(executed.values().all(|times| *times == 1), "{executed:?}");
}

#[test]
fn an_endpoint_that_takes_no_frame_costs_no_request_and_holds_no_port() {
    let Some(stage) = Stage::with_ports(200) else { return };
    let good = stage.endpoint(|exchange| exchange.respond("x"));
    let silent = stage.namespace.add_outer(1);
    let lost = Endpoint::start_on(&format!("{silent}:0"), |exchange| exchange.respond("x"));
    stage.namespace.cut_off(silent);
    let scene = stage.start(&[&good, &lost], |setup| setup);
    let (answers, took) = scene.audited(|pause| {
        let answers = scene.requests(pause, 100, 10, |client, _| client.get("/"));
        let ended = Instant::now();
        eventually("hardly a socket is left towards it", || {
            stage.namespace.matching(&format!("dst {silent}")) <= 2
        });
        (answers, ended.elapsed())
    });
    assert!(took <= Duration::from_secs(3), "it took {took:?} until they were gone");
    assert_eq!((answers.len(), with_status(&answers, 200)), (100, 100));
    let slowest = answers.iter().map(|answer| answer.took).max();
    assert!(slowest <= Some(Duration::from_secs(6)), "the slowest took {slowest:?}");
    assert_eq!(lost.opened(), 0);
}

/// A proxy with forty pooled connections ends by `signal`, and the next one begins at once on the same port.
fn restart(signal: &str) {
    let Some(stage) = Stage::with_ports(200) else { return };
    let gate = Gate::default();
    let endpoint = stage.endpoint({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("x");
        }
    });
    let start = || {
        stage.start(&[&endpoint], |setup| {
            setup.with("[cluster.main.pool]\nidle_timeout = \"1m\"")
        })
    };
    let mut old = start();
    old.audited(|_| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..40).map(|_| scope.spawn(|| old.proxy.get("/").status)).collect();
            endpoint.wait_requests(40);
            gate.open();
            assert!(
                clients
                    .into_iter()
                    .all(|client| client.join().is_ok_and(|status| status == 200))
            );
        });
    });
    assert_eq!((endpoint.opened(), endpoint.closed()), (40, 0));
    old.proxy.signal(signal);
    old.proxy.wait();
    let new = start();
    new.audited(|pause| new.gets(pause, 50, 10));
    endpoint.wait_closed(40);
    assert!(new.time_wait() <= 2, "{} in TIME_WAIT", new.time_wait());
}

#[test]
fn a_restart_after_a_drain_leaves_nothing_behind() {
    restart("TERM");
}

#[test]
fn a_restart_after_a_violent_death_leaves_nothing_behind() {
    restart("KILL");
}
