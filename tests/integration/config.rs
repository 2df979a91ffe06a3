//! `forebay check`: all problems at once, each with its place.

use std::{fs, path::Path};

use crate::support::proxy::run;

/// The exit code and all that `check` says of this config.
fn check(toml: &str) -> (i32, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("forebay.toml");
    fs::write(&file, toml).expect("the config can be written");
    let (code, stdout, stderr) = run(&["check", &file.display().to_string()]);
    (code, stdout + &stderr)
}

const GOOD: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"127.0.0.1:9000\"]\n";

#[test]
fn a_good_config_passes() {
    let (code, said) = check(GOOD);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn the_configs_that_come_with_the_product_pass() {
    for name in ["minimal.toml", "full.toml"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let (code, stdout, stderr) = run(&["check", &file.display().to_string()]);
        assert_eq!(code, 0, "{name}: {stdout}{stderr}");
    }
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_what_to_write() {
    let (code, said) = check(
        "[[listener]]\naddress = \"127.0.0.1:8080\"\nmax_conections = 5\n\n[keep_alive]\nidle_timeout = 60\n\n\
         [[route]]\npath = \"api\"\ncluster = \"apy\"\n\n[cluster.api]\nendpoints = [\"127.0.0.1\"]\nbalance = \"roundrobin\"\n",
    );
    assert_eq!(code, 2, "{said}");
    for place in [":3:", ":6:", ":9:", ":10:", ":13:", ":14:"] {
        assert!(
            said.contains(&format!("forebay.toml{place}")),
            "nothing at {place} in:\n{said}"
        );
    }
    for word in [
        "max_connections",
        "max_conections = 5",
        "\"60s\"",
        "\"/api\"",
        "api",
        "round-robin",
    ] {
        assert!(said.contains(word), "no word of {word} in:\n{said}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_where_it_ceases_to_be() {
    let (code, said) = check("[[listener]]\naddress = \"127.0.0.1:8080\n");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("forebay.toml:2:"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_a_problem_too() {
    let (code, _, stderr) = run(&["check", "/nowhere/forebay.toml"]);
    assert_ne!(code, 0);
    assert!(stderr.contains("/nowhere/forebay.toml"), "{stderr}");
}

#[test]
fn a_proxy_does_not_start_with_a_bad_config() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("forebay.toml");
    fs::write(&file, GOOD.replace("\"api\"", "\"apy\"")).expect("the config can be written");
    let (code, _, stderr) = run(&["run", "--config", &file.display().to_string()]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("forebay.toml:4:"), "{stderr}");
}

#[test]
fn an_address_in_use_is_told_with_the_listener() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("forebay.toml");
    let toml = format!(
        "[admin]\naddress = \"off\"\n{}",
        GOOD.replace("127.0.0.1:8080", &address)
    );
    fs::write(&file, toml).expect("the config can be written");
    let (code, _, stderr) = run(&["run", "--config", &file.display().to_string()]);
    assert!(code != 0 && code != -1, "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}
