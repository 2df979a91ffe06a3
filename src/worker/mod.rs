//! Workers: one thread each with a runtime of its own. What lives on a worker stays there, so the data path needs no
//! lock that another core contends for and no wake-up across threads.

mod board;
pub mod buffers;
mod timer;

use std::{future::Future, io, num::NonZeroUsize, thread};

pub use board::{Board, Seat};
pub use timer::{TICK, Timer, Timers};
use tokio::runtime::{Builder, LocalOptions};

/// Starts a thread named `name` that runs what `body` makes, until that ends. All its tasks end with it.
///
/// # Errors
/// When the thread or its runtime cannot be made (no descriptors, no memory).
pub fn start<F, T>(name: String, body: F) -> io::Result<thread::JoinHandle<()>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let runtime = || {
        Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
    };
    let (report, reported) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name).spawn(move || match runtime() {
        Ok(runtime) => {
            let _ = report.send(Ok(()));
            runtime.block_on(async move { body().await });
        }
        Err(error) => {
            let _ = report.send(Err(error));
        }
    })?;
    reported
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
    Ok(thread)
}

/// One worker for each core that the process may use.
pub fn available() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
