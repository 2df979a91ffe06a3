//! More connections are wanted than there are ports.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::scene::{Answered, Pause, Scene, Stage, with_status};
use crate::support::{Endpoint, Gate, Proxy, eventually};

/// An endpoint that holds requests for `/slow` until the gate is opened.
fn slow(stage: &Stage, gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    stage.endpoint(move |exchange| {
        if exchange.target() == "/slow" {
            gate.wait();
        }
        exchange.respond("x");
    })
}

#[test]
fn four_sources_carry_what_one_cannot() {
    let Some(stage) = Stage::with_ports(50) else { return };
    let gate = Gate::default();
    let endpoints = [(); 2].map(|()| slow(&stage, &gate));
    let sources = [1, 2, 3, 4].map(|host| stage.namespace.add_inner(host));
    let addresses = sources.map(|source| source.to_string());
    let scene = stage.start(&[&endpoints[0], &endpoints[1]], |setup| {
        setup.with(&format!("[cluster.main.source]\naddresses = {addresses:?}"))
    });
    let answers = scene.audited(|_| {
        thread::scope(|scope| {
            let load = scope.spawn(|| scene.requests(&Pause::default(), 300, 300, |client, _| client.get("/slow")));
            eventually("all have arrived", || {
                endpoints
                    .iter()
                    .map(|endpoint| endpoint.requests().len())
                    .sum::<usize>()
                    == 300
            });
            scene.compare();
            gate.open();
            load.join().expect("all are answered")
        })
    });
    assert_eq!((answers.len(), with_status(&answers, 200)), (300, 300));
    let mut used: HashMap<IpAddr, usize> = HashMap::new();
    for connection in endpoints.iter().flat_map(Endpoint::connections) {
        let peer = connection.peer.expect("all lived to be accepted");
        *used.entry(peer.ip()).or_default() += 1;
    }
    let used = sources.map(|source| used.get(&IpAddr::from(source)).copied().unwrap_or(0));
    assert!(used.iter().all(|count| (1..=112).contains(count)), "{used:?}");
}

/// What came of more slow requests at once than there are ports.
struct Rush {
    answers: Vec<Answered>,
    /// The value of `Proxy-Status` that each refused one had.
    errors: Vec<String>,
    /// Processor time of the proxy.
    spent: Duration,
}

/// Holds what has come through until all others are refused.
fn rush(scene: &Scene, endpoint: &Endpoint, gate: &Gate, count: usize) -> Rush {
    let (refused, before) = (AtomicUsize::new(0), scene.proxy.ticks());
    let errors = std::sync::Mutex::new(Vec::new());
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| {
            scene.requests(&Pause::default(), count, count, |client, _| {
                let response = client.get("/slow");
                if response.status != 200 {
                    errors
                        .lock()
                        .expect("nobody panics in here")
                        .push(response.error().to_owned());
                    refused.fetch_add(1, Relaxed);
                }
                response
            })
        });
        eventually("each request is refused or has arrived", || {
            endpoint.requests().len() + refused.load(Relaxed) == count
        });
        scene.compare();
        gate.open();
        load.join().expect("all are answered")
    });
    Rush {
        answers,
        errors: errors.into_inner().expect("nobody panics in there"),
        spent: Duration::from_millis(10 * (scene.proxy.ticks() - before)),
    }
}

