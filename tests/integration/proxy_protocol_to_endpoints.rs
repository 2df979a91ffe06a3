//! Endpoints that want to know in a PROXY header who the client is.

use std::{fs, net::SocketAddr};

use crate::{
    endings::load::requests,
    support::{
        Client, End, Endpoint, Exchange, Proxy,
        authority::{Authority, Request},
        endpoint::Connection,
        netns::Namespace,
        proxy::Setup,
        tls_session::EndpointTls,
        tools,
    },
    upstream_tls::real_peers::start_nginx,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Answers with the number of its connection.
fn number(exchange: &mut Exchange) {
    let number = exchange.connection.to_string();
    exchange.respond(number);
}

fn endpoint() -> Endpoint {
    Endpoint::start_behind_headers(None, number)
}

fn in_front_of(endpoint: &Endpoint, version: &str, pool: &str) -> Setup {
    // The table of the cluster is not closed yet.
    Proxy::in_front_of(endpoint)
        .cluster(&format!("proxy_protocol = {version:?}"))
        .with(&format!("[cluster.main.pool]\n{pool}\n"))
}

fn line(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let [from, to] = [source, destination].map(|address| address.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn headers(endpoint: &Endpoint) -> Vec<Vec<u8>> {
    endpoint
        .connections()
        .into_iter()
        .map(|Connection { header, .. }| header)
        .collect()
}

#[test]
fn the_header_names_the_client_and_where_it_has_connected_to() {
    let endpoint = endpoint();
    let proxy = in_front_of(&endpoint, "v1", "").start();
    let mut client = Client::connect_from("127.0.0.77", proxy.address());
    assert_eq!(client.get("/").status, 200);
    assert_eq!(headers(&endpoint), [line(client.local_address(), proxy.address())]);

    let endpoint = self::endpoint();
    let proxy = in_front_of(&endpoint, "v2", "").start();
    let mut client = Client::connect_from("127.0.0.77", proxy.address());
    assert_eq!(client.get("/").status, 200);
    let ports = [client.local_address(), proxy.address()].map(|address| address.port().to_be_bytes());
    let expected = [
        SIGNATURE,
        &[0x21, 0x11, 0, 12],
        &[127, 0, 0, 77],
        &[127, 0, 0, 1],
        &ports.concat(),
    ]
    .concat();
    assert_eq!(headers(&endpoint), [expected]);
}

#[test]
fn on_a_listener_with_many_addresses_it_is_the_one_that_was_used() {
    let endpoint = endpoint();
    let more =
        "[[listener]]\nname = \"all\"\naddress = \"0.0.0.0:0\"\n[[listener]]\nname = \"six\"\naddress = \"[::]:0\"\n";
    let proxy = in_front_of(&endpoint, "v1", "").with(more).start();
    let port = proxy.listener("all").port();
    let reached: SocketAddr = format!("127.0.0.99:{port}").parse().expect("an address");
    let mut client = Client::connect(reached);
    assert_eq!(client.get("/").status, 200);
    let port = proxy.listener("six").port();
    let reached6: SocketAddr = format!("[::1]:{port}").parse().expect("an address");
    let mut client6 = Client::connect(reached6);
    assert_eq!(client6.get("/").status, 200);
    let from = client6.local_address().port();
    let expected6 = format!("PROXY TCP6 ::1 ::1 {from} {port}\r\n").into_bytes();
    assert_eq!(headers(&endpoint), [line(client.local_address(), reached), expected6]);
}

#[test]
fn what_a_trusted_header_has_said_is_handed_on() {
    let endpoint = endpoint();
    let proxy = in_front_of(&endpoint, "v1", "")
        .listener("proxy_protocol = { mode = \"required\", from = [\"127.0.0.0/8\"] }")
        .start();
    let said = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
    let mut client = proxy.connect();
    client.send(format!("{said}GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    assert_eq!(headers(&endpoint), [said.as_bytes()]);
}

#[test]
fn a_client_keeps_its_connection_and_no_other_is_served_by_it() {
    let endpoint = endpoint();
    for workers in [1, 4] {
        let before = endpoint.opened();
        let proxy = in_front_of(&endpoint, "v1", "idle_timeout = \"1m\"")
            .workers(workers)
            .start();
        let mut clients: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
        let mut served = Vec::new();
        for _ in 0..5 {
            served.push(
                clients
                    .iter_mut()
                    .map(|client| client.get("/").text())
                    .collect::<Vec<_>>(),
            );
        }
        served.dedup();
        assert_eq!(
            (served.len(), endpoint.opened() - before),
            (1, 10),
            "each has one, and keeps it"
        );
        let sources: Vec<_> = clients
            .iter()
            .map(|client| line(client.local_address(), proxy.address()))
            .collect();
        assert_eq!(headers(&endpoint)[before..], sources);
    }
}

#[test]
fn a_later_client_of_the_same_address_is_another_client() {
    if !tools::needs("ss") {
        return;
    }
    let endpoint = endpoint();
    let proxy = in_front_of(&endpoint, "v1", "idle_timeout = \"1m\"").workers(1).start();
    let mut first = Client::connect_from("127.0.0.5", proxy.address());
    let source = first.local_address();
    assert_eq!(first.get("/").text(), "0");
    // Without a reset its port would stay in use for a minute.
    first.reset();
    let mut second = Client::connect_from(&source.to_string(), proxy.address());
    assert_eq!(second.local_address(), source);
    assert_eq!(second.get("/").text(), "1");
    let same = line(source, proxy.address());
    assert_eq!(headers(&endpoint), [same.clone(), same]);
}

#[test]
fn the_connection_of_a_client_that_has_gone_is_closed() {
    let endpoint = endpoint();
    let proxy = in_front_of(&endpoint, "v1", "idle_timeout = \"1m\"").start();
    let mut stays = proxy.connect();
    assert_eq!(stays.get("/").text(), "0");
    for number in 1..=5 {
        let mut client = proxy.connect();
        (0..2).for_each(|_| assert_eq!(client.get("/").text(), number.to_string()));
        drop(client);
        assert_eq!(endpoint.wait_closed(number)[number].end, Some(End::Fin));
    }
    let left = ["reason=\"client-left\"", "first=\"us-fin\""];
    proxy.wait_for_metric("forebay_pool_closed_total", &left, |count| count == 5.0);
    assert_eq!(stays.get("/").text(), "0", "it has not gone");
}

#[test]
fn at_the_limit_it_gives_way_at_once() {
    let endpoint = endpoint();
    let proxy = in_front_of(&endpoint, "v2", "max_connections = 1\nidle_timeout = \"1m\"")
        .workers(1)
        .start();
    for number in 0..5 {
        let mut client = proxy.connect();
        for _ in 0..2 {
            assert_eq!(client.get("/").text(), number.to_string());
        }
    }
    assert_eq!(endpoint.opened(), 5);
    let closed = |reason: &str| proxy.metric("forebay_pool_closed_total", &[&format!("reason=\"{reason}\"")]);
    // Whichever comes first, the sweep or the next client.
    assert!(closed("gave-way") + closed("client-left") >= 4.0);
    assert_eq!(
        proxy.metric("forebay_pool_closed_total", &[]),
        closed("gave-way") + closed("client-left")
    );
}

#[test]
fn many_clients_share_room_for_few_connections() {
    let endpoint = Endpoint::start_behind_headers(None, |exchange| {
        let client = exchange.head.field("x-forwarded-for").unwrap_or_default().to_owned();
        exchange.respond(client);
    });
    let proxy = in_front_of(&endpoint, "v1", "max_connections = 4\nwait = { timeout = \"10s\" }").start();
    let answers = requests(&proxy, 500, 20, |client, _| client.get("/"));
    assert!(answers.iter().all(|answer| answer.status == 200));
    let open = endpoint
        .connections()
        .iter()
        .filter(|connection| connection.end.is_none())
        .count();
    assert!(open <= 4, "{open} connections are open");
}

#[test]
fn probes_and_connections_ahead_of_need_speak_for_nobody() {
    for (version, own) in [
        ("v1", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v2", [SIGNATURE, &[0x20, 0, 0, 0]].concat()),
    ] {
        let endpoint = endpoint();
        let probe = "[cluster.main.health]\nprobe = { path = \"/healthz\", interval = \"50ms\" }";
        let proxy = in_front_of(&endpoint, version, "min_idle = 1").with(probe).start();
        proxy.wait_for_metric("forebay_health_probes_succeeded_total", &[], |count| count > 1.0);
        proxy.wait_for_metric("forebay_pool_connections", &["state=\"idle\""], |count| count >= 1.0);
        endpoint.wait_opened(2);
        assert!(
            headers(&endpoint).iter().all(|header| *header == own),
            "{:?}",
            headers(&endpoint)
        );
        let mut client = proxy.connect();
        assert_eq!(client.get("/").status, 200);
        let headers = headers(&endpoint);
        let of_clients: Vec<_> = headers.iter().filter(|header| **header != own).collect();
        assert_eq!(of_clients.len(), 1);
        let requests = endpoint.requests();
        let served = requests
            .iter()
            .filter(|request| request.head.target() == "/")
            .map(|request| request.connection);
        let served: Vec<_> = served.map(|connection| &headers[connection]).collect();
        assert_eq!(served, of_clients, "the request came over the connection of its client");
    }
}

#[test]
fn the_header_comes_ahead_of_tls() {
    let authority = Authority::new("Known");
    let certificate = authority.issue(Request::of(&[]).ip("127.0.0.1"));
    let endpoint = Endpoint::start_behind_headers(Some(&EndpointTls::new(&certificate)), number);
    let tls = format!("[cluster.main.tls]\nroots = {:?}\n", authority.chain());
    let proxy = in_front_of(&endpoint, "v2", "").with(&tls).start();
    let mut clients = [proxy.connect(), proxy.connect()];
    for _ in 0..3 {
        assert_eq!(clients.each_mut().map(|client| client.get("/").text()), ["0", "1"]);
    }
    assert_eq!(endpoint.handshakes(), (1, 1));
    assert!(headers(&endpoint).iter().all(|header| header.starts_with(SIGNATURE)));
}

#[test]
fn clusters_without_headers_do_not_notice() {
    let (told, plain) = (endpoint(), Endpoint::start(number));
    let other = format!(
        "[[route]]\npath = \"/plain\"\ncluster = \"plain\"\n[cluster.plain]\nendpoints = [\"{}\"]\n",
        plain.address()
    );
    let proxy = in_front_of(&told, "v1", "").with(&other).workers(1).start();
    for _ in 0..5 {
        let mut client = proxy.connect();
        assert_eq!(
            (client.get("/plain").text().as_str(), client.get("/").status),
            ("0", 200)
        );
    }
    assert_eq!((plain.opened(), told.opened()), (1, 5));
}

#[test]
fn a_reload_that_asks_for_headers_opens_new_connections() {
    let endpoint = endpoint();
    let setup = |version: &str| {
        let cluster = format!("proxy_protocol = {version:?}");
        Proxy::in_front_of(&endpoint).process("watch = false").cluster(&cluster)
    };
    let proxy = setup("v1").start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "0");
    proxy.reload(&setup("v2").toml());
    assert_eq!(client.get("/").text(), "1");
    let headers = headers(&endpoint);
    assert!(headers[0].starts_with(b"PROXY TCP4") && headers[1].starts_with(SIGNATURE));
}

#[test]
fn nginx_reads_who_the_client_is() {
    if !tools::needs("nginx") {
        return;
    }
    for version in ["v1", "v2"] {
        let site = tempfile::tempdir().expect("a temporary directory");
        fs::write(site.path().join("small.txt"), "small").expect("a file can be written");
        let (_nginx, address) = start_nginx(site.path(), |address| format!("listen {address} proxy_protocol;"));
        let probe = "[cluster.main.health]\nprobe = { path = \"/small.txt\", interval = \"50ms\" }";
        let proxy = Proxy::to(&[address])
            .cluster(&format!("proxy_protocol = {version:?}"))
            .with(probe)
            .start();
        for host in ["127.0.0.41", "127.0.0.42"] {
            let mut client = Client::connect_from(host, proxy.address());
            for _ in 0..3 {
                assert_eq!(client.get("/small.txt").text(), "small");
            }
        }
        proxy.wait_for_metric("forebay_health_probes_succeeded_total", &[], |count| count > 1.0);
        let log = fs::read_to_string(site.path().join("access.log")).expect("nginx logs");
        for host in ["127.0.0.41", "127.0.0.42"] {
            assert_eq!(
                log.lines().filter(|line| line.starts_with(&format!("{host} "))).count(),
                3,
                "{log}"
            );
        }
    }
}

#[test]
fn connections_with_headers_leave_no_port_behind() {
    if !tools::needs("ss") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    let endpoint = Endpoint::start_behind_headers_on(&format!("{}:0", namespace.outer()), number);
    let proxy = in_front_of(&endpoint, "v1", "idle_timeout = \"100ms\"")
        .inside(&namespace)
        .start();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").status, 200);
    }
    endpoint.wait_closed(10);
    let port = endpoint.address().port();
    assert_eq!(namespace.matching(&format!("state time-wait dport = :{port}")), 0);
}
