//! `forebay demo`: a proxy with three endpoints behind it, and what to try with it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{CommandError, endpoint, print, server};
use crate::config::{Admin, Cluster, Config, Endpoint, Listener, Probe, ProbeKind, Route, parse_listen_address};

/// What the endpoints call themselves.
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Run three demo endpoints with a proxy before them, and print what to try
///
/// Nothing else is needed. Ctrl-C ends it all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay demo
  forebay demo --listen 127.0.0.1:18080 --admin 127.0.0.1:19900")]
pub(super) struct DemoArgs {
    /// Address of the proxy
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = parse_listen_address)]
    listen: SocketAddr,
    /// Address of the admin listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900", value_parser = parse_listen_address)]
    admin: SocketAddr,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("{address} is already in use by another process; choose another address with {flag}")]
    AddressInUse { address: SocketAddr, flag: &'static str },
    #[error("cannot listen on {address}; choose another address with {flag}")]
    Listen {
        address: SocketAddr,
        flag: &'static str,
        source: io::Error,
    },
    #[error("cannot start the endpoints")]
    Endpoints(#[source] io::Error),
}

pub(super) fn run(args: &DemoArgs) -> Result<(), CommandError> {
    let [listen, admin] = find_addresses([("--listen", args.listen), ("--admin", args.admin)])?;
    let endpoints = Endpoints::start().map_err(DemoError::Endpoints)?;
    print(&what_to_try(listen, admin))?;
    // The endpoints outlive the proxy, which may still have requests to finish with them.
    Ok(server::run(config(listen, admin, &endpoints.addresses), None, &[])?)
}

/// The addresses, with a port in place of 0, after a look whether they can be had.
///
/// The proxy shares its addresses between its workers, so the kernel would let it share them with another one of the
/// same user too: requests would go to either. All are held until the last one is known, so they differ.
fn find_addresses<const N: usize>(wanted: [(&'static str, SocketAddr); N]) -> Result<[SocketAddr; N], DemoError> {
    let mut held = Vec::with_capacity(N);
    let mut found = wanted.map(|(_, address)| address);
    for (found, (flag, address)) in found.iter_mut().zip(wanted) {
        let error = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => DemoError::AddressInUse { address, flag },
            _ => DemoError::Listen { address, flag, source },
        };
        let listener = TcpListener::bind(address).map_err(error)?;
        *found = listener.local_addr().map_err(error)?;
        held.push(listener);
    }
    Ok(found)
}

fn config(listen: SocketAddr, admin: SocketAddr, endpoints: &[SocketAddr]) -> Config {
    let endpoints = endpoints.iter().map(|address| Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        weight: 1,
    });
    let mut cluster = Cluster::new(endpoints.collect());
    cluster.probe = Some(Probe {
        kind: ProbeKind::Http {
            path: "/healthz".to_owned(),
            host: None,
            statuses: (200, 299),
        },
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    });
    Config {
        admin: Admin { address: Some(admin) },
        listeners: vec![Listener::new("http", listen)],
        routes: vec![Route::forward_all("demo")],
        clusters: [("demo".to_owned(), cluster)].into(),
        ..Config::default()
    }
}

fn what_to_try(listen: SocketAddr, admin: SocketAddr) -> String {
    let (proxy, admin) = (reached_at(listen), reached_at(admin));
    let [first, middle, last] = NAMES;
    format!(
        "\
A proxy on http://{proxy} with three endpoints behind it: {first}, {middle} and {last}. In another terminal, try:

  for i in 1 2 3 4 5 6 7 8; do curl http://{proxy}/; done
      The names change. The connection of each name stays, and its requests are counted up:
      the clients come and go, the connections to the endpoints are used again.
  curl http://{proxy}/echo -d hello
      An endpoint sends the body back.
  curl http://{proxy}/echo
      An endpoint shows the request as it arrived there.
  curl http://{admin}/status
      Listeners, endpoints and their connections, as JSON.
  curl http://{admin}/metrics
      The same and more in numbers, for Prometheus.

Ctrl-C ends it.

"
    )
}

/// Where a client on this machine finds what listens on `address`.
fn reached_at(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The endpoints, on a thread of their own, which ends when this is dropped.
struct Endpoints {
    /// In the order of [`NAMES`].
    addresses: Vec<SocketAddr>,
    /// Says by being dropped that it is over.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoints {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut addresses = Vec::new();
        let mut tasks = tokio::task::JoinSet::new();
        for name in NAMES {
            let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            addresses.push(listener.local_addr()?);
            let options = endpoint::Options {
                name: name.to_owned(),
                delay: Duration::ZERO,
                size: None,
                fail: endpoint::Share::NONE,
            };
            tasks.spawn_on(endpoint::serve(listener, options), runtime.handle());
        }
        let serve = move || {
            // The sender says nothing; that it is gone is what counts.
            let _ = runtime.block_on(stopped);
            drop(tasks);
        };
        let thread = thread::Builder::new().name("demo-endpoints".to_owned()).spawn(serve)?;
        Ok(Self {
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It can only have panicked, and has said so then.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;
    use crate::config;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_endpoints_answer_with_their_names_until_they_are_dropped() {
        let endpoints = Endpoints::start().unwrap();
        let addresses = endpoints.addresses.clone();
        for (name, address) in NAMES.into_iter().zip(&addresses) {
            let answer = get(*address, "/");
            assert!(answer.contains(&format!("\r\n\r\n{name}: ")), "{answer}");
            assert!(get(*address, "/healthz").starts_with("HTTP/1.1 200"));
        }
        drop(endpoints);
        for address in addresses {
            assert!(TcpStream::connect(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_taken_address_is_said_with_the_flag_that_chooses_another() {
        let taken = TcpListener::bind(ANY_PORT).unwrap();
        let address = taken.local_addr().unwrap();
        let error = find_addresses([("--listen", ANY_PORT), ("--admin", address)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} is already in use by another process; choose another address with --admin")
        );
        // TEST-NET-1 (RFC 5737): no address of this machine.
        let foreign = ([192, 0, 2, 1], 80).into();
        let error = find_addresses([("--listen", foreign)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot listen on 192.0.2.1:80; choose another address with --listen"
        );
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn free_ports_are_found_and_differ() {
        let [listen, admin] = find_addresses([("--listen", ANY_PORT), ("--admin", ANY_PORT)]).unwrap();
        assert!(listen.port() != 0 && admin.port() != 0 && listen != admin);
        assert_eq!(find_addresses([("--listen", listen)]).unwrap(), [listen]);
    }

    #[test]
    fn the_config_is_one_that_a_file_could_say() {
        let endpoints: Vec<SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let config = config(([127, 0, 0, 1], 8080).into(), ([127, 0, 0, 1], 9900).into(), &endpoints);
        assert_eq!(config::parse(&config.to_toml(), "demo").unwrap(), config);
        assert_eq!(config::warnings(&config), [""; 0]);
    }

    #[test]
    fn what_to_try_can_be_typed_as_it_is() {
        let text = what_to_try(([0, 0, 0, 0], 81).into(), "[::]:99".parse().unwrap());
        assert!(text.contains("curl http://127.0.0.1:81/;"), "{text}");
        assert!(text.contains("curl http://[::1]:99/status\n"), "{text}");
    }
}
