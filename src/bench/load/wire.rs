//! What a client sends its requests over, whichever the protocol.

use std::{future::pending, sync::Arc};

use tokio::time::Instant;

use super::{
    Clients, Protocol, answer::Answer, http1, http2, patience::Patience, progress::Open, record::Failure,
    stream::Stream, thread::Shared,
};

/// The connection of one client, or its part in one; opened when it is needed.
#[derive(Debug)]
pub(super) enum Wire {
    Http1(Option<Box<Http1>>),
    Http2(Arc<http2::Session>),
}

#[derive(Debug)]
pub(super) struct Http1 {
    connection: http1::Connection<Stream>,
    open: Open,
}

impl Wire {
    /// Those of the clients that share one connection.
    pub fn of_connection(protocol: Protocol, clients: Clients) -> Vec<Self> {
        match (protocol, clients) {
            (Protocol::Http1, _) => vec![Self::Http1(None)],
            (Protocol::Http2 { .. }, Clients::ConnectionPerRequest) => vec![Self::Http2(Arc::default())],
            (Protocol::Http2 { streams }, Clients::KeepAlive) => {
                let session = Arc::default();
                (0..streams.get()).map(|_| Self::Http2(Arc::clone(&session))).collect()
            }
        }
    }

    /// Opens the connection before there is a request. What fails will fail again, and count then.
    ///
    /// Cancellation: a connection half open is closed.
    pub async fn connect_ahead(&mut self, shared: &Shared) {
        match self {
            Self::Http1(connection) => *connection = Http1::open(shared).await.map(Box::new).ok(),
            Self::Http2(session) => drop(session.sender(shared).await),
        }
    }

    /// One request and its answer, by `deadline`.
    ///
    /// # Errors
    /// No whole answer: the connection is not used again, but for those who share it and what they have on it.
    ///
    /// Cancellation: likewise.
    pub async fn exchange(
        &mut self,
        shared: &Shared,
        patience: &mut Patience,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Http1(kept) => {
                // Taken, so that it comes back only with the end of an answer.
                let mut http1 = match kept.take() {
                    Some(http1) => http1,
                    None => Box::new(connected(patience.until(deadline, Http1::open(shared)).await)?),
                };
                let exchange = http1.connection.exchange(&shared.request.bytes);
                let answer = answered(patience.until(deadline, exchange).await)?;
                *kept = Some(http1);
                Ok(answer)
            }
            Self::Http2(session) => {
                let sender = connected(patience.until(deadline, session.sender(shared)).await)?;
                let number = sender.number();
                let answer = answered(patience.until(deadline, sender.exchange(&shared.request)).await);
                if answer == Err(Failure::Timeout) {
                    session.retire(number).await;
                }
                answer
            }
        }
    }

    /// Ends the connection after an answer.
    ///
    /// Cancellation: it ends in another way.
    pub async fn close(&mut self) {
        match self {
            Self::Http1(connection) => {
                if let Some(http1) = connection.take() {
                    let Http1 { connection, open } = *http1;
                    connection.close().await;
                    drop(open);
                }
            }
            Self::Http2(session) => session.close().await,
        }
    }

    /// Gives an idle connection up once it is of no further use, as clients do that look before they send. Never ends.
    ///
    /// Cancellation: nothing is lost.
    pub async fn watch(&mut self) {
        if let Self::Http1(kept) = self
            && let Some(http1) = kept
        {
            http1.connection.spoilt().await;
            *kept = None;
        }
        // An HTTP/2 connection has a task that watches it.
        pending().await
    }
}

impl Http1 {
    async fn open(shared: &Shared) -> Result<Self, Failure> {
        let stream = shared.connect().await?;
        Ok(Self {
            connection: http1::Connection::new(stream, shared.request.method.clone()),
            open: shared.opened(),
        })
    }
}

fn connected<T>(connected: Option<Result<T, Failure>>) -> Result<T, Failure> {
    connected.unwrap_or(Err(Failure::Connect))
}

fn answered<E>(answered: Option<Result<Answer, E>>) -> Result<Answer, Failure> {
    match answered {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(_)) => Err(Failure::Broken),
        None => Err(Failure::Timeout),
    }
}
