//! The rules as a table, and the router against a search that reads every route.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Request, Router, Rule, rule::Conditions};
use crate::config::{HeaderCondition, HeaderTest, HostPattern, PathPattern};

/// `*` is any host, `*.` begins a suffix, `=` before a path makes it exact.
fn rule(host: &str, path: &str) -> Rule {
    let host = match host.strip_prefix('*') {
        Some("") => HostPattern::Any,
        Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
        None => HostPattern::Exact(host.to_owned()),
    };
    let path = match path.strip_prefix('=') {
        Some(path) => PathPattern::Exact(path.to_owned()),
        None => PathPattern::Prefix(path.to_owned()),
    };
    Rule {
        host,
        path,
        conditions: Conditions::default(),
    }
}

fn with_header(mut rule: Rule, name: &'static str, test: HeaderTest) -> Rule {
    rule.conditions.headers.push(HeaderCondition {
        name: HeaderName::from_static(name),
        test,
    });
    rule
}

fn with_methods(mut rule: Rule, methods: &[Method]) -> Rule {
    rule.conditions.methods = methods.to_vec();
    rule
}

fn numbered(rules: &[Rule]) -> Router<usize> {
    Router::new(rules.iter().cloned().enumerate().map(|(number, rule)| (rule, number)))
}

fn get(router: &Router<usize>, host: &str, path: &str) -> Option<usize> {
    router
        .find(&Request {
            host,
            path,
            method: &Method::GET,
            headers: &HeaderMap::new(),
        })
        .copied()
}

#[test]
fn a_request_takes_the_most_specific_route() {
    let router = Router::new(
        [
            ("*", "/"),
            ("*", "/api/"),
            ("*", "=/api"),
            ("*", "/api/v1"),
            ("*.example.org", "/"),
            ("*.shop.example.org", "/cart"),
            ("example.org", "/"),
            ("example.org", "=/"),
            ("bare.example.org", "/only"),
        ]
        .map(|(host, path)| (rule(host, path), format!("{host} {path}"))),
    );
    for (host, path, expected) in [
        ("other.net", "/", "* /"),
        ("other.net", "/x/y", "* /"),
        ("other.net", "/apix", "* /"),
        ("other.net", "/api", "* =/api"),
        ("other.net", "/api/", "* /api/"),
        ("other.net", "/api/v2", "* /api/"),
        ("other.net", "/api/v1", "* /api/v1"),
        ("other.net", "/api/v1/", "* /api/v1"),
        ("other.net", "/api/v10", "* /api/"),
        ("other.net", "/API", "* /"),
        ("other.net", "/api//v1", "* /api/"),
        ("other.net", "/\u{e4}\u{f6}", "* /"),
        ("", "/", "* /"),
        (".", "/", "* /"),
        ("example.org", "/", "example.org =/"),
        ("example.org", "/a", "example.org /"),
        ("example.org", "/api", "example.org /"),
        ("EXAMPLE.org", "/", "example.org =/"),
        ("example.org.", "/", "example.org =/"),
        ("example.org..", "/", "* /"),
        ("notexample.org", "/", "* /"),
        (".example.org", "/", "* /"),
        ("a.example.org", "/api/v1", "*.example.org /"),
        ("a.b.Example.Org.", "/", "*.example.org /"),
        ("a.shop.example.org", "/cart/1", "*.shop.example.org /cart"),
        ("a.shop.example.org", "/carts", "*.example.org /"),
        ("shop.example.org", "/cart", "*.example.org /"),
        ("bare.example.org", "/only/this", "bare.example.org /only"),
        ("bare.example.org", "/else", "*.example.org /"),
        ("[::1]", "/", "* /"),
    ] {
        let found = router.find(&Request {
            host,
            path,
            method: &Method::GET,
            headers: &HeaderMap::new(),
        });
        assert_eq!(found.map(String::as_str), Some(expected), "{host} {path}");
    }
}

#[test]
fn a_request_that_nothing_matches_takes_no_route() {
    let router = numbered(&[
        rule("example.org", "/a"),
        rule("*.example.org", "/a"),
        rule("*", "/a/b"),
    ]);
    assert_eq!(get(&router, "example.org", "/b"), None);
    assert_eq!(get(&router, "other.net", "/a"), None);
    assert_eq!(get(&router, "other.net", "/a/b"), Some(2));
    assert_eq!(get(&Router::new([]), "example.org", "/"), None);
}

#[test]
fn the_asterisk_of_options_is_not_below_the_root() {
    let router = numbered(&[rule("*", "/"), rule("*", "=*")]);
    assert_eq!(get(&router, "example.org", "*"), Some(1));
    assert_eq!(get(&numbered(&[rule("*", "/")]), "example.org", "*"), None);
}

#[test]
fn a_host_too_long_for_a_name_takes_only_routes_for_any_host() {
    let long = format!("{}.example.org", "A".repeat(300));
    assert_eq!(
        get(&numbered(&[rule("*.example.org", "/"), rule("*", "/")]), &long, "/"),
        Some(1)
    );
    let longest = format!("{}.example.org", "A".repeat(243));
    assert_eq!(longest.len(), 255);
    assert_eq!(
        get(&numbered(&[rule("*.example.org", "/"), rule("*", "/")]), &longest, "/"),
        Some(0)
    );
}

