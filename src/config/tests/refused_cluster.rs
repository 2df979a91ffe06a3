//! What is refused in a cluster, where, and with which advice.

use super::problems::{CLUSTER, LISTENER, ROUTE, expect_one, problems_of};

fn expect_in_cluster(cases: &[(&str, &str, &str)]) {
    for (keys, message, help) in cases {
        expect_one(&format!("{LISTENER}{ROUTE}{CLUSTER}{keys}\n"), message, help);
    }
}

#[test]
fn clusters_refuse_what_has_no_meaning() {
    expect_in_cluster(&[
        (
            "balanse = 1",
            "unknown key `balanse` in `cluster.api`",
            "did you mean `balance`?",
        ),
        ("balance = \"random\"", "`balance` cannot be", "`round-robin`"),
        ("[cluster.\"a b\"]\nendpoints = [\"a:1\"]", "is not a name", "one word"),
        ("[cluster.empty]", "no endpoints", "endpoints = ["),
        ("[cluster.empty]\nendpoints = []", "no endpoints", "endpoints = ["),
        (
            "[cluster.b]\nendpoints = [\"a\"]",
            "not the address of an endpoint",
            "\"a:80\"",
        ),
        ("[cluster.b]\nendpoints = [{ weight = 2 }]", "no address", "address ="),
        (
            "[cluster.b]\nendpoints = [{ address = \"a:1\", weight = 0 }]",
            "out of range",
            "from 1 to 1000",
        ),
        (
            "[cluster.b]\nendpoints = [\"a:1\", \"A:1\"]",
            "a:1 is there twice",
            "weight = 2",
        ),
        ("tcp_keepalive = { count = 0 }", "out of range", "from 1 to 127"),
        ("[cluster.api.health]\nprobe = {}", "what to ask", "/healthz"),
        (
            "[cluster.api.health]\nprobe = { path = \"healthz\" }",
            "not a path to ask for",
            "/healthz",
        ),
        (
            "[cluster.api.health]\nprobe = { tcp = true, path = \"/\" }",
            "only opens a connection",
            "one of the two",
        ),
        (
            "[cluster.api.health]\nprobe = { path = \"/\", statuses = \"2xx\" }",
            "no range of statuses",
            "200-299",
        ),
        (
            "[cluster.api.health]\nprobe = { path = \"/\", interval = \"0s\" }",
            "must not be zero",
            "5s",
        ),
        (
            "[cluster.api.health]\nprobe = { path = \"/\", rise = 0 }",
            "out of range",
            "from 1",
        ),
        ("[cluster.api.timeouts]\nconnect = \"0s\"", "must not be zero", "2s"),
        ("[cluster.api.timeouts]\nfirst_byte = \"0s\"", "must not be zero", "1h"),
        ("[cluster.api.timeouts]\ntunnel_idle = \"0s\"", "must not be zero", "1h"),
        (
            "[cluster.api.retry]\nmax_replay_body = \"1GiB\"",
            "out of range",
            "bytes",
        ),
    ]);
    expect_one(
        &format!("{LISTENER}{ROUTE}[cluster]\napi = \"10.0.0.1:80\"\n"),
        "`api` must be a table",
        "[cluster.api]",
    );
}

