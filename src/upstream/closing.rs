//! How a connection to an endpoint is ended: the manner that the reason demands and the policy allows.
//!
//! | the end | on the wire | what stays on our side |
//! |---|---|---|
//! | nothing is wrong, `fin-no-time-wait` | FIN; the endpoint reads a clean end | nothing (`TCP_LINGER2` = -1) |
//! | nothing is wrong, `rst` | RST; the endpoint reads ECONNRESET | nothing |
//! | nothing is wrong, `fin` | FIN | a TIME_WAIT of 60 s, or FIN_WAIT2 while the endpoint does not close |
//! | one side has announced the close | the endpoint's FIN is waited for, then RST; or as above if it does not come | nothing |
//! | broken off, closed by the endpoint, silent | RST | nothing |
//! | a tunnel of which both sides sent a FIN | nothing more | a TIME_WAIT of 60 s if our FIN came first |

use std::time::Duration;

use tokio::time::Instant;

use super::{
    connection::{Connection, Shut},
    wire::Wire,
};
use crate::{
    config::Close,
    net::{self, sockopt},
    pool::{CloseReason, End, FirstClose, Liveness},
};

/// How long an endpoint that announced the close of a connection, or was asked for it, may take to send its FIN. When it
/// comes in time there is no TIME_WAIT on either side.
const FIN_WAIT: Duration = Duration::from_millis(50);

/// How long a port is held by a FIN that the endpoint has not acknowledged yet: at most the delayed acknowledgement of
/// 40 ms, if it does not close by itself.
const ACK_WAIT: Duration = Duration::from_millis(45);

/// What an end means for the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing is outstanding on either side.
    Clean,
    /// The endpoint is about to close by itself.
    Announced,
    /// The endpoint has closed.
    Received(FirstClose),
    /// In the middle of something.
    Broken,
}

/// What is done to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A FIN without TIME_WAIT.
    Fin,
    /// A FIN that leaves a TIME_WAIT.
    PlainFin,
    Reset,
    /// Waits for the endpoint's FIN first.
    AwaitFin,
}

fn kind(reason: CloseReason, policy: Close) -> Kind {
    match reason {
        CloseReason::EndpointAsked => Kind::Announced,
        // The request said `Connection: close`, except under `fin`.
        CloseReason::PoolingOff if policy != Close::Fin => Kind::Announced,
        CloseReason::MaxLifetime | CloseReason::MaxRequests if policy == Close::AskEndpoint => Kind::Announced,
        CloseReason::PoolingOff
        | CloseReason::IdleTimeout
        | CloseReason::MaxLifetime
        | CloseReason::MaxRequests
        | CloseReason::Surplus
        | CloseReason::GaveWay
        | CloseReason::ClientLeft
        | CloseReason::ProbeEnded
        | CloseReason::Tunnel
        | CloseReason::EndpointRemoved
        | CloseReason::Drain => Kind::Clean,
        CloseReason::ClosedByEndpoint => Kind::Received(FirstClose::EndpointFin),
        CloseReason::ResetByEndpoint => Kind::Received(FirstClose::EndpointReset),
        CloseReason::UnexpectedBytes
        | CloseReason::Stale
        | CloseReason::AbortedResponse
        | CloseReason::EarlyResponse
        | CloseReason::ClientGone
        | CloseReason::ProtocolError
        | CloseReason::Timeout
        | CloseReason::EndpointSilent
        | CloseReason::SourceGone => Kind::Broken,
    }
}

fn manner(kind: Kind, policy: Close) -> Manner {
    match (kind, policy) {
        (Kind::Received(_) | Kind::Broken, _) => Manner::Reset,
        (Kind::Announced | Kind::Clean, Close::Rst) => Manner::Reset,
        (Kind::Announced, _) => Manner::AwaitFin,
        (Kind::Clean, Close::Fin) => Manner::PlainFin,
        (Kind::Clean, Close::FinNoTimeWait | Close::AskEndpoint) => Manner::Fin,
    }
}

