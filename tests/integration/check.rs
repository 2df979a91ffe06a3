//! `forebay check`: what the expected load needs of the source ports, and what on this machine stands against it.

use std::{fs, process::Command};

use crate::support::{
    netns::Namespace,
    proxy::BINARY,
    tools::{Tool, needs},
};

/// A config whose listener has this address, and whose cluster this endpoint and these further keys.
fn config(listener: &str, endpoint: &str, cluster: &str) -> String {
    format!(
        "[admin]\naddress = \"off\"\n[[listener]]\nname = \"public\"\naddress = \"{listener}\"\n\
         [[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{endpoint}\"]\n{cluster}\n"
    )
}

/// Runs `check` on this config, behind the words of `prefix`: its exit code, standard output and standard error.
fn check_under(prefix: &[&str], toml: &str, more: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("forebay.toml");
    fs::write(&file, toml).expect("the config can be written");
    let mut words = prefix.iter().copied().chain([BINARY, "check"]);
    let mut command = Command::new(words.next().expect("there is at least the binary"));
    let mut tool = Tool::start(command.args(words).arg(&file).args(more));
    let code = tool.wait().code().unwrap_or(-1);
    let [stdout, stderr] = [&tool.stdout, &tool.stderr].map(|lines| lines.wait_for_end().join("\n"));
    (code, stdout, stderr)
}

fn check(toml: &str, more: &[&str]) -> (i32, String, String) {
    check_under(&[], toml, more)
}

/// The same inside a namespace.
fn check_inside(namespace: &Namespace, toml: &str, more: &[&str]) -> (i32, String, String) {
    check_under(&["ip", "netns", "exec", namespace.name()], toml, more)
}

fn set(namespace: &Namespace, key: &str, value: &str) {
    let status = Command::new("ip")
        .args(["netns", "exec", namespace.name(), "sysctl", "-qw"])
        .arg(format!("net.ipv4.{key}={value}"))
        .status();
    assert!(status.expect("sysctl runs").success(), "{key}");
}

