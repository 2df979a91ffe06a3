//! How connections over TLS end: what the endpoint is told, and what stays.

use super::Trust;
use crate::support::{
    End, Endpoint,
    authority::{Authority, Request},
    endpoint::Connection,
    netns::Namespace,
    tls_session::EndpointTls,
    tools,
};

const CONNECTIONS: usize = 5;

/// What was seen of connections that each carried two requests, and how many the kernel holds in TIME_WAIT.
fn part(pool: &str, by: &str) -> Option<(Vec<Connection>, usize)> {
    if !tools::needs("ss") {
        return None;
    }
    let namespace = Namespace::make()?;
    let authority = Authority::new("Known");
    let outer = namespace.outer().to_string();
    let trust = Trust {
        certificate: authority.issue(Request::of(&[]).ip(&outer)),
        authority,
    };
    let endpoint = Endpoint::start_tls_on(
        &format!("{outer}:0"),
        &EndpointTls::new(&trust.certificate),
        |exchange| {
            exchange.respond("x");
            if exchange.head.lists("connection", "close") {
                exchange.close();
            }
        },
    );
    let pool = format!("[cluster.main.pool]\n{pool}\n");
    let proxy = trust
        .in_front_of(&endpoint)
        .inside(&namespace)
        .workers(1)
        .with(&pool)
        .start();
    let mut client = proxy.connect();
    for closed in 1..=CONNECTIONS {
        (0..2).for_each(|_| assert_eq!(client.get("/").status, 200));
        endpoint.wait_closed(closed);
    }
    let by = format!("reason=\"{by}\"");
    proxy.wait_for_metric("forebay_pool_closed_total", &[&by], |count| {
        count as usize == CONNECTIONS
    });
    let to_endpoint = format!("dport = :{}", endpoint.address().port());
    let time_wait = namespace.matching(&format!("state time-wait {to_endpoint}"));
    assert_eq!(
        namespace.matching(&format!("state connected {to_endpoint}")),
        time_wait,
        "one is half closed"
    );
    Some((endpoint.connections(), time_wait))
}

fn ends(connections: &[Connection]) -> Vec<(Option<End>, bool)> {
    let mut ends: Vec<_> = connections
        .iter()
        .map(|connection| (connection.end, connection.notified))
        .collect();
    ends.dedup();
    ends
}

#[test]
fn the_end_is_announced_ahead_of_the_fin_and_nothing_stays() {
    for (pool, by) in [
        ("max_requests = 2", "max-requests"),
        ("idle_timeout = \"100ms\"", "idle-timeout"),
    ] {
        let Some((connections, time_wait)) = part(pool, by) else {
            return;
        };
        assert_eq!(
            (ends(&connections), time_wait),
            (vec![(Some(End::Fin), true)], 0),
            "{by}"
        );
    }
}

#[test]
fn with_fin_the_end_is_announced_too() {
    let Some((connections, time_wait)) = part("max_requests = 2\nclose = \"fin\"", "max-requests") else {
        return;
    };
    assert_eq!(
        (ends(&connections), time_wait),
        (vec![(Some(End::Fin), true)], CONNECTIONS)
    );
}

#[test]
fn with_rst_nothing_is_announced() {
    let Some((connections, time_wait)) = part("max_requests = 2\nclose = \"rst\"", "max-requests") else {
        return;
    };
    assert_eq!((ends(&connections), time_wait), (vec![(Some(End::Reset), false)], 0));
}

#[test]
fn with_ask_endpoint_its_fin_is_waited_for() {
    let Some((connections, time_wait)) = part("max_requests = 2\nclose = \"ask-endpoint\"", "max-requests") else {
        return;
    };
    assert_eq!((ends(&connections), time_wait), (vec![(Some(End::Ours), false)], 0));
}

#[test]
fn failed_handshakes_cost_no_port() {
    if !tools::needs("ss") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    let outer = namespace.outer().to_string();
    let trust = Trust::of(&[]);
    let stranger = Authority::new("Unknown").issue(Request::of(&[]).ip(&outer));
    let endpoint = Endpoint::start_tls_on(&format!("{outer}:0"), &EndpointTls::new(&stranger), |exchange| {
        exchange.respond("x");
    });
    let proxy = trust.in_front_of(&endpoint).inside(&namespace).start();
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 502);
    }
    endpoint.wait_closed(20);
    let port = endpoint.address().port();
    assert_eq!(namespace.matching(&format!("state time-wait dport = :{port}")), 0);
    assert_eq!(proxy.metric("forebay_ports_time_wait", &[]), 0.0);
}
