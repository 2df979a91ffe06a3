//! The port budget as it is printed. Pure.

use std::collections::BTreeMap;

use super::{
    super::words::{names, policy, rate, runs_out, sustains, time},
    plan::{Group, Plan},
};
use crate::{
    net::Kernel,
    ports::budget::{Budget, DEFAULT_RANGE, Demand, Pooling, Scarce, Verdict, ports_of},
};

/// What is printed below the summary: nothing if nothing is known of any cluster's load.
pub(super) fn render(plans: &[Plan], kernel: &Kernel) -> String {
    if plans.is_empty() {
        return String::new();
    }
    let mut lines = vec![String::new(), of_machine(kernel)];
    for plan in plans {
        lines.push(String::new());
        lines.extend(of_cluster(plan));
    }
    lines.extend(of_shared(plans));
    lines.push(String::new());
    lines.join("\n")
}

fn of_machine(kernel: &Kernel) -> String {
    let (low, high) = kernel.port_range.unwrap_or(DEFAULT_RANGE);
    let whence = match kernel.port_range {
        Some(_) => "this machine's",
        None => "Linux' default, for this machine's cannot be read",
    };
    let usable = ports_of(kernel);
    format!("Source ports: {low}-{high} ({whence}), {usable} of each source address towards each destination")
}

fn of_cluster(plan: &Plan) -> Vec<String> {
    let destinations = plan.destinations();
    let mut lines = vec![format!(
        "Cluster `{}`: {} requests/s, {} each, to {}",
        plan.cluster.escape_debug(),
        rate(plan.expect.requests_per_second),
        time(plan.expect.response_time),
        super::counted(destinations, "destination"),
    )];
    for group in &plan.groups {
        lines.push(String::new());
        lines.extend(of_group(group));
    }
    if destinations > 1 {
        lines.push(String::new());
        lines.push(of_all(plan));
    }
    lines
}

fn of_group(group: &Group) -> Vec<String> {
    let Group {
        supply,
        configured,
        unpooled,
        ..
    } = group;
    let each = if group.names.len() == 1 { "" } else { " each" };
    let mut lines = vec![
        format!(
            "{}: {} requests/s{each}",
            names(&group.names),
            rate(configured.requests_per_second)
        ),
        row(
            "",
            [
                "sources", "ports", "limit", "open", "closing", "needed", "runs out", "sustains",
            ]
            .map(str::to_owned),
        ),
    ];
    let mut add = |demand: &Demand| {
        let budget = Budget::of(supply, demand);
        let columns = [
            supply.sources.to_string(),
            supply.ports.to_string(),
            budget.limit.to_string(),
            budget.open.to_string(),
            budget.closing.to_string(),
            budget.needed().to_string(),
            runs_out(&budget),
            sustains(budget.ceiling.map(|ceiling| ceiling.requests_per_second)),
        ];
        lines.push(row(&policy(demand), columns));
        budget
    };
    let budget = add(configured);
    // What pooling is worth, unless there is none.
    let without = (configured != unpooled).then(|| add(unpooled));
    lines.push(format!("  {}", verdict(&budget, configured)));
    lines.extend(without.map(|without| format!("  {}", worth(&budget, &without))));
    lines
}

/// At most 100 characters, for numbers below a million.
fn row(label: &str, [sources, ports, limit, open, closing, needed, runs_out, sustains]: [String; 8]) -> String {
    format!("  {label:26}{sources:>8}{ports:>7}{limit:>9}{open:>8}{closing:>9}{needed:>9}{runs_out:>10}{sustains:>12}")
}

/// One sentence on the policy as it is configured.
fn verdict(budget: &Budget, demand: &Demand) -> String {
    let share = 100.0 * budget.needed() as f64 / budget.limit as f64;
    let at = rate(demand.requests_per_second);
    match budget.verdict {
        Verdict::Fine => {
            let scarce = match budget.ceiling {
                Some(ceiling) if ceiling.scarce == Scarce::Connections => {
                    "; `max_connections` is reached before the ports run out"
                }
                _ => "",
            };
            format!("Fine: {share:.1} % of the limit is needed{scarce}.")
        }
        Verdict::Tight => format!("Tight: {share:.0} % of the limit is needed, which leaves little for a burst."),
        Verdict::Waits { wanted } => format!(
            "Requests wait: up to {wanted} connections are wanted at once, and `max_connections` is {}.",
            demand.max_connections
        ),
        Verdict::Expensive => "Expensive: with more than half of the ports in use, each new connection costs \
                               up to 3.7 ms."
            .to_owned(),
        Verdict::RunsOut { after } if after.is_zero() => {
            format!(
                "Runs out of ports at once: {} connections are open at the same time.",
                budget.open
            )
        }
        Verdict::RunsOut { after } => {
            let unpooled = match demand.pooling {
                Pooling::Off => "Unpooled at",
                Pooling::On { .. } => "At",
            };
            format!("{unpooled} {at} requests/s this runs out of ports in {}.", time(after))
        }
    }
}

