//! Sockets: how they are opened, bound and closed. Nothing here knows what travels over them.

mod connect;
mod kernel;
mod listen;
mod local;
mod pipe;
pub mod proxy_protocol;
mod shortcut;
mod sock_diag;
#[allow(unsafe_code)]
pub mod sockopt;

use std::{io, time::Duration};

pub use connect::{ConnectOptions, OpenError, connect, local_port_range};
pub use kernel::{Kernel, TcpCounters, supports_local_port_range};
pub use listen::bind;
pub use local::{Reach, check_source, source_towards};
pub use shortcut::{LONG, Pace, Shortcut, Taken, stands_in};
pub use sock_diag::{TcpSocketRow, TcpState, tcp_sockets, time_wait_total};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How a dead peer is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// Idle time before the first keepalive probe; zero: no probes.
    pub keepalive_idle: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_count: u32,
    /// Time that sent data may stay unacknowledged; zero: the kernel's choice.
    pub user_timeout: Duration,
}

impl TcpOptions {
    fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if !self.keepalive_idle.is_zero() {
            // The kernel counts in whole seconds and refuses zero.
            let seconds = |time: Duration| Duration::from_secs(time.as_secs().max(1));
            let keepalive = TcpKeepalive::new()
                .with_time(seconds(self.keepalive_idle))
                .with_interval(seconds(self.keepalive_interval))
                .with_retries(self.keepalive_count.max(1));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        if !self.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(())
    }
}

/// Whether the connection has been reset or given up, as far as nobody has been told yet.
pub fn is_broken(stream: &TcpStream) -> bool {
    !matches!(stream.take_error(), Ok(None))
}

/// Makes the coming `close()` a reset: nothing stays behind on our side, and nothing waits for the peer.
///
/// Right only for a connection that is to be aborted, or whose end the peer has already announced.
pub fn reset_on_close(stream: &TcpStream) {
    // The option cannot fail on an open socket; if it did, the close would be a FIN without TIME_WAIT instead.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