#[test]
fn pools_refuse_what_has_no_meaning() {
    expect_in_cluster(&[
        (
            "[cluster.api.pool]\nidle_timeout = \"0s\"",
            "must not be zero",
            "max_idle = 0",
        ),
        ("[cluster.api.pool]\nmax_connections = 0", "out of range", "from 1"),
        (
            "[cluster.api.pool]\nmax_connections = 8\nmax_idle = 9",
            "more than `max_connections`",
            "at most 8",
        ),
        (
            "[cluster.api.pool]\nwait = { timeout = \"0s\" }",
            "must not be zero",
            "queue = 0",
        ),
        (
            "[cluster.api.pool]\nidle_timeout = \"lern\"",
            "`idle_timeout` cannot be \"lern\"",
            "did you mean `learn`?",
        ),
        ("[cluster.api.pool]\nidle_timeout = 4", "must be a duration", "\"4s\""),
        (
            "[cluster.api.pool]\nmax_idle = 4\nmin_idle = 5",
            "`min_idle` is more than `max_idle`, which is 4",
            "at most 4",
        ),
        (
            "[cluster.api.pool]\nmax_connections = 8\nmin_idle = 9",
            "`min_idle` is more than `max_idle`, which is 8",
            "larger `max_idle`",
        ),
        (
            "[cluster.api.pool]\nmin_idle = 1\nmax_idle = 0",
            "`max_idle = 0` does not allow",
            "leave it out",
        ),
        ("[cluster.api.pool]\nmin_idle = -1", "out of range", "from 0"),
        (
            "[cluster.api.pool]\norder = \"newest_first\"",
            "`order` cannot be \"newest_first\"",
            "did you mean `newest-first`?",
        ),
        (
            "[cluster.api.pool]\norder = \"lifo\"",
            "`order` cannot be",
            "`oldest-first`",
        ),
        (
            "[cluster.api.pool]\nclose = \"fin-no-timewait\"",
            "`close` cannot be",
            "did you mean `fin-no-time-wait`?",
        ),
        (
            "[cluster.api.pool]\nclose = \"linger\"",
            "`close` cannot be",
            "`ask-endpoint`",
        ),
        (
            "[cluster.api.pool]\nreuse = \"any\"",
            "`reuse` must be a table",
            "reuse = {",
        ),
        (
            "[cluster.api.pool]\nreuse = { writes_if_idle_under = \"anny\" }",
            "cannot be \"anny\"",
            "did you mean `any`?",
        ),
        (
            "[cluster.api.pool]\nreuse = { writes_if_idle_under = \"soon\" }",
            "not a duration",
            "\"4s\"",
        ),
        (
            "[cluster.api.pool]\nreuse = { writes = \"1s\" }",
            "unknown key `writes` in `cluster.api.pool.reuse`",
            "writes_if_idle_under",
        ),
        (
            "[cluster.api.retry]\nidempotency_key = \"on\"",
            "true or false",
            "without quotes",
        ),
    ]);
}

#[test]
fn all_contradictions_of_a_pool_are_reported_at_once() {
    let pool = "[cluster.api.pool]\nmax_connections = 8\nmax_idle = 9\nmin_idle = 10\n";
    let problems = problems_of(&format!("{LISTENER}{ROUTE}{CLUSTER}{pool}"));
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [9, 10]);
}

#[test]
fn sources_refuse_what_has_no_meaning() {
    expect_in_cluster(&[
        (
            "[cluster.api.source]\naddresses = [\"10.0.0.1:1\"]",
            "is not a source address",
            "without port",
        ),
        (
            "[cluster.api.source]\naddresses = [\"0.0.0.0\"]",
            "is not a source address",
            "the kernel chooses",
        ),
        (
            "[cluster.api.source]\naddresses = [\"10.0.1.1\", \"10.0.1.1\"]",
            "twice",
            "leave it out",
        ),
        (
            "[cluster.api.source]\naddresses = [\"10.0.1.1\", \"fd00::1\"]",
            "no endpoint can be reached from fd00::1",
            "IPv4",
        ),
        (
            "[cluster.b]\nendpoints = [\"a:1\", \"[::1]:1\"]\n[cluster.b.source]\naddresses = [\"10.0.1.1\"]",
            "no source address leads to [::1]:1",
            "IPv6",
        ),
        (
            "[cluster.api.source]\naddresses = [\"10.9.0.7/24\"]",
            "\"10.9.0.7/24\" has bits behind its prefix",
            "\"10.9.0.0/24\"",
        ),
        (
            "[cluster.api.source]\naddresses = [\"10.9.0.0/24\", \"10.9.0.7\"]",
            "10.9.0.7 lies in 10.9.0.0/24",
            "leave it out",
        ),
        (
            "[cluster.api.source]\naddresses = [\"10.9.0.7\", \"10.9.0.0/24\"]",
            "10.9.0.7, which is there already, lies in 10.9.0.0/24",
            "leave 10.9.0.7 out",
        ),
        (
            "[cluster.api.source]\naddresses = [\"10.9.0.0/24\", \"10.9.0.0/24\"]",
            "10.9.0.0/24 is there twice",
            "leave it out",
        ),
        (
            "[cluster.api.source]\naddresses = [\"fd00:1::/64\"]",
            "no endpoint can be reached from fd00:1::/64",
            "IPv4",
        ),
        (
            "[cluster.api.source]\naddresses = \"10.0.1.1\"",
            "must be an array",
            "[\"10.0.1.1\"",
        ),
        ("[cluster.api.source]\nmax_fill = 0", "out of range", "0.01 to 1"),
        ("[cluster.api.source]\nmax_fill = 1.1", "out of range", "0.01 to 1"),
        ("[cluster.api.source]\nmax_fill = nan", "out of range", "0.01 to 1"),
        (
            "[cluster.api.source]\nmax_fill = \"0.5\"",
            "must be a number",
            "without quotes",
        ),
        (
            "[cluster.api.source]\nmax_fill = \"Auto\"",
            "`max_fill` cannot be \"Auto\"",
            "did you mean `auto`?",
        ),
    ]);
}

