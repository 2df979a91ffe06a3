//! The admin listener: what scrapers and people see.

use std::collections::HashSet;

use crate::support::{Endpoint, Proxy, eventually};

#[test]
fn every_line_of_the_metrics_page_is_in_the_text_format() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    (0..3).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    let page = proxy.admin_get("/metrics");
    assert!(
        page.field("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")),
        "{:?}",
        page.head
    );
    let mut typed = HashSet::new();
    let text = page.text();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => {
                let words: Vec<&str> = comment.splitn(3, ' ').collect();
                assert!(words.len() == 3 && matches!(words[0], "HELP" | "TYPE"), "{line:?}");
                if words[0] == "TYPE" {
                    assert!(typed.insert(words[1].to_owned()), "{line:?} stands there twice");
                }
            }
            None => check_sample(line, &typed),
        }
    }
}

fn check_sample(line: &str, typed: &HashSet<String>) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?} has no value"));
    assert!(
        value.parse::<f64>().is_ok() || matches!(value, "+Inf" | "NaN"),
        "{line:?}"
    );
    let name = series.split('{').next().expect("split gives at least one part");
    let ours = ["forebay_", "process_"].iter().any(|prefix| name.starts_with(prefix));
    assert!(
        ours && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
        "{line:?}"
    );
    assert!(series.len() == name.len() || series.ends_with('}'), "{line:?}");
    let family = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    assert!(
        typed.contains(name) || typed.contains(family),
        "{line:?} has no TYPE before it"
    );
}

#[test]
fn requests_and_connections_are_counted() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    (0..5).for_each(|_| assert_eq!(client.get("/").status, 200));
    proxy.wait_for_metric("forebay_proxy_responses_total", &["class=\"2xx\""], |total| {
        total == 5.0
    });
    proxy.wait_for_metric("forebay_pool_opened_total", &[], |total| total == 1.0);
}

#[test]
fn the_status_names_listeners_clusters_and_endpoints() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    let text = proxy.status().to_string();
    for word in [
        "\"listeners\"",
        "\"clusters\"",
        "\"public\"",
        "\"main\"",
        &endpoint.address().to_string(),
        &proxy.address().to_string(),
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

#[test]
fn a_proxy_is_alive_and_ready() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    assert_eq!(
        (proxy.admin_get("/healthz").status, proxy.admin_get("/readyz").status),
        (200, 200)
    );
    assert_eq!(endpoint.opened(), 0);
}

#[test]
fn what_the_admin_listener_does_not_know_is_not_forwarded() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    assert_eq!(proxy.admin_get("/unknown").status, 404);
    let posted = crate::support::Client::connect(proxy.admin()).post("/metrics", "x");
    assert!(matches!(posted.status, 404 | 405), "{}", posted.status);
    assert_eq!(endpoint.opened(), 0);
}

#[test]
fn clients_that_leave_are_no_longer_counted() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(3).start();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = proxy.connect();
            assert_eq!(client.get("/").status, 200);
            client
        })
        .collect();
    let count = || proxy.metric("forebay_worker_connections", &[]);
    // The connection of the asker itself may be among them.
    eventually("all are counted", || (20.0..=21.0).contains(&count()));
    drop(clients);
    eventually("none is counted any more", || count() <= 1.0);
}