#[test]
fn more_slow_requests_than_ports_are_answered_soon_one_way_or_the_other() {
    let Some(stage) = Stage::with_ports(50) else { return };
    let gate = Gate::default();
    let endpoint = slow(&stage, &gate);
    let scene = stage.start(&[&endpoint], |setup| setup);
    let Rush { answers, errors, spent } = scene.audited(|_| rush(&scene, &endpoint, &gate, 120));
    let (served, refused) = (with_status(&answers, 200), with_status(&answers, 503));
    assert_eq!(served + refused, 120, "{answers:?}");
    assert!(served >= 45, "{served} were served");
    assert!(
        errors.iter().all(|error| error == "connection_limit_reached"),
        "{errors:?}"
    );
    let slowest = answers.iter().map(|answer| answer.took).max();
    assert!(slowest <= Some(Duration::from_secs(8)), "the slowest took {slowest:?}");
    assert!(spent < Duration::from_millis(600), "the proxy has worked for {spent:?}");
    scene.gets(&Pause::default(), 5, 1);
    // The limit lies below what the kernel has, so that it never has to be asked in vain.
    assert_eq!(scene.proxy.metric("forebay_ports_exhausted_total", &[]), 0.0);
    assert!(scene.proxy.metric("forebay_ports_refused_total", &[]) > 0.0);
    if let Some(trace) = &scene.trace {
        assert!(trace.tried() <= 50, "{} connects", trace.tried());
    }
}

/// A pair that lacks ports says so in one line, and the endpoint is not held to be unfit for it.
fn said_once_and_not_held_against(scene: &Scene, endpoint: &Endpoint) {
    let address = endpoint.address().to_string();
    let says = |line: &&String| line.contains("source port") && line.contains(&address);
    let log = scene.proxy.log();
    assert_eq!(log.iter().filter(says).count(), 1, "{log:#?}");
    let status = scene.proxy.status().to_string();
    assert!(
        !status.contains("unhealthy") && !status.contains("\"healthy\":false"),
        "{status}"
    );
}

#[test]
fn a_lack_of_ports_is_logged_once_and_never_held_against_the_endpoint() {
    let Some(stage) = Stage::with_ports(20) else { return };
    let gate = Gate::default();
    let endpoint = slow(&stage, &gate);
    let scene = stage.start(&[&endpoint], |setup| {
        setup.with("[cluster.main.health]\nprobe = { path = \"/\", interval = \"100ms\", fall = 1, rise = 1 }")
    });
    // The probe's own connection is there before.
    endpoint.wait_requests(1);
    let slow_ones = AtomicUsize::new(0);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            scene.requests(&Pause::default(), 60, 60, |client, _| {
                let response = client.get("/slow");
                slow_ones.fetch_add(1, Relaxed);
                response
            })
        });
        let arrived = || endpoint.targets().iter().filter(|target| *target == "/slow").count();
        eventually("each is refused or has arrived", || {
            arrived() + slow_ones.load(Relaxed) == 60
        });
        said_once_and_not_held_against(&scene, &endpoint);
        gate.open();
        let answers = load.join().expect("all are answered");
        assert_eq!(
            with_status(&answers, 200) + with_status(&answers, 503),
            60,
            "{answers:?}"
        );
        assert!(with_status(&answers, 503) > 0, "there was a port for each");
    });
    said_once_and_not_held_against(&scene, &endpoint);
    scene.gets(&Pause::default(), 5, 1);
}

#[test]
fn a_request_that_finds_no_port_waits_for_a_connection_that_comes_back() {
    let Some(stage) = Stage::with_ports(10) else { return };
    let gate = Gate::default();
    let endpoint = slow(&stage, &gate);
    let scene = stage.start(&[&endpoint], |setup| {
        setup.with("[cluster.main.pool]\nwait = { timeout = \"14s\", queue = 100 }")
    });
    let answers = scene.audited(|_| {
        thread::scope(|scope| {
            let load = scope.spawn(|| scene.requests(&Pause::default(), 30, 30, |client, _| client.get("/slow")));
            // 95 % of ten, cut.
            endpoint.wait_requests(9);
            scene
                .proxy
                .wait_for_metric("forebay_ports_refused_total", &[], |refused| refused > 0.0);
            gate.open();
            load.join().expect("all are answered")
        })
    });
    assert_eq!(with_status(&answers, 200), 30, "{answers:?}");
    assert_eq!(endpoint.opened(), 9);
}

