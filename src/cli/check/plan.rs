//! The expected load of each cluster against the source ports towards its destinations. Pure.

use std::{net::IpAddr, time::Duration};

use crate::{
    config::{Close, Cluster, Config, Endpoint, Expect, IdleTimeout},
    net::Kernel,
    ports::budget::{Budget, Demand, Pooling, Search, Supply, ports_of, time_wait},
};

/// What an endpoint is taken to teach of which nothing is known; short, so that the pool is not praised too much.
const UNKNOWN_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// One place that connections go to, which has source ports of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// As it is shown: an address, with the endpoint's name if it has one.
    pub name: String,
    /// `None`: the endpoint's name could not be looked up.
    pub ip: Option<IpAddr>,
    /// Share of the cluster's requests.
    pub weight: u32,
}

impl Destination {
    /// The endpoint as it is written, as one destination.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            name: endpoint.to_string(),
            ip: endpoint.ip(),
            weight: endpoint.weight,
        }
    }
}

/// What a cluster's expected load comes to.
#[derive(Debug)]
pub(super) struct Plan {
    pub cluster: String,
    pub expect: Expect,
    pub groups: Vec<Group>,
}

/// Destinations that are alike in all that counts here.
#[derive(Debug)]
pub(super) struct Group {
    /// Never empty.
    pub names: Vec<String>,
    pub supply: Supply,
    /// To each of them.
    pub configured: Demand,
    /// The same load without a pool, each connection closed by a plain FIN.
    pub unpooled: Demand,
}

impl Plan {
    /// `None` if nothing is known of the cluster's load.
    pub fn of(name: &str, cluster: &Cluster, destinations: &[Destination], kernel: &Kernel) -> Option<Self> {
        let expect = cluster.expect?;
        let weights: f64 = destinations.iter().map(|of| f64::from(of.weight)).sum();
        let mut groups: Vec<Group> = Vec::new();
        for destination in destinations {
            let share = f64::from(destination.weight) / weights;
            let supply = supply(cluster, destination, kernel);
            let configured = demand(cluster, &expect, share, destination, kernel);
            let alike = |group: &&mut Group| group.supply == supply && group.configured == configured;
            if let Some(group) = groups.iter_mut().find(alike) {
                group.names.push(destination.name.clone());
                continue;
            }
            let unpooled = Demand {
                pooling: Pooling::Off,
                close: Close::Fin,
                ..configured
            };
            groups.push(Group {
                names: vec![destination.name.clone()],
                supply,
                configured,
                unpooled,
            });
        }
        Some(Self {
            cluster: name.to_owned(),
            expect,
            groups,
        })
    }

    /// Those of all clusters of which something is expected, in which each endpoint is one destination.
    pub fn of_all(config: &Config, kernel: &Kernel) -> Vec<Self> {
        let plan = |(name, cluster): (&String, &Cluster)| {
            let destinations: Vec<_> = cluster.endpoints.iter().map(Destination::of).collect();
            Self::of(name, cluster, &destinations, kernel)
        };
        config.clusters.iter().filter_map(plan).collect()
    }

    pub fn destinations(&self) -> usize {
        self.groups.iter().map(|group| group.names.len()).sum()
    }

    /// Requests per second to the whole cluster that can go on for ever, when each destination gets its share; `None`:
    /// beyond every machine.
    pub fn ceiling(&self, demand: fn(&Group) -> &Demand) -> Option<f64> {
        let whole = |group: &Group| {
            let demand = demand(group);
            let ceiling = Budget::of(&group.supply, demand).ceiling?;
            Some(ceiling.requests_per_second / demand.requests_per_second * self.expect.requests_per_second)
        };
        self.groups.iter().filter_map(whole).min_by(f64::total_cmp)
    }
}

fn supply(cluster: &Cluster, destination: &Destination, kernel: &Kernel) -> Supply {
    let addresses = cluster.source.addresses.iter().flat_map(|address| address.expand());
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv4);
    let sources = match destination.ip {
        Some(IpAddr::V4(_)) => v4.len(),
        Some(IpAddr::V6(_)) => v6.len(),
        // Where a name has both, its IPv4 addresses are used.
        None if v4.is_empty() => v6.len(),
        None => v4.len(),
    };
    Supply {
        // Without any the kernel chooses one.
        sources: sources.max(1),
        ports: ports_of(kernel),
        max_fill: cluster.source.max_fill,
        search: Search::of(kernel),
    }
}

