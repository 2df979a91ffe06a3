//! What it costs to rewrite the fields of a request on its way to the endpoint, and those of an answer.

use std::{hint::black_box, net::SocketAddr, sync::Arc};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use forebay::{
    config::{self, Forwarding, HeaderEdits},
    downstream::{Client, Incoming, Listener},
    proxy::Head,
    routing,
    snapshot::{Action, ForwardTo, Snapshot},
    upstream::{Encode, Endpoint, Expectation, KeepAlive, Opens, RequestFraming},
};
use http::{HeaderMap, HeaderValue, Method, Request};

const CONFIG: &str = r#"
[[listener]]
name = "public"
address = "127.0.0.1:1"

[[route]]
path = "/edited"
cluster = "shop"
request_headers = { remove = ["cookie"], set = { accept-language = "de" }, add = { x-route = "edited" } }
response_headers = { remove = ["server"], set = { cache-control = "no-store" }, add = { x-served-by = "shop" } }

[[route]]
cluster = "shop"

[cluster.shop]
endpoints = ["127.0.0.1:1"]
"#;

const FIELDS: [(&str, &str); 7] = [
    ("host", "shop.example"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
    ("x-request-id", "7d9f1c0a-5a5e-4a7c-9a51-0b6d4f6e8a11"),
];

fn snapshot() -> Snapshot {
    let config = config::parse(CONFIG, "benches").unwrap_or_else(|problems| panic!("{problems}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let built = runtime
        .expect("a runtime")
        .block_on(Snapshot::build(Arc::new(config), None, 1));
    built.expect("what the config names is there")
}

fn route<'s>(snapshot: &'s Snapshot, path: &str) -> (&'s ForwardTo, &'s Endpoint, &'s HeaderEdits) {
    let request = routing::Request {
        host: "shop.example",
        path,
        method: &Method::GET,
        headers: &HeaderMap::new(),
    };
    let route = snapshot.router.find(&request).expect("one route takes everything");
    let Action::Forward(to) = &route.action else {
        unreachable!("all routes lead to the cluster")
    };
    let (_, endpoint) = snapshot.endpoints().next().expect("the cluster has one");
    (to, endpoint, &route.response_headers)
}

/// With `more` fields beside those of a browser.
fn request(path: &str, more: usize) -> Request<Option<Incoming>> {
    let mut builder = Request::builder().uri(path);
    for (name, value) in FIELDS {
        builder = builder.header(name, value);
    }
    for number in 0..more {
        builder = builder.header(format!("x-field-{number}"), "a value of some length");
    }
    builder.body(None).expect("well formed")
}

fn head<'a>(
    request: &'a mut Request<Option<Incoming>>,
    client: &'a Client,
    forwarding: &'a Forwarding,
    to: &'a ForwardTo,
) -> Head<'a> {
    Head {
        request,
        client,
        forwarding,
        to,
        framing: RequestFraming::None,
        opens: &Opens::Nothing,
        expectation: Expectation::None,
    }
}

fn requests(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let listener = &snapshot.config.listeners[0];
    let client = Client::new(
        SocketAddr::from(([192, 0, 2, 17], 40_000)),
        None,
        Listener::new(listener.name.clone(), listener.address, 1),
        listener,
        None,
    );
    let mut group = criterion.benchmark_group("request fields");
    for (name, path, more) in [
        ("7, no edits", "/", 0),
        ("7, three edits", "/edited", 0),
        ("23, no edits", "/", 16),
        ("71, no edits", "/", 64),
    ] {
        let (to, endpoint, _) = route(&snapshot, path);
        let forwarding = &snapshot.config.forwarding;
        group.bench_function(format!("{name}, to HTTP/1.1"), |bencher| {
            bencher.iter_batched_ref(
                || request(path, more),
                |request| head(request, &client, forwarding, to).http1(black_box(endpoint), KeepAlive::Yes),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("{name}, to HTTP/2"), |bencher| {
            let mut request = request(path, more);
            bencher.iter(|| head(&mut request, &client, forwarding, to).http2(black_box(endpoint)));
        });
    }
    group.finish();
}

fn answers(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let (_, _, edits) = route(&snapshot, "/edited");
    let mut headers = HeaderMap::new();
    for (name, value) in [("server", "nginx"), ("content-type", "text/html"), ("etag", "\"1\"")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    criterion.bench_function("fields of an answer, three edits", |bencher| {
        bencher.iter_batched_ref(
            || headers.clone(),
            |headers| black_box(edits).apply(headers),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, requests, answers);
criterion_main!(benches);
