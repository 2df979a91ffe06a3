//! One new snapshot: when the file has changed, what it becomes, and what that means for what is alive.

mod folders;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use watch::Watch;

use crate::{
    config::{self, Config, LoadError},
    pool::CloseReason,
    snapshot::{BuildError, Snapshot},
};

/// The config file, and what it held when it was last put in force.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    content: Vec<u8>,
}

/// Why a reload is refused; what runs goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Source {
    /// # Errors
    /// When the file cannot be read any more.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let content = std::fs::read(&path)?;
        Ok(Self { path, content })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file holds something else than when this was last asked. A file that cannot be read has not changed:
    /// it may be about to be replaced.
    pub fn has_changed(&mut self) -> bool {
        match std::fs::read(&self.path) {
            Ok(content) if content != self.content => {
                self.content = content;
                true
            }
            _ => false,
        }
    }
}

/// Reads the file and builds a snapshot of it beside the one that runs.
///
/// # Errors
/// Everything that is wrong with it; nothing has changed then.
pub async fn prepare(source: &Source, running: &Snapshot, workers: usize) -> Result<Snapshot, ReloadError> {
    let config: Arc<Config> = Arc::new(config::load(&source.path)?);
    Ok(Snapshot::build(config, Some(running), workers).await?)
}

/// Closes the connections of the endpoints that `new` does not have any more: idle ones now, the others when their
/// request ends.
pub fn retire(old: &Snapshot, new: &Snapshot) {
    for (_, endpoint) in old.endpoints() {
        if !new.endpoints().any(|(_, kept)| Arc::ptr_eq(&kept.pool, &endpoint.pool)) {
            endpoint.close(CloseReason::EndpointRemoved);
        }
    }
}