/// Ends `connection` and tells `end` who was first.
pub(super) fn close(mut connection: Connection, end: End<Connection>, now: Instant) {
    match connection.shut {
        Shut::No => {}
        Shut::Fin(first) => return both_fins(connection, end, first, now),
        Shut::Reset => {
            let first = connection.received.unwrap_or(FirstClose::OurReset);
            return reset(connection, end, first);
        }
    }
    let kind = kind(end.reason, end.manner);
    if kind == Kind::Received(FirstClose::EndpointFin) && end.manner != Close::Rst && is_only_announced(&mut connection)
    {
        return fin(connection, end, FirstClose::EndpointFin, now);
    }
    let silent = connection.reservation.ledger().is_silent(now);
    match manner(kind, end.manner) {
        // A FIN to a dead endpoint would hold its port until the kernel gives up, minutes later.
        Manner::Fin | Manner::PlainFin if silent => reset(connection, end, FirstClose::OurReset),
        Manner::Fin => fin(connection, end, FirstClose::OurFin, now),
        Manner::PlainFin => plain_fin(connection, end, now),
        Manner::Reset => {
            let first = match kind {
                Kind::Received(first) => first,
                _ => connection.received.unwrap_or(FirstClose::OurReset),
            };
            reset(connection, end, first);
        }
        Manner::AwaitFin => {
            tokio::task::spawn_local(await_fin(connection, end));
        }
    }
}

/// Whether the endpoint has said inside TLS that it is through, and waits for us to say the same (RFC 8446 6.1).
fn is_only_announced(connection: &mut Connection) -> bool {
    matches!(connection.wire, Wire::Tls(_))
        && connection.wire.look() == Liveness::Closed
        && connection.wire.look_for_fin() == Liveness::Silent
}

fn reset(connection: Connection, end: End<Connection>, first: FirstClose) {
    net::reset_on_close(connection.wire.tcp());
    drop_and_tell(connection, end, first);
}

/// A connection whose own FIN is out. The kernel keeps a TIME_WAIT for it, whatever the options of the socket, if that was
/// the first FIN and the endpoint's has followed.
fn both_fins(connection: Connection, end: End<Connection>, first: FirstClose, now: Instant) {
    if connection.received != Some(FirstClose::EndpointFin) {
        return reset(connection, end, first);
    }
    tell(&connection, &end, first);
    let Connection { wire, reservation, .. } = connection;
    drop(wire);
    if first == FirstClose::OurFin {
        reservation.left_time_wait(now);
    } else {
        reservation.left_fin(now);
    }
    end.done(first);
}

fn plain_fin(mut connection: Connection, end: End<Connection>, now: Instant) {
    // An endpoint that has closed meanwhile keeps the TIME_WAIT itself.
    let first = match connection.wire.look_for_fin() {
        Liveness::Closed => FirstClose::EndpointFin,
        Liveness::Reset => FirstClose::EndpointReset,
        _ => FirstClose::OurFin,
    };
    connection.wire.send_close_notify();
    // It cannot fail on an open socket; if it did, there would be no TIME_WAIT.
    let _ = sockopt::set_time_wait(connection.wire.tcp());
    tell(&connection, &end, first);
    let Connection { wire, reservation, .. } = connection;
    drop(wire);
    if first == FirstClose::OurFin {
        reservation.left_time_wait(now);
    }
    end.done(first);
}

/// Cancellation: at the end of the worker the socket is closed without the wait.
async fn await_fin(mut connection: Connection, end: End<Connection>) {
    if let Ok(first) = tokio::time::timeout(FIN_WAIT, received(&mut connection)).await {
        return match end.manner {
            // Whoever wants textbook closes gets no reset; the endpoint was first, so we keep no TIME_WAIT.
            Close::Fin if first == FirstClose::EndpointFin => drop_and_tell(connection, end, first),
            _ => reset(connection, end, first),
        };
    }
    match end.manner {
        Close::Fin => plain_fin(connection, end, Instant::now()),
        _ => fin(connection, end, FirstClose::OurFin, Instant::now()),
    }
}

