//! Arbitrary configs that are valid.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{super::*, arbitrary_cluster::cluster};

pub(super) fn duration() -> impl Strategy<Value = Duration> {
    (1_u64..1_000_000_000).prop_map(Duration::from_millis)
}

pub(super) fn maybe_zero() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), duration()]
}

fn networks() -> impl Strategy<Value = Vec<ipnet::IpNet>> {
    let known = ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "::1/128"].map(|network| network.parse().unwrap());
    subsequence(known.to_vec(), 0..=4)
}

pub(super) fn tcp_keepalive() -> impl Strategy<Value = TcpKeepalive> {
    (0_u64..=32_767, 1_u64..=32_767, 1_u32..=127).prop_map(|(idle, interval, count)| TcpKeepalive {
        idle: Duration::from_secs(idle),
        interval: Duration::from_secs(interval),
        count,
    })
}

fn keep_alive() -> impl Strategy<Value = KeepAlive> {
    let times = (duration(), maybe_zero(), 0.0..=1.0, maybe_zero());
    let counts = (0_u64..1_000_000_000, 0_usize..1_000_000_000, networks());
    let pressure = select(vec![UnderPressure::ShedIdle, UnderPressure::Refuse]);
    let all = (times, counts, pressure, tcp_keepalive()).prop_map(|(times, counts, under_pressure, tcp_keepalive)| {
        KeepAlive {
            idle_timeout: times.0,
            max_age: times.1,
            max_age_jitter: times.2,
            tcp_user_timeout: times.3,
            max_requests: counts.0,
            per_client: counts.1,
            per_client_exempt: counts.2,
            under_pressure,
            tcp_keepalive,
        }
    });
    prop_oneof![Just(KeepAlive::default()), all]
}

