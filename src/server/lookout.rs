//! Looks now and then at what the machine says of source addresses and ports, off the data path.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};

use crate::ports::Ports;

/// How soon a source address is missed that has left the machine, and used again when it is back.
const INTERVAL: Duration = Duration::from_secs(1);

/// Every how many looks our counts are compared with the kernel's sockets.
const RECONCILE_EVERY: u32 = 5;

/// Starts looking; it ends with the ports that it looks after.
pub(super) fn start(ports: &Arc<Ports>) {
    tokio::task::spawn_local(run(Arc::downgrade(ports)));
}

async fn run(ports: Weak<Ports>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        interval.tick().await;
        let Some(ports) = ports.upgrade() else { return };
        ports.look_around();
        if round % RECONCILE_EVERY == 0 {
            ports.reconcile(Instant::now());
        }
    }
}
