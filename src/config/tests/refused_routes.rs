//! Which routes are refused, and with which advice.

use super::{
    super::parse,
    problems::{CLUSTER, LISTENER, ROUTE, expect_one},
};

/// The keys are all that the route has.
fn expect_in_route(cases: &[(&str, &str, &str)]) {
    for (keys, message, help) in cases {
        expect_one(&format!("{LISTENER}{CLUSTER}[[route]]\n{keys}\n"), message, help);
    }
}

#[test]
fn routes_lead_to_one_thing() {
    expect_in_route(&[
        ("", "this route leads nowhere", "cluster = \"api\""),
        ("cluster = \"apy\"", "no cluster \"apy\"", "did you mean `api`?"),
        ("cluster = 1", "`cluster` must be a string", "\"api\""),
        (
            "cluster = \"api\"\nredirect = { to = \"/\" }",
            "with `cluster` cannot have `redirect`",
            "leave out one",
        ),
        ("redirect = {}", "the redirect has no target", "to = "),
        (
            "redirect = { to = \"shop.example\" }",
            "no target for a redirect",
            "https://",
        ),
        ("redirect = { to = \"/\", status = 305 }", "305 is no redirect", "308"),
        ("respond = { status = 99 }", "out of range", "200 to 599"),
        (
            "respond = { status = 204, body = \"a\" }",
            "has no body",
            "leave the body out",
        ),
        ("respond = { content_type = \"text\" }", "not a media type", "text/html"),
        (
            "respond = {}\nstrip_prefix = true",
            "this route forwards nothing",
            "leave it out",
        ),
        (
            "respond = {}\nrequest_headers = { remove = [\"a\"] }",
            "no endpoint sees",
            "response_headers",
        ),
        (
            "cluster = \"api\"\npath = \"/a\"\nstrip_prefix = true\nreplace_prefix = \"/b\"",
            "exclude each other",
            "one of the two",
        ),
        (
            "cluster = \"api\"\npath_exact = \"/a\"\nstrip_prefix = true",
            "needs a prefix",
            "write `path`",
        ),
        ("cluster = \"api\"\nhost_header = \"Keep\"", "upper case", "\"keep\""),
        (
            "cluster = \"api\"\nupgrade = \"websocket\"",
            "must be an array",
            "[\"websocket\"]",
        ),
        (
            "cluster = \"api\"\nupgrade = [\"web socket\"]",
            "not the name of a protocol",
            "\"websocket\"",
        ),
        (
            "cluster = \"api\"\nupgrade = [\"H2C\"]",
            "past the routes",
            "leave it out",
        ),
        ("cluster = \"api\"\nupgrade = [\"a\", \"A\"]", "twice", "leave it out"),
        (
            "cluster = \"api\"\nconnect = \"yes\"",
            "must be true or false",
            "without quotes",
        ),
        (
            "respond = {}\nconnect = true",
            "this route forwards nothing",
            "leave it out",
        ),
        (
            "cluster = \"api\"\nhost_header = \"a b\"",
            "is not a host",
            "api.example",
        ),
    ]);
}

