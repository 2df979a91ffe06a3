//! A proxy in a namespace of its own that has few source ports, and the load that it is put under.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Once, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{
    Client, Endpoint, Exchange, Proxy, Response,
    netns::Namespace,
    proxy::Setup,
    tools::{self, needs},
};

const FIRST_PORT: u16 = 30_000;
/// Outside the range, so that the proxy's listeners take none of its source ports.
pub const LISTENER: u16 = 8080;
const ADMIN: u16 = 8081;

/// A namespace with few source ports.
pub struct Stage {
    pub namespace: Namespace,
    directory: TempDir,
    traces: AtomicUsize,
}

impl Stage {
    /// `None`, with a word on why, where a namespace cannot be made or looked into.
    pub fn with_ports(count: u16) -> Option<Stage> {
        if !needs("ss") {
            return None;
        }
        let namespace = Namespace::make()?;
        namespace.source_ports(FIRST_PORT, FIRST_PORT + count - 1);
        Some(Stage {
            namespace,
            directory: tempfile::tempdir().expect("a temporary directory"),
            traces: AtomicUsize::new(0),
        })
    }

    pub fn endpoint(&self, script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Endpoint {
        Endpoint::start_on(&format!("{}:0", self.namespace.outer()), script)
    }

    /// Starts a proxy to these endpoints.
    pub fn start(&self, endpoints: &[&Endpoint], configure: impl FnOnce(Setup) -> Setup) -> Scene<'_> {
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address()).collect();
        let (traced, trace) = self.trace();
        let traced: Vec<&str> = traced.iter().map(String::as_str).collect();
        let setup = Proxy::to(&addresses).inside(&self.namespace).under(&traced);
        let proxy = configure(setup.port(LISTENER).admin_port(ADMIN)).start();
        self.scene(endpoints, proxy, trace)
    }

    /// Starts `forebay proxy` with further `arguments`.
    pub fn start_command(&self, endpoint: &Endpoint, arguments: &[&str]) -> Scene<'_> {
        let (traced, trace) = self.trace();
        let mut prefix = vec!["ip", "netns", "exec", self.namespace.name()];
        prefix.extend(traced.iter().map(String::as_str));
        let inner = self.namespace.inner();
        let (listen, admin) = (format!("{inner}:{LISTENER}"), format!("{inner}:{ADMIN}"));
        let to = endpoint.address().to_string();
        let named = ["proxy", "--listen", &listen, "--admin", &admin, "--to", &to];
        let proxy = Proxy::command_under(&prefix, &[&named, arguments].concat());
        self.scene(&[endpoint], proxy, trace)
    }

    fn scene(&self, endpoints: &[&Endpoint], proxy: Proxy, trace: Option<Trace>) -> Scene<'_> {
        Scene {
            namespace: &self.namespace,
            endpoints: endpoints.iter().map(|endpoint| endpoint.address().port()).collect(),
            proxy,
            trace,
        }
    }

    /// The command that writes down each `connect()` of the proxy, where there is one. It runs beside the proxy, not
    /// before it, so that signals reach the proxy itself.
    fn trace(&self) -> (Vec<String>, Option<Trace>) {
        if !can_trace() {
            return (Vec::new(), None);
        }
        let number = self.traces.fetch_add(1, Relaxed);
        let file = self.directory.path().join(format!("connects.{number}"));
        let words = "strace -D -f --seccomp-bpf -qq -e trace=connect -e signal=none -o";
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        words.push(file.to_str().expect("a path of letters").to_owned());
        (words, Some(Trace { file }))
    }
}

/// Whether `strace` is there and allowed to watch; says once when it is not.
fn can_trace() -> bool {
    static SAID: Once = Once::new();
    let tried = Command::new("strace")
        .args(["-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "true"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        SAID.call_once(|| tools::note_skipped("strace cannot count the answers of the kernel"));
    }
    can
}

/// What the kernel answered to each `connect()` of a proxy.
pub struct Trace {
    file: PathBuf,
}

impl Trace {
    /// Connections that it had no source port for.
    pub fn without_port(&self) -> usize {
        self.count(|line| line.contains(" EADDRNOTAVAIL ") || line.contains(" EADDRINUSE "))
    }

    /// Connections that were tried.
    pub fn tried(&self) -> usize {
        // One line each, or two if another thread came in between.
        self.count(|line| !line.contains("resumed>"))
    }

    fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("connect"));
        lines.filter(|line| wanted(line)).count()
    }
}

/// A proxy in its namespace.
pub struct Scene<'a> {
    pub namespace: &'a Namespace,
    /// The ports of the endpoints.
    pub endpoints: Vec<u16>,
    pub proxy: Proxy,
    pub trace: Option<Trace>,
}

impl Scene<'_> {
    /// Sockets of the proxy towards the endpoints in any of these states, in the words of `ss`.
    pub fn sockets(&self, states: &[&str]) -> usize {
        let of_endpoint = |port: &u16| {
            states
                .iter()
                .map(|state| self.namespace.sockets(state, *port))
                .sum::<usize>()
        };
        self.endpoints.iter().map(of_endpoint).sum()
    }

    pub fn time_wait(&self) -> usize {
        self.sockets(&["time-wait"])
    }

    /// Requests 0 to `count`, by `at_once` clients who keep their connections and pause when they are asked to.
    pub fn requests(
        &self,
        pause: &Pause,
        count: usize,
        at_once: usize,
        request: impl Fn(&mut Client, usize) -> Response + Sync,
    ) -> Vec<Answered> {
        let next = AtomicUsize::new(0);
        let one_client = || {
            let (mut client, mut answers) = (self.proxy.connect(), Vec::new());
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return answers;
                }
                let _going_on = pause.ask();
                let started = Instant::now();
                let response = request(&mut client, number);
                let (status, took) = (response.status, started.elapsed());
                answers.push(Answered { number, status, took });
                if response.announces_close() {
                    client = self.proxy.connect();
                }
            }
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(one_client)).collect();
            let answers = clients
                .into_iter()
                .map(|client| client.join().expect("the client is answered"));
            answers.flatten().collect()
        })
    }

    /// As [`Scene::requests`], where each has to be a GET that is answered with status 200.
    pub fn gets(&self, pause: &Pause, count: usize, at_once: usize) {
        let answers = self.requests(pause, count, at_once, |client, _| client.get("/"));
        assert_eq!((answers.len(), with_status(&answers, 200)), (count, count));
    }
}

/// What became of one request.
#[derive(Debug)]
pub struct Answered {
    pub number: usize,
    pub status: u16,
    pub took: Duration,
}

pub fn with_status(answers: &[Answered], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Lets an onlooker hold all clients between two of their requests.
#[derive(Default)]
pub struct Pause {
    lock: RwLock<()>,
}

impl Pause {
    fn ask(&self) -> impl Drop + '_ {
        // An onlooker that has found something wrong says so itself.
        self.lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Nobody has a request under way as long as the value lives.
    pub fn hold(&self) -> impl Drop + '_ {
        self.lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
