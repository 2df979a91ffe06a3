//! A network namespace of a test's own, linked to the one that the test runs in.

use std::{
    net::Ipv4Addr,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace with one link to ours; it goes with the value.
pub struct Namespace {
    name: String,
    link: String,
    inner: Ipv4Addr,
    outer: Ipv4Addr,
}

impl Namespace {
    /// `None`, with a word on why, where namespaces cannot be made.
    pub fn make() -> Option<Namespace> {
        let number = process::id()
            .wrapping_mul(16)
            .wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        // 198.18.0.0/15 is set aside for tests (RFC 2544); each namespace takes four addresses of it.
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (number % (1 << 15)) * 4;
        let namespace = Namespace {
            name: format!("forebay-{number:x}"),
            link: format!("fb{number:x}"),
            inner: Ipv4Addr::from(base + 1),
            outer: Ipv4Addr::from(base + 2),
        };
        match namespace.set_up() {
            Ok(()) => Some(namespace),
            Err(reason) => {
                super::tools::skip(&format!("needs root, to make a network namespace ({reason})"));
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let Namespace {
            name,
            link,
            inner,
            outer,
        } = self;
        try_run(&format!("ip netns add {name}"))?;
        try_run(&format!("ip link add {link} type veth peer name inner netns {name}"))?;
        try_run(&format!("ip address add {outer}/30 dev {link}"))?;
        try_run(&format!("ip link set {link} up"))?;
        try_run(&format!("ip -n {name} link set lo up"))?;
        try_run(&format!("ip -n {name} address add {inner}/30 dev inner"))?;
        try_run(&format!("ip -n {name} link set inner up"))?;
        // The kernel would otherwise take ports in TIME_WAIT again and so hide them.
        self.sysctl("net.ipv4.tcp_tw_reuse", "0")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of the namespace's end of the link.
    pub fn inner(&self) -> Ipv4Addr {
        self.inner
    }

    /// The address of our end of the link.
    pub fn outer(&self) -> Ipv4Addr {
        self.outer
    }

    fn sysctl(&self, key: &str, value: &str) -> Result<(), String> {
        try_run(&format!("ip netns exec {} sysctl -qw {key}={value}", self.name)).map(drop)
    }

    /// Narrows the source ports of the namespace.
    pub fn source_ports(&self, first: u16, last: u16) {
        // A tab, because `try_run` splits at spaces.
        self.sysctl("net.ipv4.ip_local_port_range", &format!("{first}\t{last}"))
            .expect("a range");
    }

    /// TCP sockets inside in this state, in the words of `ss`, whose other end is on port `port`.
    pub fn sockets(&self, state: &str, port: u16) -> usize {
        let command = format!("ip netns exec {} ss -Htan state {state} dport = :{port}", self.name);
        try_run(&command).expect("ss runs in the namespace").lines().count()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The link is named first: it goes with the namespace only once the last process in there has ended.
        let _ = try_run(&format!("ip link delete {}", self.link));
        let _ = try_run(&format!("ip netns delete {}", self.name));
    }
}

fn try_run(command: &str) -> Result<String, String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a command has a name"))
        .args(words)
        .output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
