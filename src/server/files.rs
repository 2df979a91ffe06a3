//! The files that the config names, and the config itself: read again when they change.

use std::{collections::HashMap, path::PathBuf};

use rustls::pki_types::UnixTime;

use super::{
    Control, chain,
    listeners::{self, Bound, Refreshed},
};
use crate::{
    config::Config,
    reload::{Source, Watch},
};

/// The metric of files of TLS that were read again, by `listener` and `outcome`.
const TLS_RELOADS: &str = "forebay_tls_reload_total";

/// What watches the files, and what is wrong with them at the moment.
#[derive(Debug, Default)]
pub(super) struct Files {
    watch: Option<Watch>,
    /// Said once, not each time that the files are looked at.
    complaints: HashMap<About, String>,
}

/// What a complaint is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum About {
    Watching,
    /// What the clusters name, but for their files.
    Clusters,
    ClusterFiles,
    /// By its name.
    Listener(String),
}

/// So that the metrics page tells of it before it happens for the first time.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        TLS_RELOADS,
        "Changed files of TLS that were read, by listener and outcome; with \"refused\", the files before stay in force."
    );
}

impl Files {
    /// Waits until a file may have changed.
    ///
    /// Cancellation: nothing is lost.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Watches all files of `config`, if it wants that, and `source`.
    pub(super) fn watch(&mut self, config: &Config, source: Option<&Source>) {
        if !config.process.watch {
            self.watch = None;
            return;
        }
        let files: Vec<PathBuf> = files_of(config)
            .chain(source.map(|source| source.path().to_owned()))
            .collect();
        if files.is_empty() {
            return;
        }
        let watch = self.watch.get_or_insert_with(Watch::start);
        match watch.set(files.iter().map(PathBuf::as_path)) {
            Ok(()) => self.settle(&About::Watching),
            Err(error) => {
                if self.is_new(About::Watching, error.to_string()) {
                    tracing::warn!(%error, "changes of files may be noticed late, or only with SIGHUP");
                }
            }
        }
    }

    /// Whether this is said for the first time.
    pub(super) fn is_new(&mut self, about: About, complaint: String) -> bool {
        let before = self.complaints.insert(about, complaint.clone());
        before.is_none_or(|before| before != complaint)
    }

    /// Nothing is wrong with it any more.
    fn settle(&mut self, about: &About) {
        self.complaints.remove(about);
    }

    pub(super) fn settle_clusters(&mut self) {
        self.settle(&About::Clusters);
        self.settle(&About::ClusterFiles);
    }
}

fn files_of(config: &Config) -> impl Iterator<Item = PathBuf> {
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let clusters = config.clusters.values().filter_map(|cluster| cluster.tls.as_ref());
    let listeners = listeners.flat_map(|tls| tls.files());
    let clusters = clusters.flat_map(|tls| tls.files());
    listeners.chain(clusters).cloned()
}

impl Control {
    /// A file may have changed: reads again what has.
    pub(super) async fn look_at_files(&mut self) {
        // Before anything is read, so that no later change goes by unseen.
        self.watch_files();
        if self.source.as_mut().is_some_and(Source::has_changed) {
            self.reload().await;
        } else {
            self.refresh_listeners();
            if self.snapshots.load().has_changed_files() {
                self.resolve().await;
            } else {
                self.files.settle(&About::ClusterFiles);
            }
        }
        self.watch_files();
    }

    pub(super) fn watch_files(&mut self) {
        let snapshot = self.snapshots.load();
        self.files.watch(&snapshot.config, self.source.as_ref());
    }

    /// Shows new certificates to the clients that come from now on. What is wrong with one listener's files is no matter
    /// to the others.
    fn refresh_listeners(&mut self) {
        let mut changed = false;
        for bound in &mut self.bound {
            let name = bound.config.name.clone();
            let about = About::Listener(name.clone());
            let outcome = match listeners::refresh(bound, &self.crew) {
                Refreshed::Unchanged => {
                    self.files.settle(&about);
                    continue;
                }
                Refreshed::Changed => {
                    self.files.settle(&about);
                    tracing::info!(listener = name, "the changed files of TLS are in force");
                    warn_of(bound);
                    changed = true;
                    "applied"
                }
                Refreshed::Refused(error) => {
                    let text = chain(&error);
                    if !self.files.is_new(about, text.clone()) {
                        continue;
                    }
                    tracing::error!("changed files refused, those before stay in force: {text}");
                    "refused"
                }
            };
            metrics::counter!(TLS_RELOADS, "listener" => name, "outcome" => outcome).increment(1);
        }
        if changed {
            self.tell_admin();
        }
    }
}

/// Counts from 0 what may happen to the files of a listener, and says what they need.
pub(super) fn begin(bound: &Bound) {
    if bound.tls.is_some() {
        for outcome in ["applied", "refused"] {
            let name = bound.config.name.clone();
            metrics::counter!(TLS_RELOADS, "listener" => name, "outcome" => outcome).increment(0);
        }
        warn_of(bound);
    }
}

fn warn_of(bound: &Bound) {
    let warnings = bound.tls.iter().flat_map(|tls| tls.warnings(UnixTime::now()));
    for warning in warnings {
        tracing::warn!(listener = bound.config.name, "{warning}");
    }
}
