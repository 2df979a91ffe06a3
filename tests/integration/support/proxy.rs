//! The real binary, started from a config and ended with the test.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use tempfile::TempDir;

use super::{
    client::{Client, Response},
    endpoint::Endpoint,
    eventually::eventually,
    lines::Lines,
    netns::Namespace,
    tools::Tool,
};

/// Where the tested binary lies.
pub const BINARY: &str = env!("CARGO_BIN_EXE_forebay");

/// What a proxy shall be started with.
pub struct Setup {
    workers: usize,
    endpoints: Vec<String>,
    extra: String,
    process: String,
    listener: String,
    cluster: String,
    address: String,
    port: u16,
    admin_port: u16,
    prefix: Vec<String>,
}

impl Setup {
    /// Further TOML behind the config, which has one listener, one route and the cluster `main`.
    pub fn with(mut self, toml: &str) -> Setup {
        self.extra.push_str(toml);
        self.extra.push('\n');
        self
    }

    /// Further keys of `[process]`.
    pub fn process(mut self, toml: &str) -> Setup {
        self.process.push_str(toml);
        self.process.push('\n');
        self
    }

    /// Further keys of the listener.
    pub fn listener(mut self, toml: &str) -> Setup {
        self.listener.push_str(toml);
        self.listener.push('\n');
        self
    }

    /// Further keys of the cluster `main` itself.
    pub fn cluster(mut self, toml: &str) -> Setup {
        self.cluster.push_str(toml);
        self.cluster.push('\n');
        self
    }

    pub fn workers(mut self, workers: usize) -> Setup {
        self.workers = workers;
        self
    }

    /// Puts `command` before the proxy's own command line.
    pub fn under(mut self, command: &[&str]) -> Setup {
        self.prefix.extend(command.iter().map(|&word| word.to_owned()));
        self
    }

    /// Runs the proxy in a namespace; it listens on the namespace's end of the link.
    pub fn inside(mut self, namespace: &Namespace) -> Setup {
        self.address = namespace.inner().to_string();
        self.under(&["ip", "netns", "exec", namespace.name()])
    }

    /// Listens on this port; only for a namespace, where nobody else can have taken it.
    pub fn port(mut self, port: u16) -> Setup {
        self.port = port;
        self
    }

    /// As [`Setup::port`], for the admin listener.
    pub fn admin_port(mut self, port: u16) -> Setup {
        self.admin_port = port;
        self
    }

    /// The config as text, for reloads.
    pub fn toml(&self) -> String {
        format!(
            "[process]\nworkers = {}\n{}\n[admin]\naddress = \"{address}:{admin_port}\"\n\n\
             [[listener]]\nname = \"public\"\naddress = \"{address}:{port}\"\n{}\n\
             [[route]]\ncluster = \"main\"\n\n[cluster.main]\nendpoints = {:?}\n{}\n{}",
            self.workers,
            self.process,
            self.listener,
            self.endpoints,
            self.cluster,
            self.extra,
            address = self.address,
            port = self.port,
            admin_port = self.admin_port,
        )
    }

    pub fn start(self) -> Proxy {
        Proxy::launch(&self.toml(), &self.prefix)
    }
}

/// A running proxy; it is killed when the value is dropped, and what it said is shown when the test has failed.
pub struct Proxy {
    child: Child,
    directory: TempDir,
    stdout: Lines,
    stderr: Lines,
    listeners: Vec<(String, SocketAddr)>,
    admin: Option<SocketAddr>,
}

impl Proxy {
    /// A proxy with two workers, one listener and one cluster that has this endpoint.
    pub fn in_front_of(endpoint: &Endpoint) -> Setup {
        Proxy::to(&[endpoint.address()])
    }

    /// A proxy with two workers, one listener and one cluster that has these endpoints.
    pub fn to(endpoints: &[SocketAddr]) -> Setup {
        Setup {
            workers: 2,
            endpoints: endpoints.iter().map(SocketAddr::to_string).collect(),
            extra: String::new(),
            process: String::new(),
            listener: String::new(),
            cluster: String::new(),
            address: "127.0.0.1".to_owned(),
            port: 0,
            admin_port: 0,
            prefix: Vec::new(),
        }
    }

    /// A proxy with exactly this config.
    pub fn start(toml: &str) -> Proxy {
        Proxy::launch(toml, &[])
    }

    /// As [`Proxy::start`], with words such as `ip netns exec NAME` before the binary.
    pub fn start_under(prefix: &[&str], toml: &str) -> Proxy {
        let prefix: Vec<String> = prefix.iter().map(|&word| word.to_owned()).collect();
        Proxy::launch(toml, &prefix)
    }

    fn launch(toml: &str, prefix: &[String]) -> Proxy {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = directory.path().join("forebay.toml");
        fs::write(&config, toml).expect("the config can be written");
        let mut words = prefix.iter().map(String::as_str).chain([BINARY, "run", "--config"]);
        let mut command = Command::new(words.next().expect("there is at least the binary"));
        command.args(words).arg(&config).current_dir(directory.path());
        Proxy::spawn(command, directory)
    }

