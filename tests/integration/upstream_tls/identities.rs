//! Connections that are opened for one server name each, with room for few of them.

use super::Trust;
use crate::{endings::load::requests, support::Response};

const HOSTS: usize = 100;

/// Answers with the name that the connection was opened for.
fn named(exchange: &mut crate::support::Exchange) {
    let host = exchange.head.field("host").unwrap_or_default().to_owned();
    exchange.respond(host);
}

fn ask(client: &mut crate::support::Client, host: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response()
}

#[test]
fn a_hundred_hosts_share_room_for_four_connections() {
    let trust = Trust::of(&["*.many.example"]);
    for workers in [1, 3] {
        let endpoint = trust.endpoint(named);
        let section =
            "server_name = \"request\"\n[cluster.main.pool]\nmax_connections = 4\nwait = { timeout = \"10s\" }\n";
        let proxy = trust.in_front_of(&endpoint).with(section).workers(workers).start();
        let answers = requests(&proxy, 400, 16, |client, number| {
            let host = format!("h{}.many.example", (number * 37) % HOSTS);
            let response = ask(client, &host);
            assert_eq!(response.text(), host);
            response
        });
        assert!(answers.iter().all(|answer| answer.status == 200));
        let connections = endpoint.connections();
        for request in endpoint.requests() {
            let opened_for = connections[request.connection]
                .handshake
                .clone()
                .expect("it is over")
                .server_name;
            assert_eq!(request.head.field("host"), opened_for.as_deref());
        }
        let open = connections.iter().filter(|connection| connection.end.is_none()).count();
        assert!(open <= 4, "{open} connections are open");
        assert!(proxy.metric("forebay_pool_closed_total", &["reason=\"gave-way\""]) > 0.0);
        assert!(proxy.metric("forebay_pool_opened_total", &["reason=\"identity-differs\""]) > 0.0);
        assert_eq!(proxy.metric("forebay_pool_exhausted_total", &[]), 0.0);
    }
}

#[test]
fn hosts_that_are_asked_for_keep_their_connections() {
    let trust = Trust::of(&["*.many.example"]);
    let endpoint = trust.endpoint(named);
    let section = "server_name = \"request\"\n[cluster.main.pool]\nmax_idle = 4\nidle_timeout = \"1m\"\n";
    let proxy = trust.in_front_of(&endpoint).with(section).workers(1).start();
    let mut client = proxy.connect();
    // Those of others fill the pool, and go one by one; the one that is in use stays.
    for number in 0..20 {
        assert_eq!(ask(&mut client, &format!("h{number}.many.example")).status, 200);
        assert_eq!(ask(&mut client, "busy.many.example").status, 200);
    }
    let opened_for = |name: &str| {
        let connections = endpoint.connections();
        let names = connections
            .iter()
            .filter_map(|connection| connection.handshake.clone()?.server_name);
        names.filter(|opened_for| opened_for == name).count()
    };
    assert_eq!((opened_for("busy.many.example"), endpoint.opened()), (1, 21));
    proxy.wait_for_metric("forebay_pool_closed_total", &["reason=\"surplus\""], |count| {
        count == 17.0
    });
}
