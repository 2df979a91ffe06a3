//! The program that measures Forebay beside others.

use std::{path::Path, process::Command};

use crate::support::tools;

#[test]
fn what_the_load_generators_say_is_understood() {
    if !tools::needs("python3") {
        return;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let ran = Command::new("python3")
        .arg(program)
        .arg("--self-test")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