    /// Starts a command line of the binary, such as `forebay proxy --listen ...`.
    pub fn command(arguments: &[&str]) -> Proxy {
        Proxy::command_under(&[], arguments)
    }

    /// As [`Proxy::command`], with words such as `ip netns exec NAME` before the binary.
    pub fn command_under(prefix: &[&str], arguments: &[&str]) -> Proxy {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut words = prefix.iter().copied().chain([BINARY]);
        let mut command = Command::new(words.next().expect("there is at least the binary"));
        command.args(words).args(arguments).current_dir(directory.path());
        Proxy::spawn(command, directory)
    }

    fn spawn(mut command: Command, directory: TempDir) -> Proxy {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("the binary starts");
        let stdout = Lines::read(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Lines::read(child.stderr.take().expect("stderr is a pipe"));
        let mut proxy = Proxy {
            child,
            directory,
            stdout,
            stderr,
            listeners: Vec::new(),
            admin: None,
        };
        proxy.wait_until_ready();
        proxy
    }

    fn wait_until_ready(&mut self) {
        if !self.stdout.wait_for("ready") {
            panic!("the proxy did not become ready; its stdout: {:?}", self.stdout.all());
        }
        for line in self.stdout.all() {
            if let Some(rest) = line.strip_prefix("admin on ") {
                self.admin = Some(rest.trim().parse().expect("the admin line ends in an address"));
            }
            if let Some(rest) = line.strip_prefix("listening on ") {
                let (address, rest) = rest.split_once(" (").expect("a listening line has parentheses");
                let name = rest
                    .trim_end_matches(')')
                    .rsplit(' ')
                    .next()
                    .expect("a listening line has a name");
                let address = address.parse().expect("a listening line has an address");
                self.listeners.push((name.to_owned(), address));
            }
        }
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.listeners.first().expect("the proxy listens").1
    }

    pub fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(other, _)| other == name);
        found
            .unwrap_or_else(|| panic!("no listener {name} among {:?}", self.listeners))
            .1
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the proxy has an admin listener")
    }

    /// One GET to the admin listener.
    pub fn admin_get(&self, target: &str) -> Response {
        Client::connect(self.admin()).get(target)
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.admin_get("/status").body).expect("the status is JSON")
    }

    /// The sum of all samples of a metric whose labels contain all of `labels`, such as `worker="0"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum_of_samples(&self.admin_get("/metrics").text(), name, labels)
    }

    pub fn wait_for_metric(&self, name: &str, labels: &[&str], condition: impl Fn(f64) -> bool) {
        eventually(&format!("{name}{labels:?} has the value waited for"), || {
            condition(self.metric(name, labels))
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("forebay.toml")
    }

    /// Lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Lines of standard output so far.
    pub fn output(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits until a line of the log contains `text`.
    pub fn wait_for_log(&self, text: &str) {
        assert!(self.stderr.wait_for(text), "the log never said {text:?}");
    }

    /// Writes a new config in the place of the old one, in one step as editors and deployers do.
    pub fn write_config(&self, toml: &str) {
        let new = self.directory.path().join("forebay.toml.new");
        fs::write(&new, toml).expect("the config can be written");
        fs::rename(&new, self.config_path()).expect("the config can be replaced");
    }

    /// Writes a new config, asks for a reload and waits until it is in force.
    pub fn reload(&self, toml: &str) {
        let before = self.stderr.count("reloaded");
        self.write_config(toml);
        self.signal("HUP");
        eventually("the proxy reloaded", || self.stderr.count("reloaded") > before);
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.pid().to_string())
            .status();
        assert!(status.expect("kill runs").success(), "the proxy is gone");
    }

    /// Sends SIGTERM and waits for the exit.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the exit.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the proxy exits", || {
            status = self.child.try_wait().expect("the child can be waited for");
            status.is_some()
        });
        status.expect("eventually has seen it")
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the proxy runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a process has a resident size");
        let kibibytes: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a number");
        kibibytes * 1024
    }

    /// Processor time so far, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the proxy runs");
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .expect("a name in parentheses")
            .split(' ')
            .collect();
        fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.stderr.all().join("\n"));
        }
    }
}

/// The sum of all samples of a metric on a page whose labels contain all of `labels`.
pub fn sum_of_samples(page: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let named = rest.starts_with('{') || rest.starts_with(' ');
        (named && labels.iter().all(|label| rest.contains(label))).then_some(rest)
    });
    samples
        .map(|rest| {
            rest.rsplit(' ')
                .next()
                .and_then(|value| value.parse::<f64>().ok())
                .expect("a number")
        })
        .sum()
}

/// Runs a command line of the binary that ends by itself: its exit code, its standard output and its standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Tool::start(Command::new(BINARY).args(arguments));
    let status = command.wait();
    let text = |lines: &Lines| lines.wait_for_end().join("\n") + "\n";
    (
        status.code().unwrap_or(-1),
        text(&command.stdout),
        text(&command.stderr),
    )
}
