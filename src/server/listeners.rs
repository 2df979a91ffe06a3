//! The process's listeners: bound at the start, and matched to the config again at each reload.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use super::{files, work::Crew};
use crate::{
    config::{self, Config},
    downstream::Listener,
    net,
    tls::{ServerTls, TlsError},
    upstream::connector::tcp_options,
};

/// A listener that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: Arc<Listener>,
    pub(super) config: Arc<config::Listener>,
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// Why a listener cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("the listener {0:?} cannot be bound to {1}")]
    Bind(String, SocketAddr, #[source] io::Error),
    #[error("the listener {0:?} cannot serve TLS")]
    Tls(String, #[source] TlsError),
}

type Fresh = (Bound, Vec<TcpListener>);

/// Binds all listeners, one socket for each worker.
///
/// # Errors
/// The first that cannot be bound.
pub(super) fn bind_all(config: &Config, workers: usize) -> Result<Vec<Fresh>, ListenError> {
    config
        .listeners
        .iter()
        .map(|listener| bind(listener, workers))
        .inspect(|fresh| {
            if let Ok((bound, _)) = fresh {
                prepare(bound, config);
            }
        })
        .collect()
}

/// Clusters that tell endpoints who the client is need to know.
fn prepare(bound: &Bound, config: &Config) {
    if config.clusters.values().any(|cluster| cluster.proxy_header.is_some()) {
        bound.listener.ask_for_arrivals();
    }
}

fn bind(config: &config::Listener, workers: usize) -> Result<Fresh, ListenError> {
    let tls = make_tls(config, None)?;
    let policy = &config.keep_alive;
    let tcp = tcp_options(&policy.tcp_keepalive, policy.tcp_user_timeout);
    let sockets = net::bind(config.address, workers, &tcp);
    let sockets = sockets.map_err(|error| ListenError::Bind(config.name.clone(), config.address, error))?;
    let address = sockets
        .first()
        .and_then(|socket| socket.local_addr().ok())
        .unwrap_or(config.address);
    let listener = Listener::new(config.name.clone(), address, workers);
    Ok((
        Bound {
            listener,
            config: Arc::new(config.clone()),
            tls,
        },
        sockets,
    ))
}

/// Reads the files of TLS, unless `old` was made of the same.
fn make_tls(config: &config::Listener, old: Option<&Bound>) -> Result<Option<Arc<ServerTls>>, ListenError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let old = old.and_then(|old| old.tls.as_ref());
    if let Some(old) = old.filter(|old| old.is_made_of(tls)) {
        return Ok(Some(Arc::clone(old)));
    }
    let new = ServerTls::new(tls, old.map(|old| &**old));
    let new = new.map_err(|error| ListenError::Tls(config.name.clone(), error))?;
    Ok(Some(Arc::new(new)))
}

/// What became of the files of a listener.
#[derive(Debug)]
pub(super) enum Refreshed {
    /// They hold what is in force.
    Unchanged,
    Changed,
    /// What was before stays in force.
    Refused(ListenError),
}

/// Reads the files of a listener again, if they have changed, and tells the workers.
pub(super) fn refresh(bound: &mut Bound, crew: &Crew) -> Refreshed {
    match make_tls(&bound.config, Some(bound)) {
        Ok(tls) if is_same_tls(tls.as_ref(), bound.tls.as_ref()) => Refreshed::Unchanged,
        Ok(tls) => {
            bound.tls = tls;
            crew.update(&bound.listener, &bound.config, bound.tls.as_ref());
            Refreshed::Changed
        }
        Err(error) => Refreshed::Refused(error),
    }
}

fn is_same_tls(one: Option<&Arc<ServerTls>>, other: Option<&Arc<ServerTls>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// What a reload does with listeners, once everything that can fail has succeeded.
#[derive(Debug)]
pub(super) struct Planned {
    fresh: Vec<Fresh>,
    kept: Vec<Bound>,
}

/// Matches the bound listeners to a new config by address, and binds what is new.
///
/// # Errors
/// What cannot be bound or loaded; nothing has changed then.
pub(super) fn plan(bound: &[Bound], config: &Config, workers: usize) -> Result<Planned, ListenError> {
    let mut planned = Planned {
        fresh: Vec::new(),
        kept: Vec::new(),
    };
    for listener in &config.listeners {
        match bound.iter().find(|bound| is_same(&bound.config, listener)) {
            Some(old) => planned.kept.push(Bound {
                listener: Arc::clone(&old.listener),
                config: Arc::new(listener.clone()),
                tls: make_tls(listener, Some(old))?,
            }),
            None => planned.fresh.push(bind(listener, workers)?),
        }
    }
    let fresh = planned.fresh.iter().map(|(bound, _)| bound);
    planned
        .kept
        .iter()
        .chain(fresh)
        .for_each(|bound| prepare(bound, config));
    Ok(planned)
}

/// Port 0 is a new port for each listener, so there the name tells them apart.
fn is_same(old: &config::Listener, new: &config::Listener) -> bool {
    old.address == new.address && old.name == new.name
}

impl Bound {
    /// Hands the sockets to the workers.
    pub(super) fn listen(self, crew: &Crew, sockets: Vec<TcpListener>) -> Self {
        files::begin(&self);
        crew.listen(&self.listener, sockets, &self.config, self.tls.as_ref());
        self
    }
}

impl Planned {
    /// Tells the workers, and gives what is bound from now on.
    pub(super) fn carry_out(self, old: Vec<Bound>, crew: &Crew) -> Vec<Bound> {
        for bound in &old {
            if !self
                .kept
                .iter()
                .any(|kept| Arc::ptr_eq(&kept.listener, &bound.listener))
            {
                crew.close(&bound.listener);
            }
        }
        let mut all = self.kept;
        for kept in &all {
            files::begin(kept);
            crew.update(&kept.listener, &kept.config, kept.tls.as_ref());
        }
        all.extend(
            self.fresh
                .into_iter()
                .map(|(bound, sockets)| bound.listen(crew, sockets)),
        );
        all
    }
}
