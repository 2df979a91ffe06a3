//! `forebay bench`: what it counts is what has happened, and nothing is left behind.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{eventually, family::Family, proxy::BINARY, tools::Tool};

/// The least that is a measurement.
const SHORT: [&str; 6] = ["--duration", "300ms", "--warmup", "0s", "--rounds", "1"];

struct Bench {
    command: Command,
    family: Family,
}

impl Bench {
    fn new(arguments: &[&str]) -> Bench {
        let mut command = Command::new(BINARY);
        command
            .arg("bench")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let family = Family::of(&mut command);
        Bench { command, family }
    }

    fn short(arguments: &[&str]) -> Bench {
        Bench::new(&[&SHORT, arguments].concat())
    }

    fn output(&mut self) -> Output {
        let child = self.command.spawn().expect("the binary starts");
        self.end_of(child)
    }

    fn end_of(&self, child: Child) -> Output {
        let output = child.wait_with_output().expect("it ends");
        eventually("no process is left", || self.family.processes().is_empty());
        output
    }

    fn json(&mut self) -> Value {
        self.command.args(["--json", "-"]);
        read(&self.output())
    }
}

fn read(output: &Output) -> Value {
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaints}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A figure of a subject's only run.
fn figure(report: &Value, subject: usize, name: &str) -> f64 {
    let value = &report["subjects"][subject]["runs"][0]["figures"][name];
    value.as_f64().unwrap_or_else(|| panic!("{name} is {value}"))
}

#[test]
fn a_proxy_without_a_pool_opens_a_connection_for_each_request() {
    let report = Bench::short(&["--connections", "8"]).json();
    let names: Vec<_> = report["subjects"]
        .as_array()
        .expect("subjects")
        .iter()
        .map(|subject| &subject["name"])
        .collect();
    assert_eq!(names, ["pooled", "unpooled", "direct"]);
    for subject in 0..3 {
        assert!(figure(&report, subject, "answered") > 0.0);
        assert_eq!(figure(&report, subject, "client_errors"), 0.0);
        assert!(figure(&report, subject, "endpoint_cpu_us_per_request") >= 0.0);
    }
    assert!(figure(&report, 0, "reuse_ratio") > 0.0);
    assert_eq!(figure(&report, 1, "reuse_ratio"), 0.0);
    assert!(
        figure(&report, 0, "upstream_connections_opened") <= 24.0,
        "8 clients, 3 endpoints"
    );
    // Probes, of which one may fall into the run, open theirs too.
    let (opened, answered) = (
        figure(&report, 1, "upstream_connections_opened"),
        figure(&report, 1, "answered"),
    );
    assert!(opened >= answered, "{opened} opened for {answered}");
    assert!(figure(&report, 1, "time_wait_proxy_max") > 0.0);
    assert!(report["subjects"][2]["figures"]["proxy_cpu_us_per_request"].is_null());
}

#[test]
fn every_kind_of_client_is_served() {
    for arguments in [
        &["--tls"][..],
        &["--protocol", "http2", "--streams", "4"],
        &["--protocol", "http2", "--tls", "--clients", "connection-per-request"],
        &[
            "--clients",
            "connection-per-request",
            "--request-body",
            "1KiB",
            "--size",
            "10KiB",
        ],
        &["--rate", "200", "--path", "/healthz"],
    ] {
        let report = Bench::short(&[&["--connections", "4", "--endpoints", "1"], arguments].concat()).json();
        for subject in 0..3 {
            assert!(figure(&report, subject, "answered") > 0.0, "{arguments:?}");
            assert_eq!(figure(&report, subject, "client_errors"), 0.0, "{arguments:?}");
        }
    }
}

#[test]
fn ctrl_c_ends_it_with_the_whole_rounds() {
    let arguments = [
        "--duration",
        "300ms",
        "--warmup",
        "0s",
        "--rounds",
        "1000",
        "--connections",
        "2",
        "--json",
        "-",
    ];
    let mut bench = Bench::new(&arguments);
    let mut tool = Tool::start(&mut bench.command);
    assert!(tool.stderr.wait_for("round 2 of 1000"), "{:?}", tool.stderr.all());
    tool.interrupt();
    assert!(tool.wait().success());
    let text = tool.stdout.wait_for_end().join("\n");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["ending"], "interrupted-whole-rounds");
    let runs = |subject: usize| report["subjects"][subject]["runs"].as_array().map(Vec::len);
    assert!(runs(0) >= Some(1) && runs(0) == runs(1) && runs(1) == runs(2));
    eventually("no process is left", || bench.family.processes().is_empty());
}

#[test]
fn endpoints_of_ones_own_are_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let refused = Bench::short(&["--to", &address]).output();
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        complaint.contains(&format!("the endpoint {address} cannot be reached")),
        "{complaint}"
    );

    let endpoint = Tool::start(Command::new(BINARY).args(["endpoint", "--listen", "127.0.0.1:0"]));
    assert!(endpoint.stdout.wait_for("listening on "), "{:?}", endpoint.stderr.all());
    let lines = endpoint.stdout.all();
    let address = lines[0].rsplit(' ').next().expect("an address").to_owned();
    let report = Bench::short(&["--to", &address, "--subjects", "pooled", "--connections", "2"]).json();
    assert!(figure(&report, 0, "answered") > 0.0);
    assert!(report["subjects"][0]["figures"]["endpoint_cpu_us_per_request"].is_null());
    assert_eq!(report["experiment"]["endpoints_given"][0], address);
}

#[test]
fn the_table_and_the_page_tell_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let output = Bench::short(&["--connections", "2", "--page", &page.to_string_lossy()]).output();
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success() && table.contains("requests per second"),
        "{table}"
    );
    let page = fs::read_to_string(page).expect("a page");
    let row = table
        .lines()
        .find(|line| line.starts_with("connections opened"))
        .expect("a row");
    assert!(page.contains(row), "{page}");
    let (links, names) = (
        page.matches("://").count(),
        page.matches("http://www.w3.org/2000/svg").count(),
    );
    assert!(
        page.contains("<svg") && links == names,
        "it needs something from elsewhere"
    );
}

#[test]
fn what_cannot_be_is_said_before_anything_is_started() {
    for (arguments, expected) in [
        (&["--streams", "4"][..], "--streams needs --protocol http2"),
        (&["--subjects", "pooled,pooled"], "names one twice"),
        (&["--json", "/nonexistent/file"], "cannot write /nonexistent/file"),
        (&["--duration", "1ms"], "from 100ms to 24h"),
        (&["--path", "nowhere"], "begins with"),
    ] {
        let output = Bench::new(arguments).output();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && complaint.contains(expected),
            "{arguments:?}: {complaint}"
        );
    }
}
