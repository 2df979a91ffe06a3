//! A client that no longer speaks HTTP: its side of the tunnel.

mod connection;
mod stream;

use std::{future::poll_fn, task::Poll};

pub(super) use connection::Connection;
pub(super) use stream::Writers;

use super::{Tunnel, in_flight::InFlight};
use crate::tunnel::Side;

/// A tunnel that an answer has opened, for as long as which the request counts as in flight.
#[derive(Debug)]
pub(super) struct Opened<T> {
    tunnel: T,
    in_flight: InFlight,
}

impl<T: Tunnel> Opened<T> {
    pub(super) fn new(tunnel: T, in_flight: InFlight) -> Self {
        Self { tunnel, in_flight }
    }

    /// Carries bytes until the end.
    ///
    /// Cancellation: both sides are reset.
    pub(super) async fn run(self, client: impl Side) {
        let Self { tunnel, in_flight } = self;
        let state = in_flight.state();
        // Whoever cuts wakes all who have a timer, as every tunnel has.
        let cut = poll_fn(|_| {
            if state.listener.is_cut() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tunnel.run(client, cut).await;
    }
}
