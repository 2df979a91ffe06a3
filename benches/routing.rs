//! What it costs to find the route of a request among 10, 1000 and 10,000 routes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forebay::{
    config::{HostPattern, PathPattern},
    routing::{Conditions, Request, Router, Rule},
};
use http::{HeaderMap, Method};

/// One default route, and beside it names with ten paths each; every tenth name is a suffix.
fn router(routes: usize) -> Router<usize> {
    let default = Rule {
        host: HostPattern::Any,
        path: path(0),
        conditions: Conditions::default(),
    };
    let named = (1..routes).map(|number| {
        let name = format!("tenant-{}.example.org", number / 10);
        let host = match number / 10 % 10 {
            9 => HostPattern::Suffix(format!(".{name}")),
            _ => HostPattern::Exact(name),
        };
        Rule {
            host,
            path: path(number % 10),
            conditions: Conditions::default(),
        }
    });
    Router::new(std::iter::once(default).chain(named).zip(0..))
}

fn path(number: usize) -> PathPattern {
    match number {
        0 => PathPattern::Prefix("/".to_owned()),
        _ => PathPattern::Prefix(format!("/api/service-{number}/v1/")),
    }
}

fn find(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let mut group = criterion.benchmark_group("routing");
    for routes in [1, 10, 1000, 10_000] {
        let router = router(routes);
        let middle = format!("tenant-{}.example.org", routes / 20);
        let mixed_case = format!("Tenant-{}.Example.ORG", routes / 20);
        let suffix = format!("www.tenant-{}.example.org", routes / 200 * 10 + 9);
        let slashes = "/".repeat(8000);
        for (name, host, path) in [
            ("exact host", middle.as_str(), "/api/service-5/v1/things/12345"),
            ("mixed case", mixed_case.as_str(), "/api/service-5/v1/things/12345"),
            ("suffix", suffix.as_str(), "/api/service-5/v1/things/12345"),
            ("unknown host", "unknown.example.net", "/index.html"),
            ("8000 slashes", middle.as_str(), slashes.as_str()),
        ] {
            let request = Request {
                host,
                path,
                method: &Method::GET,
                headers: &headers,
            };
            assert!(router.find(&request).is_some(), "the default route takes everything");
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter(|| black_box(&router).find(black_box(&request)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
