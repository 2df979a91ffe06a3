//! A new config replaces the old one as a whole, or not at all.

use crate::support::{Client, End, Endpoint, Gate, Proxy, eventually};

const RESPOND: &str = "[[route]]\npath = \"/version\"\nrespond = { body = \"new\" }\n";

#[test]
fn a_signal_brings_the_new_routes_into_force() {
    let endpoint = Endpoint::answering("old");
    let setup = Proxy::in_front_of(&endpoint).process("watch = false");
    let new = setup.toml() + RESPOND;
    let proxy = setup.start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/version").text(), "old");
    proxy.reload(&new);
    assert_eq!(proxy.get("/version").text(), "new");
    assert_eq!(
        client.get("/version").text(),
        "new",
        "clients that were there before are served by it too"
    );
}

#[test]
fn a_changed_file_is_noticed() {
    let endpoint = Endpoint::answering("old");
    let setup = Proxy::in_front_of(&endpoint);
    let new = setup.toml() + RESPOND;
    let proxy = setup.start();
    proxy.write_config(&new);
    eventually("the new routes are in force", || proxy.get("/version").text() == "new");
    std::fs::write(proxy.config_path(), setup_without(&new)).expect("the file can be written in place");
    eventually("the old routes are in force again", || {
        proxy.get("/version").text() == "old"
    });
}

fn setup_without(toml: &str) -> &str {
    toml.strip_suffix(RESPOND).expect("the route stands last")
}

#[test]
fn a_broken_file_is_refused_and_the_old_config_goes_on() {
    let endpoint = Endpoint::answering("old");
    let setup = Proxy::in_front_of(&endpoint).process("watch = false");
    let broken = setup.toml() + RESPOND + "[cluster.main.pool]\nmax_idel = 3\n";
    let proxy = setup.start();
    proxy.write_config(&broken);
    proxy.signal("HUP");
    proxy.wait_for_log("reload refused");
    proxy.wait_for_log("max_idel");
    assert_eq!(proxy.get("/version").text(), "old");
    proxy.write_config("this is [ no TOML");
    proxy.signal("HUP");
    eventually("it is refused again", || {
        proxy
            .log()
            .iter()
            .filter(|line| line.contains("reload refused"))
            .count()
            >= 2
    });
    assert_eq!(proxy.get("/").text(), "old");
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let endpoint = Endpoint::answering("old");
    let proxy = Proxy::in_front_of(&endpoint).start();
    std::fs::remove_file(proxy.config_path()).expect("the file is there");
    proxy.signal("HUP");
    proxy.wait_for_log("reload refused");
    assert_eq!(proxy.get("/").text(), "old");
}

#[test]
fn unchanged_endpoints_keep_their_connections() {
    let (kept, removed) = (Endpoint::answering("kept"), Endpoint::answering("removed"));
    let setup = |addresses: &[_]| {
        let routes = "[[route]]\npath = \"/second\"\ncluster = \"second\"\n[cluster.second]\n";
        Proxy::to(&[kept.address()])
            .process("watch = false")
            .with(&format!("{routes}endpoints = {addresses:?}\n"))
    };
    let second = [removed.address().to_string()];
    let proxy = setup(&second).start();
    assert_eq!(proxy.get("/").text(), "kept");
    assert_eq!(proxy.get("/second").text(), "removed");
    proxy.reload(&setup(&[kept.address().to_string()]).toml());
    assert_eq!(
        removed.wait_closed(1)[0].end,
        Some(End::Fin),
        "idle connections of a removed endpoint are closed"
    );
    assert_eq!(proxy.get("/").text(), "kept");
    assert_eq!(proxy.get("/second").text(), "kept");
    assert_eq!(kept.closed(), 0);
    assert_eq!(removed.requests().len(), 1);
}

#[test]
fn a_request_at_a_removed_endpoint_is_finished() {
    let gate = Gate::default();
    let old = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("old");
        }
    });
    let new = Endpoint::answering("new");
    let proxy = Proxy::in_front_of(&old).process("watch = false").start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    old.wait_requests(1);
    proxy.reload(&Proxy::in_front_of(&new).process("watch = false").toml());
    assert_eq!(proxy.get("/").text(), "new");
    gate.open();
    assert_eq!(client.response().text(), "old");
    assert_eq!(old.wait_closed(1)[0].end, Some(End::Fin), "its connection is not kept");
}

#[test]
fn changed_pool_limits_apply_to_the_connections_that_are_there() {
    let endpoint = Endpoint::answering("x");
    let setup = Proxy::in_front_of(&endpoint).process("watch = false");
    let strict = setup.toml() + "[cluster.main.pool]\nidle_timeout = \"100ms\"\n";
    let proxy = setup.start();
    proxy.get("/");
    proxy.reload(&strict);
    endpoint.wait_closed(1);
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn listeners_come_and_go() {
    let endpoint = Endpoint::answering("x");
    let setup = Proxy::in_front_of(&endpoint).process("watch = false");
    let (first, both) = (
        setup.toml(),
        setup.toml() + "[[listener]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\n",
    );
    let proxy = setup.start();
    proxy.reload(&both);
    let status = proxy.status();
    let listeners = status["listeners"].as_array().expect("the status has listeners");
    let second = listeners
        .iter()
        .find(|listener| listener["name"] == "second")
        .expect("the second one is there");
    let address = second["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .expect("it has an address");
    let (mut old, mut new) = (proxy.connect(), Client::connect(address));
    assert_eq!((old.get("/").status, new.get("/").status), (200, 200));
    proxy.reload(&first);
    assert_eq!(new.end(), End::Fin, "its idle clients are sent off");
    eventually("the second one listens no more", || {
        std::net::TcpStream::connect(address).is_err()
    });
    assert_eq!(old.get("/").status, 200, "the others do not notice");
}

#[test]
fn a_listener_that_cannot_be_bound_is_a_refusal() {
    let endpoint = Endpoint::answering("x");
    let setup = Proxy::in_front_of(&endpoint).process("watch = false");
    let taken = format!(
        "[[listener]]\nname = \"second\"\naddress = \"{}\"\n",
        endpoint.address()
    );
    let new = setup.toml() + &taken + RESPOND;
    let proxy = setup.start();
    proxy.write_config(&new);
    proxy.signal("HUP");
    proxy.wait_for_log("reload refused");
    assert_eq!(
        proxy.get("/version").text(),
        "x",
        "nothing of the new config is in force"
    );
}