#[test]
fn expectations_refuse_what_has_no_meaning() {
    let cases = [
        ("", "no `requests_per_second`", "= 800"),
        (
            "requests_per_second = 0",
            "`requests_per_second` is out of range",
            "above 0",
        ),
        ("requests_per_second = -1", "out of range", "above 0"),
        ("requests_per_second = -0.5", "out of range", "above 0"),
        ("requests_per_second = inf", "out of range", "above 0"),
        ("requests_per_second = nan", "out of range", "above 0"),
        ("requests_per_second = 1000000001", "out of range", "above 0"),
        (
            "requests_per_second = \"800\"",
            "must be a number, not a string",
            "such as 800",
        ),
        (
            "requests_per_second = 1, response_time = \"0s\"",
            "must not be zero",
            "\"5ms\"",
        ),
        (
            "requests_per_second = 1, response_time = 100",
            "must be a duration",
            "\"100s\"",
        ),
        (
            "requests_per_second = 1, endpoint_idle_timeout = \"0s\"",
            "must not be zero",
            "\"75s\"",
        ),
        (
            "requests_per_second = 1, responce_time = \"1s\"",
            "unknown key",
            "did you mean `response_time`?",
        ),
    ];
    for (keys, message, help) in cases {
        expect_in_cluster(&[(&format!("expect = {{ {keys} }}"), message, help)]);
    }
}

#[test]
fn tls_to_endpoints_is_refused_where_it_could_not_work() {
    expect_in_cluster(&[
        (
            "tls = { verify = \"some\" }",
            "`verify` cannot be \"some\"",
            "`full`, `none`",
        ),
        (
            "tls = { verify = \"none\", roots = \"webpki\" }",
            "`roots` has no meaning",
            "verify = \"full\"",
        ),
        ("tls = { roots = 3 }", "`roots` must be", "\"platform\""),
        (
            "tls = { server_name = \"*.example\" }",
            "\"*.example\" is not a server name",
            "api.example",
        ),
        (
            "tls = { server_name = \"api.example:443\" }",
            "is not a server name",
            "without a port",
        ),
        ("tls = { min_version = \"1.1\" }", "`min_version` cannot be", "`1.2`"),
        ("tls = { server = \"a\" }", "unknown key `server`", "server_name"),
        ("tls = true", "`tls` must be a table", "tls"),
        (
            "tls = { certificate = { chain = \"own.pem\" } }",
            "no `key`",
            "private key",
        ),
    ]);
}

#[test]
fn what_cannot_be_spoken_together_is_refused() {
    expect_in_cluster(&[
        ("protocol = \"http3\"", "`protocol` cannot be", "`http1`"),
        (
            "protocol = \"auto\"",
            "an endpoint cannot choose its protocol",
            "tls = {}",
        ),
        (
            "proxy_protocol = \"v2\"\nprotocol = \"http2\"",
            "serves one client",
            "protocol = \"http1\"",
        ),
        ("proxy_protocol = \"v3\"", "`proxy_protocol` cannot be", "`v1`"),
        ("proxy_protocol = true", "`proxy_protocol` must be", "v1"),
    ]);
}
