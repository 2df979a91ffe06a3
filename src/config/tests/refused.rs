//! What is refused, where, and with which advice.

use super::{
    super::parse,
    problems::{CLUSTER, LISTENER, ROUTE, expect_one},
};

fn expect_in_section(cases: &[(&str, &str, &str)]) {
    for (section, message, help) in cases {
        expect_one(&format!("{section}\n{LISTENER}{ROUTE}{CLUSTER}"), message, help);
    }
}

fn expect_in_listener(cases: &[(&str, &str, &str)]) {
    for (keys, message, help) in cases {
        expect_one(&format!("{LISTENER}{keys}\n{ROUTE}{CLUSTER}"), message, help);
    }
}

#[test]
fn sections_refuse_what_has_no_meaning() {
    expect_in_section(&[
        ("[proces]", "unknown key `proces`", "did you mean `process`?"),
        ("process = 1", "`process` must be a table", "[process]"),
        ("[process]\nworkers = \"many\"", "`workers`", "\"auto\""),
        ("[process]\nworkers = 0", "`workers` is out of range", "from 1"),
        ("[process]\ndrain_timeout = 30", "must be a duration", "\"30s\""),
        ("[process]\ndrain_timeout = \"30\"", "is not a duration", "\"30s\""),
        ("[process]\nwatch = \"yes\"", "must be true or false", "without quotes"),
        ("[admin]\naddress = \"9900\"", "is not an address", "\":9900\""),
        (
            "[admin]\naddress = \"127.0.0.1:8080\"",
            "the admin listener has the same address",
            "off",
        ),
        (
            "[log]\nlevel = \"warning\"",
            "`level` cannot be \"warning\"",
            "did you mean `warn`?",
        ),
        (
            "[access_log]\noutput = \"stdot\"",
            "\"stdot\"",
            "did you mean `stdout`?",
        ),
        (
            "[access_log]\nformat = \"{statsu}\"",
            "unknown field",
            "did you mean `status`?",
        ),
        ("[access_log]\nformat = \"jsn\"", "no field", "\"json\""),
        (
            "[access_log]\nformat = \"{path}\\n\"",
            "control character",
            "leave it out",
        ),
        (
            "[forwarding]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "bits behind its prefix",
            "\"10.0.0.0/8\"",
        ),
        (
            "[forwarding]\nvia = \"my proxy\"",
            "cannot stand in `Via`",
            "write a name",
        ),
        (
            "[keep_alive]\nidle_timeout = \"0s\"",
            "must not be zero",
            "max_requests = 1",
        ),
        ("[keep_alive]\nmax_age_jitter = 1.5", "out of range", "0 to 1"),
        (
            "[keep_alive]\nunder_pressure = \"shed_idle\"",
            "cannot be",
            "did you mean `shed-idle`?",
        ),
        (
            "[keep_alive]\ntcp_keepalive = { idle = \"500ms\" }",
            "cannot wait for 500ms",
            "whole seconds",
        ),
        (
            "[keep_alive]\ntcp_keepalive = { interval = \"0s\" }",
            "cannot wait for 0s",
            "\"1s\"",
        ),
        (
            "[keep_alive]\ntcp_keepalive = { count = 128 }",
            "out of range",
            "from 1 to 127",
        ),
        (
            "[keep_alive]\ntcp_user_timeout = \"25d\"",
            "no such long time",
            "\"24d\"",
        ),
        ("[timeouts]\nheader_read = \"0s\"", "must not be zero", "\"1h\""),
        ("[limits]\nmax_header_size = \"4KiB\"", "out of range", "8192"),
        ("[limits]\nmax_uri_size = \"64KiB\"", "out of range", "65534"),
        ("[http2]\nconnection_window = 1000", "out of range", "65535"),
        ("[http2]\nmax_concurrent_streams = 0", "out of range", "from 1"),
        ("[http2]\nmax_resets = 0", "out of range", "from 1"),
        ("[http2]\nmax_control_frames = 0", "out of range", "from 1"),
    ]);
}

