//! What the keys mean.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::super::*;

fn parsed(text: &str) -> Config {
    parse(text, "f").unwrap_or_else(|problems| panic!("{problems}"))
}

fn route(keys: &str) -> Route {
    let text = format!("[[listener]]\naddress = \":1\"\n[cluster.api]\nendpoints = [\"a:1\"]\n[[route]]\n{keys}\n");
    parsed(&text).routes.remove(0)
}

fn cluster(keys: &str) -> Cluster {
    let text = format!(
        "[[listener]]\naddress = \":1\"\n[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"a:1\"]\n{keys}\n"
    );
    parsed(&text).clusters.remove("api").unwrap()
}

fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

#[test]
fn a_listener_overrides_single_keys() {
    let config = parsed(
        "
[process]
workers = 4
[admin]
address = \"off\"
[keep_alive]
idle_timeout = \"20s\"
max_requests = 5
tcp_keepalive = { count = 9 }
[[listener]]
address = \":8080\"
[[listener]]
address = \"[::]:8080\"
name = \"six\"
keep_alive = { max_requests = 7, tcp_keepalive = { idle = \"0s\" } }
[[route]]
respond = {}
",
    );
    let [four, six] = config.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!((four.name.as_str(), six.name.as_str()), ("0.0.0.0:8080", "six"));
    assert_eq!((four.keep_alive.max_requests, six.keep_alive.max_requests), (5, 7));
    assert_eq!(six.keep_alive.idle_timeout, Duration::from_secs(20));
    assert_eq!(
        (six.keep_alive.tcp_keepalive.count, six.keep_alive.tcp_keepalive.idle),
        (9, Duration::ZERO)
    );
    assert_eq!(config.process.workers.unwrap().get(), 4);
    assert_eq!(config.admin.address, None);
}

#[test]
fn a_route_has_conditions() {
    let route = route(
        "
host = \"*.Shop.example\"
path_exact = \"/a\"
methods = [\"GET\", \"PURGE\"]
headers = { x-version = \"2\", x-debug = true, X-Old = false }
cluster = \"api\"
",
    );
    assert_eq!(route.host, HostPattern::Suffix(".shop.example".into()));
    assert_eq!(route.path, PathPattern::Exact("/a".into()));
    assert_eq!(route.methods, [Method::GET, Method::from_bytes(b"PURGE").unwrap()]);
    let tests: Vec<_> = route
        .headers
        .iter()
        .map(|condition| (condition.name.as_str(), &condition.test))
        .collect();
    let equals = HeaderTest::Equals(HeaderValue::from_static("2"));
    assert_eq!(
        tests,
        [
            ("x-version", &equals),
            ("x-debug", &HeaderTest::Present),
            ("x-old", &HeaderTest::Absent)
        ]
    );
}

#[test]
fn a_route_forwards_what_is_left_of_the_path() {
    let replaced = |keys: &str| match route(&format!("path = \"/api\"\ncluster = \"api\"\n{keys}")).action {
        Action::Forward(forward) => forward.replace_prefix,
        action => panic!("{action:?}"),
    };
    assert_eq!(replaced(""), None);
    assert_eq!(replaced("strip_prefix = false"), None);
    assert_eq!(replaced("strip_prefix = true").as_deref(), Some("/"));
    assert_eq!(replaced("replace_prefix = \"/\"").as_deref(), Some("/"));
    assert_eq!(replaced("replace_prefix = \"/v2/\"").as_deref(), Some("/v2"));
}

#[test]
fn a_route_answers_by_itself() {
    let redirect = Redirect {
        to: "https://{host}{path}{query}".into(),
        status: StatusCode::PERMANENT_REDIRECT,
    };
    assert_eq!(
        route("redirect = { to = \"https://{host}{path}{query}\" }").action,
        Action::Redirect(redirect)
    );
    let respond = Respond {
        status: StatusCode::NOT_FOUND,
        body: "none".into(),
        content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
    };
    assert_eq!(
        route("respond = { status = 404, body = \"none\" }").action,
        Action::Respond(respond)
    );
}

#[test]
fn header_edits_keep_the_order_of_the_file() {
    let edits = route(
        "cluster = \"api\"\nresponse_headers = { remove = [\"Server\"], set = { z = \"1\", b = \"2\" }, add = { y = [\"3\", \"4\"], a = \"5\" } }",
    )
    .response_headers;
    assert_eq!(edits.remove, [HeaderName::from_static("server")]);
    assert_eq!(edits.set, [header("z", "1"), header("b", "2")]);
    assert_eq!(edits.add, [header("y", "3"), header("y", "4"), header("a", "5")]);
}

#[test]
fn a_cluster_has_probes_and_sources() {
    let cluster = cluster(
        "
balance = \"round-robin\"
tcp_keepalive = { idle = \"30s\" }
[cluster.api.health]
probe = { path = \"/healthz\", statuses = 204, fall = 1 }
[cluster.api.source]
addresses = [\"10.0.1.1\", \"fd00::1\"]
[cluster.api.timeouts]
request = \"90s\"
",
    );
    let probe = Probe {
        kind: ProbeKind::Http {
            path: "/healthz".into(),
            host: None,
            statuses: (204, 204),
        },
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 1,
    };
    assert_eq!(cluster.probe, Some(probe));
    assert_eq!(cluster.balance, Balance::RoundRobin);
    assert_eq!(cluster.source.addresses.len(), 2);
    assert_eq!(cluster.timeouts.request, Duration::from_secs(90));
    assert_eq!(
        (cluster.tcp_keepalive.idle, cluster.tcp_keepalive.count),
        (Duration::from_secs(30), 3)
    );
}

#[test]
fn a_small_limit_of_connections_lowers_the_idle_ones_that_nobody_wrote() {
    let pool = cluster("[cluster.api.pool]\nmax_connections = 8").pool;
    assert_eq!((pool.max_idle, pool.max_connections), (8, 8));
    let pool = cluster("[cluster.api.pool]\nmax_idle = 0").pool;
    assert_eq!(pool.max_idle, 0);
}

#[test]
fn a_pool_says_which_connection_is_used_and_how_it_ends() {
    let pool = cluster(
        "
[cluster.api.pool]
idle_timeout = \"learn\"
min_idle = 1024
order = \"oldest-first\"
close = \"ask-endpoint\"
reuse = { writes_if_idle_under = \"any\" }
",
    )
    .pool;
    let expected = Pool {
        idle_timeout: IdleTimeout::Learn,
        min_idle: 1024,
        order: Order::OldestFirst,
        close: Close::AskEndpoint,
        reuse: Reuse {
            writes_if_idle_under: None,
        },
        ..Pool::default()
    };
    assert_eq!(pool, expected);
    let pool = cluster("[cluster.api.pool]\nidle_timeout = \"9s\"\nreuse = { writes_if_idle_under = \"0s\" }").pool;
    assert_eq!(pool.idle_timeout, IdleTimeout::After(Duration::from_secs(9)));
    assert_eq!(pool.reuse.writes_if_idle_under, Some(Duration::ZERO));
}

#[test]
fn without_a_pool_its_order_and_its_reuse_may_be_there_and_mean_nothing() {
    let pool = cluster(
        "[cluster.api.pool]\nmax_idle = 0\norder = \"random\"\nclose = \"rst\"\nreuse = { writes_if_idle_under = \"2s\" }",
    )
    .pool;
    assert_eq!((pool.max_idle, pool.order, pool.close), (0, Order::Random, Close::Rst));
}

#[test]
fn sources_are_addresses_and_networks_up_to_a_share_of_their_ports() {
    let source =
        cluster("[cluster.api.source]\naddresses = [\"10.0.1.1\", \"10.9.0.0/24\", \"fd00:1::/64\"]\nmax_fill = 0.5")
            .source;
    let shown: Vec<_> = source.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.1.1", "10.9.0.0/24", "fd00:1::/64"]);
    let expanded: Vec<_> = source.addresses.iter().map(|address| address.expand().len()).collect();
    assert_eq!(expanded, [1, 254, 256]);
    assert_eq!(source.max_fill, Some(0.5));
    for (written, read) in [("1", Some(1.0)), ("0.01", Some(0.01)), ("\"auto\"", None)] {
        let source = cluster(&format!("[cluster.api.source]\nmax_fill = {written}")).source;
        assert_eq!(source.max_fill, read, "{written}");
    }
}

#[test]
fn what_is_expected_of_traffic_is_known() {
    let expect = |keys: &str| cluster(&format!("expect = {{ {keys} }}")).expect.unwrap();
    let few = expect("requests_per_second = 800");
    assert_eq!(
        (few.requests_per_second, few.response_time, few.endpoint_idle_timeout),
        (800.0, Duration::from_millis(100), None)
    );
    let all = expect("requests_per_second = 0.5, response_time = \"5ms\", endpoint_idle_timeout = \"75s\"");
    assert_eq!(
        (all.requests_per_second, all.response_time, all.endpoint_idle_timeout),
        (0.5, Duration::from_millis(5), Some(Duration::from_secs(75)))
    );
    assert_eq!(cluster("").expect, None);
    let listeners = parsed(
        "[[listener]]\naddress = \":1\"\nexpect = { client_idle_timeout = \"50s\" }\n[[listener]]\naddress = \":2\"\n[[route]]\nrespond = {}\n",
    )
    .listeners;
    let expected: Vec<_> = listeners
        .iter()
        .map(|listener| listener.expect_client_idle_timeout)
        .collect();
    assert_eq!(expected, [Some(Duration::from_secs(50)), None]);
}

#[test]
fn an_idempotency_key_is_trusted_when_the_file_says_so() {
    assert!(!cluster("").retry.idempotency_key);
    assert!(
        cluster("[cluster.api.retry]\nidempotency_key = true")
            .retry
            .idempotency_key
    );
}
