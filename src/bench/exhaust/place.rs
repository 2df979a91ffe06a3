//! Where the processes run, and how they are started there.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use super::{
    ExhaustError, Subject,
    inside::Target,
    namespace::{self, FIRST_PORT, Namespace, NamespaceError, Namespaces},
};
use crate::bench::children::{Child, ENDS_WITH_STDIN, admin_address, listening_address};

/// What the proxies have for their connections to the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A namespace with so many source ports, and another one with the endpoints.
    Namespaces { ports: u16 },
    /// The loopback interface, with the source ports of this machine, which others may have too.
    Loopback,
}

/// A scene that is there.
#[derive(Debug)]
pub(super) enum Place {
    Namespaces { both: Namespaces, last_port: u16 },
    Loopback,
}

impl Place {
    pub fn make(scene: Scene) -> Result<Self, NamespaceError> {
        let Scene::Namespaces { ports } = scene else {
            return Ok(Self::Loopback);
        };
        // One more than asked for, which is the listener's.
        let last_port = FIRST_PORT + ports;
        let both = Namespaces::make(last_port)?;
        Ok(Self::Namespaces { both, last_port })
    }

    /// The command that runs this program with the proxies.
    pub fn at_proxy(&self, arguments: &[&str]) -> Result<Command, ExhaustError> {
        self.command(|both| &both.proxy, arguments)
    }

    fn at_endpoint(&self, arguments: &[&str]) -> Result<Command, ExhaustError> {
        self.command(|both| &both.endpoint, arguments)
    }

    fn command(&self, side: fn(&Namespaces) -> &Namespace, arguments: &[&str]) -> Result<Command, ExhaustError> {
        let program = std::env::current_exe().map_err(ExhaustError::Program)?;
        let mut command = match self {
            Self::Namespaces { both, .. } => side(both).command(&program),
            Self::Loopback => Command::new(program),
        };
        command.args(arguments);
        Ok(command)
    }

    pub fn start_endpoint(&self) -> Result<(Child, SocketAddr), ExhaustError> {
        let listen = match self {
            Self::Namespaces { .. } => namespace::ENDPOINT,
            Self::Loopback => Ipv4Addr::LOCALHOST,
        };
        let arguments = ["--listen", &SocketAddr::new(listen.into(), 0).to_string()];
        let command = self.at_endpoint(&[&[&ends_with_stdin(), "endpoint"], arguments.as_slice()].concat())?;
        let mut child = Child::spawn(command)?;
        let address = child.first(listening_address)?;
        Ok((child, address))
    }

    /// A proxy before `endpoint`, whose config is written into `folder`.
    pub fn start_proxy(
        &self,
        subject: Subject,
        endpoint: SocketAddr,
        folder: &Path,
    ) -> Result<(Child, Target), ExhaustError> {
        let file = folder.join(format!("{}.toml", endpoint.port()));
        let [listener, admin] = self.listeners(subject);
        let config = subject.config(listener, admin, endpoint);
        fs::write(&file, config.to_toml()).map_err(ExhaustError::Write)?;
        let command = self.at_proxy(&[&ends_with_stdin(), "run", "--config", &file.to_string_lossy()])?;
        let mut child = Child::spawn(command)?;
        let proxy = child.first(listening_address)?;
        let admin = child.first(admin_address)?;
        child.first(|line| (line == "ready").then_some(()))?;
        let target = Target {
            subject,
            proxy,
            admin,
            endpoint,
        };
        Ok((child, target))
    }

    /// Where the proxy of a subject listens, and its admin listener.
    ///
    /// In a namespace nobody else is there, and the kernel's choice would be one of the few source ports. One of those
    /// the first proxy gets on purpose: a proxy counts the ports that it holds, and would know that there is none without
    /// asking the kernel; of this one it does not know that it cannot have it. So it is the kernel that says it, with
    /// EADDRNOTAVAIL, as it would say it to any program.
    fn listeners(&self, subject: Subject) -> [SocketAddr; 2] {
        let Self::Namespaces { last_port, .. } = self else {
            return [(Ipv4Addr::LOCALHOST, 0).into(); 2];
        };
        let (port, admin) = match subject {
            Subject::UnpooledFin => (*last_port, 9001),
            Subject::UnpooledFinNoTimeWait => (8002, 9002),
            Subject::Pooled => (8003, 9003),
        };
        [(namespace::PROXY, port).into(), (Ipv4Addr::LOCALHOST, admin).into()]
    }
}

fn ends_with_stdin() -> String {
    format!("--{ENDS_WITH_STDIN}")
}