fn client_timeouts() -> impl Strategy<Value = ClientTimeouts> {
    (duration(), duration(), duration(), duration()).prop_map(
        |(tls_handshake, header_read, body_stall, write_stall)| ClientTimeouts {
            tls_handshake,
            header_read,
            body_stall,
            write_stall,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    (8192_usize..=16 << 20, 1_usize..=24_576, 1_usize..=65_534).prop_map(
        |(max_header_size, max_headers, max_uri_size)| Limits {
            max_header_size,
            max_headers,
            max_uri_size,
        },
    )
}

fn http2() -> impl Strategy<Value = Http2> {
    let largest = (1_u32 << 31) - 1;
    let counts = (1_u32..=1_000_000_000, 1_u32..=1_000_000_000);
    (1..=largest, 1..=largest, 65_535..=largest, counts).prop_map(
        |(max_concurrent_streams, stream_window, connection_window, (max_resets, max_control_frames))| Http2 {
            max_concurrent_streams,
            stream_window,
            connection_window,
            max_resets,
            max_control_frames,
        },
    )
}

fn file() -> impl Strategy<Value = std::path::PathBuf> {
    prop_oneof!["[^\u{0}]{1,9}", "\\PC{1,9}"].prop_map(Into::into)
}

fn server_certificate() -> impl Strategy<Value = ServerCertificate> {
    (file(), file(), option::of(file())).prop_map(|(chain, key, ocsp)| ServerCertificate {
        pair: Certificate { chain, key },
        ocsp,
    })
}

fn proxy_protocol() -> impl Strategy<Value = ProxyProtocol> {
    let mode = select(vec![ProxyMode::Required, ProxyMode::Optional]);
    let network = select(vec!["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]).prop_map(|network| network.parse().unwrap());
    (mode, vec(network, 1..3)).prop_map(|(mode, from)| ProxyProtocol { mode, from })
}

fn client_certificates() -> impl Strategy<Value = ClientCertificates> {
    let mode = select(vec![ClientCertificateMode::Optional, ClientCertificateMode::Required]);
    let names = ["x-a", "x.b", "client-cert", "subject", "x_e"].map(HeaderName::from_static);
    let names = (Just(names), vec(any::<bool>(), 5));
    (mode, file(), option::of(file()), names).prop_map(|(mode, ca, crl, (names, named))| {
        let name = |place: usize| named[place].then(|| names[place].clone());
        ClientCertificates {
            mode,
            ca,
            crl,
            fields: CertificateFields {
                subject: name(0),
                sans: name(1),
                fingerprint: name(2),
                serial: name(3),
                certificate: name(4),
            },
        }
    })
}

fn hsts() -> impl Strategy<Value = Hsts> {
    let year = 365 * 86_400;
    let any_age = (0..=10 * year, any::<bool>()).prop_map(|(seconds, include_subdomains)| Hsts {
        max_age: Duration::from_secs(seconds),
        include_subdomains,
        preload: false,
    });
    let preloaded = Hsts {
        max_age: Duration::from_secs(year),
        include_subdomains: true,
        preload: true,
    };
    prop_oneof![any_age, Just(preloaded)]
}

fn tls() -> impl Strategy<Value = Tls> {
    let version = select(vec![TlsVersion::Tls12, TlsVersion::Tls13]);
    let alpn = subsequence(vec![Alpn::Http2, Alpn::Http11], 1..=2).prop_shuffle();
    let clients = option::of(client_certificates());
    let shown = (vec(server_certificate(), 1..3), version, alpn);
    (shown, clients, option::of(file()), option::of(hsts())).prop_map(
        |((certificates, min_version, alpn), client_certificates, ticket_keys, hsts)| Tls {
            certificates,
            min_version,
            alpn,
            client_certificates,
            ticket_keys,
            hsts,
        },
    )
}

/// Listeners with ports and, where they have a name of their own, names after their place.
fn listeners() -> impl Strategy<Value = Vec<Listener>> {
    let sections = (keep_alive(), client_timeouts(), limits(), http2());
    let one = (
        any::<std::net::IpAddr>(),
        any::<bool>(),
        1_usize..1_000_000,
        (
            prop_oneof![
                tls().prop_map(|tls| (Some(tls), None)),
                option::of(1_u16..).prop_map(|port| (None, port))
            ],
            option::of(proxy_protocol()),
        ),
        sections,
        option::of(duration()),
    );
    let shared = any::<bool>();
    (vec(one, 1..4), shared).prop_map(|(listeners, shared)| {
        let common = listeners[0].4.clone();
        let listener = |(place, one): (usize, _)| {
            let (ip, is_named, max_connections, kind, sections, expect_client_idle_timeout) = one;
            let ((tls, redirect_to_https), proxy_protocol) = kind;
            let address = SocketAddr::new(ip, 1000 + u16::try_from(place).unwrap());
            let name = if is_named {
                format!("é\"{place}")
            } else {
                address.to_string()
            };
            let (keep_alive, timeouts, limits, http2) = if shared { common.clone() } else { sections };
            Listener {
                name,
                address,
                max_connections,
                tls,
                proxy_protocol,
                redirect_to_https,
                keep_alive,
                timeouts,
                limits,
                http2,
                expect_client_idle_timeout,
            }
        };
        listeners.into_iter().enumerate().map(listener).collect()
    })
}

fn header_value() -> impl Strategy<Value = HeaderValue> {
    "([!-~é]([ -~é]{0,8}[!-~é])?)?".prop_map(|text| HeaderValue::from_str(&text).unwrap())
}

fn header_names() -> impl Strategy<Value = Vec<HeaderName>> {
    let known = ["x-a", "server", "x.b", "vary", "via"].map(HeaderName::from_static);
    subsequence(known.to_vec(), 0..=5).prop_shuffle()
}

fn fields() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let values = vec(header_value(), 5);
    (header_names(), values).prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

/// Fields of which a name may be there more than once, each time behind the last.
fn added_fields() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let several = vec(vec(header_value(), 1..3), 5);
    (header_names(), several).prop_map(|(names, values)| {
        let each = |(name, values): (HeaderName, Vec<HeaderValue>)| {
            values
                .into_iter()
                .map(move |value| (name.clone(), value))
                .collect::<Vec<_>>()
        };
        names.into_iter().zip(values).flat_map(each).collect()
    })
}

fn edits() -> impl Strategy<Value = HeaderEdits> {
    (header_names(), fields(), added_fields()).prop_map(|(remove, set, add)| HeaderEdits { remove, set, add })
}

fn conditions() -> impl Strategy<Value = Vec<HeaderCondition>> {
    let test = prop_oneof![
        Just(HeaderTest::Present),
        Just(HeaderTest::Absent),
        header_value().prop_map(HeaderTest::Equals)
    ];
    (header_names(), vec(test, 5)).prop_map(|(names, tests)| {
        names
            .into_iter()
            .zip(tests)
            .map(|(name, test)| HeaderCondition { name, test })
            .collect()
    })
}

fn action(has_prefix: bool, clusters: Vec<String>) -> impl Strategy<Value = Action> {
    let prefixes = if has_prefix {
        vec![None, Some("/".to_owned()), Some("/v%20/2".to_owned())]
    } else {
        vec![None]
    };
    let fixed = HostHeader::Fixed(HeaderValue::from_static("api.example:8443"));
    let host = select(vec![HostHeader::Keep, HostHeader::Endpoint, fixed]);
    let upgrades = ["websocket", "irc/6.9", "a!b"].map(str::to_owned);
    let tunnels = (subsequence(upgrades.to_vec(), 0..=3), any::<bool>());
    let forward = (select(clusters), select(prefixes), host, tunnels).prop_map(
        |(cluster, replace_prefix, host_header, (upgrade, connect))| {
            Action::Forward(Forward {
                cluster,
                replace_prefix,
                host_header,
                upgrade,
                connect,
            })
        },
    );
    let target = select(vec!["https://{host}{path}{query}", "/new"]);
    let status = |known: &[u16]| select(known.to_vec()).prop_map(|status| StatusCode::from_u16(status).unwrap());
    let redirect = (target, status(&[301, 302, 303, 307, 308])).prop_map(|(to, status)| {
        Action::Redirect(Redirect {
            to: to.to_owned(),
            status,
        })
    });
    let respond = (
        status(&[200, 404, 599]),
        any::<String>(),
        select(vec!["text/plain; charset=utf-8", "a/b"]),
    )
        .prop_map(|(status, body, kind)| {
            Action::Respond(Respond {
                status,
                body,
                content_type: HeaderValue::from_static(kind),
            })
        });
    prop_oneof![forward, redirect, respond]
}

/// Routes that differ at least in their host.
fn routes(clusters: Vec<String>) -> impl Strategy<Value = Vec<Route>> {
    let hosts = ["*", "shop.example", "*.shop.example", "192.0.2.1", "[2001:db8::1]"]
        .map(|text| address::parse_host_pattern(text).unwrap());
    let paths = select(vec![
        PathPattern::Prefix("/".into()),
        PathPattern::Prefix("/api/".into()),
        PathPattern::Exact("/".into()),
        PathPattern::Exact("/a%22b".into()),
    ]);
    let one = paths.prop_flat_map(move |path| {
        let action = action(matches!(path, PathPattern::Prefix(_)), clusters.clone());
        let methods = subsequence(
            vec![Method::GET, Method::PUT, Method::from_bytes(b"PURGE").unwrap()],
            0..=3,
        );
        (Just(path), methods, conditions(), action, edits(), edits())
    });
    let hosts = subsequence(hosts.to_vec(), 1..=5);
    (hosts, vec(one, 5)).prop_map(|(hosts, routes)| {
        let route = |(host, (path, methods, headers, action, request_headers, response_headers)): (_, _)| {
            let forwards = matches!(action, Action::Forward(_));
            let request_headers = if forwards {
                request_headers
            } else {
                HeaderEdits::default()
            };
            Route {
                host,
                path,
                methods,
                headers,
                action,
                request_headers,
                response_headers,
            }
        };
        hosts.into_iter().zip(routes).map(route).collect()
    })
}

pub(super) fn config() -> impl Strategy<Value = Config> {
    let workers = (1_usize..=1024).prop_map(std::num::NonZeroUsize::new);
    let process =
        (prop_oneof![Just(None), workers], maybe_zero(), any::<bool>()).prop_map(|(workers, drain_timeout, watch)| {
            Process {
                workers,
                drain_timeout,
                watch,
            }
        });
    let admin = select(vec![
        None,
        Some(([127, 0, 0, 1], 9900).into()),
        Some(([0, 0, 0, 0], 1).into()),
    ]);
    let level = select(vec![
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ]);
    let file = "logs/\\PC{0,9}".prop_map(|path| AccessLogOutput::File(path.into()));
    let output = prop_oneof![
        Just(AccessLogOutput::Off),
        Just(AccessLogOutput::Stdout),
        Just(AccessLogOutput::Stderr),
        file
    ];
    let text = "\\{status\\}[^{\\pC]{0,9}".prop_map(AccessLogFormat::Text);
    let access_log = (output, prop_oneof![Just(AccessLogFormat::Json), text])
        .prop_map(|(output, format)| AccessLog { output, format });
    let forwarding = (networks(), any::<bool>(), any::<bool>(), option::of("[a-z.!#]{1,9}")).prop_map(
        |(trusted_proxies, x_forwarded, forwarded, via)| Forwarding {
            trusted_proxies,
            x_forwarded,
            forwarded,
            via,
        },
    );
    let clusters = btree_map("[a-zé.\"\\\\-]{1,6}", cluster(), 1..4);
    let led_to = clusters.prop_flat_map(|clusters| (routes(clusters.keys().cloned().collect()), Just(clusters)));
    (process, admin, level, access_log, forwarding, listeners(), led_to).prop_map(
        |(process, address, level, access_log, forwarding, listeners, (routes, clusters))| Config {
            process,
            admin: Admin { address },
            log: Log { level },
            access_log,
            forwarding,
            listeners,
            routes,
            clusters,
        },
    )
}
