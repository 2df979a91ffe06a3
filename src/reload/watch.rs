//! Tells when the config file may have changed.

use std::path::Path;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches the folder of a file: editors replace files by renaming, and mounted configs swap a link.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

/// A change is looked at when nothing more has happened for so long: a file is written in several steps.
const QUIET: std::time::Duration = std::time::Duration::from_millis(100);

impl Watch {
    /// # Errors
    /// When the folder cannot be watched (too many watches, no such folder).
    pub fn new(file: &Path) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One that waits is enough.
                let _ = sender.try_send(());
            }
        })?;
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self {
            events,
            _watcher: watcher,
        })
    }

    /// Waits until something has happened in the folder and it is quiet again.
    ///
    /// Cancellation: a change may be told of a second time, never not at all.
    pub async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {}
    }
}
