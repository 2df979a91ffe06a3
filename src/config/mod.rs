//! What the operator wrote, validated and immutable.
//!
//! A [`Config`] cannot be invalid: [`parse`] either returns one or every problem at once. Each part of the proxy
//! takes its own section (`&config::Pool`), never the whole. The keys, their units and their defaults are in
//! `config/full.toml`, which a test holds to this module.
//!
//! Each section is in the file of its name, with its type, its defaults, how it is read and how it is written.

mod action;
mod address;
mod client;
mod client_certificates;
mod cluster;
mod forwarding;
mod header;
mod keep_alive;
mod listener;
mod log;
mod pool;
mod probe;
mod problem;
mod process;
mod protocol;
mod proxy_protocol;
mod reader;
mod reserved;
mod route;
mod source;
mod tcp;
mod template;
mod tls;
mod units;
mod upgrade;
mod upstream_tls;
mod value;
mod warnings;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

pub use self::{
    action::{Action, Forward, HostHeader, REDIRECT_FIELDS, Redirect, Respond},
    address::parse_listen_address,
    client::{ClientTimeouts, Http2, Limits},
    client_certificates::{CertificateFields, ClientCertificateMode, ClientCertificates},
    cluster::{Balance, Cluster, Endpoint, Expect},
    forwarding::Forwarding,
    header::{HeaderCondition, HeaderEdits, HeaderTest},
    keep_alive::{KeepAlive, UnderPressure},
    listener::Listener,
    log::{ACCESS_LOG_FIELDS, AccessLog, AccessLogFormat, AccessLogOutput, Log, LogLevel},
    pool::{Close, ClusterTimeouts, IdleTimeout, Order, Pool, Retry, Reuse, Wait},
    probe::{Probe, ProbeKind},
    problem::{Problem, Problems, Rendering, Wrong},
    process::{Admin, Process},
    protocol::{Protocol, ProxyHeader, UpstreamHttp2},
    proxy_protocol::{ProxyMode, ProxyProtocol},
    reserved::ReservedFields,
    route::{HostPattern, PathPattern, Route},
    source::{Source, SourceAddress},
    tcp::TcpKeepalive,
    template::{TemplatePart, template_parts},
    tls::{Alpn, Certificate, Hsts, ServerCertificate, Tls, TlsVersion},
    units::{format_duration, format_size, parse_duration, parse_size},
    upstream_tls::{Roots, ServerName, UpstreamTls, Verify},
    warnings::warnings,
};
use self::{
    cluster::read_clusters,
    listener::{ListenerDefaults, read_listeners},
    reader::{Context, Table},
    route::read_routes,
};

/// The most that a count can be: beyond every machine, and within every type that holds one.
const MANY: u64 = 1_000_000_000;

/// Everything that a configuration file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub process: Process,
    pub admin: Admin,
    pub log: Log,
    pub access_log: AccessLog,
    pub forwarding: Forwarding,
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
    pub clusters: BTreeMap<String, Cluster>,
}

/// Why [`load`] gives no config.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Reads the text of a configuration file. `file` is its name in problems.
///
/// Relative paths stay as they are, and no other file is looked at.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(text: &str, file: &str) -> Result<Config, Problems> {
    read(text, file, None)
}

/// Reads the configuration file at `path`. Relative paths in it begin at its folder, and the files of certificates
/// have to be readable.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it, at once.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let read_error = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(read_error)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(read(&text, &path.display().to_string(), Some(folder))?)
}

fn read(text: &str, file: &str, base: Option<&Path>) -> Result<Config, Problems> {
    let (top, syntax_errors) = DeTable::parse_recoverable(text);
    let context = Context::new(text, base);
    for error in syntax_errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        context
            .problems
            .syntax(span.clone(), problem::syntax(text, span, error.message()));
    }
    let config = Table::read_top(&context, top.get_ref(), Config::read);
    match context.problems.finish(file) {
        None => Ok(config),
        Some(problems) => Err(problems),
    }
}

impl Config {
    fn read(table: &mut Table<'_>) -> Self {
        let process = table.section("process", Process::default(), Process::read);
        let admin = table.section("admin", Admin::default(), Admin::read);
        let log = table.section("log", Log::default(), Log::read);
        let access_log = table.section("access_log", AccessLog::default(), AccessLog::read);
        let forwarding = table.section("forwarding", Forwarding::default(), Forwarding::read);
        let defaults = ListenerDefaults::read(table, &ListenerDefaults::default());
        let listeners = read_listeners(table, &defaults, admin.address);
        let (cluster_names, clusters) = read_clusters(table);
        let routes = read_routes(table, &cluster_names, &listeners);
        Self {
            process,
            admin,
            log,
            access_log,
            forwarding,
            listeners,
            routes,
            clusters,
        }
    }

    /// `None` where no client is asked who it is.
    pub fn reserved_fields(&self) -> Option<ReservedFields> {
        ReservedFields::of(&self.listeners)
    }

    /// The text of a file that says the same: [`parse`] reads it as an equal config. What equals its default is left
    /// out.
    pub fn to_toml(&self) -> String {
        let common = ListenerDefaults::common(&self.listeners);
        let mut text = [
            self.process.write(),
            self.admin.write(),
            self.log.write(),
            self.access_log.write(),
            self.forwarding.write(),
            common.write(),
        ]
        .concat();
        text.extend(self.listeners.iter().map(|listener| listener.write(&common)));
        text.extend(self.routes.iter().map(Route::write));
        text.extend(self.clusters.iter().map(|(name, cluster)| cluster.write(name)));
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}
