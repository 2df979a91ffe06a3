//! Opens a connection ahead of need.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{connection::Connection, connector::Purpose, endpoint::Endpoint};
use crate::{pool::Warming, worker::Timers};

/// Opens the connection that `warming` gives the right to, within `timeout`, and puts it with the idle ones of `worker`.
///
/// Cancellation: the socket closes, and the right goes back.
pub async fn warm(
    endpoint: Arc<Endpoint>,
    warming: Warming<Connection>,
    timers: Timers,
    timeout: Duration,
    worker: usize,
) {
    match endpoint.connector.connect(Purpose::HTTP1, &timers, timeout).await {
        Ok(connection) => warming.opened(connection, worker, Instant::now()),
        Err(error) => {
            tracing::debug!(endpoint = %endpoint.address, %error, "a connection could not be opened ahead of need");
            warming.failed(Instant::now());
        }
    }
}
