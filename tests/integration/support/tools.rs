//! Programs of others that some tests need.

use std::{
    env,
    io::Write,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{eventually::eventually, lines::Lines};

/// Says why a test does not run; with `FOREBAY_TESTS_STRICT=1` that is a failure.
pub fn skip(why: &str) {
    assert!(
        env::var_os("FOREBAY_TESTS_STRICT").is_none(),
        "skipped in strict mode: {why}"
    );
    note_skipped(why);
}

/// As [`skip`], for what no machine has to have: never a failure.
pub fn note_skipped(why: &str) {
    // Not `println!`, which the test harness would keep to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Whether `tool` is installed; says so when it is not.
pub fn needs(tool: &str) -> bool {
    let found = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
        || ["/usr/sbin", "/sbin"]
            .iter()
            .any(|folder| std::path::Path::new(folder).join(tool).is_file());
    if !found {
        skip(&format!("{tool} is not installed"));
    }
    found
}

/// A Python that has `module`, which may be the system's rather than the first one; says so when there is none.
pub fn python_with(module: &str) -> Option<&'static str> {
    let has_it = |python: &&str| {
        let mut command = Command::new(python);
        let status = command
            .args(["-c", &format!("import {module}")])
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
    if found.is_none() {
        skip(&format!("Python has no module {module}"));
    }
    found
}

/// A program that runs beside the test and is killed with the value.
pub struct Tool {
    child: Child,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Tool {
    pub fn start(command: &mut Command) -> Tool {
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tool starts");
        let stdout = Lines::read(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Lines::read(child.stderr.take().expect("stderr is a pipe"));
        Tool { child, stdout, stderr }
    }

    /// Waits for the exit; panics when the tool goes on until the deadline.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the tool ends", || {
            status = self.child.try_wait().expect("the child can be waited for");
            status.is_some()
        });
        status.expect("eventually has seen it")
    }

    /// As Ctrl-C does.
    pub fn interrupt(&self) {
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(sent.expect("there is a kill").success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for programs that cannot tell which one they were given.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// What curl printed, and its exit code.
pub fn curl(arguments: &[&str]) -> (i32, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "15"])
        .args(arguments)
        .output();
    let output = output.expect("curl runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The address of a server that prints `port N`.
pub fn announced(server: &Tool) -> SocketAddr {
    assert!(
        server.stdout.wait_for("port "),
        "the server does not start: {:?}",
        server.stderr.all()
    );
    let lines = server.stdout.all();
    let port = lines
        .iter()
        .find_map(|line| line.strip_prefix("port "))
        .expect("the line is there");
    SocketAddr::from(([127, 0, 0, 1], port.trim().parse().expect("a port is a number")))
}

/// One request for `a.example` through `openssl s_client`, and what that said.
pub fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect", &address.to_string(), "-ign_eof"])
        .args(arguments);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("openssl runs");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // It may have ended already, when its handshake was refused.
    let _ = stdin.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().expect("openssl ends with the connection");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
