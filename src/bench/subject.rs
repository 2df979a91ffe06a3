//! What the load is sent through, and the processes that it needs.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    children::{Child, ChildError, admin_address, listening_address},
    cpu::cpu_time,
    sockets::Lookout,
};
use crate::config::{Admin, Certificate, Close, Cluster, Config, Endpoint, Listener, LogLevel, Process, Route, Tls};

/// How long an endpoint may take to accept the connection that asks whether it is there.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// Room for the clients of one run while those of the last one are still being closed.
const ROOM: usize = 2;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A proxy as it is by default.
    Pooled,
    /// A proxy that opens a connection for each request and closes it with a plain FIN, as proxies without a pool do.
    Unpooled,
    /// No proxy: what the endpoints and the load can do by themselves.
    Direct,
}

/// Who answers in the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Endpoints {
    /// So many are started for each subject, so that what each leaves behind is told apart.
    Started { count: NonZeroUsize, size: Option<u64> },
    /// These are there already, for all subjects.
    Given(Vec<Endpoint>),
}

/// How the proxies are started.
#[derive(Debug, Clone)]
pub struct ProxySetup<'a> {
    pub workers: Option<NonZeroUsize>,
    /// Connections of clients at once.
    pub connections: NonZeroUsize,
    /// What clients are shown over TLS.
    pub certificate: Option<Certificate>,
    /// Where files may be written.
    pub folder: &'a Path,
}

/// Why a subject cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("the endpoint {endpoint} cannot be found")]
    Lookup { endpoint: Endpoint, source: io::Error },
    #[error("the endpoint {endpoint} cannot be reached")]
    Reach { endpoint: Endpoint, source: io::Error },
    #[error("the config of a proxy cannot be written to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A subject with its processes, which end with it.
#[derive(Debug)]
pub struct Stage {
    pub subject: Subject,
    /// What the kernel shows of the connections to its endpoints.
    pub lookout: Lookout,
    endpoints: Vec<SocketAddr>,
    started: Vec<Child>,
    proxy: Option<Proxy>,
}

#[derive(Debug)]
struct Proxy {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Subject {
    pub const ALL: [Self; 3] = [Self::Pooled, Self::Unpooled, Self::Direct];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::Unpooled => "unpooled",
            Self::Direct => "direct",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Self::Pooled => "a proxy that keeps its connections to the endpoints and uses them again",
            Self::Unpooled => "a proxy that opens a connection for each request, and closes it with a FIN",
            Self::Direct => "straight to the endpoints, as a reference",
        }
    }

    /// The config of its proxy; `None` if it has none.
    fn config(self, endpoints: &[Endpoint], setup: &ProxySetup<'_>) -> Option<Config> {
        let mut cluster = Cluster::new(endpoints.to_vec());
        match self {
            Self::Pooled => {}
            Self::Unpooled => {
                cluster.pool.max_idle = 0;
                cluster.pool.close = Close::Fin;
            }
            Self::Direct => return None,
        }
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = Listener::new("bench", any_port);
        listener.max_connections = listener.max_connections.max(ROOM * setup.connections.get());
        listener.tls = setup.certificate.clone().map(|pair| Tls::new(vec![pair]));
        let mut config = Config {
            process: Process {
                workers: setup.workers,
                ..Process::default()
            },
            admin: Admin {
                address: Some(any_port),
            },
            listeners: vec![listener],
            routes: vec![Route::forward_all("bench")],
            clusters: [("bench".to_owned(), cluster)].into(),
            ..Config::default()
        };
        // Nobody reads it, and what goes wrong is counted.
        config.log.level = LogLevel::Error;
        Some(config)
    }
}

impl Stage {
    /// Starts what the subject needs, or looks whether it is there.
    ///
    /// # Errors
    /// A process cannot be started, or an endpoint not be reached.
    pub fn set_up(subject: Subject, endpoints: &Endpoints, setup: &ProxySetup<'_>) -> Result<Self, SetupError> {
        let mut started = Vec::new();
        let addresses = match endpoints {
            Endpoints::Started { count, size } => {
                let mut addresses = Vec::new();
                for _ in 0..count.get() {
                    let (child, address) = start_endpoint(*size)?;
                    started.push(child);
                    addresses.push(address);
                }
                addresses
            }
            Endpoints::Given(given) => find(given)?,
        };
        let named: Vec<_> = addresses.iter().copied().map(named).collect();
        let config = subject.config(&named, setup);
        let proxy = config.map(|config| Proxy::start(subject, &config, setup)).transpose()?;
        Ok(Self {
            subject,
            lookout: Lookout::new(&addresses),
            endpoints: addresses,
            started,
            proxy,
        })
    }

