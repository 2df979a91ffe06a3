//! A route, ready to be acted upon.

use std::sync::Arc;

use crate::{config, upstream::Cluster};

#[derive(Debug)]
pub struct Route {
    /// Its place in the config, from 0.
    pub index: usize,
    pub action: Action,
    pub response_headers: config::HeaderEdits,
}

#[derive(Debug)]
pub enum Action {
    Forward(ForwardTo),
    Redirect(config::Redirect),
    Respond(config::Respond),
}

#[derive(Debug)]
pub struct ForwardTo {
    pub cluster: Arc<Cluster>,
    /// Its place in the snapshot.
    pub cluster_index: usize,
    /// Length of the path prefix that is cut off, and what stands in its place.
    pub replace_prefix: Option<(usize, String)>,
    pub host_header: config::HostHeader,
    /// As in [`config::Forward`]; nothing where the endpoints get only HTTP/2, on whose streams no tunnel is asked for.
    pub upgrade: Vec<String>,
    pub connect: bool,
    pub request_headers: config::HeaderEdits,
}

impl Route {
    pub(super) fn new(index: usize, route: &config::Route, clusters: &[Arc<Cluster>]) -> Self {
        let action = match &route.action {
            config::Action::Forward(forward) => Action::Forward(forward_to(forward, route, clusters)),
            config::Action::Redirect(redirect) => Action::Redirect(redirect.clone()),
            config::Action::Respond(respond) => Action::Respond(respond.clone()),
        };
        Self {
            index,
            action,
            response_headers: route.response_headers.clone(),
        }
    }
}

fn forward_to(forward: &config::Forward, route: &config::Route, clusters: &[Arc<Cluster>]) -> ForwardTo {
    let found = clusters
        .iter()
        .enumerate()
        .find(|(_, cluster)| cluster.name == forward.cluster);
    let (cluster_index, cluster) = found.expect("a valid config names only clusters that it has");
    let (config::PathPattern::Prefix(prefix) | config::PathPattern::Exact(prefix)) = &route.path;
    let cut = prefix.trim_end_matches('/').len();
    let put = |with: &String| (cut, with.trim_end_matches('/').to_owned());
    ForwardTo {
        cluster: Arc::clone(cluster),
        cluster_index,
        replace_prefix: forward.replace_prefix.as_ref().map(put),
        host_header: forward.host_header.clone(),
        upgrade: if cluster.speaks_http1() {
            forward.upgrade.clone()
        } else {
            Vec::new()
        },
        connect: forward.connect && cluster.speaks_http1(),
        request_headers: route.request_headers.clone(),
    }
}

/// What a route matches, in words for the log.
pub fn route_name(route: &config::Route) -> String {
    let host = match &route.host {
        config::HostPattern::Any => "*".to_owned(),
        config::HostPattern::Exact(host) => host.clone(),
        config::HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    match &route.path {
        config::PathPattern::Prefix(path) => format!("{host}{path}"),
        config::PathPattern::Exact(path) => format!("{host}{path} (exact)"),
    }
}
