//! Looks now and then at what the machine says of source addresses and ports, off the data path.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};

use crate::ports::Ports;

/// How soon a source address is missed that has left the machine, and used again when it is back.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often our counts are compared with the kernel's sockets.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

/// What that may cost, as a part of one core's time. The kernel's list has everybody's sockets: a machine on which
/// 100,000 connections are in TIME_WAIT takes 40 ms to walk through them, which was 1 % of a worker's time every 5 s.
const RECONCILE_SHARE: u32 = 500;

/// Starts looking; it ends with the ports that it looks after.
pub(super) fn start(ports: &Arc<Ports>) {
    tokio::task::spawn_local(run(Arc::downgrade(ports)));
}

async fn run(ports: Weak<Ports>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reconciles = Instant::now();
    loop {
        interval.tick().await;
        let Some(ports) = ports.upgrade() else { return };
        ports.look_around();
        let now = Instant::now();
        if now >= reconciles {
            ports.reconcile(now);
            reconciles = now + RECONCILE_INTERVAL.max(now.elapsed() * RECONCILE_SHARE);
        }
    }
}