/// The columns behind the label of the row that begins with it.
fn row(text: &str, label: &str) -> Vec<String> {
    let row = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    let row = row.unwrap_or_else(|| panic!("no row {label:?} in\n{text}"));
    row.split("  ")
        .map(str::trim)
        .filter(|column| !column.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn without_an_expected_load_there_is_only_the_summary() {
    let (code, stdout, _) = check(&config("127.0.0.1:8080", "10.0.0.1:80", ""), &[]);
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stdout}");
    assert!(stdout.contains("ok, 1 listener, 1 route, 1 cluster"), "{stdout}");
}

#[test]
fn an_expected_load_is_compared_with_an_unpooled_proxy() {
    let expect = "expect = { requests_per_second = 800 }";
    let (code, stdout, _) = check(&config("127.0.0.1:8080", "10.0.0.1:80", expect), &[]);
    assert_eq!(code, 0, "{stdout}");
    let first = stdout.lines().next().unwrap_or_default();
    assert!(first.contains("ok, 1 listener"), "{stdout}");
    let (pooled, unpooled) = (row(&stdout, "pooled, fin-no-time-wait"), row(&stdout, "unpooled, fin"));
    let needed = |row: &[String]| row[row.len() - 3].parse::<u64>().expect("a number");
    assert!(needed(&pooled) < 200 && needed(&unpooled) > 800, "{stdout}");
}

#[test]
fn the_load_may_come_from_the_command_line() {
    let toml = config(
        "127.0.0.1:8080",
        "10.0.0.1:80",
        "[cluster.quiet]\nendpoints = [\"10.0.0.2:80\"]\n",
    );
    let (code, stdout, _) = check(&toml, &["--requests-per-second", "800"]);
    assert_eq!(code, 0, "{stdout}");
    for name in ["api", "quiet"] {
        assert!(
            stdout.contains(&format!("Cluster `{name}`: 800 requests/s")),
            "{stdout}"
        );
    }
    let (code, stdout, _) = check(&toml, &["--requests-per-second", "0.5", "--cluster", "quiet"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("Cluster `quiet`: 0.5 requests/s"), "{stdout}");
    assert!(!stdout.contains("Cluster `api`"), "{stdout}");
}

#[test]
fn a_load_that_makes_no_sense_is_wrong_usage() {
    let toml = config("127.0.0.1:8080", "10.0.0.1:80", "");
    for (more, word) in [
        (&["--requests-per-second", "many"][..], "'many'"),
        (&["--requests-per-second", "0"], "above 0"),
        (&["--requests-per-second=-800"], "'-800'"),
        (&["--requests-per-second", "800", "--cluster", "apy"], "it has `api`"),
        (&["--cluster", "api"], "--requests-per-second"),
    ] {
        let (code, stdout, stderr) = check(&toml, more);
        assert_eq!((code, stdout.as_str()), (2, ""), "{more:?}: {stderr}");
        assert!(stderr.contains(word), "{more:?}: {stderr}");
    }
}

#[test]
fn a_name_that_leads_nowhere_is_one_destination() {
    let expect = "expect = { requests_per_second = 10 }";
    let (code, stdout, _) = check(&config("127.0.0.1:8080", "nowhere.invalid:80", expect), &[]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("to 1 destination\n"), "{stdout}");
    assert!(stdout.contains("\nnowhere.invalid:80: 10 requests/s\n"), "{stdout}");
}

#[test]
fn the_ports_are_those_of_the_machine() {
    if !needs("sysctl") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    namespace.source_ports(40_000, 40_199);
    set(&namespace, "ip_local_reserved_ports", "40190-40199");
    let toml = config(
        "127.0.0.1:8080",
        "10.0.0.1:80",
        "pool = { close = \"fin\", max_idle = 0 }\nsource = { max_fill = 1.0 }\nexpect = { requests_per_second = 10 }",
    );
    let (code, stdout, stderr) = check_inside(&namespace, &toml, &[]);
    assert_eq!(code, 0, "warnings are no problems: {stderr}");
    assert!(
        stdout.contains("Source ports: 40000-40199 (this machine's), 190 "),
        "{stdout}"
    );
    // 1 s for the 4 connections that are open at the peaks, and 10 each second.
    assert_eq!(
        row(&stdout, "unpooled, fin (61 s)"),
        ["1", "190", "190", "4", "610", "614", "18 s", "3.08/s"],
        "{stdout}"
    );
    assert!(
        stdout.contains("Unpooled at 10 requests/s this runs out of ports in 18 s."),
        "{stdout}"
    );
    for part in ["only 190 ports", "tcp_tw_reuse is 0"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    // With both, a port in TIME_WAIT is free again after a second.
    set(&namespace, "tcp_tw_reuse", "1");
    let (_, stdout, stderr) = check_inside(&namespace, &toml, &[]);
    assert_eq!(row(&stdout, "unpooled, fin (1 s)")[6], "never", "{stdout}");
    assert!(!stderr.contains("tcp_tw_reuse"), "{stderr}");
    set(&namespace, "tcp_timestamps", "0");
    let (_, stdout, stderr) = check_inside(&namespace, &toml, &[]);
    assert_eq!(row(&stdout, "unpooled, fin (61 s)")[6], "18 s", "{stdout}");
    assert!(stderr.contains("net.ipv4.tcp_timestamps=1"), "{stderr}");
}

#[test]
fn a_listener_among_the_source_ports_is_warned_of_until_its_port_is_reserved() {
    if !needs("sysctl") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    let toml = config("127.0.0.1:40000", "10.0.0.1:80", "");
    let (code, _, stderr) = check_inside(&namespace, &toml, &[]);
    assert_eq!(code, 0, "{stderr}");
    let warning = "the listener `public` (port 40000) lies among the source ports (32768-60999)";
    assert!(stderr.contains(warning), "{stderr}");
    let cure = stderr
        .rsplit("ip_local_reserved_ports=")
        .next()
        .and_then(|rest| rest.lines().next());
    set(
        &namespace,
        "ip_local_reserved_ports",
        cure.expect("the warning says what to do"),
    );
    let (_, _, stderr) = check_inside(&namespace, &toml, &[]);
    assert!(!stderr.contains("source ports"), "{stderr}");
}

#[test]
fn a_source_address_has_to_be_on_the_machine() {
    let with = |addresses: &str| {
        let source = format!("source = {{ addresses = [{addresses}] }}");
        config("127.0.0.1:8080", "10.0.0.1:80", &source)
    };
    // Addresses set aside for documentation (RFC 5737).
    let (code, stdout, stderr) = check(&with("\"192.0.2.1\", \"127.0.0.1\", \"198.51.100.0/24\""), &[]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    for address in ["192.0.2.1", "198.51.100.0/24"] {
        let line = format!("connections to the cluster `api` cannot come from {address}");
        assert!(stderr.contains(&line), "no {line:?} in {stderr}");
    }
    assert!(!stderr.contains("127.0.0.1"), "{stderr}");
    assert_eq!(check(&with("\"127.0.0.1\""), &[]).0, 0);
}

#[test]
fn a_local_route_makes_a_prefix_the_machines_own() {
    let Some(namespace) = Namespace::make() else { return };
    let toml = config(
        "127.0.0.1:8080",
        "10.0.0.1:80",
        "source = { addresses = [\"198.51.100.0/28\"] }\nexpect = { requests_per_second = 10 }",
    );
    assert_eq!(check_inside(&namespace, &toml, &[]).0, 2);
    let route = [
        "-n",
        namespace.name(),
        "route",
        "add",
        "local",
        "198.51.100.0/28",
        "dev",
        "lo",
    ];
    let status = Command::new("ip").args(route).status();
    assert!(status.expect("ip runs").success(), "the route can be set");
    let (code, stdout, stderr) = check_inside(&namespace, &toml, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(row(&stdout, "pooled, fin-no-time-wait")[0], "14", "{stdout}");
}