/// Waits for what ends the connection. Inside TLS there may be more ahead of it: tickets, and the word that it ends.
async fn received(connection: &mut Connection) -> FirstClose {
    loop {
        // What is wrong with the socket, the look shows too.
        let _ = connection.wire.tcp().readable().await;
        return match connection.wire.look_for_fin() {
            Liveness::Silent => continue,
            Liveness::Closed => FirstClose::EndpointFin,
            Liveness::Reset => FirstClose::EndpointReset,
            Liveness::Readable | Liveness::SourceGone | Liveness::ClientLeft => FirstClose::OurReset,
        };
    }
}

/// The port counts as held until it is free indeed: taken for free at once, the next `connect()` would meet EADDRNOTAVAIL
/// (300 closes a second did, with 50 ports). Where ports are short, the permit is held as long, so that whoever waits
/// for it finds the port free.
fn fin(mut connection: Connection, end: End<Connection>, first: FirstClose, now: Instant) {
    connection.wire.send_close_notify();
    tell(&connection, &end, first);
    let leaving = matches!(end.reason, CloseReason::Drain | CloseReason::EndpointRemoved);
    let Connection {
        wire, mut reservation, ..
    } = connection;
    drop(wire);
    if leaving || !reservation.is_crowded(now) {
        reservation.left_fin(now);
        return end.done(first);
    }
    reservation.closing();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(ACK_WAIT).await;
        drop(reservation);
        end.done(first);
    });
}

fn drop_and_tell(connection: Connection, end: End<Connection>, first: FirstClose) {
    tell(&connection, &end, first);
    drop(connection);
    end.done(first);
}

fn tell(connection: &Connection, end: &End<Connection>, first: FirstClose) {
    tracing::debug!(
        endpoint = %connection.reservation.destination(),
        source = connection.reservation.source_address().map(tracing::field::display),
        reason = end.reason.as_str(),
        first = first.as_str(),
        "closed a connection"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [Close; 4] = [Close::FinNoTimeWait, Close::Rst, Close::Fin, Close::AskEndpoint];

    fn manner_of(reason: CloseReason, policy: Close) -> Manner {
        manner(kind(reason, policy), policy)
    }

    #[test]
    fn a_clean_end_is_as_the_policy_says() {
        let manners = POLICIES.map(|policy| manner_of(CloseReason::IdleTimeout, policy));
        assert_eq!(manners, [Manner::Fin, Manner::Reset, Manner::PlainFin, Manner::Fin]);
    }

    #[test]
    fn whatever_is_broken_off_is_reset_under_every_policy() {
        for policy in POLICIES {
            for reason in [
                CloseReason::Timeout,
                CloseReason::ClientGone,
                CloseReason::ClosedByEndpoint,
            ] {
                assert_eq!(manner_of(reason, policy), Manner::Reset, "{reason:?} {policy:?}");
            }
        }
    }

    #[test]
    fn an_announced_end_is_waited_for() {
        let manners = POLICIES.map(|policy| manner_of(CloseReason::EndpointAsked, policy));
        assert_eq!(
            manners,
            [Manner::AwaitFin, Manner::Reset, Manner::AwaitFin, Manner::AwaitFin]
        );
        assert_eq!(
            manner_of(CloseReason::MaxRequests, Close::AskEndpoint),
            Manner::AwaitFin
        );
        assert_eq!(manner_of(CloseReason::MaxRequests, Close::FinNoTimeWait), Manner::Fin);
    }

    #[test]
    fn without_pooling_only_a_plain_fin_does_not_wait_for_the_endpoint() {
        let manners = POLICIES.map(|policy| manner_of(CloseReason::PoolingOff, policy));
        assert_eq!(
            manners,
            [Manner::AwaitFin, Manner::Reset, Manner::PlainFin, Manner::AwaitFin]
        );
    }
}
