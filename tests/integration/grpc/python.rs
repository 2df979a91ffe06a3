//! Clients and servers that people really use: those of grpcio, which are gRPC's own in C under Python.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::support::{
    Proxy,
    authority::{Authority, Request},
    eventually,
    tools::{self, Tool},
    unreachable::Refusing,
};

const SERVER: &str = include_str!("server.py");
const CLIENT: &str = include_str!("client.py");

/// A Python that has gRPC, with the programs of these stories.
struct Python {
    name: &'static str,
    directory: TempDir,
}

impl Python {
    /// `None` where there is none; that has been said then.
    fn find() -> Option<Python> {
        let name = tools::python_with("grpc")?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (file, text) in [("server.py", SERVER), ("client.py", CLIENT)] {
            fs::write(directory.path().join(file), text).expect("a file can be written");
        }
        Some(Python { name, directory })
    }

    fn start(&self, file: &str, arguments: &[&str]) -> Tool {
        let mut command = Command::new(self.name);
        command.arg(self.directory.path().join(file)).args(arguments);
        // It speaks through the environment's proxy otherwise.
        command
            .env("no_grpc_proxy", "*")
            .env_remove("http_proxy")
            .env_remove("https_proxy");
        Tool::start(&mut command)
    }

    fn server(&self, options: &[&str]) -> (Tool, SocketAddr) {
        let server = self.start("server.py", options);
        let address = tools::announced(&server);
        (server, address)
    }

    /// Runs a story of the client to its end.
    fn tell(&self, proxy: &Proxy, story: &str) {
        self.tell_with(proxy, &[story]);
    }

    fn tell_with(&self, proxy: &Proxy, story: &[&str]) {
        let address = proxy.address().to_string();
        let mut client = self.start("client.py", &[&[&*address], story].concat());
        let status = client.wait();
        assert!(
            status.success(),
            "{story:?}: {}",
            client.stderr.wait_for_end().join("\n")
        );
        let lines = client.stdout.wait_for_end();
        assert_eq!(lines.last().map(String::as_str), Some("ok"), "{story:?}: {lines:?}");
    }
}

fn in_front_of(server: SocketAddr) -> Proxy {
    Proxy::to(&[server]).with("protocol = \"http2\"").start()
}

#[test]
fn every_shape_of_call_passes() {
    let Some(python) = Python::find() else { return };
    let (_server, address) = python.server(&[]);
    let proxy = in_front_of(address);
    for story in ["shapes", "turns", "metadata", "large", "deadlines"] {
        python.tell(&proxy, story);
    }
    assert_eq!(
        proxy.metric("forebay_grpc_responses_total", &["FAILED_PRECONDITION"]),
        1.0
    );
    assert_eq!(proxy.metric("forebay_grpc_responses_total", &["UNIMPLEMENTED"]), 1.0);
}

#[test]
fn ten_thousand_calls_share_a_few_connections() {
    let Some(python) = Python::find() else { return };
    let (_server, address) = python.server(&[]);
    let proxy = in_front_of(address);
    python.tell(&proxy, "many");
    proxy.wait_for_metric("forebay_grpc_responses_total", &["status=\"OK\""], |count| {
        count == 10_000.0
    });
    let opened = proxy.metric("forebay_pool_opened_total", &[]);
    assert!(opened <= 4.0, "{opened} connections");
    assert_eq!(proxy.metric("forebay_proxy_failures_total", &[]), 0.0);
}

#[test]
fn a_server_sees_that_a_call_was_cancelled() {
    let Some(python) = Python::find() else { return };
    let (server, address) = python.server(&[]);
    let proxy = in_front_of(address);
    python.tell(&proxy, "cancels");
    assert!(server.stdout.wait_for("ended"), "{:?}", server.stdout.all());
    proxy.wait_for_metric("forebay_grpc_responses_total", &["status=\"CANCELLED\""], |count| {
        count == 1.0
    });
    assert_eq!(proxy.metric("forebay_pool_opened_total", &[]), 1.0);
}

#[test]
fn a_cluster_that_is_down_is_unavailable_to_a_client() {
    let Some(python) = Python::find() else { return };
    let refusing = Refusing::new();
    python.tell(&in_front_of(refusing.address()), "down");
}

