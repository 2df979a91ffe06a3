//! The proxies that are compared.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Admin, Close, Cluster, Config, Endpoint, Listener, LogLevel, Route};

/// How a proxy treats its connections to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// One for each request, closed by a plain FIN.
    UnpooledFin,
    /// One for each request, closed by a FIN that leaves no TIME_WAIT.
    UnpooledFinNoTimeWait,
    /// Kept and used again, as by default.
    Pooled,
}

impl Subject {
    pub const ALL: [Self; 3] = [Self::UnpooledFin, Self::UnpooledFinNoTimeWait, Self::Pooled];

    pub fn name(self) -> &'static str {
        match self {
            Self::UnpooledFin => "unpooled, fin",
            Self::UnpooledFinNoTimeWait => "unpooled, fin-no-time-wait",
            Self::Pooled => "pooled",
        }
    }

    pub fn close(self) -> Close {
        match self {
            Self::UnpooledFin => Close::Fin,
            Self::UnpooledFinNoTimeWait | Self::Pooled => Close::FinNoTimeWait,
        }
    }

    pub fn is_pooled(self) -> bool {
        self == Self::Pooled
    }

    /// The config of the proxy on `address`, with its admin listener on `admin`, before `endpoint`.
    pub fn config(self, address: SocketAddr, admin: SocketAddr, endpoint: SocketAddr) -> Config {
        let mut cluster = Cluster::new(vec![Endpoint {
            host: endpoint.ip().to_string(),
            port: endpoint.port(),
            weight: 1,
        }]);
        cluster.pool.close = self.close();
        if !self.is_pooled() {
            cluster.pool.max_idle = 0;
        }
        // A request that finds no port is answered at once, not when its client has given up.
        cluster.pool.wait.queue = 0;
        // All that the kernel has.
        cluster.source.max_fill = Some(1.0);
        let mut config = Config {
            admin: Admin { address: Some(admin) },
            listeners: vec![Listener::new("bench", address)],
            routes: vec![Route::forward_all("bench")],
            clusters: [("bench".to_owned(), cluster)].into(),
            ..Config::default()
        };
        // What goes wrong is the subject, and counted.
        config.log.level = LogLevel::Error;
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_file_can_say_what_each_proxy_is_and_only_the_last_one_keeps_connections() {
        for subject in Subject::ALL {
            let address = |port: u16| SocketAddr::from(([198, 18, 0, 1], port));
            let config = subject.config(address(1), address(2), address(3));
            assert_eq!(config::parse(&config.to_toml(), "written").unwrap(), config);
            let pool = &config.clusters["bench"].pool;
            assert_eq!(pool.max_idle > 0, subject.is_pooled());
            assert_eq!(pool.close == Close::Fin, subject == Subject::UnpooledFin);
        }
    }
}
