//! What happens when source ports run out, and when they do not: three proxies under the same load, side by side, towards
//! endpoints that differ, so that each has all ports to itself.
//!
//! ```text
//! this process
//! |- namespace "endpoint":  three endpoints
//! `- namespace "proxy":     three proxies; few source ports, tcp_tw_reuse = 0
//!                           one process that makes the load and looks at the sockets (`inside`)
//! ```
//!
//! Where namespaces cannot be made, all of them run on the loopback interface.

pub mod inside;
pub mod namespace;
mod place;
pub mod story;
mod subject;

use std::{io, time::Duration};

use tempfile::TempDir;

use self::{
    inside::{Task, Told},
    namespace::NamespaceError,
    place::Place,
    story::Story,
};
pub use self::{place::Scene, subject::Subject};
use super::{
    children::{Child, ChildError},
    load::Stop,
};

/// The hidden command whose process runs where the proxies are.
pub const INSIDE: &str = "exhaust-inside";

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub scene: Scene,
    /// Requests per second to each proxy.
    pub rate: f64,
    pub duration: Duration,
}

/// Why there is no story to tell.
#[derive(Debug, thiserror::Error)]
pub enum ExhaustError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("a temporary folder cannot be made")]
    Folder(#[source] io::Error),
    #[error("the config of a proxy cannot be written")]
    Write(#[source] io::Error),
    #[error("the program itself cannot be found")]
    Program(#[source] io::Error),
    #[error("what the load tells cannot be read")]
    Told(#[source] serde_json::Error),
}

impl Plan {
    /// Carries it out, up to the end or until `stop` is set, and tells after each look how much of the load's time is
    /// over.
    ///
    /// Nothing is left behind, whichever way it ends; what an earlier process could not remove goes first.
    ///
    /// # Errors
    /// See [`ExhaustError`].
    pub fn run(&self, stop: &Stop, mut advance: impl FnMut(Duration)) -> Result<Story, ExhaustError> {
        // Dropped in the opposite order: the namespaces when nothing runs in them any more.
        let place = Place::make(self.scene)?;
        let folder = TempDir::with_prefix("forebay-bench-").map_err(ExhaustError::Folder)?;
        let mut running = Vec::new();
        let mut targets = Vec::new();
        for subject in Subject::ALL {
            let (child, endpoint) = place.start_endpoint()?;
            running.push(child);
            let (child, target) = place.start_proxy(subject, endpoint, folder.path())?;
            running.push(child);
            targets.push(target);
        }
        // They have been read, and so not even a kill from here on leaves a file.
        drop(folder);
        let task = Task {
            targets,
            rate: self.rate,
            duration: self.duration,
        };
        let task = serde_json::to_string(&task).expect("it can be written as JSON");
        // Without the flag for children: it ends with its standard input by itself, and tells before what it has seen.
        let mut load = Child::spawn(place.at_proxy(&["bench", INSIDE, &task])?)?;
        let mut story = Story::new(*self);
        loop {
            match serde_json::from_str(&load.line()?).map_err(ExhaustError::Told)? {
                Told::Sample(sample) => {
                    advance(Duration::from_secs_f64(sample.at));
                    story.samples.push(sample);
                }
                Told::End(ends) => {
                    story.ends = ends;
                    return Ok(story);
                }
            }
            if stop.is_stopped() {
                load.end_input();
            }
        }
    }
}
