//! A tunnel, and what is noted of it. It holds nothing of the snapshot, which it may outlive by hours.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::account::Line;
use crate::{
    downstream,
    snapshot::{ProxyStats, Stats},
    tunnel::{End, Side, Tally, carry},
    upstream::{self, InFlight},
    worker::Timer,
};

/// The endpoint's side of a tunnel, ready for its client.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) endpoint: upstream::Tunnel,
    pub(super) account: Account,
    pub(super) timer: Timer,
    /// Longest time in which nothing comes.
    pub(super) idle: Duration,
}

/// The account of one tunnel, closed when it is dropped.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) stats: Arc<Stats<ProxyStats>>,
    pub(super) worker: usize,
    /// Since the request's head.
    pub(super) start: Instant,
    pub(super) status: u16,
    pub(super) tally: Tally,
    pub(super) end: End,
    /// Keeps the endpoint's load counted.
    pub(super) _in_flight: Option<InFlight>,
    pub(super) line: Option<Box<Line>>,
}

impl downstream::Tunnel for Tunnel {
    async fn run(self, mut client: impl Side, cut: impl Future<Output = ()>) {
        let Self {
            mut endpoint,
            mut account,
            timer,
            idle,
        } = self;
        let outcome = carry(&mut client, &mut endpoint, timer, idle, &account.tally, cut).await;
        account.end = outcome.end;
        drop(account);
        outcome.apply(client, endpoint).await;
    }
}

impl Account {
    /// Counts the tunnel as open.
    pub(super) fn opened(self) -> Self {
        self.stats.of(self.worker).tunnels_opened.add(1);
        self
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.stats.of(self.worker).tunnels_ended[self.end as usize].add(1);
        if let Some(line) = self.line.take() {
            line.write_tunnel(self);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_counters_have_room_for_every_end() {
        assert_eq!(super::End::ALL.len(), crate::snapshot::TUNNEL_ENDS);
    }
}