/// Listens on `count` ports of the range from its lower end, so that the kernel gives them to no connection.
fn occupy(stage: &Stage, count: u16) -> Proxy {
    let listeners: String = (0..count)
        .map(|index| {
            format!(
                "[[listener]]\naddress = \"{}:{}\"\n",
                Ipv4Addr::LOCALHOST,
                30_000 + index
            )
        })
        .collect();
    let config = format!(
        "[process]\nworkers = 1\n[admin]\naddress = \"off\"\n{listeners}[[route]]\nrespond = {{ status = 200 }}\n"
    );
    Proxy::start_under(&["ip", "netns", "exec", stage.namespace.name()], &config)
}

/// The kernel has ten ports fewer on each of two sources than the proxy thinks.
struct Short<'a> {
    scene: Scene<'a>,
    sources: [String; 2],
    _occupying: Proxy,
}

impl<'a> Short<'a> {
    fn start(stage: &'a Stage, endpoint: &Endpoint, pool: &str) -> Short<'a> {
        let occupying = occupy(stage, 10);
        let sources = [1, 2].map(|host| stage.namespace.add_inner(host).to_string());
        let source = format!("[cluster.main.source]\naddresses = {sources:?}\nmax_fill = 1.0\n{pool}");
        Short {
            scene: stage.start(&[endpoint], |setup| setup.with(&source)),
            sources,
            _occupying: occupying,
        }
    }

    /// Times that the kernel had no port for a source.
    fn exhausted(&self, source: &str) -> f64 {
        let label = format!("source=\"{source}\"");
        self.scene.proxy.metric("forebay_ports_exhausted_total", &[&label])
    }
}

#[test]
fn each_time_that_the_kernel_has_no_port_is_counted_and_each_source_is_tried() {
    let Some(stage) = Stage::with_ports(20) else { return };
    let gate = Gate::default();
    let endpoint = slow(&stage, &gate);
    let short = Short::start(&stage, &endpoint, "");
    let scene = &short.scene;
    let Rush { answers, errors, spent } = scene.audited(|_| rush(scene, &endpoint, &gate, 60));
    let (served, refused) = (with_status(&answers, 200), with_status(&answers, 503));
    assert_eq!((served, refused), (20, 40), "{answers:?}");
    assert!(
        errors.iter().all(|error| error == "connection_limit_reached"),
        "{errors:?}"
    );
    assert!(spent < Duration::from_millis(600), "the proxy has worked for {spent:?}");
    let log = scene.proxy.log();
    for source in &short.sources {
        assert!(short.exhausted(source) >= 1.0);
        let says = |line: &&String| line.contains("no free source port") && line.contains(source.as_str());
        assert_eq!(log.iter().filter(says).count(), 1, "{log:#?}");
    }
    scene.gets(&Pause::default(), 5, 1);
}

#[test]
fn a_kernel_without_ports_is_not_asked_for_every_request() {
    const LASTS: Duration = Duration::from_secs(3);
    let Some(stage) = Stage::with_ports(20) else { return };
    let gate = Gate::default();
    let endpoint = slow(&stage, &gate);
    let wait = "[cluster.main.pool]\nwait = { timeout = \"50ms\", queue = 1000 }";
    let short = Short::start(&stage, &endpoint, wait);
    let refused = AtomicUsize::new(0);
    let one_client = || {
        let mut client = short.scene.proxy.connect();
        let started = Instant::now();
        while started.elapsed() < LASTS {
            let response = client.get("/slow");
            refused.fetch_add(usize::from(response.status == 503), Relaxed);
        }
    };
    short.scene.audited(|_| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..40).map(|_| scope.spawn(one_client)).collect();
            // Twenty of them hold all ports, and the others ask again and again.
            let (holding, asking) = (20, clients.len() - 20);
            eventually("those that hold no port are through", || {
                clients.iter().filter(|client| client.is_finished()).count() == asking
            });
            gate.open();
            assert_eq!(endpoint.requests().len(), holding);
        });
    });
    let exhausted: f64 = short.sources.iter().map(|source| short.exhausted(source)).sum();
    let refused = refused.load(Relaxed);
    assert!(refused >= 200, "only {refused} have asked");
    assert!(
        exhausted <= 30.0,
        "the kernel was asked {exhausted} times in vain for {refused} requests"
    );
}
