//! Ctrl-C, for commands that end with what they have.

use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};

use crate::bench::load::Stop;

/// A value that is stopped by the first signal that would end the process.
///
/// # Errors
/// The signals cannot be listened to.
pub(in crate::cli) fn stop_on_signals() -> io::Result<Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Registered before this returns, so that none comes too early.
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    let stop = Stop::new();
    let stopper = stop.clone();
    // Ends with the process.
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        stopper.stop();
    })?;
    Ok(stop)
}