fn demand(cluster: &Cluster, expect: &Expect, share: f64, destination: &Destination, kernel: &Kernel) -> Demand {
    let pool = &cluster.pool;
    let pooling = match pool.max_idle {
        0 => Pooling::Off,
        _ => Pooling::On {
            idle_timeout: match pool.idle_timeout {
                IdleTimeout::After(timeout) => timeout,
                IdleTimeout::Learn => expect.endpoint_idle_timeout.unwrap_or(UNKNOWN_IDLE_TIMEOUT),
            },
            max_lifetime: pool.max_lifetime,
            max_requests: pool.max_requests,
            min_idle: pool.min_idle,
        },
    };
    Demand {
        requests_per_second: expect.requests_per_second * share,
        response_time: expect.response_time,
        max_connections: pool.max_connections,
        pooling,
        close: pool.close,
        time_wait: time_wait(kernel.tw_reuse, kernel.timestamps, destination.ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, ports::budget::Verdict};

    fn plans(clusters: &str, kernel: &Kernel) -> Vec<Plan> {
        let beginning = "[[listener]]\naddress = \":1\"\n[[route]]\ncluster = \"api\"\n";
        let config =
            config::parse(&(beginning.to_owned() + clusters), "f").unwrap_or_else(|problems| panic!("{problems}"));
        Plan::of_all(&config, kernel)
    }

    fn only(clusters: &str) -> Plan {
        let mut plans = plans(clusters, &Kernel::default());
        assert_eq!(plans.len(), 1);
        plans.remove(0)
    }

    fn budget(group: &Group) -> Budget {
        Budget::of(&group.supply, &group.configured)
    }

    #[test]
    fn a_load_is_spread_by_weight() {
        let plan = only(
            "[cluster.api]\nendpoints = [\"10.0.0.1:80\", { address = \"10.0.0.2:80\", weight = 3 }, \"10.0.0.3:80\"]\n\
             expect = { requests_per_second = 500 }\n[cluster.quiet]\nendpoints = [\"10.0.0.4:80\"]\n",
        );
        let rates: Vec<_> = plan
            .groups
            .iter()
            .map(|group| (group.names.len(), group.configured.requests_per_second))
            .collect();
        assert_eq!(rates, [(2, 100.0), (1, 300.0)]);
        assert_eq!((plan.cluster.as_str(), plan.destinations()), ("api", 3));
        // The heaviest one is what all have to wait for.
        let heaviest = budget(&plan.groups[1]).ceiling.unwrap().requests_per_second;
        let whole = plan.ceiling(|group| &group.configured).unwrap();
        assert!((whole - heaviest * 5.0 / 3.0).abs() < 1.0, "{whole}");
    }

    #[test]
    fn source_addresses_count_for_their_own_family() {
        let plan = only(
            "[cluster.api]\nendpoints = [\"10.0.0.1:80\", \"[fd00::1]:80\", \"api:80\"]\n\
             expect = { requests_per_second = 300 }\n[cluster.api.source]\n\
             addresses = [\"10.1.0.1\", \"10.1.0.2\", \"10.2.0.0/29\", \"fd01::1\"]\n",
        );
        let of = |name: &str| {
            let group = plan
                .groups
                .iter()
                .find(|group| group.names.iter().any(|known| known == name));
            group.expect("a destination").supply.sources
        };
        assert_eq!((of("10.0.0.1:80"), of("[fd00::1]:80"), of("api:80")), (2 + 6, 1, 2 + 6));
        let chosen = only("[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\nexpect = { requests_per_second = 1 }\n");
        assert_eq!(chosen.groups[0].supply.sources, 1);
    }

    #[test]
    fn the_kernel_says_which_ports_there_are_and_how_long_they_are_held() {
        let kernel = Kernel {
            port_range: Some((40_000, 40_999)),
            reserved_ports: vec![40_100..=40_199],
            tw_reuse: Some(1),
            local_port_range_option: true,
            ..Kernel::default()
        };
        let toml = "[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\npool = { max_idle = 0, close = \"fin\" }\n\
                    expect = { requests_per_second = 500 }\n";
        let group = &plans(toml, &kernel)[0].groups[0];
        assert_eq!((group.supply.ports, group.supply.limit()), (900, 855));
        assert_eq!(budget(group).verdict, Verdict::Fine);
        let kernel = Kernel {
            tw_reuse: Some(0),
            ..kernel
        };
        let group = &plans(toml, &kernel)[0].groups[0];
        assert!(matches!(budget(group).verdict, Verdict::RunsOut { .. }));
    }

    #[test]
    fn the_pool_is_as_it_is_configured() {
        let pooling = |pool: &str| {
            let plan = only(&format!(
                "[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\npool = {{ {pool} }}\n\
                 expect = {{ requests_per_second = 1, endpoint_idle_timeout = \"7s\" }}\n"
            ));
            plan.groups[0].configured.pooling
        };
        let expected = |idle_timeout, max_lifetime, max_requests, min_idle| Pooling::On {
            idle_timeout: Duration::from_secs(idle_timeout),
            max_lifetime: Duration::from_secs(max_lifetime),
            max_requests,
            min_idle,
        };
        assert_eq!(pooling(""), expected(4, 600, 0, 0));
        assert_eq!(
            pooling("idle_timeout = \"2s\", max_lifetime = \"1m\", max_requests = 5, min_idle = 3"),
            expected(2, 60, 5, 3)
        );
        assert_eq!(pooling("idle_timeout = \"learn\""), expected(7, 600, 0, 0));
        assert_eq!(pooling("max_idle = 0"), Pooling::Off);
    }
}