/// One sentence on the same load without a pool, when each connection ends by a plain FIN.
fn worth(configured: &Budget, without: &Budget) -> String {
    let it = "Unpooled, with plain FIN closes, it";
    match without.verdict {
        Verdict::RunsOut { after } if after.is_zero() => format!("{it} would run out of ports at once."),
        Verdict::RunsOut { after } => format!("{it} would run out of ports in {}.", time(after)),
        _ => {
            let times = without.needed() as f64 / configured.needed().max(1) as f64;
            format!(
                "{it} would need {} ports, {} times as many.",
                without.needed(),
                rate(times)
            )
        }
    }
}

fn of_all(plan: &Plan) -> String {
    let sustained = |demand: fn(&Group) -> &Demand| {
        let ceiling = plan.ceiling(demand);
        ceiling.map_or_else(|| "any number of".to_owned(), rate)
    };
    format!(
        "All {} together sustain {} requests/s as configured, {} unpooled with plain FIN closes.",
        plan.destinations(),
        sustained(|group| &group.configured),
        sustained(|group| &group.unpooled),
    )
}

/// Clusters that have a destination in common, which has its source ports only once.
fn of_shared(plans: &[Plan]) -> Vec<String> {
    let mut clusters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for plan in plans {
        for name in plan.groups.iter().flat_map(|group| &group.names) {
            let cluster = format!("`{}`", plan.cluster.escape_debug());
            clusters.entry(name).or_default().push(cluster);
        }
    }
    let shared = clusters.into_iter().filter(|(_, clusters)| clusters.len() > 1);
    shared
        .map(|(name, clusters)| {
            format!(
                "\n{name} is in the clusters {}: what they need of one source address adds up.",
                clusters.join(" and ")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn kernel() -> Kernel {
        Kernel {
            port_range: Some(DEFAULT_RANGE),
            local_port_range_option: true,
            ..Kernel::default()
        }
    }

    fn rendered(clusters: &str) -> String {
        let beginning = "[[listener]]\naddress = \":1\"\n[[route]]\ncluster = \"api\"\n";
        let config =
            config::parse(&(beginning.to_owned() + clusters), "f").unwrap_or_else(|problems| panic!("{problems}"));
        render(&Plan::of_all(&config, &kernel()), &kernel())
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn nothing_is_said_where_nothing_is_expected() {
        assert_eq!(rendered("[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\n"), "");
    }

    #[test]
    fn a_pooled_cluster_is_shown_beside_an_unpooled_one() {
        let text = rendered("[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\nexpect = { requests_per_second = 800 }\n");
        let expected = "
Source ports: 32768-60999 (this machine's), 28232 of each source address towards each destination

Cluster `api`: 800 requests/s, 100 ms each, to 1 destination

10.0.0.1:80: 800 requests/s
                             sources  ports    limit    open  closing   needed  runs out    sustains
  pooled, fin-no-time-wait         1  28232    26820     107        1      108     never      9324/s
  unpooled, fin (61 s)             1  28232    26820     107    48800    48907      33 s       439/s
  Fine: 0.4 % of the limit is needed; `max_connections` is reached before the ports run out.
  Unpooled, with plain FIN closes, it would run out of ports in 33 s.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_unpooled_cluster_is_its_own_comparison() {
        let text = rendered(
            "[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\npool = { max_idle = 0, close = \"fin\" }\n\
             source = { max_fill = 1.0 }\nexpect = { requests_per_second = 800 }\n",
        );
        has(&text, &["  Unpooled at 800 requests/s this runs out of ports in 35 s."]);
        assert_eq!(text.matches("unpooled, fin (61 s)").count(), 1, "{text}");
        assert!(!text.contains("it would"), "{text}");
    }

    #[test]
    fn destinations_that_are_alike_are_shown_once() {
        let text = rendered(
            "[cluster.api]\nendpoints = [\"10.0.0.1:80\", \"10.0.0.2:80\", \"10.0.0.3:80\", \"10.0.0.4:80\", \
             { address = \"10.0.0.5:80\", weight = 4 }]\nexpect = { requests_per_second = 800 }\n",
        );
        has(
            &text,
            &[
                "Cluster `api`: 800 requests/s, 100 ms each, to 5 destinations",
                "10.0.0.1:80, 10.0.0.2:80 and 2 more alike: 100 requests/s each",
                "10.0.0.5:80: 400 requests/s",
                // What the last one sustains is half of it all.
                "All 5 together sustain 18648 requests/s as configured, 877 unpooled with plain FIN closes.",
            ],
        );
        assert_eq!(text.matches("pooled, fin-no-time-wait").count(), 2, "{text}");
    }

    #[test]
    fn each_verdict_is_a_sentence() {
        let verdict = |endpoint: &str, pool: &str, expect: &str| {
            rendered(&format!(
                "[cluster.api]\nendpoints = [\"{endpoint}\"]\npool = {{ {pool} }}\nexpect = {{ {expect} }}\n"
            ))
        };
        let unpooled = "max_idle = 0, close = \"fin\", max_connections = 100000";
        for (pool, expect, sentence) in [
            (
                "max_connections = 100",
                "requests_per_second = 800",
                "Requests wait: up to 107 connections are wanted at once, and `max_connections` is 100.",
            ),
            (
                unpooled,
                "requests_per_second = 400",
                "Tight: 91 % of the limit is needed, which leaves little for a burst.",
            ),
            (
                unpooled,
                "requests_per_second = 400, response_time = \"70s\"",
                "Runs out of ports at once: 28502 connections are open at the same time.",
            ),
            (
                "max_requests = 1, close = \"fin\"",
                "requests_per_second = 800",
                "At 800 requests/s this runs out of ports in 33 s.",
            ),
            (
                "max_idle = 4",
                "requests_per_second = 0.001, response_time = \"1ms\"",
                "Fine: 0.0 % of the limit is needed",
            ),
        ] {
            let text = verdict("10.0.0.1:80", pool, expect);
            assert!(text.contains(&format!("\n  {sentence}")), "no {sentence:?} in\n{text}");
        }
        // The kernel uses ports in TIME_WAIT again on the loopback interface, and this one has no limit to speak of.
        let loopback = verdict("127.0.0.1:80", unpooled, "requests_per_second = 8000");
        assert!(loopback.contains("unpooled, fin (1 s)"), "{loopback}");
        assert!(loopback.contains("  Fine: "), "{loopback}");
    }

    #[test]
    fn on_a_kernel_with_a_cliff_a_high_fill_is_expensive() {
        let text = "[[listener]]\naddress = \":1\"\n[[route]]\ncluster = \"api\"\n[cluster.api]\n\
                    endpoints = [\"10.0.0.1:80\"]\npool = { max_idle = 0, close = \"fin\" }\n\
                    source = { max_fill = 0.9 }\nexpect = { requests_per_second = 300 }\n";
        let config = config::parse(text, "f").unwrap();
        let old = Kernel {
            local_port_range_option: false,
            ..kernel()
        };
        let of = |kernel| render(&Plan::of_all(&config, kernel), kernel);
        let sentence = "  Expensive: with more than half of the ports in use, each new connection costs up to 3.7 ms.";
        has(&of(&old), &[sentence]);
        assert!(!of(&kernel()).contains(sentence));
    }

    #[test]
    fn a_destination_of_two_clusters_is_named() {
        let cluster = |name: &str| {
            format!(
                "[cluster.{name}]\nendpoints = [\"10.0.0.1:80\", \"10.0.0.2:{}\"]\nexpect = {{ requests_per_second = 1 }}\n",
                80 + name.len()
            )
        };
        let text = rendered(&(cluster("api") + &cluster("long")));
        has(
            &text,
            &["10.0.0.1:80 is in the clusters `api` and `long`: what they need of one source address adds up."],
        );
        assert_eq!(text.matches("is in the clusters").count(), 1, "{text}");
    }

    #[test]
    fn lines_fit_into_100_columns() {
        let text = rendered(
            "[cluster.api]\nendpoints = [\"[fd00:1111:2222:3333:4444:5555:6666:7777]:65535\", \"10.0.0.1:80\"]\n\
             pool = { close = \"fin-no-time-wait\", max_idle = 0, max_connections = 999999 }\n\
             source = { addresses = [\"10.9.0.0/24\", \"fd01::/120\"] }\n\
             expect = { requests_per_second = 9999999, response_time = \"75s\" }\n",
        );
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{longest:?} in\n{text}");
        // Wide numbers included, not only few and small ones.
        assert!(text.contains("6839100"), "{text}");
    }

    #[test]
    fn a_range_that_cannot_be_read_is_said_to_be_a_guess() {
        let kernel = Kernel::default();
        assert!(of_machine(&kernel).contains("cannot be read"));
        assert!(of_machine(&kernel).contains("28232"));
    }
}