    /// Where the load goes: to the proxy, or to each endpoint.
    pub fn targets(&self) -> Vec<SocketAddr> {
        match &self.proxy {
            Some(proxy) => vec![proxy.address],
            None => self.endpoints.clone(),
        }
    }

    /// The proxy's admin listener.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.proxy.as_ref().map(|proxy| proxy.admin)
    }

    pub fn proxy_cpu(&self) -> Option<Duration> {
        cpu_time(self.proxy.as_ref()?.child.id())
    }

    /// Of all endpoints; `None` if they are not ours.
    pub fn endpoint_cpu(&self) -> Option<Duration> {
        let times = self.started.iter().map(|child| cpu_time(child.id()));
        (!self.started.is_empty()).then(|| times.sum())?
    }
}

impl Proxy {
    fn start(subject: Subject, config: &Config, setup: &ProxySetup<'_>) -> Result<Self, SetupError> {
        let path = setup.folder.join(format!("{}.toml", subject.as_str()));
        fs::write(&path, config.to_toml()).map_err(|source| SetupError::Write {
            path: path.clone(),
            source,
        })?;
        let mut child = Child::start(&["run", "--config", &path.to_string_lossy()])?;
        let address = child.first(listening_address)?;
        let admin = child.first(admin_address)?;
        child.first(|line| (line == "ready").then_some(()))?;
        Ok(Self { child, address, admin })
    }
}

fn start_endpoint(size: Option<u64>) -> Result<(Child, SocketAddr), ChildError> {
    let mut arguments = vec!["endpoint".to_owned(), "--listen=127.0.0.1:0".to_owned()];
    arguments.extend(size.map(|size| format!("--size={size}")));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut child = Child::start(&arguments)?;
    let address = child.first(listening_address)?;
    Ok((child, address))
}

fn named(address: SocketAddr) -> Endpoint {
    Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        weight: 1,
    }
}

/// The addresses at which they accept connections: all that a name has, but those at which nobody does.
fn find(endpoints: &[Endpoint]) -> Result<Vec<SocketAddr>, SetupError> {
    let mut found = Vec::new();
    for endpoint in endpoints {
        let lookup = |source| SetupError::Lookup {
            endpoint: endpoint.clone(),
            source,
        };
        let addresses = (endpoint.host.as_str(), endpoint.port)
            .to_socket_addrs()
            .map_err(lookup)?;
        let mut refusal = None;
        let before = found.len();
        for address in addresses {
            match TcpStream::connect_timeout(&address, REACH_TIMEOUT) {
                Ok(_) => found.push(address),
                Err(error) => refusal = Some(error),
            }
        }
        if found.len() == before {
            return Err(SetupError::Reach {
                endpoint: endpoint.clone(),
                source: refusal.unwrap_or_else(|| io::ErrorKind::NotFound.into()),
            });
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config;

    fn setup() -> ProxySetup<'static> {
        ProxySetup {
            workers: NonZeroUsize::new(2),
            connections: NonZeroUsize::new(64).unwrap(),
            certificate: None,
            folder: Path::new("/nonexistent"),
        }
    }

    fn cluster(subject: Subject) -> Option<Cluster> {
        let config = subject.config(&["10.0.0.1:1".parse().unwrap()], &setup())?;
        Some(config.clusters["bench"].clone())
    }

    #[test]
    fn the_pooled_proxy_is_as_by_default() {
        let default = Cluster::new(vec!["10.0.0.1:1".parse().unwrap()]);
        assert_eq!(cluster(Subject::Pooled), Some(default));
    }

    #[test]
    fn the_unpooled_one_keeps_nothing_and_closes_as_others_do() {
        let pool = cluster(Subject::Unpooled).unwrap().pool;
        assert_eq!((pool.max_idle, pool.close), (0, Close::Fin));
        assert_eq!(cluster(Subject::Direct), None);
    }

    #[test]
    fn a_file_can_say_the_same() {
        for subject in [Subject::Pooled, Subject::Unpooled] {
            let config = subject.config(&["10.0.0.1:1".parse().unwrap()], &setup()).unwrap();
            assert_eq!(config::parse(&config.to_toml(), "written").unwrap(), config);
        }
    }

    #[test]
    fn the_listener_has_room_for_all_clients() {
        let setup = ProxySetup {
            connections: NonZeroUsize::new(50_000).unwrap(),
            ..setup()
        };
        let config = Subject::Pooled
            .config(&["10.0.0.1:1".parse().unwrap()], &setup)
            .unwrap();
        assert_eq!(config.listeners[0].max_connections, 100_000);
    }

    #[test]
    fn an_endpoint_that_is_down_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = [named(address)];
        assert_eq!(find(&endpoint).unwrap(), [address]);
        drop(listener);
        let shown = find(&endpoint).unwrap_err().to_string();
        assert_eq!(shown, format!("the endpoint {address} cannot be reached"));
    }
}