#[test]
fn routes_have_conditions_that_a_request_can_meet() {
    expect_in_route(&[
        (
            "cluster = \"api\"\nhost = \"shop.example:80\"",
            "without their port",
            "\"shop.example\"",
        ),
        (
            "cluster = \"api\"\nhost = \"a.*\"",
            "not a host pattern",
            "\"*.example\"",
        ),
        ("cluster = \"api\"\npath = \"a\"", "is not a path", "\"/a\""),
        ("cluster = \"api\"\npath = \"/a?b\"", "is not a path", "query"),
        ("cluster = \"api\"\npath = \"/a/../b\"", "is not a path", "dot segments"),
        ("cluster = \"api\"\npath = \"/a%2Fb\"", "is not a path", "encoded slash"),
        (
            "cluster = \"api\"\npath = \"/a\"\npath_exact = \"/b\"",
            "either a `path` or a `path_exact`",
            "one of the two",
        ),
        ("cluster = \"api\"\nmethods = [\"get\"]", "is not a method", "\"GET\""),
        (
            "cluster = \"api\"\nmethods = \"GET\"",
            "must be an array",
            "[\"GET\", \"HEAD\"]",
        ),
        ("cluster = \"api\"\nmethods = []", "no method", "leave `methods` out"),
        (
            "cluster = \"api\"\nmethods = [\"GET\", \"GET\"]",
            "twice",
            "leave it out",
        ),
        (
            "cluster = \"api\"\nheaders = { \"a b\" = true }",
            "not the name of a header field",
            "letters",
        ),
        (
            "cluster = \"api\"\nheaders = { a = 2 }",
            "`a` must be a string",
            "true if it must be there",
        ),
        ("cluster = \"api\"\nheaders = { a = \" b\" }", "not the value", "spaces"),
        (
            "cluster = \"api\"\nheaders = { a = true, A = true }",
            "twice",
            "lower case",
        ),
        (
            "cluster = \"api\"\nheaders = { Host = \"a\" }",
            "condition of its own",
            "host = ",
        ),
        (
            "cluster = \"api\"\nhsot = \"a\"",
            "unknown key `hsot` in `route`",
            "did you mean `host`?",
        ),
    ]);
}

#[test]
fn routes_do_not_edit_what_belongs_to_the_connection() {
    let names = [
        "connection",
        "Content-Length",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
    ];
    for name in names {
        for head in ["request_headers", "response_headers"] {
            for edit in [
                format!("set = {{ {name} = \"a\" }}"),
                format!("add = {{ {name} = \"a\" }}"),
                format!("remove = [\"{name}\"]"),
            ] {
                let keys = format!("cluster = \"api\"\n{head} = {{ {edit} }}");
                expect_in_route(&[(&keys, "the proxy's own business", "leave it out")]);
            }
        }
    }
    expect_in_route(&[
        (
            "cluster = \"api\"\nrequest_headers = { set = { host = \"a\" } }",
            "`host` is not changed here",
            "host_header",
        ),
        (
            "cluster = \"api\"\nresponse_headers = { set = { a = \"b\\nc\" } }",
            "not the value",
            "line ends",
        ),
        (
            "cluster = \"api\"\nresponse_headers = { add = { a = [1] } }",
            "must be a string",
            "write a text",
        ),
        (
            "cluster = \"api\"\nresponse_headers = { delete = [] }",
            "unknown key `delete`",
            "`remove`",
        ),
    ]);
}

#[test]
fn the_second_of_two_equal_routes_is_refused() {
    let pair = |first: &str, second: &str| format!("{LISTENER}{CLUSTER}{ROUTE}{first}\n{ROUTE}{second}\n");
    for (first, second) in [
        ("", ""),
        ("path = \"/a\"", "path = \"/a/\""),
        ("host = \"A.example\"", "host = \"a.example.\""),
        ("methods = [\"GET\", \"PUT\"]", "methods = [\"PUT\", \"GET\"]"),
        ("headers = { a = true, b = \"c\" }", "headers = { B = \"c\", A = true }"),
    ] {
        expect_one(
            &pair(first, second),
            "the route of line 5 has the same conditions",
            "remove one",
        );
    }
    for (first, second) in [
        ("", "path = \"/a\""),
        ("path_exact = \"/a\"", "path_exact = \"/a/\""),
        ("path_exact = \"/a\"", "path = \"/a\""),
        ("host = \"a.example\"", "host = \"*.a.example\""),
        ("methods = [\"GET\"]", "methods = [\"GET\", \"PUT\"]"),
        ("headers = { a = true }", "headers = { a = false }"),
    ] {
        assert!(parse(&pair(first, second), "f").is_ok(), "{first} {second}");
    }
}

#[test]
fn a_file_without_routes_says_which_one_to_write() {
    expect_one(
        &format!("{LISTENER}{CLUSTER}"),
        "no `[[route]]`",
        "[[route]]\ncluster = \"api\"",
    );
    expect_one(LISTENER, "no `[[route]]`", "[cluster.api]");
    expect_one(&format!("{LISTENER}{ROUTE}"), "no cluster \"api\"", "[cluster.api]");
}
