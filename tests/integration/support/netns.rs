//! A network namespace of a test's own, linked to the one that the test runs in.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use super::wire::DEADLINE;

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

    /// TCP sockets inside that match a filter of `ss`, such as `state established src 10.0.0.1`.
    pub fn matching(&self, filter: &str) -> usize {
        self.list(filter).len()
    }

    /// The lines of `ss` for TCP sockets inside that match a filter.
    pub fn list(&self, filter: &str) -> Vec<String> {
        let command = format!("ip netns exec {} ss -Htan {filter}", self.name);
        let lines = try_run(&command).expect("ss runs in the namespace");
        lines.lines().map(str::to_owned).collect()
    }

    /// Runs `ip` inside, such as `address delete 10.0.0.1/32 dev inner`.
    pub fn ip(&self, arguments: &str) {
        try_run(&format!("ip -n {} {arguments}", self.name)).expect("ip changes the namespace");
    }

    /// Another address of the namespace, the `host`th of a network of its own. One that was taken away can be added
    /// again.
    pub fn add_inner(&self, host: u8) -> Ipv4Addr {
        let (address, Namespace { link, inner, .. }) = (self.network(host), self);
        self.ip(&format!("address add {address}/32 dev inner"));
        try_run(&format!("ip route replace {address}/32 via {inner} dev {link}")).expect("a route inwards");
        address
    }

    /// Takes away what [`Namespace::add_inner`] added.
    pub fn remove_inner(&self, address: Ipv4Addr) {
        self.ip(&format!("address delete {address}/32 dev inner"));
    }

    /// Another address of our end of the link.
    pub fn add_outer(&self, host: u8) -> Ipv4Addr {
        let address = self.network(host);
        try_run(&format!("ip address add {address}/32 dev {}", self.link)).expect("an address outside");
        self.ip(&format!("route replace {address}/32 dev inner"));
        address
    }

    /// Whatever goes to `address` from now on is lost on the way, as to a machine whose power has failed.
    pub fn cut_off(&self, address: Ipv4Addr) {
        self.ip(&format!(
            "neighbour replace {address} lladdr 02:00:00:00:00:99 nud permanent dev inner"
        ));
    }

    /// A network of which every address is the namespace's without being on any interface ("AnyIP").
    pub fn add_prefix(&self) -> String {
        let (prefix, Namespace { link, inner, .. }) = (format!("{}/24", self.network(0)), self);
        self.ip(&format!("route add local {prefix} dev lo"));
        try_run(&format!("ip route add {prefix} via {inner} dev {link}")).expect("a route inwards");
        prefix
    }

    /// As [`Namespace::add_prefix`], for IPv6; also an address of our end that can be reached from it.
    pub fn add_prefix6(&self) -> (String, Ipv6Addr) {
        let Namespace { link, .. } = self;
        let address = |network: u16, host: u16| Ipv6Addr::new(0xfdfb, 0, self.number(), network, 0, 0, 0, host);
        let (prefix, inner, outer) = (format!("{}/64", address(1, 0)), address(0, 1), address(0, 2));
        // Without a look for duplicates, during which the addresses could not be used yet.
        self.ip(&format!("address add {inner}/64 dev inner nodad"));
        self.ip(&format!("route add local {prefix} dev lo"));
        try_run(&format!("ip address add {outer}/64 dev {link} nodad")).expect("an address outside");
        try_run(&format!("ip -6 route add {prefix} via {inner} dev {link}")).expect("a route inwards");
        // The first packets of a new link may be lost; a refusal has gone both ways.
        let inside = SocketAddr::from((address(1, 0xffff), 9));
        super::eventually("packets come through", || {
            TcpStream::connect_timeout(&inside, DEADLINE)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        });
        (prefix, outer)
    }

    /// The `host`th address of 256 that no other namespace of a test has.
    fn network(&self, host: u8) -> Ipv4Addr {
        let [high, low] = self.number().to_be_bytes();
        Ipv4Addr::new(10, 128 + high, low, host)
    }

    /// Below 2^15.
    fn number(&self) -> u16 {
        ((u32::from(self.inner) - u32::from(Ipv4Addr::new(198, 18, 0, 0))) / 4) as u16
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
