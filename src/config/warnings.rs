//! What is allowed and yet hardly meant: above all, times that stand in the wrong order.

use std::time::Duration;

use ipnet::IpNet;

use super::{
    Action, ClientCertificateMode, Close, Cluster, ClusterTimeouts, Config, IdleTimeout, Listener, Protocol,
    ServerName, Verify, format_duration,
};

/// What is allowed and yet hardly meant, one sentence each, which says what happens and what to write.
pub fn warnings(config: &Config) -> Vec<String> {
    let clusters = || config.clusters.iter().map(|(name, cluster)| (shown(name), cluster));
    let mut warnings = unused_clusters(config);
    warnings.extend(useless_connects(config));
    for listener in &config.listeners {
        warnings.extend(of_listener(listener).into_iter().flatten());
        warnings.extend(unused_certificates(listener));
    }
    for (name, cluster) in clusters() {
        warnings.extend(of_pool(&name, cluster).into_iter().flatten());
        warnings.extend(of_timeouts(&name, cluster).into_iter().flatten());
        warnings.extend(of_protocol(&name, cluster).into_iter().flatten());
    }
    let unfinished = |(name, cluster): (String, &Cluster)| short_drain(config.process.drain_timeout, &name, cluster);
    warnings.extend(clusters().filter_map(unfinished));
    warnings
}

fn of_protocol(name: &str, cluster: &Cluster) -> [Option<String>; 4] {
    let tls = cluster.tls.as_ref();
    let anybody = tls.filter(|tls| tls.verify == Verify::None).map(|_| {
        format!(
            "the endpoints of the cluster {name} are not verified (`verify = \"none\"`), so that anybody on the way can \
             read and change what they are sent: write `roots` with the certificate that vouches for them instead"
        )
    });
    let by_request = tls.is_some_and(|tls| tls.server_name == ServerName::Request) || cluster.proxy_header.is_some();
    let in_vain = (by_request && cluster.pool.min_idle > 0).then(|| {
        format!(
            "the connections that the cluster {name} keeps ready (`min_idle`) are of no use to any request, since each \
             is opened for one server name or one client: leave `min_idle` out"
        )
    });
    let http2 = &cluster.http2;
    let all_streams = u64::from(http2.streams) * u64::from(http2.stream_window);
    let speaks_http2 = cluster.protocol != Protocol::Http1;
    let held_up = (speaks_http2 && u64::from(http2.connection_window) < all_streams).then(|| {
        format!(
            "clients of the cluster {name} who take nothing of their answers can hold up the others on their connection: \
             write a `connection_window` of at least `streams` times `stream_window`, or fewer `streams`"
        )
    });
    let not_ready = (speaks_http2 && cluster.pool.min_idle > 0).then(|| {
        format!(
            "the cluster {name} keeps no connections ready (`min_idle`) over HTTP/2, where all requests share a few: \
             leave it out"
        )
    });
    [anybody, in_vain, held_up, not_ready]
}

/// A name in quotes, fit for a message.
fn shown(name: &str) -> String {
    format!("`{}`", name.escape_debug())
}

