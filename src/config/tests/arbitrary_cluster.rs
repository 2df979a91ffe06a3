//! Arbitrary clusters that are valid.

use proptest::{
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    super::*,
    arbitrary::{duration, maybe_zero, tcp_keepalive},
};

fn probe() -> impl Strategy<Value = Probe> {
    let statuses = (200_u16..=599).prop_flat_map(|first| (Just(first), first..=599));
    let host = option::of(Just("api.example".to_owned()));
    let http =
        (select(vec!["/", "/healthz?a=\"b\""]), host, statuses).prop_map(|(path, host, statuses)| ProbeKind::Http {
            path: path.replace('"', "'"),
            host,
            statuses,
        });
    (
        prop_oneof![
            Just(ProbeKind::Tcp),
            select(vec!["", "shop.v1.Orders"]).prop_map(|service| ProbeKind::Grpc {
                service: service.to_owned()
            }),
            http
        ],
        duration(),
        duration(),
        1_u32..=1000,
        1_u32..=1000,
    )
        .prop_map(|(kind, interval, timeout, rise, fall)| Probe {
            kind,
            interval,
            timeout,
            rise,
            fall,
        })
}

fn pool() -> impl Strategy<Value = Pool> {
    let most = 1_000_000_usize;
    // In ascending order: `min_idle`, `max_idle`, `max_connections`.
    let counts = (0..=most, 0..=most, 1..=most).prop_map(|(one, two, three)| {
        let mut counts = [one, two, three];
        counts.sort_unstable();
        counts
    });
    let wait = (duration(), 0_usize..1_000_000).prop_map(|(timeout, queue)| Wait { timeout, queue });
    let idle_timeout = prop_oneof![duration().prop_map(IdleTimeout::After), Just(IdleTimeout::Learn)];
    let times = (idle_timeout, maybe_zero(), option::of(maybe_zero()));
    let order = select(vec![Order::NewestFirst, Order::OldestFirst, Order::Random]);
    let close = select(vec![Close::FinNoTimeWait, Close::Rst, Close::Fin, Close::AskEndpoint]);
    let all = (times, 0_u64..1_000_000_000, counts, wait, order, close).prop_map(
        |(times, max_requests, [min_idle, max_idle, max_connections], wait, order, close)| {
            let (idle_timeout, max_lifetime, writes_if_idle_under) = times;
            Pool {
                idle_timeout,
                max_lifetime,
                max_requests,
                max_idle,
                min_idle,
                max_connections,
                wait,
                order,
                close,
                reuse: Reuse { writes_if_idle_under },
            }
        },
    );
    prop_oneof![Just(Pool::default()), all]
}

fn expect() -> impl Strategy<Value = Expect> {
    let rate = prop_oneof![
        1e-9..1e9,
        (1_u32..1_000_000).prop_map(f64::from),
        Just(f64::MIN_POSITIVE)
    ];
    (rate, duration(), option::of(duration())).prop_map(|(requests_per_second, response_time, idle)| Expect {
        requests_per_second,
        response_time,
        endpoint_idle_timeout: idle,
    })
}

/// Each source address has an endpoint of its family, and the other way round, where any is wanted.
fn source(endpoints: &[Endpoint], wanted: bool) -> impl Strategy<Value = Source> + use<> {
    let networks = |endpoint: &Endpoint| match endpoint.ip() {
        Some(ip) if ip.is_ipv6() => ["fd00:1::1", "fd00:2::/64"],
        _ => ["10.0.0.1", "10.9.0.0/24"],
    };
    let addresses = endpoints
        .iter()
        .filter(|endpoint| wanted && endpoint.ip().is_some())
        .flat_map(networks)
        .map(|text| text.parse().unwrap())
        .collect();
    option::of(0.01..=1.0).prop_map(move |max_fill| Source {
        addresses: Vec::clone(&addresses),
        max_fill,
    })
}

#[derive(Debug, Clone)]
struct Spoken {
    protocol: Protocol,
    tls: Option<UpstreamTls>,
    http2: UpstreamHttp2,
    proxy_header: Option<ProxyHeader>,
}

