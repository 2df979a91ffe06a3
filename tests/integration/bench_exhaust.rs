//! `forebay bench exhaust`: the three proxies meet few source ports as it says, and nothing is left behind.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{
    eventually,
    family::{self, Family},
    proxy::BINARY,
    tools,
};

/// A command under test with all that it starts.
struct Exhaust {
    command: Command,
    family: Family,
}

impl Exhaust {
    fn new(arguments: &[&str]) -> Exhaust {
        let mut command = Command::new(BINARY);
        command.args(["bench", "exhaust"]).args(arguments);
        let family = Family::of(&mut command);
        Exhaust { command, family }
    }

    fn start(&mut self) -> Child {
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    }

    /// Runs it to its end, at which nothing of it is left.
    fn output(&mut self) -> Output {
        let child = self.start();
        self.end_of(child)
    }

    fn end_of(&self, child: Child) -> Output {
        let id = child.id();
        let output = child.wait_with_output().expect("it ends");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaints}", output.status);
        eventually("no process is left", || self.processes().is_empty());
        assert_eq!(namespaces_of(id), [""; 0]);
        output
    }

    fn processes(&self) -> Vec<String> {
        self.family.processes()
    }

    fn is_under_load(&self) -> bool {
        self.processes().iter().any(|line| line.contains("exhaust-inside"))
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether network namespaces can be made; says so when they cannot.
fn can_make_namespaces() -> bool {
    if !tools::needs("ip") {
        return false;
    }
    let name = format!("forebay-try-{}", family::unique());
    let ip = |verb: &str| Command::new("ip").args(["netns", verb, &name]).output();
    let made = ip("add").is_ok_and(|output| output.status.success());
    let _ = ip("delete");
    if !made {
        tools::skip("needs root, to make a network namespace");
    }
    made
}

/// None where they cannot be listed, since there is no program to make them with.
fn namespaces() -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let list = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    list.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn namespaces_of(process: u32) -> Vec<String> {
    let prefix = format!("forebay-bench-{process}-");
    namespaces()
        .into_iter()
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

/// The subjects of what was written as JSON: unpooled with FIN, without TIME_WAIT, and pooled.
fn subjects(output: &Output) -> [Value; 3] {
    let value: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
    let subjects = value["subjects"].as_array().expect("there are subjects").clone();
    subjects.try_into().expect("there are three")
}

fn number(subject: &Value, key: &str) -> u64 {
    subject[key].as_u64().unwrap_or_else(|| panic!("{key} in {subject}"))
}

#[test]
fn three_proxies_meet_few_ports_each_in_its_way() {
    if !can_make_namespaces() {
        return;
    }
    let mut exhaust = Exhaust::new(&["--ports", "50", "--rate", "30", "--duration", "4s", "--json", "-"]);
    let [fin, no_time_wait, pooled] = subjects(&exhaust.output());
    // Each port is used once, and then waits for a minute.
    for key in ["connections", "answered", "time_wait", "ports"] {
        assert_eq!(number(&fin, key), 50, "{key} in {fin}");
    }
    assert!(number(&fin, "errors") > 0 && number(&fin, "eaddrnotavail") > 0, "{fin}");
    assert_eq!(number(&no_time_wait, "errors"), 0, "{no_time_wait}");
    assert_eq!(number(&no_time_wait, "time_wait"), 0, "{no_time_wait}");
    assert_eq!(number(&no_time_wait, "connections"), number(&no_time_wait, "answered"));
    assert!(number(&no_time_wait, "connections") > 50, "{no_time_wait}");
    assert_eq!(
        (number(&pooled, "errors"), number(&pooled, "time_wait")),
        (0, 0),
        "{pooled}"
    );
    assert!(
        number(&pooled, "connections") <= 10 && number(&pooled, "answered") > 50,
        "{pooled}"
    );
}

#[test]
fn an_interrupted_one_tells_what_it_has_and_leaves_nothing() {
    if !can_make_namespaces() {
        return;
    }
    for signal in ["INT", "TERM", "HUP"] {
        let mut exhaust = Exhaust::new(&["--ports", "50", "--duration", "10m"]);
        let child = exhaust.start();
        eventually("the load has begun", || exhaust.is_under_load());
        assert_eq!(namespaces_of(child.id()).len(), 2);
        send(signal, &child);
        let output = exhaust.end_of(child);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("unpooled, fin"), "{signal}: {text}");
    }
}

#[test]
fn what_a_killed_one_leaves_goes_with_the_next_and_nothing_else_does() {
    if !can_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut killed = Exhaust::new(&["--ports", "50", "--duration", "10m"]);
    killed.command.env("TMPDIR", folder.path());
    let mut child = killed.start();
    let id = child.id();
    eventually("the load has begun", || killed.is_under_load());
    assert_eq!(
        fs::read_dir(folder.path()).map(Iterator::count).ok(),
        Some(0),
        "files would remain"
    );
    assert_eq!(namespaces_of(id).len(), 2);
    send("KILL", &child);
    child.wait().expect("it ends");
    // Its children end by themselves. The namespaces remain, unless another test has found them already.
    eventually("no process is left", || killed.processes().is_empty());
    // The process 1 always runs, and has been started at this time.
    let stat = fs::read_to_string("/proc/1/stat").expect("process 1 runs");
    let started = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19));
    let foreign = format!(
        "forebay-bench-1-{}-{}",
        started.expect("it has a time"),
        family::unique()
    );
    let ip = |verb: &str| Command::new("ip").args(["netns", verb, &foreign]).status();
    assert!(ip("add").is_ok_and(|status| status.success()));
    Exhaust::new(&["--ports", "50", "--duration", "1s"]).output();
    let kept = namespaces().contains(&foreign);
    let _ = ip("delete");
    assert!(kept, "the namespace of a running process is its own");
    assert_eq!(namespaces_of(id), [""; 0]);
}

#[test]
fn without_root_it_explains_itself_and_shows_what_loopback_allows() {
    let mut exhaust = Exhaust::new(&["--duration", "2s", "--json", "-"]);
    if is_root() {
        // Nobody.
        exhaust.command.uid(65_534).gid(65_534);
    }
    let Ok(child) = exhaust.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        tools::note_skipped("nobody but root can reach the binary");
        return;
    };
    let output = exhaust.end_of(child);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaints.contains("as root") && complaints.contains("loopback"),
        "{complaints}"
    );
    let [fin, no_time_wait, pooled] = subjects(&output);
    // Each leaves one; how many came behind the last look, the machine decides.
    assert!(2 * number(&fin, "time_wait") >= number(&fin, "answered"), "{fin}");
    for subject in [fin, no_time_wait, pooled] {
        assert_eq!(number(&subject, "errors"), 0, "{subject}");
        assert!(number(&subject, "answered") > 0, "{subject}");
    }
}
