//! How a connection is ended that nothing is wrong with: what the endpoint sees, what is said of it, and what stays.

use crate::support::{
    End, Endpoint, Proxy,
    endpoint::{Connection, Request},
    netns::Namespace,
    tools,
};

const CONNECTIONS: usize = 10;

/// What ten connections left behind that carried three requests each.
struct Parted {
    connections: Vec<Connection>,
    requests: Vec<Request>,
    /// By who was first, in the words of the metric, those who never were left out.
    first: Vec<(&'static str, usize)>,
    /// TIME_WAIT sockets, as the kernel sees them and as the proxy does.
    time_wait: (usize, usize),
}

impl Parted {
    fn ends(&self) -> Vec<Option<End>> {
        let mut ends: Vec<_> = self.connections.iter().map(|connection| connection.end).collect();
        ends.dedup();
        ends
    }

    /// The targets of the requests that told the endpoint to close.
    fn asked(&self) -> Vec<&str> {
        let asked = self
            .requests
            .iter()
            .filter(|request| request.head.lists("connection", "close"));
        asked.map(|request| request.head.target()).collect()
    }
}

/// What an endpoint does that is asked to close.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Closes,
    Stays,
}

fn part(close: &str, asked: Asked) -> Option<Parted> {
    if !tools::needs("ss") {
        return None;
    }
    let namespace = Namespace::make()?;
    let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), move |exchange| {
        exchange.respond("x");
        if exchange.head.lists("connection", "close") && asked == Asked::Closes {
            exchange.close();
        }
    });
    let pool = format!("[cluster.main.pool]\nmax_requests = 3\n{close}");
    let proxy = Proxy::in_front_of(&endpoint).inside(&namespace).with(&pool).start();
    let mut client = proxy.connect();
    for _ in 0..CONNECTIONS {
        for target in ["/1", "/2", "/3"] {
            let response = client.get(target);
            assert_eq!(response.status, 200);
            assert!(!response.announces_close(), "the client's connection is another one");
        }
    }
    let connections = endpoint.wait_closed(CONNECTIONS);
    let closed = |labels: &[&str]| proxy.metric("forebay_pool_closed_total", labels) as usize;
    proxy.wait_for_metric("forebay_pool_closed_total", &["reason=\"max-requests\""], |count| {
        count as usize == CONNECTIONS
    });
    assert_eq!(closed(&[]), CONNECTIONS, "none was closed for another reason");
    let first = ["us-fin", "us-rst", "endpoint-fin", "endpoint-rst"].map(|first| {
        let labels = ["reason=\"max-requests\"", &format!("first=\"{first}\"")];
        (first, closed(&labels))
    });
    let to_endpoint = format!("dport = :{}", endpoint.address().port());
    let time_wait = namespace.matching(&format!("state time-wait {to_endpoint}"));
    let all = namespace.matching(&format!("state connected {to_endpoint}"));
    assert_eq!(all, time_wait, "one is half closed");
    let time_wait = (time_wait, proxy.metric("forebay_ports_time_wait", &[]) as usize);
    Some(Parted {
        connections,
        requests: endpoint.requests(),
        first: first.into_iter().filter(|(_, count)| *count > 0).collect(),
        time_wait,
    })
}

#[test]
fn by_default_the_endpoint_sees_a_clean_end_and_nothing_stays() {
    for close in ["", "close = \"fin-no-time-wait\""] {
        let Some(parted) = part(close, Asked::Closes) else {
            return;
        };
        assert_eq!(parted.ends(), [Some(End::Fin)]);
        assert_eq!(parted.first, [("us-fin", CONNECTIONS)]);
        assert_eq!((parted.asked().len(), parted.time_wait), (0, (0, 0)));
    }
}

#[test]
fn with_rst_the_endpoint_sees_a_reset_and_nothing_stays() {
    let Some(parted) = part("close = \"rst\"", Asked::Closes) else {
        return;
    };
    assert_eq!(parted.ends(), [Some(End::Reset)]);
    assert_eq!(parted.first, [("us-rst", CONNECTIONS)]);
    assert_eq!((parted.asked().len(), parted.time_wait), (0, (0, 0)));
}

#[test]
fn with_fin_each_end_costs_a_port_and_is_counted() {
    let Some(parted) = part("close = \"fin\"", Asked::Closes) else {
        return;
    };
    assert_eq!(parted.ends(), [Some(End::Fin)]);
    assert_eq!(parted.first, [("us-fin", CONNECTIONS)]);
    assert_eq!(
        (parted.asked().len(), parted.time_wait),
        (0, (CONNECTIONS, CONNECTIONS))
    );
}

#[test]
fn with_ask_endpoint_the_last_request_asks_for_the_close() {
    let Some(parted) = part("close = \"ask-endpoint\"", Asked::Closes) else {
        return;
    };
    assert_eq!(parted.asked(), ["/3"; CONNECTIONS]);
    assert_eq!(parted.ends(), [Some(End::Ours)]);
    assert_eq!(parted.first, [("endpoint-fin", CONNECTIONS)]);
    assert_eq!(parted.time_wait, (0, 0));
}

#[test]
fn an_endpoint_that_does_not_close_when_asked_is_not_waited_for() {
    let Some(parted) = part("close = \"ask-endpoint\"", Asked::Stays) else {
        return;
    };
    assert_eq!(parted.asked(), ["/3"; CONNECTIONS]);
    assert_eq!(parted.ends(), [Some(End::Fin)]);
    assert_eq!(parted.first, [("us-fin", CONNECTIONS)]);
    assert_eq!(parted.time_wait, (0, 0));
}
