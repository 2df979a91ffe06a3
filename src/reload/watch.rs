//! Tells when one of the files that the proxy was made of may have changed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout, timeout_at},
};

use super::folders::folders_of;

/// A change is looked at when nothing more has happened for so long: a file is written in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// It is looked at after so long in any case: somebody else may be busy in the folder.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the files are looked at without any sign, since not every file system gives one.
const INTERVAL: Duration = Duration::from_secs(30);

/// Watches the folders of files, and of the links that lead to them: editors replace files by renaming, and mounted
/// configs swap a link.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<()>,
    /// Without one, the files are only looked at now and then.
    watcher: notify::Result<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    interval: Interval,
    /// When something happened of which nobody has been told.
    since: Option<Instant>,
}

impl Watch {
    /// Watches nothing yet.
    pub fn start() -> Self {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One that waits is enough.
                let _ = sender.try_send(());
            }
        });
        let mut interval = interval_at(Instant::now() + INTERVAL, INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            events,
            watcher,
            folders: BTreeSet::new(),
            interval,
            since: None,
        }
    }

    /// Watches these files from now on, and no others. To be called again after each change, which may have led a link
    /// elsewhere. Where that adds a folder, the files want another look, which [`Self::changed`] says.
    ///
    /// # Errors
    /// The first folder that cannot be watched (too many watches, no such folder); its files are looked at now and then,
    /// as all are when the kernel lets nobody watch.
    pub fn set<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Ok(watcher) => watcher,
            Err(error) => return Err(notify::Error::generic(&error.to_string())),
        };
        let folders: BTreeSet<_> = files.flat_map(folders_of).collect();
        for folder in self.folders.difference(&folders) {
            // It may be gone already.
            let _ = watcher.unwatch(folder);
        }
        let mut result = Ok(());
        for folder in &folders {
            // Also where it is watched: another folder may have come to stand there.
            let watched = watcher.watch(folder, RecursiveMode::NonRecursive);
            result = result.and(watched);
        }
        if !folders.is_subset(&self.folders) {
            // What happened in there since its files were read, nobody has seen.
            self.since.get_or_insert_with(Instant::now);
        }
        self.folders = folders;
        result
    }

    /// Waits until something has happened in one of the folders and it is quiet again, or until it is time to look all
    /// the same.
    ///
    /// Cancellation: a change may be told of a second time, never not at all.
    pub async fn changed(&mut self) {
        let since = match self.since {
            Some(since) => since,
            None => tokio::select! {
                Some(()) = self.events.recv() => *self.since.insert(Instant::now()),
                _ = self.interval.tick() => return,
            },
        };
        let quiet = async { while let Ok(Some(())) = timeout(QUIET, self.events.recv()).await {} };
        let _ = timeout_at(since + PATIENCE, quiet).await;
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_watched_anew_is_looked_at_once_more() {
        let folders = [tempfile::tempdir(), tempfile::tempdir()].map(|folder| folder.expect("a temporary directory"));
        let files = folders.each_ref().map(|folder| folder.path().join("key.pem"));
        let mut watch = Watch::start();
        let mut wait = async |files: &[PathBuf]| {
            watch
                .set(files.iter().map(PathBuf::as_path))
                .expect("the folder is there");
            let begin = Instant::now();
            watch.changed().await;
            begin.elapsed()
        };
        assert_eq!(wait(&files[..1]).await, QUIET);
        assert!(wait(&files[..1]).await > PATIENCE, "nothing new");
        assert_eq!(wait(&files).await, QUIET);
        assert!(wait(&files[1..]).await > PATIENCE, "one less");
    }
}