#[test]
fn more_conditions_come_first_then_the_order_of_the_file() {
    let value = HeaderValue::from_static("yes");
    let router = numbered(&[
        rule("*", "/"),
        rule("*", "/"),
        with_methods(rule("*", "/"), &[Method::GET, Method::PUT]),
        with_header(rule("*", "/"), "x-old", HeaderTest::Absent),
        with_header(
            with_methods(rule("*", "/"), &[Method::GET]),
            "x-new",
            HeaderTest::Equals(value.clone()),
        ),
        with_header(
            with_methods(rule("*", "/"), &[Method::GET]),
            "x-new",
            HeaderTest::Present,
        ),
    ]);
    let find = |method: &Method, fields: &[(&'static str, &'static str)]| {
        let headers: HeaderMap = fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        router
            .find(&Request {
                host: "a",
                path: "/x",
                method,
                headers: &headers,
            })
            .copied()
    };
    assert_eq!(find(&Method::GET, &[("x-new", "no"), ("x-new", "yes")]), Some(4));
    assert_eq!(find(&Method::GET, &[("x-new", "no")]), Some(5));
    assert_eq!(find(&Method::GET, &[]), Some(2));
    assert_eq!(find(&Method::POST, &[]), Some(3));
    assert_eq!(find(&Method::POST, &[("x-old", "")]), Some(0));
    assert_eq!(find(&Method::PUT, &[("x-old", ""), ("x-new", "yes")]), Some(2));
}

#[test]
fn a_route_whose_conditions_fail_gives_way_to_a_shorter_path() {
    let router = numbered(&[rule("*", "/"), with_methods(rule("*", "/a"), &[Method::POST])]);
    assert_eq!(get(&router, "a", "/a/b"), Some(0));
}

/// The documented order, by looking at every route.
fn search(rules: &[Rule], request: &Request<'_>) -> Option<usize> {
    let host = request.host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let rank = |number: &usize| {
        let rule = &rules[*number];
        let host_rank = match &rule.host {
            HostPattern::Any => 0,
            HostPattern::Suffix(suffix) => suffix.len(),
            HostPattern::Exact(_) => usize::MAX,
        };
        let path_rank = match &rule.path {
            PathPattern::Prefix(prefix) => prefix.trim_end_matches('/').len(),
            PathPattern::Exact(_) => usize::MAX,
        };
        let conditions = usize::from(!rule.conditions.methods.is_empty()) + rule.conditions.headers.len();
        (host_rank, path_rank, conditions, Reverse(*number))
    };
    let matches = |rule: &Rule| {
        (match &rule.host {
            HostPattern::Any => true,
            HostPattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            HostPattern::Exact(name) => host == name,
        }) && (match &rule.path {
            PathPattern::Exact(path) => request.path == path,
            PathPattern::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                request.path == prefix || request.path.starts_with(&format!("{prefix}/"))
            }
        }) && rule.conditions.hold_for(request)
    };
    (0..rules.len())
        .filter(|&number| matches(&rules[number]))
        .max_by_key(rank)
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let labels = vec(select(vec!["a", "b", "org"]), 1..4).prop_map(|labels| labels.join("."));
    let host = (labels, 0..3).prop_map(|(name, kind)| match kind {
        0 => "*".to_owned(),
        1 => format!("*.{name}"),
        _ => name,
    });
    let path = (any_path(), any::<bool>()).prop_map(|(path, exact)| if exact { format!("={path}") } else { path });
    let methods = select(vec![vec![], vec![Method::GET], vec![Method::POST, Method::GET]]);
    let tests = vec(select(vec![HeaderTest::Present, HeaderTest::Absent]), 0..2);
    (host, path, methods, tests).prop_map(|(host, path, methods, tests)| {
        tests
            .into_iter()
            .fold(with_methods(rule(&host, &path), &methods), |rule, test| {
                with_header(rule, "x-test", test)
            })
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let segments = vec(select(vec!["a", "b", "aa", "\u{e4}"]), 0..4);
    (segments, any::<bool>()).prop_map(|(segments, slash)| {
        let path = format!("/{}", segments.join("/"));
        if slash && path != "/" { path + "/" } else { path }
    })
}

proptest! {
    #[test]
    fn the_router_finds_what_a_full_search_finds(
        rules in vec(any_rule(), 0..40),
        requests in vec((vec(select(vec!["a", "B", "b", "org"]), 1..5), any::<bool>(), any_path(), 0..3_usize, any::<bool>()), 20),
    ) {
        let router = numbered(&rules);
        for (labels, dot, path, method, marked) in requests {
            let host = labels.join(".") + if dot { "." } else { "" };
            let method = [Method::GET, Method::POST, Method::PUT][method].clone();
            let mut headers = HeaderMap::new();
            if marked {
                headers.insert("x-test", HeaderValue::from_static("1"));
            }
            let request = Request { host: &host, path: &path, method: &method, headers: &headers };
            prop_assert_eq!(router.find(&request).copied(), search(&rules, &request), "{:?}", request);
        }
    }
}