fn upstream_tls() -> impl Strategy<Value = UpstreamTls> {
    let certificate = Certificate {
        chain: "own.pem".into(),
        key: "own.key".into(),
    };
    let verified = prop_oneof![
        Just((Verify::None, Roots::Platform)),
        select(vec![Roots::Platform, Roots::Webpki, Roots::File("ca.pem".into())])
            .prop_map(|roots| (Verify::Full, roots)),
    ];
    let names = vec![
        ServerName::Endpoint,
        ServerName::Request,
        ServerName::Fixed("api.example".to_owned()),
    ];
    let versions = select(vec![TlsVersion::Tls12, TlsVersion::Tls13]);
    (verified, select(names), option::of(Just(certificate)), versions).prop_map(
        |((verify, roots), server_name, certificate, min_version)| UpstreamTls {
            verify,
            roots,
            server_name,
            certificate,
            min_version,
        },
    )
}

fn spoken() -> impl Strategy<Value = Spoken> {
    let window = 65_535_u32..=(1 << 31) - 1;
    let http2 = (1_u32..=1_000_000, window.clone(), window, maybe_zero(), duration()).prop_map(
        |(streams, stream_window, connection_window, ping_interval, ping_timeout)| UpstreamHttp2 {
            streams,
            stream_window,
            connection_window,
            ping_interval,
            ping_timeout,
        },
    );
    let protocols = select(vec![Protocol::Http1, Protocol::Http2, Protocol::Auto]);
    let headers = select(vec![None, Some(ProxyHeader::V1), Some(ProxyHeader::V2)]);
    (protocols, option::of(upstream_tls()), http2, headers).prop_map(|(protocol, tls, http2, proxy_header)| Spoken {
        protocol: if tls.is_none() && protocol == Protocol::Auto {
            Protocol::Http1
        } else {
            protocol
        },
        proxy_header: proxy_header.filter(|_| protocol == Protocol::Http1),
        tls,
        http2,
    })
}

pub(super) fn cluster() -> impl Strategy<Value = Cluster> {
    let known = ["10.0.0.1:80", "a.example:80", "[fd00::1]:8080"].map(|text| text.parse::<Endpoint>().unwrap());
    let endpoints = (subsequence(known.to_vec(), 1..=3), 1_u32..=1000).prop_map(|(mut endpoints, weight)| {
        endpoints[0].weight = weight;
        endpoints
    });
    let timeouts = (duration(), duration(), duration(), maybe_zero(), duration()).prop_map(
        |(connect, first_byte, between_bytes, request, tunnel_idle)| ClusterTimeouts {
            connect,
            first_byte,
            between_bytes,
            request,
            tunnel_idle,
        },
    );
    let retry = (0_u32..=100, 0_usize..=64 << 20, any::<bool>()).prop_map(
        |(connect_attempts, max_replay_body, idempotency_key)| Retry {
            connect_attempts,
            max_replay_body,
            idempotency_key,
        },
    );
    let balance = select(vec![Balance::RoundRobin, Balance::LeastLoaded]);
    let tcp = (tcp_keepalive(), maybe_zero());
    let with_source = (endpoints, any::<bool>()).prop_flat_map(|(endpoints, wanted)| {
        let source = source(&endpoints, wanted);
        (Just(endpoints), source)
    });
    let optional = (option::of(probe()), option::of(expect()), spoken());
    (with_source, balance, pool(), optional, timeouts, tcp, retry).prop_map(
        |(
            (endpoints, source),
            balance,
            pool,
            (probe, expect, spoken),
            timeouts,
            (tcp_keepalive, tcp_user_timeout),
            retry,
        )| {
            Cluster {
                endpoints,
                balance,
                pool,
                source,
                probe,
                timeouts,
                protocol: spoken.protocol,
                tls: spoken.tls,
                http2: spoken.http2,
                proxy_header: spoken.proxy_header,
                tcp_keepalive,
                tcp_user_timeout,
                retry,
                expect,
            }
        },
    )
}
