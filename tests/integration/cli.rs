//! The commands, as they are typed.

use std::{fs, net::SocketAddr, process::Command};

use crate::support::{
    Client, Endpoint, Proxy,
    certificate::Certificate,
    proxy::{BINARY, run},
    tools::{self, Tool},
};

#[test]
fn a_proxy_needs_no_file() {
    let (one, two) = (Endpoint::answering("one"), Endpoint::answering("two"));
    let to = format!("{},{}", one.address(), two.address());
    let proxy = Proxy::command(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--admin",
        "off",
        "--workers",
        "1",
    ]);
    let mut client = proxy.connect();
    let answers: Vec<String> = (0..20).map(|_| client.get("/").text()).collect();
    assert!(
        answers.iter().all(|answer| answer == "one" || answer == "two"),
        "{answers:?}"
    );
}

#[test]
fn endpoints_may_be_repeated_and_the_pool_left_out() {
    let (one, two) = (Endpoint::answering("x"), Endpoint::answering("x"));
    let (to_one, to_two) = (one.address().to_string(), two.address().to_string());
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to_one,
        "--to",
        &to_two,
        "--source",
        "127.0.0.1",
        "--no-pool",
        "--admin",
        "127.0.0.1:0",
    ];
    let proxy = Proxy::command(&arguments);
    for _ in 0..5 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert_eq!(proxy.admin_get("/healthz").status, 200);
    assert_eq!(one.opened() + two.opened(), 5);
}

#[test]
fn a_proxy_without_a_file_can_end_tls() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let (to, chain, key) = (
        endpoint.address().to_string(),
        certificate.chain().display().to_string(),
        certificate.key().display().to_string(),
    );
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--tls-listen",
        "127.0.0.1:0",
        "--cert",
        &chain,
        "--key",
        &key,
        "--to",
        &to,
        "--admin",
        "off",
    ];
    let proxy = Proxy::command(&arguments);
    let lines = proxy.output();
    let https = lines
        .iter()
        .find(|line| line.contains("(https"))
        .expect("a listener for TLS");
    let address = https
        .trim_start_matches("listening on ")
        .split(' ')
        .next()
        .expect("an address");
    assert_eq!(
        tools::curl(&["--insecure", &format!("https://{address}/")]),
        (0, "x".to_owned())
    );
}

#[test]
fn the_config_that_a_command_line_stands_for_can_be_printed_and_passes() {
    let (code, toml, stderr) = run(&[
        "proxy",
        "--listen",
        ":8080",
        "--to",
        "10.0.0.1:9000,10.0.0.2:9000",
        "--workers",
        "3",
        "--no-pool",
        "--print-config",
    ]);
    assert_eq!(code, 0, "{stderr}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("printed.toml");
    fs::write(&file, &toml).expect("a file can be written");
    let (code, stdout, stderr) = run(&["check", &file.display().to_string()]);
    assert_eq!(code, 0, "{toml}\n{stdout}{stderr}");
    for word in ["workers = 3", "10.0.0.2:9000", "max_idle = 0"] {
        assert!(toml.contains(word), "no {word:?} in {toml}");
    }
}

/// Starts `forebay endpoint` on a free port.
fn demo_endpoint(more: &[&str]) -> (Tool, SocketAddr) {
    let endpoint = Tool::start(
        Command::new(BINARY)
            .args(["endpoint", "--listen", "127.0.0.1:0"])
            .args(more),
    );
    let mark = "listening on ";
    assert!(endpoint.stdout.wait_for(mark), "{:?}", endpoint.stderr.all());
    let line = endpoint.stdout.all().remove(0);
    let address = line.rsplit(mark).next().and_then(|address| address.parse().ok());
    (endpoint, address.unwrap_or_else(|| panic!("no address in {line:?}")))
}

#[test]
fn the_demo_endpoint_answers_with_its_name_and_echoes() {
    let (_endpoint, address) = demo_endpoint(&["--size", "1KiB", "--delay", "1ms"]);
    let mut client = Client::connect(address);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.body.len()), (200, 1024));
    assert!(
        answer.text().contains(&address.port().to_string()),
        "{:?}",
        answer.text()
    );
    assert_eq!(client.post("/echo", "hello").text(), "hello");
}

#[test]
fn a_demo_endpoint_can_fail() {
    let (_endpoint, address) = demo_endpoint(&["--fail", "100%"]);
    assert!(Client::connect(address).get("/").status >= 500);
}

#[test]
fn the_demo_starts_and_answers() {
    let taken = [8080, 9900]
        .iter()
        .any(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
    if taken {
        tools::note_skipped("the ports of the demo are in use");
        return;
    }
    let demo = Proxy::command(&["demo"]);
    assert_eq!(demo.get("/").status, 200);
    assert_eq!(demo.admin_get("/metrics").status, 200);
    assert!(
        demo.output().iter().any(|line| line.contains("curl")),
        "it says what to try: {:?}",
        demo.output()
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_explained() {
    for arguments in [
        &["proxy"][..],
        &["proxy", "--to", "127.0.0.1:9000"],
        &["nonsense"],
        &["proxy", "--listen", "x", "--to", "y"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(!(stdout + &stderr).is_empty(), "{arguments:?}");
    }
    assert_eq!(run(&["--version"]).0, 0);
    assert_eq!(run(&["--help"]).0, 0);
}