/// `duration`, unless it is zero and so no limit.
fn limit(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

/// Why `tcp_user_timeout` has to be at least as long as the proxy's own limit of a stall, which `key` sets.
fn early_kernel(of: &str, kernel: Duration, key: &str, own: Duration) -> Option<String> {
    let kernel = limit(kernel).filter(|kernel| *kernel < own)?;
    let (kernel, own) = (format_duration(kernel), format_duration(own));
    Some(format!(
        "the kernel ends connections of {of} that stall for {kernel} (`tcp_user_timeout`), so that `{key}` ({own}) \
         hardly ever counts: write a `tcp_user_timeout` of at least {own}"
    ))
}

fn unused_clusters(config: &Config) -> Vec<String> {
    let is_used = |name: &String| {
        config
            .routes
            .iter()
            .any(|route| matches!(&route.action, Action::Forward(forward) if forward.cluster == *name))
    };
    let unused = config.clusters.keys().filter(|name| !is_used(name));
    let sentence = |name: &String| {
        let name = shown(name);
        format!("no route leads to the cluster {name}, which therefore gets no request: add one, or leave it out")
    };
    unused.map(sentence).collect()
}

fn useless_connects(config: &Config) -> impl Iterator<Item = String> {
    let forwards = config.routes.iter().filter_map(|route| match &route.action {
        Action::Forward(forward) if forward.connect => Some(&forward.cluster),
        _ => None,
    });
    let only_http2 = |name: &&String| {
        let cluster = config.clusters.get(*name);
        cluster.is_some_and(|cluster| cluster.protocol == Protocol::Http2)
    };
    forwards.filter(only_http2).map(|name| {
        let name = shown(name);
        format!(
            "a route lets CONNECT through (`connect`) to the cluster {name}, whose endpoints get only HTTP/2, over which \
             no tunnel goes: write another `protocol`, or leave `connect` out"
        )
    })
}

fn unused_certificates(listener: &Listener) -> Option<String> {
    let clients = listener.tls.as_ref()?.client_certificates.as_ref()?;
    let in_vain = clients.mode == ClientCertificateMode::Optional && clients.fields.names().next().is_none();
    in_vain.then(|| {
        let name = shown(&listener.name);
        format!(
            "clients of the listener {name} may show a certificate, and nobody is told of it: write a `subject_field`, or \
             `mode = \"required\"`"
        )
    })
}

fn of_listener(listener: &Listener) -> [Option<String>; 4] {
    let of = format!("the listener {}", shown(&listener.name));
    let keep_alive = &listener.keep_alive;
    let idle_timeout = format_duration(keep_alive.idle_timeout);
    let before_the_client = |timeout: &Duration| keep_alive.idle_timeout <= *timeout;
    let closing_first = listener.expect_client_idle_timeout.filter(before_the_client).map(|timeout| {
        let timeout = format_duration(timeout);
        format!(
            "{of} closes idle connections after {idle_timeout}, while the load balancer in front of it still uses them \
             until {timeout} and so sends requests onto closing ones: write a keep-alive `idle_timeout` above {timeout}"
        )
    });
    let young = limit(keep_alive.max_age).filter(|age| *age < keep_alive.idle_timeout);
    let never_idle = young.map(|age| {
        let age = format_duration(age);
        format!(
            "{of} closes connections at the age of {age} (`max_age`), so that none is ever idle for {idle_timeout} \
             (`idle_timeout`): write a `max_age` of at least {idle_timeout}, or an `idle_timeout` of at most {age}"
        )
    });
    let stall = listener.timeouts.write_stall;
    let early = early_kernel(&of, keep_alive.tcp_user_timeout, "write_stall", stall);
    let trusts = |listener: &Listener| {
        listener
            .proxy_protocol
            .iter()
            .any(|header| header.from.iter().any(is_everywhere))
    };
    let gullible = trusts(listener).then(|| {
        format!(
            "{of} believes a PROXY header to everybody, so that any client can take any address: write the networks \
             of the load balancers in `from`"
        )
    });
    [closing_first, never_idle, early, gullible]
}

fn is_everywhere(network: &IpNet) -> bool {
    network.prefix_len() == 0
}

fn of_pool(name: &str, cluster: &Cluster) -> [Option<String>; 3] {
    let pool = &cluster.pool;
    let is_off = pool.max_idle == 0;
    let kept_for = match pool.idle_timeout {
        IdleTimeout::After(timeout) if !is_off => Some(timeout),
        _ => None,
    };
    let expected = cluster.expect.and_then(|expect| expect.endpoint_idle_timeout);
    let stale = kept_for
        .zip(expected)
        .filter(|(own, endpoint)| own >= endpoint)
        .map(|(own, endpoint)| {
            let (own, endpoint) = (format_duration(own), format_duration(endpoint));
            format!(
                "the cluster {name} uses connections that were idle for up to {own}, which its endpoints close after \
                 {endpoint}, so that requests meet closed ones: write a pool `idle_timeout` below {endpoint}, or \
                 \"learn\""
            )
        });
    let leaves_time_wait = (is_off && pool.close == Close::Fin).then(|| {
        format!(
            "each request to the cluster {name} has a connection of its own (`max_idle = 0`) and leaves a TIME_WAIT of \
             60 s (`close = \"fin\"`), so that the source ports run out under load: write \
             `close = \"fin-no-time-wait\"`"
        )
    });
    let impatient = limit(cluster.timeouts.request).filter(|request| pool.wait.timeout > *request);
    let long_wait = impatient.map(|request| {
        let (wait, request) = (format_duration(pool.wait.timeout), format_duration(request));
        format!(
            "a request to the cluster {name} may wait for a connection longer ({wait}, the `timeout` of `wait`) than \
             it may take as a whole ({request}, `request`): write a `timeout` below {request}"
        )
    });
    [stale, leaves_time_wait, long_wait]
}

fn of_timeouts(name: &str, cluster: &Cluster) -> [Option<String>; 4] {
    let timeouts = &cluster.timeouts;
    let never_counts = |key: &str, timeout: Duration| {
        let request = limit(timeouts.request).filter(|request| *request < timeout)?;
        let (timeout, request) = (format_duration(timeout), format_duration(request));
        Some(format!(
            "a request to the cluster {name} ends after {request} (`request`), so that `{key}` ({timeout}) never \
             counts: write a `{key}` of at most {request}, or a longer `request`"
        ))
    };
    let slow_probe = cluster.probe.as_ref().filter(|probe| probe.timeout > probe.interval);
    let overlapping = slow_probe.map(|probe| {
        let (timeout, interval) = (format_duration(probe.timeout), format_duration(probe.interval));
        format!(
            "the probe of the cluster {name} may take longer ({timeout}) than the time between two probes \
             ({interval}): write a `timeout` of at most {interval}, or a longer `interval`"
        )
    });
    let of = format!("the cluster {name}");
    [
        never_counts("connect", timeouts.connect),
        // Left at its default, it was not meant to count.
        (timeouts.first_byte != ClusterTimeouts::default().first_byte)
            .then(|| never_counts("first_byte", timeouts.first_byte))
            .flatten(),
        early_kernel(&of, cluster.tcp_user_timeout, "between_bytes", timeouts.between_bytes),
        overlapping,
    ]
}

fn short_drain(drain_timeout: Duration, name: &str, cluster: &Cluster) -> Option<String> {
    let request = limit(cluster.timeouts.request).filter(|request| drain_timeout < *request)?;
    let (drain, request) = (format_duration(drain_timeout), format_duration(request));
    Some(format!(
        "a stop of the proxy cuts off requests to the cluster {name} that still run after {drain} (`drain_timeout`), \
         although they may take {request} (`request`): write a `drain_timeout` of at least {request}"
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const BEGINNING: &str = "[[route]]\ncluster = \"api\"\n[[listener]]\naddress = \":1\"\nname = \"public\"\n";
    const CLUSTER: &str = "[cluster.api]\nendpoints = [\"a:1\"]\n";

    fn warnings_of(text: &str) -> Vec<String> {
        let config = parse(text, "f").unwrap_or_else(|problems| panic!("{problems}"));
        warnings(&config)
    }

    /// Demands one warning, with these parts, for `wrong`, and none for `right`.
    fn expect_one(in_file: impl Fn(&str) -> String, wrong: &str, right: &[&str], parts: &[&str]) {
        let warnings = warnings_of(&in_file(wrong));
        let [warning] = warnings.as_slice() else {
            panic!("not one warning of {wrong}: {warnings:#?}")
        };
        for part in parts.iter().chain(&[": write "]) {
            assert!(warning.contains(part), "{part:?} is not in {warning:?} of {wrong}");
        }
        for right in right {
            assert_eq!(warnings_of(&in_file(right)), [""; 0], "{right}");
        }
    }

    fn in_listener(wrong: &str, right: &[&str], parts: &[&str]) {
        expect_one(|keys| format!("{BEGINNING}{keys}\n{CLUSTER}"), wrong, right, parts);
    }

    fn in_cluster(wrong: &str, right: &[&str], parts: &[&str]) {
        expect_one(|keys| format!("{BEGINNING}{CLUSTER}{keys}\n"), wrong, right, parts);
    }

    #[test]
    fn the_files_that_come_with_the_proxy_give_no_warning() {
        for text in [
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.toml")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/compose.toml")),
        ] {
            assert_eq!(warnings_of(text), [""; 0], "{text}");
        }
        assert_eq!(warnings(&Config::default()), [""; 0]);
    }

    #[test]
    fn a_cluster_that_no_route_leads_to_gets_no_request() {
        let warnings = warnings_of(&format!(
            "{BEGINNING}{CLUSTER}[cluster.\"o\\\"d\"]\nendpoints = [\"a:1\"]\n"
        ));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("no route leads to the cluster `o\\\"d`"));
    }

    #[test]
    fn tunnels_go_over_http_1() {
        let route = |protocol: &str| {
            format!(
                "[cluster.db]\nendpoints = [\"a:1\"]\n{protocol}\n[[route]]\nhost = \"db\"\ncluster = \"db\"\nconnect = true\n"
            )
        };
        let of = |protocol: &str| warnings_of(&format!("{BEGINNING}{CLUSTER}{}", route(protocol)));
        let [warning] = of("protocol = \"http2\"").try_into().expect("one warning");
        assert!(
            warning.contains("`db`") && warning.contains("leave `connect` out"),
            "{warning}"
        );
        assert_eq!(of("protocol = \"http1\""), Vec::<String>::new());
    }

    #[test]
    fn a_listener_keeps_connections_longer_than_the_load_balancer_in_front_of_it() {
        let expect = |own: &str, theirs: &str| {
            format!("keep_alive = {{ idle_timeout = \"{own}\" }}\nexpect = {{ client_idle_timeout = \"{theirs}\" }}")
        };
        let right = [
            expect("61s", "60s"),
            "expect = { client_idle_timeout = \"59s\" }".into(),
        ];
        let right: Vec<_> = right.iter().map(String::as_str).collect();
        in_listener(&expect("60s", "60s"), &right, &["`public`", "above 1m"]);
        in_listener(&expect("10s", "1m"), &[], &["after 10s", "above 1m"]);
    }

    #[test]
    fn a_header_that_decides_on_the_address_is_not_believed_to_everybody() {
        let from = |network: &str| format!("proxy_protocol = {{ from = [\"10.0.0.0/8\", \"{network}\"] }}");
        for everywhere in ["0.0.0.0/0", "::/0"] {
            in_listener(
                &from(everywhere),
                &[&from("fd00::/8")],
                &["`public`", "everybody", "`from`"],
            );
        }
    }

    #[test]
    fn a_certificate_that_may_be_shown_is_of_some_use() {
        let clients = |keys: &str| {
            format!(
                "tls = {{ certificates = [{{ chain = \"a\", key = \"b\" }}], client_certificates = {{ ca = \"c\", {keys} }} }}"
            )
        };
        let right = [
            clients("mode = \"required\""),
            clients("mode = \"optional\", sans_field = \"x-a\""),
        ];
        let right: Vec<_> = right.iter().map(String::as_str).collect();
        in_listener(
            &clients("mode = \"optional\""),
            &right,
            &["`public`", "`subject_field`"],
        );
    }

    #[test]
    fn connections_are_as_old_as_they_may_be_idle() {
        in_listener(
            "keep_alive = { max_age = \"30s\" }",
            &[
                "keep_alive = { max_age = \"60s\" }",
                "keep_alive = { max_age = \"0s\" }",
            ],
            &["`public`", "age of 30s", "idle for 1m"],
        );
    }

    #[test]
    fn the_kernel_is_more_patient_than_the_proxy() {
        in_listener(
            "keep_alive = { tcp_user_timeout = \"29s\" }",
            &[
                "keep_alive = { tcp_user_timeout = \"30s\" }",
                "keep_alive = { tcp_user_timeout = \"0s\" }",
                "keep_alive = { tcp_user_timeout = \"29s\" }\ntimeouts = { write_stall = \"29s\" }",
            ],
            &["the listener `public`", "`write_stall` (30s)", "at least 30s"],
        );
        in_cluster(
            "tcp_user_timeout = \"59s\"",
            &["tcp_user_timeout = \"60s\"", "tcp_user_timeout = \"0s\""],
            &["the cluster `api`", "`between_bytes` (1m)", "at least 1m"],
        );
    }

    #[test]
    fn the_pool_lets_go_of_connections_before_the_endpoint_does() {
        let pool = |timeout: &str, expected: &str| {
            let expect = format!("expect = {{ requests_per_second = 1, endpoint_idle_timeout = \"{expected}\" }}");
            format!("{expect}\n[cluster.api.pool]\nidle_timeout = \"{timeout}\"\n")
        };
        let right = [
            pool("4s", "5s"),
            pool("learn", "1s"),
            format!("{}max_idle = 0", pool("5s", "5s")),
        ];
        let right: Vec<_> = right.iter().map(String::as_str).collect();
        in_cluster(&pool("5s", "5s"), &right, &["`api`", "below 5s", "\"learn\""]);
    }

    #[test]
    fn ports_run_out_without_a_pool_when_each_close_leaves_a_time_wait() {
        in_cluster(
            "[cluster.api.pool]\nmax_idle = 0\nclose = \"fin\"",
            &[
                "[cluster.api.pool]\nmax_idle = 0",
                "[cluster.api.pool]\nmax_idle = 1\nclose = \"fin\"",
            ],
            &["`api`", "TIME_WAIT", "`close = \"fin-no-time-wait\"`"],
        );
    }

    #[test]
    fn a_request_takes_no_longer_than_its_parts() {
        let timeouts = |keys: &str| format!("[cluster.api.timeouts]\nfirst_byte = \"20s\"\nconnect = \"4s\"\n{keys}");
        let right = timeouts("request = \"20s\"");
        in_cluster(
            &timeouts("request = \"19s\""),
            &[&right, &timeouts("request = \"0s\"")],
            &["`api`", "`first_byte` (20s)", "at most 19s"],
        );
        let quick = "[cluster.api.timeouts]\nfirst_byte = \"1s\"\nconnect = \"4s\"\n";
        in_cluster(
            &format!("{quick}request = \"3s\""),
            &[&format!("{quick}request = \"4s\"")],
            &["`connect` (4s)", "at most 3s"],
        );
        let wait = |timeout: &str| format!("{right}\n[cluster.api.pool]\nwait = {{ timeout = \"{timeout}\" }}");
        in_cluster(
            &wait("21s"),
            &[&wait("20s")],
            &["longer (21s", "(20s, `request`)", "below 20s"],
        );
    }

    #[test]
    fn a_stop_waits_for_running_requests() {
        in_cluster(
            "[cluster.api.timeouts]\nrequest = \"61s\"\n[process]\ndrain_timeout = \"60s\"",
            &["[cluster.api.timeouts]\nrequest = \"61s\"\n[process]\ndrain_timeout = \"61s\""],
            &["`api`", "after 1m", "at least 61s"],
        );
    }

    #[test]
    fn a_probe_is_over_before_the_next_one() {
        in_cluster(
            "[cluster.api.health]\nprobe = { tcp = true, interval = \"1s\" }",
            &["[cluster.api.health]\nprobe = { tcp = true, interval = \"2s\" }"],
            &["`api`", "longer (2s)", "two probes (1s)"],
        );
    }
}
