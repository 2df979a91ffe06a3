//! What stands against a config on this machine: its sysctls and its limits.

use std::ops::RangeInclusive;

use super::{super::words::list, plan::Plan};
use crate::{
    config::{Cluster, Config},
    net::Kernel,
    ports::budget::{Budget, leaves_time_wait, ports_of, time_wait},
};

/// Fewer source ports than these are hardly meant: Linux has 28,232 by default.
const NARROW: usize = 10_000;

/// What of this machine will make trouble for the config, one sentence each, which says what to do.
pub(in crate::cli) fn machine_warnings(config: &Config, kernel: &Kernel) -> Vec<String> {
    let plans = Plan::of_all(config, kernel);
    [
        listeners_among_source_ports(config, kernel),
        narrow_range(kernel),
        cliff_at_half(config, kernel),
        no_timestamps(kernel),
        no_reuse_of_time_wait(config, kernel),
        few_time_wait_buckets(&plans, kernel),
        few_open_files(config, kernel),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A connection of this machine, the proxy's own or another's, may take such a port before the listener does.
fn listeners_among_source_ports(config: &Config, kernel: &Kernel) -> Option<String> {
    let (low, high) = kernel.port_range?;
    let endangered =
        |port: u16| (low..=high).contains(&port) && !kernel.reserved_ports.iter().any(|of| of.contains(&port));
    let listeners = config.listeners.iter().map(|listener| {
        (
            format!("the listener `{}`", listener.name.escape_debug()),
            listener.address,
        )
    });
    let admin = config
        .admin
        .address
        .map(|address| ("the admin listener".to_owned(), address));
    // Port 0 is below every range: the kernel then chooses a port that is free.
    let mut found: Vec<_> = listeners
        .chain(admin)
        .map(|(who, address)| (address.port(), format!("{who} (port {})", address.port())))
        .filter(|(port, _)| endangered(*port))
        .collect();
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|(port, _)| *port);
    let (mut ports, who): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    ports.dedup();
    let own = ports.into_iter().map(|port| port..=port);
    let reserved = kernel.reserved_ports.iter().cloned().chain(own).map(written);
    Some(format!(
        "{} {} among the source ports ({low}-{high}), so that any connection of this machine may take that port and \
         the proxy cannot start: choose another one, or reserve it: \
         sysctl -w net.ipv4.ip_local_reserved_ports={}",
        list(&who),
        if who.len() == 1 { "lies" } else { "lie" },
        reserved.collect::<Vec<_>>().join(","),
    ))
}

/// As the kernel reads and writes it.
fn written(range: RangeInclusive<u16>) -> String {
    let (first, last) = range.into_inner();
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

fn narrow_range(kernel: &Kernel) -> Option<String> {
    let (low, high) = kernel.port_range?;
    let ports = ports_of(kernel);
    (ports < NARROW).then(|| {
        format!(
            "each source address has only {ports} ports towards each destination ({low}-{high}, without reserved ones): \
             write a wider range: sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\""
        )
    })
}

fn cliff_at_half(config: &Config, kernel: &Kernel) -> Option<String> {
    let is_automatic = |cluster: &Cluster| cluster.source.max_fill.is_none();
    (!kernel.local_port_range_option && config.clusters.values().any(is_automatic)).then(|| {
        format!(
            "this kernel has no IP_LOCAL_PORT_RANGE (Linux 6.3), so that only half of the {} source ports towards each \
             destination are used: above it, each new connection would cost up to 3.7 ms",
            ports_of(kernel)
        )
    })
}

/// Time stamps are what tells a new connection's segments from those of the connection that had the port before it
/// (RFC 7323 5, RFC 6191).
fn no_timestamps(kernel: &Kernel) -> Option<String> {
    (kernel.timestamps == Some(0)).then(|| {
        "TCP time stamps are off, so that no port in TIME_WAIT can be used again early, on either side, and late \
         segments are not told from new ones: sysctl -w net.ipv4.tcp_timestamps=1"
            .to_owned()
    })
}

fn no_reuse_of_time_wait(config: &Config, kernel: &Kernel) -> Option<String> {
    // Without time stamps the kernel takes nothing over, whatever this sysctl says.
    let tw_reuse = kernel.tw_reuse.filter(|_| kernel.timestamps != Some(0))?;
    let is_held = |cluster: &Cluster| {
        let life = |ip| time_wait(Some(tw_reuse), kernel.timestamps, ip);
        let shortest = time_wait(Some(1), kernel.timestamps, None);
        cluster.endpoints.iter().any(|endpoint| life(endpoint.ip()) > shortest)
    };
    let clusters: Vec<_> = config
        .clusters
        .iter()
        .filter(|(_, cluster)| leaves_time_wait(cluster.pool.close) && is_held(cluster))
        .map(|(name, _)| format!("`{}`", name.escape_debug()))
        .collect();
    (!clusters.is_empty()).then(|| {
        format!(
            "tcp_tw_reuse is {tw_reuse}, so that each close by the cluster{} {} (`close = \"fin\"`) holds its port for \
             61 s: write `close = \"fin-no-time-wait\"`, which holds none, or let the kernel use such ports again: \
             sysctl -w net.ipv4.tcp_tw_reuse=1",
            if clusters.len() == 1 { "" } else { "s" },
            list(&clusters),
        )
    })
}

fn few_time_wait_buckets(plans: &[Plan], kernel: &Kernel) -> Option<String> {
    let buckets = kernel.max_tw_buckets?;
    let groups = plans.iter().flat_map(|plan| &plan.groups);
    let needed: u64 = groups
        .filter(|group| leaves_time_wait(group.configured.close))
        .map(|group| {
            let budget = Budget::of(&group.supply, &group.configured);
            let of_each = budget.closing.min(budget.limit.saturating_sub(budget.open));
            of_each as u64 * group.names.len() as u64
        })
        .sum();
    (needed > buckets).then(|| {
        format!(
            "the expected load leaves {needed} TIME_WAIT sockets and tcp_max_tw_buckets is {buckets}: beyond it the \
             kernel ends TIME_WAIT at once and without a word, and late segments may reach a new connection: write \
             another `close`, or: sysctl -w net.ipv4.tcp_max_tw_buckets={needed}"
        )
    })
}

fn few_open_files(config: &Config, kernel: &Kernel) -> Option<String> {
    // The proxy raises the soft limit to the hard one by itself.
    let (_, limit) = kernel.open_files?;
    let clients: u64 = config
        .listeners
        .iter()
        .map(|listener| listener.max_connections as u64)
        .sum();
    let upstream = |cluster: &Cluster| cluster.endpoints.len() as u64 * cluster.pool.max_connections as u64;
    let endpoints: u64 = config.clusters.values().map(upstream).sum();
    let needed = clients + endpoints;
    (needed > limit).then(|| {
        format!(
            "{needed} connections may be open, {clients} of clients and {endpoints} to endpoints, and {limit} open files \
             are the limit: lower `max_connections`, or raise the limit (LimitNOFILE= of systemd, ulimit -n)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// A machine on which nothing stands against a usual config.
    fn kernel() -> Kernel {
        Kernel {
            port_range: Some((32_768, 60_999)),
            tw_reuse: Some(2),
            timestamps: Some(1),
            max_tw_buckets: Some(131_072),
            fin_timeout: Some(60),
            open_files: Some((1024, 524_288)),
            local_port_range_option: true,
            ..Kernel::default()
        }
    }

    fn config(listener: &str, cluster: &str) -> Config {
        let text = format!(
            "[[listener]]\nname = \"public\"\naddress = \":8080\"\n{listener}\n[[route]]\ncluster = \"api\"\n\
             [cluster.api]\nendpoints = [\"10.0.0.1:80\"]\n{cluster}\n"
        );
        config::parse(&text, "f").unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn warnings_of(listener: &str, cluster: &str, kernel: &Kernel) -> Vec<String> {
        machine_warnings(&config(listener, cluster), kernel)
    }

    /// Demands one warning, with these parts.
    fn expect_one(warnings: &[String], parts: &[&str]) {
        let [warning] = warnings else {
            panic!("not one warning: {warnings:#?}")
        };
        for part in parts {
            assert!(warning.contains(part), "{part:?} is not in {warning:?}");
        }
    }

    #[test]
    fn a_usual_machine_gives_no_warning() {
        assert_eq!(warnings_of("", "", &kernel()), [""; 0]);
        let unreadable = Kernel {
            local_port_range_option: true,
            ..Kernel::default()
        };
        assert_eq!(warnings_of("", "", &unreadable), [""; 0]);
    }

    #[test]
    fn a_listener_among_the_source_ports_is_named_with_the_cure() {
        let endangered = "[[listener]]\nname = \"late\"\naddress = \":60999\"\n\
                          [[listener]]\nname = \"late6\"\naddress = \"[::1]:60999\"\n[admin]\naddress = \"127.0.0.1:32768\"";
        let reserving = Kernel {
            reserved_ports: vec![33_000..=33_009, 50_000..=50_000],
            ..kernel()
        };
        let parts = [
            "the admin listener (port 32768), the listener `late` (port 60999) and the listener `late6` (port 60999) lie",
            "sysctl -w net.ipv4.ip_local_reserved_ports=33000-33009,50000,32768,60999",
        ];
        expect_one(&warnings_of(endangered, "", &reserving), &parts);
        let reserved = Kernel {
            reserved_ports: vec![32_768..=32_768, 60_000..=60_999],
            ..kernel()
        };
        assert_eq!(warnings_of(endangered, "", &reserved), [""; 0]);
        let outside = "[[listener]]\naddress = \":61000\"\n[[listener]]\naddress = \":0\"\n[admin]\naddress = \"off\"";
        assert_eq!(warnings_of(outside, "", &kernel()), [""; 0]);
    }

    #[test]
    fn a_narrow_range_is_told() {
        let narrow = Kernel {
            port_range: Some((40_000, 40_199)),
            ..kernel()
        };
        expect_one(
            &warnings_of("", "", &narrow),
            &["only 200 ports", "40000-40199", "\"32768 60999\""],
        );
    }

    #[test]
    fn a_kernel_without_the_option_uses_half_of_the_ports() {
        let old = Kernel {
            local_port_range_option: false,
            ..kernel()
        };
        let of = |cluster| warnings_of("", cluster, &old);
        expect_one(&of(""), &["IP_LOCAL_PORT_RANGE", "half of the 28232"]);
        assert_eq!(of("source = { max_fill = 0.4 }"), [""; 0], "the operator has chosen");
    }

    #[test]
    fn time_stamps_that_are_off_are_told() {
        let off = Kernel {
            timestamps: Some(0),
            ..kernel()
        };
        expect_one(&warnings_of("", "", &off), &["net.ipv4.tcp_timestamps=1"]);
        // To let the kernel use ports in TIME_WAIT again would then be no cure.
        expect_one(
            &warnings_of("", "pool = { close = \"fin\" }", &off),
            &["net.ipv4.tcp_timestamps=1"],
        );
    }

    #[test]
    fn closes_that_hold_their_port_are_told() {
        let with = |tw_reuse| Kernel {
            tw_reuse: Some(tw_reuse),
            ..kernel()
        };
        let fin = "pool = { close = \"fin\" }";
        for tw_reuse in [0, 2] {
            let value = format!("tcp_tw_reuse is {tw_reuse}");
            expect_one(
                &warnings_of("", fin, &with(tw_reuse)),
                &[
                    &value,
                    "the cluster `api`",
                    "fin-no-time-wait",
                    "net.ipv4.tcp_tw_reuse=1",
                ],
            );
        }
        assert_eq!(warnings_of("", fin, &with(1)), [""; 0]);
        assert_eq!(warnings_of("", "pool = { close = \"rst\" }", &with(0)), [""; 0]);
        let here =
            "pool = { close = \"fin\" }\n[cluster.here]\nendpoints = [\"127.0.0.1:80\"]\npool = { close = \"fin\" }";
        expect_one(&warnings_of("", here, &with(0)), &["the clusters `api` and `here`"]);
        expect_one(&warnings_of("", here, &with(2)), &["the cluster `api` ("]);
    }

    #[test]
    fn time_wait_sockets_that_the_kernel_would_end_early_are_told() {
        let few = Kernel {
            max_tw_buckets: Some(20_000),
            tw_reuse: Some(1),
            ..kernel()
        };
        let load = |rate: u32, close: &str| {
            format!(
                "pool = {{ max_idle = 0, close = \"{close}\" }}\nsource = {{ addresses = [\"10.0.0.8\", \"10.0.0.9\"] }}\n\
                 expect = {{ requests_per_second = {rate} }}\n"
            )
        };
        // One second of TIME_WAIT each.
        let (below, above) = (load(20_000, "fin"), load(20_001, "fin"));
        let above = warnings_of(
            "",
            &above.replace("max_idle = 0", "max_idle = 0, max_connections = 9999"),
            &few,
        );
        expect_one(
            &above,
            &[
                "20001 TIME_WAIT",
                "tcp_max_tw_buckets is 20000",
                "net.ipv4.tcp_max_tw_buckets=20001",
            ],
        );
        let below = below.replace("max_idle = 0", "max_idle = 0, max_connections = 9999");
        assert_eq!(warnings_of("", &below, &few), [""; 0]);
        assert_eq!(warnings_of("", &load(20_001, "rst"), &few), [""; 0]);
        // Half of the load to each of two endpoints leaves as many.
        let spread = "pool = { max_idle = 0, close = \"fin\" }\nexpect = { requests_per_second = 20001 }";
        let mut spread = config("", spread);
        spread
            .clusters
            .get_mut("api")
            .unwrap()
            .endpoints
            .push("10.0.0.2:80".parse().unwrap());
        expect_one(
            &machine_warnings(&spread, &few),
            &["TIME_WAIT sockets and tcp_max_tw_buckets is 20000"],
        );
    }

    #[test]
    fn too_few_open_files_are_told() {
        let with = |hard| Kernel {
            open_files: Some((1024, hard)),
            ..kernel()
        };
        let parts = [
            "21024 connections",
            "20000 of clients and 1024 to endpoints",
            "21023 open files",
        ];
        expect_one(&warnings_of("", "", &with(21_023)), &parts);
        assert_eq!(warnings_of("", "", &with(21_024)), [""; 0]);
        assert_eq!(warnings_of("max_connections = 10", "", &with(1034)), [""; 0]);
    }
}