#[test]
fn a_method_without_a_route_is_unimplemented_to_a_client() {
    let Some(python) = Python::find() else { return };
    let proxy = Proxy::start(
        "[process]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\nname = \"public\"\n\
         address = \"127.0.0.1:0\"\n[[route]]\npath = \"/shop.Orders\"\ncluster = \"main\"\n\
         [cluster.main]\nendpoints = [\"127.0.0.1:1\"]\nprotocol = \"http2\"\n",
    );
    python.tell(&proxy, "unrouted");
}

#[test]
fn a_client_that_sends_pings_is_answered() {
    let Some(python) = Python::find() else { return };
    let (_server, address) = python.server(&[]);
    python.tell(&in_front_of(address), "pings");
}

#[test]
fn no_call_is_lost_to_a_server_that_ends_its_connections() {
    let Some(python) = Python::find() else { return };
    let (_server, address) = python.server(&[
        "grpc.max_connection_age_ms=300",
        "grpc.max_connection_age_grace_ms=3000",
    ]);
    let proxy = in_front_of(address);
    python.tell(&proxy, "ages");
    let opened = proxy.metric("forebay_pool_opened_total", &[]);
    assert!(opened > 3.0, "only {opened} connections: none was ended");
    assert_eq!(proxy.metric("forebay_proxy_failures_total", &[]), 0.0);
}

#[test]
fn a_call_whose_server_dies_is_unavailable() {
    let Some(python) = Python::find() else { return };
    let (server, address) = python.server(&[]);
    let proxy = in_front_of(address);
    let mut client = python.start("client.py", &[&proxy.address().to_string(), "breaks"]);
    assert!(client.stdout.wait_for("begun"), "{:?}", client.stderr.all());
    drop(server);
    assert!(client.wait().success(), "{:?}", client.stderr.wait_for_end());
}

#[test]
fn a_drain_ends_no_call() {
    let Some(python) = Python::find() else { return };
    let (_server, address) = python.server(&[]);
    let mut proxy = in_front_of(address);
    let mut client = python.start("client.py", &[&proxy.address().to_string(), "drains"]);
    assert!(client.stdout.wait_for("begun"), "{:?}", client.stderr.all());
    proxy.signal("TERM");
    assert!(client.wait().success(), "{:?}", client.stderr.wait_for_end());
    assert!(proxy.wait().success());
}

#[test]
fn calls_pass_over_tls_on_both_sides() {
    let Some(python) = Python::find() else { return };
    let authority = Authority::new("test");
    let (of_proxy, of_server) = (
        authority.issue(Request::of(&["shop.example"])),
        authority.issue(Request::of(&["backend.example"])),
    );
    let path = |path: PathBuf| path.display().to_string();
    let (_server, address) = python.server(&[&path(of_server.key()), &path(of_server.chain())]);
    for protocol in ["http2", "auto"] {
        let roots = path(authority.chain());
        let tls = format!("tls = {{ roots = {roots:?}, server_name = \"backend.example\" }}");
        let proxy = Proxy::to(&[address])
            .listener(&format!("tls = {{ certificates = [{}] }}", of_proxy.toml()))
            .with(&format!("protocol = \"{protocol}\"\n{tls}"))
            .start();
        for story in ["shapes", "turns", "metadata", "large"] {
            python.tell_with(&proxy, &[story, &roots]);
        }
        assert_eq!(proxy.metric("forebay_upstream_connect_failures_total", &[]), 0.0);
    }
}

#[test]
fn a_health_probe_asks_a_real_server() {
    let Some(python) = Python::find() else { return };
    let (server, address) = python.server(&[]);
    let probe = "[cluster.main.health]\nprobe = { grpc = \"\", interval = \"50ms\", fall = 1 }";
    let proxy = Proxy::to(&[address]).with("protocol = \"http2\"").with(probe).start();
    eventually("the probes find it serving", || {
        proxy.status().to_string().contains("serving")
    });
    python.tell(&proxy, "shapes");
    drop(server);
    proxy.wait_for_metric("forebay_health_healthy", &[], |healthy| healthy == 0.0);
}