#[test]
fn listeners_refuse_what_has_no_meaning() {
    expect_in_listener(&[
        (
            "adress = 1",
            "unknown key `adress` in `listener`",
            "did you mean `address`?",
        ),
        ("name = \"a b\"", "is not a name", "one word"),
        (
            "expect = { client_idle_timeout = \"0s\" }",
            "`client_idle_timeout` must not be zero",
            "60s",
        ),
        (
            "expect = { idle_timeout = \"60s\" }",
            "unknown key `idle_timeout` in `listener.expect`",
            "client_idle_timeout",
        ),
        ("max_connections = 0", "out of range", "from 1"),
        ("tls = {}", "TLS needs a certificate", "certificates = [{"),
        (
            "tls = { certificates = [] }",
            "TLS needs a certificate",
            "certificates = [{",
        ),
        (
            "tls = { certificates = [{ chain = \"a\" }] }",
            "no `key`",
            "private key",
        ),
        (
            "tls = { certificates = [{ chain = \"a\", key = \"b\" }], min_version = \"1.1\" }",
            "min_version",
            "1.2",
        ),
        ("redirect_to_https = 0", "out of range", "from 1 to 65535"),
        (
            "proxy_protocol = {}",
            "has to be believed to somebody",
            "from = [\"10.0.0.0/8\"]",
        ),
        (
            "proxy_protocol = { from = [] }",
            "has to be believed to somebody",
            "from = [\"10.0.0.0/8\"]",
        ),
        (
            "proxy_protocol = { from = [\"10.0.0.1/8\"] }",
            "bits behind its prefix",
            "\"10.0.0.0/8\"",
        ),
        (
            "proxy_protocol = { mode = \"require\", from = [\"10.0.0.0/8\"] }",
            "`mode` cannot be \"require\"",
            "did you mean `required`?",
        ),
        (
            "proxy_protocol = true",
            "`proxy_protocol` must be a table",
            "proxy_protocol",
        ),
        (
            "keep_alive = { idle_timeout = \"0s\" }",
            "must not be zero",
            "max_requests",
        ),
        (
            "http2 = { streams = 1 }",
            "unknown key `streams` in `listener.http2`",
            "max_concurrent_streams",
        ),
        (LISTENER, "the listener of line 1 has the same address", "of its own"),
        (
            "name = \"a\"\n[[listener]]\nname = \"a\"\naddress = \":1\"",
            "the listener of line 1 has the same name",
            "name",
        ),
        ("[[listener]]\nname = \"b\"", "no address", "address = \":8080\""),
    ]);
    expect_one(
        &format!("{ROUTE}{CLUSTER}"),
        "no `[[listener]]`",
        "[[listener]]\naddress = \":8080\"",
    );
    expect_one(
        &format!("{}{ROUTE}{CLUSTER}", LISTENER.replace("[[listener]]", "[listener]")),
        "`listener` must be an array",
        "[[listener]]",
    );
}

#[test]
fn tls_refuses_what_has_no_meaning() {
    let pair = "certificates = [{ chain = \"a\", key = \"b\" }]";
    let clients = "mode = \"required\", ca = \"c\"";
    let cases = [
        ("alpn = [\"h3\"]", "`alpn` cannot have \"h3\"", "h2"),
        ("alpn = [\"http1.1\"]", "`alpn` cannot have", "did you mean `http/1.1`?"),
        ("alpn = []", "`alpn` has no protocol", "leave it out"),
        ("alpn = [\"h2\", \"h2\"]", "\"h2\" is there twice", "once"),
        ("alpn = \"h2\"", "`alpn` must be an array", "[\"h2\""),
        (
            "ticket_keys = 1",
            "`ticket_keys` must be a string",
            "the keys of session tickets",
        ),
        ("hsts = { max_age = \"500ms\" }", "counted in seconds", "365d"),
        (
            "hsts = { max_age = \"3651d\" }",
            "more than ten years",
            "at most \"3650d\"",
        ),
        ("hsts = { max_age = 63072000 }", "`max_age` must be a duration", "unit"),
        (
            "hsts = { max_age = \"2d\", preload = true }",
            "preloaded hosts",
            "include_subdomains = true",
        ),
        ("hsts = true", "`hsts` must be a table", "hsts"),
        (
            "client_certificates = { ca = \"c\" }",
            "whether clients must have",
            "mode = \"required\"",
        ),
        ("client_certificates = { mode = \"required\" }", "no `ca`", "as PEM"),
        (
            "client_certificates = { mode = \"on\", ca = \"c\" }",
            "`mode` cannot be \"on\"",
            "required",
        ),
        (
            "client_certificates = {CLIENTS, subject_field = \"a b\" }",
            "not the name of a header field",
            "x-client",
        ),
        (
            "client_certificates = {CLIENTS, subject_field = \"Host\" }",
            "already means something else",
            "its own",
        ),
        (
            "client_certificates = {CLIENTS, subject_field = \"x-a\", sans_field = \"X_A\" }",
            "the name of two fields",
            "of its own",
        ),
        (
            "client_certificates = {CLIENTS, subjects = \"x\" }",
            "unknown key `subjects`",
            "subject_field",
        ),
    ];
    for (keys, message, help) in cases {
        let keys = keys.replace("CLIENTS", clients);
        expect_in_listener(&[(&format!("tls = {{ {pair}, {keys} }}"), message, help)]);
    }
    expect_in_listener(&[(
        &format!("tls = {{ {pair} }}\nredirect_to_https = 443"),
        "has come by https already",
        "without `tls`",
    )]);
}

#[test]
fn a_listener_that_only_redirects_needs_no_route() {
    let redirects = format!("{LISTENER}redirect_to_https = 443\n");
    assert_eq!(parse(&redirects, "f").unwrap().routes, []);
    let other = "[[listener]]\naddress = \":1\"\n";
    expect_one(&format!("{redirects}{other}"), "no `[[route]]`", "[[route]]");
}

#[test]
fn listeners_on_port_0_do_not_clash() {
    let listener = |name: &str| format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
    let text = format!("{}{}{ROUTE}{CLUSTER}", listener("a"), listener("b"));
    assert_eq!(parse(&text, "f").unwrap().listeners.len(), 2);
}
